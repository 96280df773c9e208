"""Break runs in every way we can think of, resume them, and compare the store with one that was left alone.

    python tests/soak/soak.py [--rounds 50] [--seed 0] [--archs 0:120] [--batch-size 8] [--shard-size 10]
                              [--faults kill-worker,two-runs,…] [--folder DIR] [--report docs/reliability.md]

A round runs the real ``sweetgrad profile`` with two workers on a store that is new or holds part of the rows, lets one fault
strike at a random moment after the first rows, and gives the same command again. Then no process of it may be left; after
``verify --repair`` no lock and no temporary file either; verify finds nothing; the digest and every measured variable are
those of an undisturbed store. A run that does not end counts as failed, too.

One line a round goes to standard error, and the tally to standard output as one line of JSON; exit status 1 if a round failed.
A soak that was stopped goes on with the same ``--folder``. ``--round-seed`` (with one fault) repeats a single round. Folders of
rounds that failed are kept, with the store and the output of every process.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

from _check import is_done, require_identical
from _disks import can_mount, delete, flip_bits, full_disk, truncate, unmount
from _kills import (
    dead_lock,
    interrupt,
    kill_flow,
    kill_random,
    kill_scheduler,
    kill_server,
    kill_worker,
    outlive_lease,
    pause,
    two_runs,
)
from _report import commit, line_of, now, tally, write_report
from _runs import BrokenPromiseError, Fault, Round, Setting, complete, ended_afterwards, row_files
from _tables import add_tables

FAULTS: dict[str, Fault] = {
    "kill-worker": kill_worker,
    "kill-flow": kill_flow,
    "kill-server": kill_server,
    "kill-scheduler": kill_scheduler,
    "kill-random": kill_random,
    "interrupt": interrupt,
    "full-disk": full_disk,
    "flip-bits": flip_bits,
    "truncate": truncate,
    "delete": delete,
    "two-runs": two_runs,
    "pause": pause,
    "outlive-lease": outlive_lease,
    "dead-lock": dead_lock,
}
LEAST_LIMIT_S = 300.0


def run_round(setting: Setting, fault: str, seed: int) -> dict[str, Any]:
    """One round, from an empty folder to its line of the tally."""
    folder = setting.folder / f"{fault}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)  # of a soak that was stopped here
    folder.mkdir()
    round_ = Round(setting, fault, seed, folder)
    begin, error = time.monotonic(), ""
    try:
        with ended_afterwards(round_):
            FAULTS[fault](round_)
            round_.wait_until_gone()
            if not is_done(round_):
                complete(round_, round_.start())
                round_.wait_until_gone()
            require_identical(round_)
    except BrokenPromiseError as broken:
        error = str(broken)
    except Exception as unexpected:  # the store could not even be read, for one
        error = f"{type(unexpected).__name__}: {unexpected}"
    if error and round_.store.exists() and round_.store.parent != folder:
        shutil.copytree(round_.store, folder / "store.zarr", dirs_exist_ok=True)
    unmount(folder / "disk")
    if not error:
        shutil.rmtree(folder)
    line = {"fault": fault, "seed": seed, "ok": not error, "error": error, "notes": round_.notes}
    return {**line, "wall_s": round(time.monotonic() - begin, 1), "date": now(), "commit": commit()}


def prepare(folder: Path, options: argparse.Namespace) -> Setting:
    """The undisturbed store, and how long its run took; made once for a folder."""
    chosen = {"archs": options.archs, "batch_size": options.batch_size, "shard_size": options.shard_size}
    known = folder / "setting.json"
    if known.exists():
        found = json.loads(known.read_text())
        if found["chosen"] != chosen:
            raise SystemExit(f"{folder} holds a soak of {found['chosen']}, asked {chosen}: take another --folder")
        return Setting(folder, **chosen, rows_s=found["rows_s"], limit_s=found["limit_s"])
    say("making the undisturbed store")
    setting = Setting(folder, **chosen, rows_s=0, limit_s=4 * LEAST_LIMIT_S)
    begin = time.monotonic()
    shutil.rmtree(setting.undisturbed, ignore_errors=True)  # of a soak that was stopped here
    rows_s = _make_undisturbed(setting)
    wall_s = time.monotonic() - begin
    found = {"chosen": chosen, "rows_s": rows_s, "limit_s": max(LEAST_LIMIT_S, 6 * wall_s)}
    known.write_text(json.dumps(found))
    return Setting(folder, **chosen, rows_s=rows_s, limit_s=found["limit_s"])


def _make_undisturbed(setting: Setting) -> float:
    """Run to the end; seconds between its first shard and its last."""
    place = setting.folder / "preparation"
    place.mkdir(exist_ok=True)
    round_ = Round(setting, "none", 0, place)
    round_.store = setting.undisturbed
    with ended_afterwards(round_):
        complete(round_, round_.start())
    add_tables(setting.undisturbed)
    written = [nanoseconds for _, nanoseconds in row_files(setting.undisturbed)]
    return (max(written) - min(written)) / 1e9


def deal(faults: list[str], *, rounds: int, seed: int) -> list[tuple[str, int]]:
    """Fault and seed of every round: all faults in random order, then all again, so that none comes much more often."""
    chance = random.Random(seed)
    dealt: list[str] = []
    while len(dealt) < rounds:
        dealt += chance.sample(faults, len(faults))
    return [(fault, chance.getrandbits(32)) for fault in dealt[:rounds]]


def possible(faults: list[str], folder: Path) -> dict[str, str]:
    """Faults that cannot be tried here, and why."""
    skipped = {}
    if "full-disk" in faults and not can_mount(folder / "disk"):
        skipped["full-disk"] = "mounting a tmpfs is not permitted here"
    if "kill-server" in faults and os.environ.get("PREFECT_API_URL"):
        skipped["kill-server"] = "PREFECT_API_URL names a server that is not the run's own"
    return skipped


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds that are not done yet; the tally of all."""
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="sweetgrad-soak-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"folder {folder}")
    skipped = possible(options.faults, folder)
    for fault, why in skipped.items():
        say(f"{fault} is skipped: {why}")
    faults = [fault for fault in options.faults if fault not in skipped]
    if options.round_seed is not None:
        rounds = [(fault, options.round_seed) for fault in faults]
    else:
        rounds = deal(faults, rounds=options.rounds, seed=options.seed) if faults else []
    setting = prepare(folder, options)
    log = folder / "rounds.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(line["fault"], line["seed"]): line for line in lines if options.round_seed is None}
    ran = []
    try:
        for number, (fault, seed) in enumerate(rounds, 1):
            if (line := done.get((fault, seed))) is None:
                line = run_round(setting, fault, seed) | {"again": _again(options, fault, seed)}
                if options.round_seed is None:  # a round that is repeated does not wipe out that it failed
                    with log.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                say(line_of(line, number=number, total=len(rounds)))
            ran.append(line)
    except KeyboardInterrupt:
        say(f"stopped after {len(ran)} rounds; `--folder {folder}` goes on with the next")
    return tally(ran, skipped=skipped, command=_command(options)) | {"asked": len(rounds), "folder": str(folder)}


