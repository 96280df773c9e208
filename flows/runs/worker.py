"""What runs on a Dask worker: one plain function, its progress reported and its stop asked for through the scheduler."""

import atexit
import ctypes
import os
import sys
import time
from collections.abc import Callable, Sequence

import distributed

from sweetgrad.profiling import Batch, SearchSpace, profile_shard
from sweetgrad.profiling.training import Course, train_shard
from sweetgrad.store import Location, ProfileSpec, Shard, claim_shard, replan_shard
from sweetgrad.store.training import replan_trainings

_REPORT_EVERY_S = 0.25
_ASK_EVERY_S = 1.0


def dask_setup(worker: distributed.Worker) -> None:
    """Let a worker of this machine leave without taking torch apart, which takes it a second; Dask calls this by its name."""
    atexit.register(os._exit, 0)  # by then Dask has closed it, and what it measured is written


def run_shard(
    store: Location,
    name: str,
    shard: Shard,
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    estimators: Sequence[str],
    retry_failed: bool,
    *,
    run_id: str,
    expired: frozenset[str],
) -> int:
    """Claim a shard and profile it; progress goes to the topic ``run_id``, and the event of that name ends it early.

    Raises
    ------
    ClaimedError, FencedError
        If another run holds the shard, or took it over.
    ValueError
        If the worker runs several shards at once in one process.
    """
    return _run_claimed(
        store,
        name,
        shard,
        replan=lambda: replan_shard(store, name, shard, estimators=estimators, retry_failed=retry_failed),
        work=lambda left, **hooks: profile_shard(store, name, left, space, batch, spec, estimators=estimators, **hooks),
        run_id=run_id,
        expired=expired,
    )


def run_trainings(
    store: Location,
    name: str,
    shard: Shard,
    course: Course,
    retry_failed: bool,
    *,
    run_id: str,
    expired: frozenset[str],
) -> int:
    """Claim a shard and train its architectures; otherwise as `run_shard`.

    Raises
    ------
    ClaimedError, FencedError, ValueError
        As `run_shard`.
    """
    return _run_claimed(
        store,
        name,
        shard,
        replan=lambda: replan_trainings(store, name, shard, retry_failed=retry_failed),
        work=lambda left, **hooks: train_shard(store, name, left, course, **hooks),
        run_id=run_id,
        expired=expired,
    )


def _run_claimed(
    store: Location,
    name: str,
    shard: Shard,
    *,
    replan: Callable[[], Shard],
    work: Callable[..., int],
    run_id: str,
    expired: frozenset[str],
) -> int:
    """Claim a shard, see what is left of it, and do that; returns how many architectures this run has done of it."""
    _prepare()
    report = _Reporter(run_id)
    with claim_shard(store, name, shard.index, run=run_id, expired=expired) as claim:
        # Since the shard was planned, whoever held it before may have written it.
        left = replan()
        # What an earlier attempt of this run wrote before it died, nobody has counted.
        num_before = len(shard.rows) - len(left.rows) if claim.is_again else 0
        try:
            return num_before + work(left, on_done=report, should_stop=_stop_asked(run_id), claim=claim)
        finally:
            report.flush()


def _prepare() -> None:
    # A worker may have joined after the others were asked.
    if problem := threads_problem(distributed.get_worker().state.nthreads):
        raise ValueError(f"this worker cannot do the work: {problem}")
    _keep_freed_memory()


def threads_problem(num_threads: int) -> str:
    """What is wrong with a worker of so many threads; empty if nothing is."""
    if num_threads == 1:
        return ""
    return (
        f"it has {num_threads} threads and would run as many shards at once in one process, where they share torch's random "
        "numbers: start it with --nthreads 1 (LocalCluster: threads_per_worker = 1), and more workers instead"
    )


def _keep_freed_memory() -> None:
    """Let glibc keep what tensors leave behind, for the next ones.

    Dask starts its workers with ``MALLOC_TRIM_THRESHOLD_`` at 64 KiB: every freed tensor goes back to the kernel and comes in
    again page by page, which doubled the CPU time of a network (0.67 against 0.34 s; 163,000 against 10,000 page faults).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:  # not every C library has it
        trim_threshold, mmap_threshold = -1, -3
        set_option(trim_threshold, 1 << 30)
        set_option(mmap_threshold, 32 << 20)


class _Reporter:
    """Adds up finished architectures and sends their number now and then, since every message costs the scheduler time."""

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


def _stop_asked(channel: str) -> Callable[[], bool]:
    event = distributed.Event(channel)
    asked = [float("-inf"), False]

    def is_stop_asked() -> bool:
        if time.monotonic() - asked[0] > _ASK_EVERY_S:
            asked[:] = [time.monotonic(), event.is_set()]
        return bool(asked[1])

    return is_stop_asked
