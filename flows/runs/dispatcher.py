"""Dispatch of shards to the workers of a cluster; shards that other runs hold are left to them."""

import errno
import logging
import queue
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

import distributed
from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.tasks import exponential_backoff
from rich.console import Console

from sweetgrad.flows.cluster.waiting import NoWorkerError, WorkerWatch
from sweetgrad.flows.runs.work import Work
from sweetgrad.store import FencedError, LockedError, Shard, UnreachableStoreError
from sweetgrad.store.locks import LeaseWatch, find_expired, list_locks

MAX_SHARDS_IN_FLIGHT = 512
"""Shards in flight at a time; two per worker, so that the next one is there when a worker has written its last."""

_logger = logging.getLogger(__name__)

_RETRIES = 3
_BACKOFF_S = 2.0
_PERSISTENT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM}
"""Errors of the operating system that persist, so that a retry does not help."""


class OtherRuns:
    """Other runs on the same profile: their shards are left to them as long as they live."""

    def __init__(self, run: Work, console: Console) -> None:
        self._run = run
        self._console = console
        self._watch = LeaseWatch()
        self._is_reported = False

    def leave_out(self, shards: Sequence[Shard]) -> tuple[list[Shard], frozenset[str]]:
        """Shards that nobody else holds, and attempts that are dead, whose locks may be taken over."""
        store, name = self._run.table.location, self._run.table.name
        expired = find_expired(store, name, self._watch)
        held = {
            int(key.rpartition("/")[2].removesuffix(".json")): holder
            for key, holder in list_locks(store, name).items()
            if holder.attempt not in expired
        }
        free = [shard for shard in shards if shard.index not in held]
        theirs = [shard.index for shard in shards if shard.index in held]
        if theirs and not free and not self._is_reported:
            self._is_reported = True
            self._console.print(
                f"The last {len(theirs)} shards are being written by {held[theirs[0]]}: waiting for them. "
                "Ctrl-C leaves them to that run.",
                markup=False,
            )
        return free, expired