def _again(options: argparse.Namespace, fault: str, seed: int) -> str:
    return f"{_command(options, short=True)} --faults {fault} --round-seed {seed}"


def _command(options: argparse.Namespace, *, short: bool = False) -> str:
    run = f"--archs {options.archs} --batch-size {options.batch_size} --shard-size {options.shard_size}"
    some = "" if options.faults == list(FAULTS) else f" --faults {','.join(options.faults)}"
    return f"python tests/soak/soak.py {run}" + (
        "" if short else f" --rounds {options.rounds} --seed {options.seed}{some}"
    )


def say(text: str) -> None:
    """To standard error at once, so that the log of a run in the background is up to date."""
    print(text, file=sys.stderr, flush=True)


def _faults(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in FAULTS]:
        raise argparse.ArgumentTypeError(f"no fault {unknown[0]!r}; there are {', '.join(FAULTS)}")
    return names


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Read the options, soak, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--archs", default="0:120", help="START:STOP")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--shard-size", type=int, default=10)
    parser.add_argument("--faults", type=_faults, default=list(FAULTS), help=", ".join(FAULTS))
    parser.add_argument("--folder", type=Path, help="of a soak to go on with, or a new one [default: a temporary one]")
    parser.add_argument("--round-seed", type=int, help="repeat the one round of this seed")
    parser.add_argument("--report", type=Path, help="markdown page to write the table into, between its markers")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a hanging process is asked for its threads by SIGABRT
    found = soak(options)
    if options.report:
        write_report(found, options.report)
    print(json.dumps(found))
    sys.exit(0 if found["passed"] == found["asked"] else 1)


if __name__ == "__main__":
    main()
