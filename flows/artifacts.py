"""What Prefect's UI shows of a run: its progress while it goes on, and a summary when it ends."""

import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from rich.console import Console

from sweetgrad.analysis import best_interval
from sweetgrad.flows.progress import Counter
from sweetgrad.store import Failure, Location, info, open_profile

__all__ = ["Ending", "artifact_key", "profile_command", "shown_in_prefect", "summary_markdown"]

UPDATE_EVERY_S = 5.0
_LAST_WORDS_S = 20.0
_NUM_FAILURES = 5


@dataclass
class Ending:
    """How a run ended.

    Attributes
    ----------
    num_done, num_left
        Architectures that it profiled, and those that it was asked for and did not get to.
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


@contextmanager
def shown_in_prefect(
    name: str, count: Counter, *, summary: Callable[[], str], on_cancel: Callable[[], None], console: Console
) -> Iterator[None]:
    """Keep an artifact of a flow run at what is counted, and write ``summary()`` beside it at the end.

    All of it happens in a thread of its own, which neither slows the run nor makes it fail when Prefect does not answer.

    Parameters
    ----------
    name
        Profile that is measured.
    count
        Its progress.
    summary
        Markdown of the second artifact; called when the context ends, however it ends.
    on_cancel
        Called once if somebody cancels the run in the UI.
    console
        Where to say that, and what Prefect could not be told.
    """
    context = FlowRunContext.get()
    assert context is not None, "outside a flow run"
    assert context.flow_run is not None
    over = threading.Event()
    shown = _Shown(name, count, context.flow_run.id)

    def show() -> None:
        while not over.is_set():
            if shown.refresh():
                console.print("Cancelled in Prefect: finishing the networks in hand, then writing them.")
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
            console.print("Prefect does not answer: its UI will lack the summary of this run.")
        elif shown.error is not None:
            console.print(f"Prefect could not be shown everything about this run: {shown.error!r}.")


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


def profile_command(asked: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """The ``sweetgrad profile`` line that asks for the same again, without what is the default.

    Tables of a cluster and of storage options are left out: a command line has no room for them, and they may hold secrets.

    Examples
    --------
    >>> profile_command({"store": "my store.zarr", "archs": "0:9", "seed": 42, "augment": True}, {"seed": 42, "augment": False})
    "sweetgrad profile 'my store.zarr' --archs 0:9 --augment"
    """
    words = ["sweetgrad", "profile", str(asked["store"])]
    for key, value in (asked.get("space_options") or {}).items():
        words += ["--space-option", f"{key}={value}"]
    for name, value in asked.items():
        if name == "store" or value in (None, [], defaults.get(name)) or isinstance(value, Mapping):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, Sequence) and not isinstance(value, str):
            words.append(",".join(value))
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)


def summary_markdown(store: Location, name: str, ending: Ending, *, command: str) -> str:
    """What a run did and how far its profile is now, as a page of Markdown.

    Parameters
    ----------
    store, name
        The profile, as it is on disk.
    ending
        How the run ended.
    command
        Command that continues it.

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
        "Store": f"`{store}`",
        "Profiled in this run": f"{ending.num_done:,} architectures in {_duration(ending.seconds)}{rate}",
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
    lines = [f"- {each.count:,}: `{each.message}`, first `{each.example}`" for each in failures[:_NUM_FAILURES]]
    more = len(failures) - _NUM_FAILURES
    return ["## Failures", "\n".join(lines + ([f"- and {more} other messages"] if more > 0 else []))]


def _next(store: Location, name: str, ending: Ending, command: str) -> str:
    return command if ending.num_left or ending.error else shlex.join(["sweetgrad", "intervals", str(store), name])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
