"""The profiling flow: one Prefect task for each shard, each handing one plain function to a Dask worker."""

import errno
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import distributed
import httpx
from prefect import Task, flow, tags, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TagsContext
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from rich.console import Console

from sweetgrad.flows.artifacts import Ending, shown_in_prefect, summary_markdown
from sweetgrad.flows.interrupt import draining
from sweetgrad.flows.progress import progress_bar
from sweetgrad.flows.worker import run_shard
from sweetgrad.profiling import Batch, SearchSpace
from sweetgrad.store import (
    ClaimedError,
    FencedError,
    Location,
    ProfileSpec,
    Shard,
    UnreachableStoreError,
    finalise_profile,
    plan_shards,
)
from sweetgrad.store.claims import claims, find_expired

__all__ = ["MAX_SHARDS_IN_FLIGHT", "Run", "num_rows", "profile_flow"]

MAX_SHARDS_IN_FLIGHT = 512
"""Shards handed out at a time; two a worker, so that the next one is there when a worker has written its last."""

_LOOK_EVERY_S = 2.0
_RETRIES = 3
_BACKOFF_S = 2.0
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM}
"""Errors of the system that will be the same a few seconds later."""


@dataclass(frozen=True)
class Run:
    """Everything a run needs, loaded and checked."""

    store: Location
    name: str
    rows: Sequence[int]
    space: SearchSpace
    batch: Batch
    spec: ProfileSpec
    estimators: tuple[str, ...]
    retry_failed: bool
    command: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def shards_to_do(self) -> list[Shard]:
        """Shards with rows that still have to run."""
        return plan_shards(self.store, self.name, self.rows, estimators=self.estimators, retry_failed=self.retry_failed)