class Dispatcher:
    """Submits shards to the workers of a cluster, as many at a time as they can take.

    Attributes
    ----------
    num_done
        Architectures done.
    finished
        Indices of the shards that need not be submitted again.
    """

    def __init__(self, run: Work, client: distributed.Client, stop: threading.Event, console: Console) -> None:
        self._run, self._client, self._stop = run, client, stop
        self._watch = WorkerWatch(client, run.device, console)
        self._in_flight: dict[int, distributed.Future[int]] = {}
        self._given_up = False
        self.num_done = 0
        self.finished: set[int] = set()

    def ask_to_stop(self) -> None:
        """Tell the workers to stop after the current network."""
        distributed.Event(self._run.id, client=self._client).set()

    def run(self, shards: Sequence[Shard], expired: frozenset[str]) -> None:
        """Run a Prefect task for each shard, and wait for them; raises what the first of them raised.

        Raises
        ------
        NoWorkerError
            If there has been no worker for longer than the limit.
        """
        shard_task = self._task({shard.index: shard for shard in shards}, expired)
        waiting, num_in_flight = iter(shards), 0
        finished_tasks: queue.SimpleQueue[PrefectFuture[int]] = queue.SimpleQueue()
        error: BaseException | None = None
        while True:
            while num_in_flight < self._room() and not self._stop.is_set() and (shard := next(waiting, None)):
                shard_task.submit(shard.index).add_done_callback(finished_tasks.put)
                num_in_flight += 1
            if not num_in_flight:
                break
            try:
                self.num_done += finished_tasks.get(timeout=1).result()
            except queue.Empty:
                try:  # workers may have come meanwhile, or gone
                    if self._watch.look(is_stopping=self._stop.is_set()):
                        self._give_up()
                except NoWorkerError as raised:
                    error = error or raised
                    self._stop.set()
                    self._give_up()
                continue
            except BaseException as raised:
                error = error or raised
                self._stop.set()
            num_in_flight -= 1
        if error:
            raise error

    def count(self) -> int:
        """Workers that the cluster has now for this run."""
        return self._watch.count()

    def _give_up(self) -> None:
        """Stop waiting for shards that nobody works on."""
        self._given_up = True
        self._client.cancel(list(self._in_flight.values()), force=True)

    def _room(self) -> int:
        return min(2 * max(1, self.count()), MAX_SHARDS_IN_FLIGHT)

    def _task(self, shards: dict[int, Shard], expired: frozenset[str]) -> Task[[int], int]:
        # The task sees an index and not the shard: Prefect walks through every argument in search of futures.
        def task_run_name(parameters: dict[str, Any]) -> str:
            return _task_run_name(shards[parameters["index"]])

        @task(
            name=f"{self._run.verb}-shard",
            task_run_name=task_run_name,  # type: ignore[arg-type]  # Prefect's protocol wants more than it calls
            retries=_RETRIES,
            retry_delay_seconds=exponential_backoff(_BACKOFF_S),
            retry_jitter_factor=0.5,
            retry_condition_fn=_is_transient,
        )
        def shard_task(index: int) -> int:
            return 0 if self._stop.is_set() else self._run_shard(shards[index], expired)

        return shard_task

    def _run_shard(self, shard: Shard, expired: frozenset[str]) -> int:
        run = self._run
        function, arguments = run.call(shard)
        try:
            future = self._client.submit(
                function,
                *arguments,
                run_id=run.id,
                expired=expired,
                pure=False,
                resources={"GPU": 1} if run.device == "cuda" else {},
                key=f"shard-{shard.index}-{uuid.uuid4().hex}",  # a second try must not be given the result of the first
            )
            self._in_flight[shard.index] = future
            _logger.debug("%s: submitted shard %d", run.table.name, shard.index)
            num_done = int(future.result())
        except (LockedError, FencedError) as error:
            _logger.info("%s: shard %d is left to another run: %s", run.table.name, shard.index, error)
            return 0
        except (distributed.scheduler.NoWorkerError, distributed.scheduler.NoValidWorkerError) as error:
            raise self._watch.error() from error  # Dask has the same setting, and may notice first
        except distributed.KilledWorker as error:
            raise RuntimeError(
                f"workers died again and again on {_task_run_name(shard)}, most likely out of "
                "memory: try fewer --workers or a smaller --batch-size. All other shards are written."
            ) from error
        except Exception as error:
            if self._given_up and isinstance(error, CancelledError):
                return 0
            if not isinstance(error, CancelledError) and self._client.status == "running":
                raise
            raise RuntimeError(
                f"the Dask scheduler is gone, and with it the current work on architectures {shard.start} to {shard.stop - 1}. "
                "What was written before is safe: restart the scheduler, then run the same command again."
            ) from error
        finally:
            self._in_flight.pop(shard.index, None)
        self.finished.add(shard.index)
        _logger.info("%s: shard %d is done, %d architectures", run.table.name, shard.index, num_done)
        return num_done


def _task_run_name(shard: Shard) -> str:
    """The architectures that a shard has to run; where they do not follow each other, how many of them in which range."""
    first, last, num_archs = shard.rows[0], shard.rows[-1], len(shard.rows)
    if num_archs == 1:
        return f"arch {first}"
    return f"archs {first}-{last}" if last - first == num_archs - 1 else f"{num_archs} archs in {first}-{last}"


def _is_transient(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether an error may be gone in a few seconds: a store or a worker that could not be reached."""
    error = state.result(raise_on_failure=False)
    is_transient = isinstance(error, UnreachableStoreError) or (
        isinstance(error, OSError) and error.errno not in _PERSISTENT
    )
    if is_transient and task_run.run_count <= _RETRIES:
        _logger.warning("%s: %r: trying again", task_run.name, error)
    return is_transient
