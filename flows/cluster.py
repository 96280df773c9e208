"""Where shards run: one single-threaded process for each core or each GPU of this machine, or a running Dask cluster."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distributed import Client, Nanny, Scheduler, SpecCluster

__all__ = ["local_workers", "open_client"]

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@contextmanager
def open_client(*, scheduler: str | None, device: str, num_workers: int | None, num_shards: int) -> Iterator[Client]:
    """Connect to a cluster; one made here ends with the context.

    Parameters
    ----------
    scheduler
        Address of a running scheduler (``tcp://host:port``), or None to start workers on this machine.
    device
        ``cpu`` or ``cuda``.
    num_workers
        Processes to start here; None: one for each core or GPU.
    num_shards
        Shards to run: no more processes than that are started, since a shard is one worker's.

    Raises
    ------
    ConnectionError
        If no scheduler answers at that address.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="10s")
        except OSError as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {scheduler}: start one with `dask scheduler`, and workers with "
                f"`dask worker {scheduler} --nthreads 1`"
            ) from error
        with client:
            yield client
        return
    with _interrupts_ignored():  # the workers inherit it: Ctrl-C is for us alone to hand on
        cluster = SpecCluster(
            scheduler={
                "cls": Scheduler,
                "options": {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1", "port": 0},
            },
            workers=local_workers(device, num_workers, num_shards=num_shards),
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        yield client


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
        "env": {**_ONE_THREAD, **environment},
        "resources": dict(resources),
        "memory_limit": 0,  # a network that needs more than there is fails by itself; a nanny would kill the whole shard
        "dashboard": False,
        "host": "127.0.0.1",
        "silence_logs": logging.CRITICAL,
        "preload": ["sweetgrad.flows.worker"],  # torch is imported while the Prefect server starts
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


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler, and only it is interrupted
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
