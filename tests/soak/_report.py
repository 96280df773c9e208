"""What a soak found: one line of JSON, and the table that the documentation shows of it."""

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- soak tally: written by tests/soak/soak.py --report -->", "<!-- end of soak tally -->"


def tally(rounds: Sequence[Mapping[str, Any]], *, skipped: Mapping[str, str], command: str) -> dict[str, Any]:
    """Add up the lines of all rounds.

    Parameters
    ----------
    rounds
        One mapping a round, as soak.py writes them to ``rounds.jsonl``.
    skipped
        Faults that could not be tried here, and why.
    command
        What was typed.
    """
    faults = {}
    for fault in dict.fromkeys(line["fault"] for line in rounds):
        lines = [line for line in rounds if line["fault"] == fault]
        faults[fault] = {
            "rounds": len(lines),
            "struck": sum(bool(line["notes"].get("killed")) for line in lines),
            "passed": sum(line["ok"] for line in lines),
            "restored": sum(line["notes"].get("restored", 0) for line in lines),
            "median_s": sorted(line["wall_s"] for line in lines)[len(lines) // 2],
        }
    return {
        "rounds": len(rounds),
        "passed": sum(line["ok"] for line in rounds),
        "processes_left": sum(len(line["notes"].get("processes_left", [])) for line in rounds),
        "faults": faults,
        "skipped": dict(skipped),
        "failures": [line for line in rounds if not line["ok"]],
        "wall_s": round(sum(line["wall_s"] for line in rounds)),
        "date": max((line["date"] for line in rounds), default=""),
        "commits": sorted({line["commit"] for line in rounds}),
        "machine": machine(),
        "command": command,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The tally as a table."""
    rows = [
        f"| `{name}` | {fault['rounds']} | {fault['struck']} | {fault['passed']} | {fault['median_s']:.0f} |"
        for name, fault in sorted(found["faults"].items())
    ]
    restored = sum(fault["restored"] for fault in found["faults"].values())
    total = f"| all | {found['rounds']} | {sum(fault['struck'] for fault in found['faults'].values())} | {found['passed']} | |"
    lines = [
        f"`{found['command']}`, {found['date'][:10]}, commit {', '.join(found['commits'])}, {found['machine']}; "
        f"{found['wall_s'] / 60:.0f} minutes.",
        "",
        "| fault | rounds | struck while the run went on | ended complete and identical | median s a round |",
        "|---|---|---|---|---|",
        *rows,
        total,
        "",
        f"Processes left behind: {found['processes_left']}. Files that only a backup could mend: {restored}.",
        *[f"\nNot tried: `{fault}`, {why}." for fault, why in found["skipped"].items()],
        *[f"\nFailed: `{line['fault']}`, {line['error']} Again: `{line['again']}`" for line in found["failures"]],
    ]
    return "\n".join(lines)


def write_report(found: Mapping[str, Any], page: Path) -> None:
    """Replace what stands between the two markers of a page."""
    head, begin, rest = page.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r}, between which the table could be written")
    page.write_text(f"{head}{BEGIN}\n\n{markdown(found)}\n\n{END}{tail}")


def line_of(line: Mapping[str, Any], *, number: int, total: int) -> str:
    """A round in one line for people."""
    quiet = ("processes_left", "alive")
    notes = ", ".join(f"{key} {_short(value)}" for key, value in line["notes"].items() if key not in quiet)
    verdict = "ok" if line["ok"] else f"FAILED: {line['error']}"
    return f"round {number}/{total} {line['fault']} (seed {line['seed']}), {line['wall_s']:.0f} s: {verdict} [{notes}]"


def _short(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(str(each) for each in value)
    return str(value)


def machine() -> str:
    """What the soak ran on."""
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores ({platform.machine()}), {system}, Python {platform.python_version()}"


def commit() -> str:
    """Short name of the commit of this checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=9"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def now() -> str:
    """UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
