"""Artifacts of a run in Prefect's UI: its progress while it runs, and a summary when it ends."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from rich.console import Console

from sweetgrad.analysis import best_interval
from sweetgrad.flows.cluster.waiting import duration
from sweetgrad.flows.runs.progress import Counter
from sweetgrad.store import Location, info, open_profile
from sweetgrad.store.access import command_line
from sweetgrad.store.pages import render
from sweetgrad.store.redaction import redacted

UPDATE_EVERY_S = 5.0
_LAST_WORDS_S = 20.0
_MAX_FAILURES = 5


@contextmanager
def shown_in_prefect(
    name: str, count: Counter, *, summary: Callable[[], str], on_cancel: Callable[[], None], console: Console
) -> Iterator[None]:
    """Keep an artifact of a flow run at what is counted, and write ``summary()`` beside it at the end.

    It is done in a separate thread, which neither slows the run nor makes it fail when Prefect does not answer.

    Parameters
    ----------
    name
        Profile that is measured.
    count
        Its progress.
    summary
        Markdown of the second artifact; called when the context ends, however it ends.
    on_cancel
        Called once if the run is cancelled in the UI.
    console
        Where that, and failures to reach Prefect, are reported.
    """
    context = FlowRunContext.get()
    assert context is not None, "outside a flow run"
    assert context.flow_run is not None
    over = threading.Event()
    shown = _Shown(name, count, context.flow_run.id)

    def show() -> None:
        while not over.is_set():
            if shown.refresh():
                console.print("Cancelled in Prefect: finishing the current networks, then writing them.", markup=False)
                on_cancel()
            over.wait(UPDATE_EVERY_S)
        shown.refresh()
        shown.finish(summary)

    # The thread needs the context of the flow run: it holds Prefect's settings, and what an artifact belongs to.
    thread = threading.Thread(target=copy_context().run, args=(show,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=_LAST_WORDS_S)
        if thread.is_alive():
            console.print("Prefect does not answer: its UI will lack the summary of this run.", markup=False)
        elif shown.error is not None:
            console.print(f"Prefect could not be shown everything about this run: {shown.error!r}.", markup=False)


class _Shown:
    """The two artifacts of a run. An error is kept, and the next call tries again."""

    def __init__(self, name: str, count: Counter, flow_run_id: UUID) -> None:
        self._name, self._count, self._flow_run_id = name, count, flow_run_id
        self._start = time.monotonic()
        self._artifact: Any = None
        self._last = -1
        self._cancelled = False
        self.error: Exception | None = None

    def refresh(self) -> bool:
        """Say how many architectures are done; returns whether the run was cancelled since the last call."""
        try:
            self._show_progress(self._count.done)
            state = get_client(sync_client=True).read_flow_run(self._flow_run_id).state
            self.error = None
        except Exception as error:
            self.error = error
            return False
        was_cancelled, self._cancelled = self._cancelled, state is not None and state.is_cancelling()
        return self._cancelled and not was_cancelled

    def finish(self, summary: Callable[[], str]) -> None:
        """Write the summary."""
        try:
            create_markdown_artifact(
                summary(), key=artifact_key("summary", self._name), description=f"{self._name}: what the last run did"
            )
        except Exception as error:
            self.error = error

    def _show_progress(self, done: int) -> None:
        if done == self._last:
            return
        total, rate = self._count.total, done / (time.monotonic() - self._start)
        percent = min(100.0, 100 * done / total)
        text = f"{self._name}: {done:,} of {total:,} architectures, {rate:.2f} a second"
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, artifact_key("progress", self._name), text)
        else:
            update_progress_artifact(self._artifact, percent, text)
        self._last = done


def artifact_key(what: str, name: str) -> str:
    """Key of an artifact, in the lowercase letters, numbers and dashes that Prefect allows.

    Examples
    --------
    >>> artifact_key("summary", "nas-bench-201/cifar10/bs64-seed42")
    'summary-nas-bench-201-cifar10-bs64-seed42'
    """
    return re.sub("[^a-z0-9]+", "-", f"{what} {name}".lower()).strip("-")


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
        Path(__file__).with_name("summary.md.j2"),
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
