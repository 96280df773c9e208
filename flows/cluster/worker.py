"""What runs on a Dask worker: a plain function for each kind of work, whose progress and stop go through the scheduler."""

import atexit
import ctypes
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence

import distributed

from sweetgrad.flows.cluster.gpus import limit_share
from sweetgrad.flows.logs import configure_worker_logging
from sweetgrad.profiling import Batch, SearchSpace, profile_shard
from sweetgrad.profiling.architectures import load_functions
from sweetgrad.profiling.training import TrainingConfig, train_shard
from sweetgrad.store import FencedError, Profile, ProfileSpec, Shard, Table, Trainings

_REPORT_EVERY_S = 0.25
_ASK_EVERY_S = 1.0
_SLOW_READ_S = 10.0

_logger = logging.getLogger(__name__)


def dask_setup(worker: distributed.Worker) -> None:
    """Prepare a worker of this machine; Dask calls this function by its name.

    The worker exits without tearing torch down, which takes a second.
    """
    atexit.register(os._exit, 0)  # by then Dask has closed it, and its rows are written
    configure_worker_logging(on_console=False)
    limit_share()


def run_shard(
    profile: Profile,
    shard: Shard,
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    estimators: Sequence[str],
    blocks: Sequence[str],
    retry_failed: bool,
    *,
    run_id: str,
    expired: frozenset[str],
) -> int:
    """Lock a shard and profile it; progress goes to the topic ``run_id``, and the event of that name ends it early.

    Raises
    ------
    LockedError, FencedError
        If another run holds the shard, or took it over.
    ValueError
        If the worker runs several shards at once in one process.
    """
    asked = [*load_functions(estimators, blocks, spec=spec, batch=batch)]
    return _run_locked(
        profile,
        shard,
        replan=lambda: profile.replan(shard, asked, retry_failed=retry_failed),
        work=lambda left, **hooks: profile_shard(
            profile, left, space, batch, spec, estimators=estimators, blocks=blocks, **hooks
        ),
        run_id=run_id,
        expired=expired,
    )


def run_trainings(
    trainings: Trainings,
    shard: Shard,
    config: TrainingConfig,
    retry_failed: bool,
    *,
    run_id: str,
    expired: frozenset[str],
) -> int:
    """Lock a shard and train its architectures; otherwise as `run_shard`.

    Raises
    ------
    LockedError, FencedError, ValueError
        As `run_shard`.
    """
    return _run_locked(
        trainings,
        shard,
        replan=lambda: trainings.replan(shard, retry_failed=retry_failed),
        work=lambda left, **hooks: train_shard(trainings, left, config, **hooks),
        run_id=run_id,
        expired=expired,
    )


def _run_locked(
    table: Table,
    shard: Shard,
    *,
    replan: Callable[[], Shard],
    work: Callable[..., int],
    run_id: str,
    expired: frozenset[str],
) -> int:
    """Lock a shard and run what is left of it; returns how many of its architectures this run has done."""
    _prepare()
    report = _Reporter(run_id)
    start = time.monotonic()
    with table.lock(shard.index, run=run_id, expired=expired) as lock:
        _logger.info("%s: locked shard %d, %d architectures", table.name, shard.index, len(shard.rows))
        # Since the shard was planned, an earlier holder may have written it.
        left = replan()
        if (read_s := time.monotonic() - start) > _SLOW_READ_S:
            _logger.warning(
                "%s: locking and reading shard %d took %.0f s: the store is slow", table.name, shard.index, read_s
            )
        # Rows that an earlier attempt of this run wrote before it died have not been counted.
        num_before = len(shard.rows) - len(left.rows) if lock.is_again else 0
        try:
            num_done = work(left, on_done=report, should_stop=_stop_requested(run_id), lock=lock)
        except FencedError:
            _logger.warning("%s: shard %d was taken over by another run, and is left to it", table.name, shard.index)
            raise
        except Exception:
            _logger.exception("%s: shard %d failed", table.name, shard.index)
            raise
        finally:
            report.flush()
        _logger.info(
            "%s: wrote shard %d, %d of %d architectures in %.1f s",
            *(table.name, shard.index, num_done, len(left.rows), time.monotonic() - start),
        )
        return num_before + num_done


def _prepare() -> None:
    # A worker may have joined after the others were checked.
    if problem := threads_problem(distributed.get_worker().state.nthreads):
        raise ValueError(f"this worker cannot run shards: {problem}")
    configure_worker_logging(on_console=True)
    keep_freed_memory()


def threads_problem(num_threads: int) -> str:
    """Why a worker with this number of threads cannot run shards; empty if it can."""
    if num_threads == 1:
        return ""
    return (
        f"it has {num_threads} threads and would run as many shards at once in one process, where they share torch's random "
        "numbers: start it with --nthreads 1 (LocalCluster: threads_per_worker = 1), and more workers instead"
    )


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensors.

    Dask starts its workers with ``MALLOC_TRIM_THRESHOLD_`` at 64 KiB: every freed tensor goes back to the kernel and comes in
    again page by page, which doubled the CPU time of a network (0.67 against 0.34 s; 163,000 against 10,000 page faults).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:  # not every C library has it
        trim_threshold, mmap_threshold = -1, -3
        set_option(trim_threshold, 1 << 30)
        set_option(mmap_threshold, 32 << 20)


class _Reporter:
    """Counts finished architectures and sends their number periodically, since every message costs the scheduler time."""

    def __init__(self, channel: str) -> None:
        self._worker = distributed.get_worker()
        self._channel = channel
        self._count = 0
        self._last = time.monotonic()

    def __call__(self, index: int) -> None:
        self._count += 1
        if time.monotonic() - self._last > _REPORT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._worker.log_event(self._channel, self._count)
        self._count, self._last = 0, time.monotonic()


def _stop_requested(channel: str) -> Callable[[], bool]:
    event = distributed.Event(channel)
    last_look, is_requested = float("-inf"), False

    def is_stop_requested() -> bool:
        nonlocal last_look, is_requested
        if time.monotonic() - last_look > _ASK_EVERY_S:
            last_look, is_requested = time.monotonic(), event.is_set()
        return is_requested

    return is_stop_requested
