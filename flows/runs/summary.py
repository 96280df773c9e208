"""Summary of a run when it ends: what it did, how complete its profile is, and the command that resumes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweetgrad.analysis import best_interval
from sweetgrad.flows.parameters import parameters_of
from sweetgrad.flows.profile import profile
from sweetgrad.store import Failure, Location, info, open_profile
from sweetgrad.store.access import command_line
from sweetgrad.store.redaction import redacted

_NUM_FAILURES = 5


@dataclass
class Ending:
    """How a run ended.

    Attributes
    ----------
    num_done, num_left
        Architectures that it profiled, and requested ones that it did not reach.
    num_workers
        Workers at its end.
    seconds
        Wall time of its shards.
    error
        What stopped it; empty if nothing did.
    """

    num_done: int = 0
    num_left: int = 0
    num_workers: int = 0
    seconds: float = 0.0
    error: str = ""


def profile_command(arguments: Mapping[str, Any]) -> str:
    """The ``sweetgrad profile`` command with these arguments of `profile`, without those that are the default.

    Tables of a cluster are left out: a command line has no room for them. Secrets are, too.

    Examples
    --------
    >>> profile_command({"store": "my store.zarr", "archs": "0:9", "seed": 42, "augment": True})
    "sweetgrad profile 'my store.zarr' --archs 0:9 --augment"
    """
    defaults = {name: parameter.default for name, parameter in parameters_of(profile).items()}
    words = ["profile", arguments["store"]]
    for key, value in (arguments.get("space_options") or {}).items():
        words += ["--space-option", f"{key}={value}"]
    for name, value in arguments.items():
        if name == "store" or value in (None, [], defaults[name]) or isinstance(value, Mapping):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, Sequence) and not isinstance(value, str):
            words.append(",".join(value))
        elif value is not True:
            words.append(str(value))
    return command_line(*words)


def summary_markdown(store: Location, name: str, ending: Ending, *, command: str) -> str:
    """What a run did and how complete its profile is now, as a page of Markdown.

    Parameters
    ----------
    store, name
        The profile, as it is on disk.
    ending
        How the run ended.
    command
        Command that resumes it.

    Raises
    ------
    StoreError
        If the profile cannot be read.
    """
    about = info(store, name).profiles[0]
    status = about.status
    rate = f", {ending.num_done / ending.seconds:.2f} a second" if ending.seconds > 0 else ""
    rows = {
        "This run": _state(ending),
        "Store": f"`{redacted(store)}`",
        "Profiled in this run": f"{ending.num_done:,} architectures in {duration(ending.seconds)}{rate}",
        "Workers": f"{ending.num_workers}, on {about.spec.device}",
        "Profile": f"{status.num_ok:,} measured, {status.num_failed:,} failed, {status.num_not_run:,} not run, "
        f"of {status.num_archs:,} in the space",
        "Best interval so far": _best(store, name) if status.num_ok >= 2 else "needs 2 measured architectures",
        "Content digest": f"`{about.content_digest}`",
    }
    first, *others = (f"| {key} | {_cell(value)} |" for key, value in rows.items())
    return "\n\n".join(
        [
            f"# {name}",
            "\n".join([first, "|---|---|", *others]),
            *_failures(status.failures),
            "## Next" if not ending.num_left and not ending.error else "## Continue",
            f"```console\n$ {_next(store, name, ending, command)}\n```",
        ]
    )


def _state(ending: Ending) -> str:
    if ending.error:
        return f"**stopped by an error**: {ending.error}"
    return f"**interrupted**, {ending.num_left:,} architectures left" if ending.num_left else "complete"


def _best(store: Location, name: str) -> str:
    best = best_interval(open_profile(store, name, chunks=None))
    return (
        f"**{best.interval}**, sweetness {best.sweetness:.3f} over {best.num_archs} architectures, best in "
        f"{best.confidence:.0%} of resamples; next {best.runner_up}, {best.runner_up_sweetness:.3f}"
    )


def _failures(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return []
    shown = failures[:_NUM_FAILURES]
    lines = [f"- {failure.count:,}: `{failure.message}`, first `{failure.example}`" for failure in shown]
    more = len(failures) - _NUM_FAILURES
    return ["## Failures", "\n".join(lines + ([f"- and {more} other messages"] if more > 0 else []))]


def _next(store: Location, name: str, ending: Ending, command: str) -> str:
    return command if ending.num_left or ending.error else command_line("intervals", store, name)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def duration(seconds: float) -> str:
    """Seconds in words.

    Examples
    --------
    >>> duration(12.34), duration(75), duration(7260)
    ('12.3 s', '1 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
