"""Summary of a run when it ends: what it did, how complete its profile is, and the command that resumes it."""

from dataclasses import dataclass
from pathlib import Path

from sweetgrad.analysis import best_interval
from sweetgrad.flows.cluster.waiting import duration
from sweetgrad.store import Location, info, open_profile
from sweetgrad.store.access import command_line
from sweetgrad.store.pages import render
from sweetgrad.store.redaction import redacted

_MAX_FAILURES = 5


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
    contents = info(store, name).profiles[0]
    is_unfinished = bool(ending.num_left or ending.error)
    can_choose = contents.status.num_ok >= 2
    page = render(
        Path(__file__).with_suffix(".md.j2"),
        store=redacted(store),
        ending=ending,
        time=duration(ending.seconds),
        status=contents.status,
        device=contents.spec.device,
        best=best_interval(open_profile(store, name, chunks=None)) if can_choose else None,
        content_digest=contents.content_digest,
        max_failures=_MAX_FAILURES,
        is_unfinished=is_unfinished,
        command=command if is_unfinished else command_line("intervals", store, name),
    )
    return page.rstrip("\n")
