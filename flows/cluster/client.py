"""Connection to the Dask cluster that runs shards: worker processes of this machine, a running cluster, or a new one."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from distributed import Client, Nanny, Scheduler, SpecCluster
from rich.console import Console

from sweetgrad.flows.cluster.build import ONE_THREAD, build_cluster, resize_cluster
from sweetgrad.flows.cluster.check import check_cluster
from sweetgrad.flows.cluster.config import ClusterConfig, WorkerSource
from sweetgrad.flows.cluster.waiting import FIRST_WORKER_S, NoWorkerError, configured_wait, duration
from sweetgrad.flows.interrupt import signals_blocked
from sweetgrad.flows.provenance import report_differences
from sweetgrad.store import Location

_LOOK_AGAIN_S = 5


@contextmanager
def open_client(
    source: WorkerSource,
    *,
    store: Location,
    device: str,
    num_shards: int,
    console: Console,
) -> Iterator[Client]:
    """Connect to a cluster that has a worker, and may get more; one made here ends with the context.

    Parameters
    ----------
    source
        Where workers come from (`choose_workers`).
    store
        Store that every worker must see.
    device
        ``cpu`` or ``cuda``.
    num_shards
        Shards to run: no more processes than that are started, since a shard is one worker's.
    console
        Where waiting is reported.

    Raises
    ------
    ConnectionError
        If no scheduler answers at that address.
    ValueError
        If the class of a cluster refuses a keyword, or a worker cannot do the work (`check_cluster`).
    RuntimeError
        If a cluster cannot be started, no worker comes (`NoWorkerError`), or this process is one that `multiprocessing` is
        starting.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "this script is being imported by a process that it has started itself: put what it does under "
            "`if __name__ == '__main__':`, so that it runs once"
        )
    if source.scheduler is not None:
        with _connected(source.scheduler) as client:
            _wait_for_a_worker(client, console, f"Start one with `dask worker {source.scheduler} --nthreads 1`.")
            report_differences(check_cluster(client, store=store, device=device), console=console)
            yield client
    elif source.cluster is not None:
        with (
            _script_not_imported(),
            _no_child_left(),
            _built(source.cluster, device=device, num_shards=num_shards) as client,
        ):
            _wait_for_a_worker(client, console, "Ctrl-C cancels the jobs and exits.")
            report_differences(check_cluster(client, store=store, device=device), console=console)
            yield client
    else:
        workers = local_workers(device, source.num_workers, num_shards=num_shards)
        with _script_not_imported(), _no_child_left(), _local(workers) as client:
            yield client


@contextmanager
def _script_not_imported() -> Iterator[None]:
    """Keep worker processes from importing the script that started them, which they do not need.

    `multiprocessing` has every process import it again. One without `if __name__ == "__main__":` would start itself in each.
    """
    script = sys.modules["__main__"]
    spec, file = script.__spec__, script.__dict__.pop("__file__", None)
    script.__spec__ = None
    try:
        yield
    finally:
        if spec is not None:
            script.__spec__ = spec
        if file is not None:
            script.__file__ = file


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout="10s")
    except OSError as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {scheduler}: start one with `dask scheduler`, and workers with "
            f"`dask worker {scheduler} --nthreads 1`"
        ) from error
    with client:
        yield client


@contextmanager
def _built(config: ClusterConfig, *, device: str, num_shards: int) -> Iterator[Client]:
    with ExitStack() as stack:
        with signals_blocked():
            cluster = stack.enter_context(closing(build_cluster(config, device=device)))
            resize_cluster(cluster, config, num_shards=num_shards)
        yield stack.enter_context(Client(cluster))


@contextmanager
def _local(workers: dict[int, dict[str, Any]]) -> Iterator[Client]:
    scheduler = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "port": 0}
    with ExitStack() as stack:
        with signals_blocked():
            cluster = SpecCluster(
                scheduler={"cls": Scheduler, "options": scheduler}, workers=workers, silence_logs=logging.CRITICAL
            )
            stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))


@contextmanager
def _no_child_left() -> Iterator[None]:
    """Kill workers that a cluster failed to end: Python waits for child processes before it exits, and these block SIGTERM."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()


def _wait_for_a_worker(client: Client, console: Console, hint: str) -> None:
    """Wait for the first worker, which may take hours in a queue; others may join while the run goes on."""
    if client.scheduler_info(n_workers=1)["workers"]:
        return
    logging.getLogger("tornado.application").addFilter(_is_no_failed_cancel)
    console.print(f"Waiting for the first worker; others may join later. {hint}", markup=False)
    limit = configured_wait() or FIRST_WORKER_S
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        try:
            client.wait_for_workers(1, timeout=min(_LOOK_AGAIN_S, limit))
        except TimeoutError:
            continue
        return
    raise NoWorkerError(f"no worker has joined in {duration(limit)}. {hint}")


def _is_no_failed_cancel(record: logging.LogRecord) -> bool:
    """Whether a record is about a wait that distributed cannot cancel, since Ctrl-C came before it had begun."""
    return "sync.<locals>.cancel" not in record.getMessage()


def local_workers(device: str, num_workers: int | None, *, num_shards: int) -> dict[int, dict[str, Any]]:
    """Specification of the workers on this machine, as `distributed.SpecCluster` takes it.

    Examples
    --------
    >>> workers = local_workers("cpu", 3, num_shards=2)
    >>> [worker["options"]["env"]["OMP_NUM_THREADS"] for worker in workers.values()]
    ['1', '1']
    """
    slots = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in _visible_gpus()] if device == "cuda" else [{}] * _num_cores()
    count = min(num_workers or len(slots), num_shards)
    resources = {"GPU": 1} if device == "cuda" else {}
    return {i: _worker(slots[i % len(slots)], resources) for i in range(count)}


def _worker(environment: Mapping[str, str], resources: Mapping[str, float]) -> dict[str, Any]:
    options = {
        "nthreads": 1,
        "env": {**ONE_THREAD, **environment},
        "resources": dict(resources),
        "memory_limit": 0,  # a network that needs more than there is fails by itself; a nanny would kill the whole shard
        "dashboard": False,
        "host": "127.0.0.1",
        "silence_logs": logging.CRITICAL,
        "preload": ["sweetgrad.flows.cluster.worker"],  # torch is imported while the Prefect server starts
    }
    return {"cls": Nanny, "options": options}


def _num_cores() -> int:
    """Cores that this process may use, which a container or a batch system may have made fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]