def profile_flow(
    run: Run, shards: Sequence[Shard], *, client: distributed.Client, console: Console, watched: bool
) -> tuple[int, int]:
    """Run shards on a Dask cluster, as a Prefect flow, and stamp the profile.

    Shards that another run holds are left to it. The flow ends when they are written, too; if that run dies it takes them over.
    An error of one shard stops the others after the networks in hand, so that everything measured is written. A run that was
    interrupted ends in a state of the type ``CANCELLED``, by the name of *Interrupted*.

    Parameters
    ----------
    run, shards
        What to do: the shards are those of the run that have rows to run.
    client
        Connection to the cluster.
    console
        Where progress is shown.
    watched
        Whether somebody may look at Prefect's UI: then artifacts show the progress, and a summary at the end.

    Returns
    -------
    How many architectures were done here, and how many are left.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=MAX_SHARDS_IN_FLIGHT)
    spec, num_archs = run.spec, num_rows(shards)
    outcome: list[tuple[int, int]] = []

    # Prefect stores and shows the parameters. So they are a few words about the work, which itself may hold a million numbers.
    @flow(
        name="sweetgrad-profile",
        description="Profile architectures into a store, a task for each shard.",
        version=version("sweetgrad"),
        flow_run_name="{profile}",
        task_runner=runner,
        validate_parameters=False,
    )
    def measure(profile: str, store: str, num_archs: int, command: str) -> State[None]:
        # A tag on a task costs calls to the server, which looks for a limit of that name: tags are for the flow run alone.
        with TagsContext(current_tags=set()):
            outcome.append(_measure(run, shards, client=client, console=console, watched=watched))
        num_done, num_left = outcome[0]
        if num_left:
            return Cancelled(
                name="Interrupted",
                message=f"{num_done} architectures done, {num_left} left. To continue: {command}",
            )
        return Completed(message=f"{num_done} architectures done")

    try:
        with tags(spec.space, spec.dataset, f"seed-{spec.seed}", spec.device):
            state: Any = measure(run.name, str(run.store), num_archs, run.command, return_state=True)
    except httpx.HTTPError as error:
        if not outcome:
            raise
        console.print(f"The Prefect server does not answer, and does not know that this run has ended ({error!r}).")
    else:
        if not outcome:
            state.result(_sync=True)  # raises what stopped it
    return outcome[0]


def _measure(
    run: Run, shards: Sequence[Shard], *, client: distributed.Client, console: Console, watched: bool
) -> tuple[int, int]:
    stop = threading.Event()
    workers, others = _Workers(run, client, stop), _Others(run, console)
    total, start = num_rows(shards), time.monotonic()
    ending = Ending(num_left=total)

    def summary() -> str:
        ending.num_done, ending.num_workers, ending.seconds = (
            workers.num_done,
            workers.count(),
            time.monotonic() - start,
        )
        return summary_markdown(run.store, run.name, ending, command=run.command)

    with (
        progress_bar(total, console=console) as count,
        shown_in_prefect(run.name, count, summary=summary, on_cancel=stop.set, console=console)
        if watched
        else nullcontext(),
    ):
        try:
            with _subscribed(client, run.id, count), draining(stop, console=console, on_stop=workers.ask_to_stop):
                while shards and not stop.is_set():
                    free, expired = others.leave_out(shards)
                    workers.profile(free, expired)
                    if not free:
                        stop.wait(_LOOK_EVERY_S)
                    shards = run.shards_to_do()
                    if not stop.is_set():
                        # What failed again when it was run again is no work any more.
                        shards = [shard for shard in shards if shard.index not in workers.finished]
                        count.catch_up(total - num_rows(shards))
                    ending.num_left = num_rows(shards)
        except Exception as error:
            ending.error = str(error) or repr(error)
            raise
        finally:
            finalise_profile(run.store, run.name)
    return workers.num_done, ending.num_left


def num_rows(shards: Sequence[Shard]) -> int:
    """Architectures that shards have to run."""
    return sum(len(shard.rows) for shard in shards)


class _Others:
    """Other runs on the same profile: their shards are left to them as long as they live."""

    def __init__(self, run: Run, console: Console) -> None:
        self._run = run
        self._console = console
        self._seen: dict[str, tuple[str, float]] = {}
        self._said = False

    def leave_out(self, shards: Sequence[Shard]) -> tuple[list[Shard], frozenset[str]]:
        """Shards that nobody else holds, and attempts that are dead, whose claims may be taken over."""
        store, name = self._run.store, self._run.name
        expired = find_expired(store, name, self._seen)
        held = {
            int(key.rpartition("/")[2].removesuffix(".json")): holder
            for key, holder in claims(store, name).items()
            if holder.attempt not in expired
        }
        free = [shard for shard in shards if shard.index not in held]
        theirs = [shard.index for shard in shards if shard.index in held]
        if theirs and not free and not self._said:
            self._said = True
            self._console.print(
                f"The last {len(theirs)} shards are being written by {held[theirs[0]]}: waiting for them. "
                "Ctrl-C leaves them to that run."
            )
        return free, expired


class _Workers:
    """Hands shards to the workers of a cluster, as many at a time as they can take.

    Attributes
    ----------
    num_done
        Architectures done.
    finished
        Indices of the shards that need not be handed out again.
    """

    def __init__(self, run: Run, client: distributed.Client, stop: threading.Event) -> None:
        self._run, self._client, self._stop = run, client, stop
        self.num_done = 0
        self.finished: set[int] = set()

    def ask_to_stop(self) -> None:
        """Tell the workers to end after the network in hand."""
        distributed.Event(self._run.id, client=self._client).set()

    def profile(self, shards: Sequence[Shard], expired: frozenset[str]) -> None:
        """Run a Prefect task for each shard, and wait for them; raises what the first of them raised."""
        profile_shard_task = self._task({shard.index: shard for shard in shards}, expired)
        waiting, num_flying = iter(shards), 0
        landed: queue.SimpleQueue[PrefectFuture[int]] = queue.SimpleQueue()
        error: BaseException | None = None
        while True:
            while num_flying < self._room() and not self._stop.is_set() and (shard := next(waiting, None)):
                profile_shard_task.submit(shard.index).add_done_callback(landed.put)
                num_flying += 1
            if not num_flying:
                break
            try:
                self.num_done += landed.get(timeout=1).result()
            except queue.Empty:
                continue  # workers may have come meanwhile
            except BaseException as raised:
                error = error or raised
                self._stop.set()
            num_flying -= 1
        if error:
            raise error

    def count(self) -> int:
        """Workers that the cluster has now; none if its scheduler is gone, as the shards in flight will say."""
        return len(self._client.scheduler_info(n_workers=-1).get("workers", ()))

    def _room(self) -> int:
        return min(2 * max(1, self.count()), MAX_SHARDS_IN_FLIGHT)

    def _task(self, shards: dict[int, Shard], expired: frozenset[str]) -> Task[[int], int]:
        # The task sees an index and not the shard: Prefect walks through every argument in search of futures.
        def task_run_name(parameters: dict[str, Any]) -> str:
            return _task_run_name(shards[parameters["index"]])

        @task(
            name="profile-shard",
            task_run_name=task_run_name,  # type: ignore[arg-type]  # Prefect's protocol wants more than it calls
            retries=_RETRIES,
            retry_delay_seconds=exponential_backoff(_BACKOFF_S),
            retry_jitter_factor=0.5,
            retry_condition_fn=_may_pass,
        )
        def profile_shard_task(index: int) -> int:
            return 0 if self._stop.is_set() else self._run_shard(shards[index], expired)

        return profile_shard_task

    def _run_shard(self, shard: Shard, expired: frozenset[str]) -> int:
        run = self._run
        try:
            future = self._client.submit(
                run_shard,
                *(run.store, run.name, shard, run.space, run.batch, run.spec, run.estimators, run.retry_failed),
                run_id=run.id,
                expired=expired,
                pure=False,
                resources={"GPU": 1} if run.spec.device == "cuda" else {},
                key=f"shard-{shard.index}-{uuid.uuid4().hex}",  # a second try must not be given the result of the first
            )
            num_done = int(future.result())
        except (ClaimedError, FencedError):
            return 0  # another run has it
        except distributed.KilledWorker as error:
            raise RuntimeError(
                f"workers died again and again on architectures {shard.start} to {shard.stop - 1}, most likely for want of "
                "memory: try fewer --workers or a smaller --batch-size. All other shards are written."
            ) from error
        except Exception as error:
            if not isinstance(error, CancelledError) and self._client.status == "running":
                raise
            raise RuntimeError(
                f"the Dask scheduler is gone, and with it the work on architectures {shard.start} to {shard.stop - 1}. "
                "What was written before is safe: start the scheduler anew, then run the same command again."
            ) from error
        self.finished.add(shard.index)
        return num_done


def _task_run_name(shard: Shard) -> str:
    """The architectures that a shard has to run; where they do not follow each other, how many of them in which range."""
    first, last, num_archs = shard.rows[0], shard.rows[-1], len(shard.rows)
    if num_archs == 1:
        return f"arch {first}"
    return f"archs {first}-{last}" if last - first == num_archs - 1 else f"{num_archs} archs in {first}-{last}"


def _may_pass(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether an error may be gone in a few seconds: a store or a worker that could not be reached."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, UnreachableStoreError) or (isinstance(error, OSError) and error.errno not in _LASTING)


@contextmanager
def _subscribed(client: distributed.Client, channel: str, count: Callable[[int], None]) -> Iterator[None]:
    client.subscribe_topic(channel, lambda event: count(event[1]))
    try:
        yield
    finally:
        client.unsubscribe_topic(channel)
