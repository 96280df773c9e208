"""Creation of the Dask cluster that a `ClusterConfig` describes, and its size."""

import inspect
import os
import shlex
import shutil
from collections.abc import Mapping
from typing import Any

from distributed.core import Status
from distributed.deploy.spec import SpecCluster

from sweetgrad.flows.cluster.config import ClusterConfig
from sweetgrad.flows.logs import LEVEL_VARIABLE

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


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
