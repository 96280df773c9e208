"""The Dask cluster that runs shards: workers of this machine, a running cluster, or one that is made as a file describes it."""

import inspect
import logging
import multiprocessing
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.core import Status
from rich.console import Console

from sweetgrad.flows.cluster.check import check_cluster
from sweetgrad.flows.cluster.config import ClusterConfig, WorkerSource
from sweetgrad.flows.cluster.gpus import SHARE_VARIABLE
from sweetgrad.flows.cluster.waiting import FIRST_WORKER_S, NoWorkerError, configured_wait, duration
from sweetgrad.flows.interrupt import signals_blocked
from sweetgrad.flows.logs import LEVEL_VARIABLE
from sweetgrad.flows.provenance import report_differences
from sweetgrad.store import Location

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_ANSWER_S = 10
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
        workers = local_workers(device, source.num_workers, num_shards=num_shards, per_gpu=source.per_gpu or 1)
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
        client = Client(scheduler, timeout=_ANSWER_S)
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


def local_workers(
    device: str, num_workers: int | None, *, num_shards: int, per_gpu: int = 1
) -> dict[int, dict[str, Any]]:
    """Specification of the workers on this machine, as `distributed.SpecCluster` takes it: one a core or ``per_gpu`` a GPU.

    Examples
    --------
    >>> workers = local_workers("cpu", 3, num_shards=2)
    >>> [worker["options"]["env"]["OMP_NUM_THREADS"] for worker in workers.values()]
    ['1', '1']
    """
    if device != "cuda":
        return {i: _worker({}, {}) for i in range(min(num_workers or num_cores(), num_shards))}
    gpus = visible_gpus()
    count = min(num_workers or per_gpu * len(gpus), num_shards)
    share = {SHARE_VARIABLE: str(-(-count // len(gpus)))}
    return {i: _worker({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **share}, {"GPU": 1}) for i in range(count)}


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


def num_cores() -> int:
    """Cores that this process may use, which a container or a batch system may have made fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them: numbers, or UUIDs of GPUs or MIG slices."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def build_cluster(config: ClusterConfig, *, device: str) -> Any:
    """Call the class that a config names; the cluster has no workers yet.

    dask-jobqueue's classes get defaults that the file can override: one single-threaded process a job, one resource ``GPU``
    each for ``cuda``, no dashboard.

    Raises
    ------
    ValueError
        If the class refuses a keyword.
    RuntimeError
        If the class fails, or the command that submits jobs is not on this machine.
    """
    cls = config.cls
    options = dict(config.options)
    if _is_jobqueue(cls):
        _require_submit_command(config)
        options = _with_job_defaults(cls, options, device=device)
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{config.where}: {config.class_path} refused the keys of [cluster]: {_without_dump(error)}\n"
            f"It takes: {', '.join(_keywords(cls))}. All keys but kind, class, workers and adapt are passed to it."
        ) from error
    except Exception as error:
        raise RuntimeError(
            f"{config.where}: {config.class_path} failed to start: {type(error).__name__}: {error}"
        ) from error


def resize_cluster(cluster: Any, config: ClusterConfig, *, num_shards: int) -> None:
    """Request the workers of a cluster, no more than there are shards; those that end before the run does are replaced.

    Raises
    ------
    RuntimeError
        If the batch system refuses a job.
    """
    limits = config.adapt or {"minimum": config.workers, "maximum": config.workers}
    limits = {key: min(value, num_shards) if key in ("minimum", "maximum") else value for key, value in limits.items()}
    if config.adapt is None and not isinstance(cluster, SpecCluster):
        cluster.scale(limits["maximum"])  # Kubernetes and gateways manage their workers themselves
        return
    if isinstance(cluster, SpecCluster):
        _start_workers(cluster, config, count=limits["minimum"])
    # Adapting between N and N changes no number, but it replaces jobs that reached their walltime or lost their node.
    unit = "_jobs" if _is_jobqueue(type(cluster)) else ""
    cluster.adapt(**{f"{key}{unit}" if key in ("minimum", "maximum") else key: value for key, value in limits.items()})


def _start_workers(cluster: SpecCluster, config: ClusterConfig, *, count: int) -> None:
    """Start or submit ``count`` workers or jobs; unlike `SpecCluster.scale`, which logs it, raise what goes wrong."""

    async def start() -> None:
        await cluster

    while len(cluster.worker_spec) < count:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(start)
    except Exception as error:
        for worker in cluster.workers.values():
            if worker.status == Status.created:  # it never started, and closing the cluster would trip over it
                worker.status = Status.failed
        raise RuntimeError(f"{config.where}: {config.class_path} could not start its workers: {error}") from error


def _is_jobqueue(cls: type) -> bool:
    return any(base.__module__ == "dask_jobqueue.core" and base.__name__ == "JobQueueCluster" for base in cls.__mro__)


def _require_submit_command(config: ClusterConfig) -> None:
    command = (config.cls.job_cls.submit_command or "").split()[:1]
    if command and shutil.which(command[0]) is None:
        raise RuntimeError(
            f"{config.where}: {config.class_path} submits jobs with `{command[0]}`, which is not on this machine's PATH: "
            "run the command where you submit jobs, e.g. on a login node"
        )


def _with_job_defaults(cls: Any, options: Mapping[str, Any], *, device: str) -> dict[str, Any]:
    import dask

    def added_to(key: str, ours: list[str]) -> list[str]:
        # A list given to the class replaces the one of the user's jobqueue.yaml: ours must only be added to it.
        configured = dask.config.get(f"jobqueue.{cls.job_cls.config_name}.{key.replace('_', '-')}", None)
        return [*ours, *options.get(key, configured or [])]

    # dask_jobqueue.local submits nothing: it splits the script into words and runs them as one command.
    has_shell = cls.job_cls.submit_command is not None
    level = os.environ.get(LEVEL_VARIABLE)
    variables = ONE_THREAD | ({LEVEL_VARIABLE: shlex.quote(level)} if level else {})
    exports = [f"export {name}={value}" for name, value in variables.items()] if has_shell else []
    return {
        "cores": 1,
        "processes": options.get("cores", 1),  # single-threaded, however many cores a job has
        **options,
        "scheduler_options": {
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            **options.get("scheduler_options", {}),
        },
        "job_script_prologue": added_to("job_script_prologue", exports),
        "worker_extra_args": added_to("worker_extra_args", ["--resources", "GPU=1"] if device == "cuda" else []),
    }


def _without_dump(error: Exception) -> str:
    """The message without dask-jobqueue's dump of all keywords."""
    return str(error).partition(". Very likely this unexpected parameter")[0]


def _keywords(cls: Any) -> list[str]:
    """Keywords of a class and of those that it hands the others on to."""
    keywords: set[str] = set()
    for start in (cls, getattr(cls, "job_cls", None)):
        for base in getattr(start, "__mro__", ()):
            if "__init__" not in vars(base) or base is object:
                continue
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            keywords |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            takes_others = any(p.kind is p.VAR_KEYWORD for p in parameters)
            if not takes_others or base.__name__ == "JobQueueCluster":  # which hands them to job_cls
                break
    return sorted(keywords)
