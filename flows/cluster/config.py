"""The ``[cluster]`` table of a TOML file: which class builds a Dask cluster, how large, and with what."""

import signal
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from distributed.deploy.cluster import Cluster

from sweetgrad.store.errors import how_to_install

#: Batch systems by name, and the class of dask-jobqueue that submits to each.
KINDS = {
    "htcondor": "dask_jobqueue:HTCondorCluster",
    "lsf": "dask_jobqueue:LSFCluster",
    "pbs": "dask_jobqueue:PBSCluster",
    "sge": "dask_jobqueue:SGECluster",
    "slurm": "dask_jobqueue:SLURMCluster",
}


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """A ``[cluster]`` table, checked.

    Attributes
    ----------
    where
        File that it was read from, for messages.
    class_path
        Class that builds the cluster, ``module:Class``, for messages.
    cls
        The class itself.
    workers
        Number of workers (dask-jobqueue: jobs) to request; None if ``adapt`` gives it.
    adapt
        Keywords of the cluster's ``adapt``, ``minimum`` and ``maximum`` among them; None for a fixed number.
    options
        Keywords of the class, as they stand in the file.
    """

    where: str
    class_path: str
    cls: Any
    workers: int | None
    adapt: Mapping[str, Any] | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class WorkerSource:
    """Where the workers of a run come from; by default they are started on this machine.

    Attributes
    ----------
    num_workers
        Number of workers to start; None: one per core, ``per_gpu`` for each GPU, or as ``cluster`` says.
    scheduler
        Address of a running Dask scheduler (``tcp://host:port``).
    cluster
        Table that describes a cluster.
    per_gpu
        Processes on each GPU of this machine; None: as many as its cores and memory allow.
    """

    num_workers: int | None = None
    scheduler: str | None = None
    cluster: ClusterConfig | None = None
    per_gpu: int | None = None

    @property
    def is_remote(self) -> bool:
        """Whether workers may run on other machines, with other devices than this one."""
        return self.scheduler is not None or self.cluster is not None


def choose_workers(
    *,
    workers: int | None,
    scheduler: str | None,
    cluster: str | Path | Mapping[str, Any] | None,
    processes_per_gpu: int | None = None,
) -> WorkerSource:
    """Check the options of a run that say where it runs, and read the file of ``cluster``.

    Raises
    ------
    ValueError
        If fewer than one worker or process is requested, both a running scheduler and a cluster are given, or processes for each
        GPU with workers or other machines, which say themselves how many there are; and as `read_cluster_config`.
    FileNotFoundError, ModuleNotFoundError
        As `read_cluster_config`.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if scheduler is not None and cluster is not None:
        raise ValueError(
            f"give either a scheduler or a cluster, not both: got {scheduler}, which runs already, "
            f"and {cluster}, which starts one"
        )
    if processes_per_gpu is not None:
        given = {"workers": workers, "scheduler": scheduler, "cluster": cluster}
        others = [name for name, value in given.items() if value is not None]
        if others:
            raise ValueError(
                f"give either processes_per_gpu or {others[0]}, which says itself how many processes there are"
            )
        if processes_per_gpu < 1:
            raise ValueError(f"processes_per_gpu must be at least 1, got {processes_per_gpu}")
    config = None if cluster is None else read_cluster_config(cluster, num_workers=workers)
    return WorkerSource(workers, scheduler, config, processes_per_gpu)


def read_cluster_config(source: str | Path | Mapping[str, Any], *, num_workers: int | None = None) -> ClusterConfig:
    """Read the ``[cluster]`` table of a TOML file, or take the same table as a mapping.

    Parameters
    ----------
    source
        File, or a mapping with the keys of the table: ``kind`` or ``class``, ``workers`` or ``adapt``, and any keyword of the
        class.
    num_workers
        Number of workers instead of what the table says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not valid TOML, has no such table, the table lacks one of those keys or has both, or its class is not a cluster.
    ModuleNotFoundError
        If the module of the class is not installed.

    Examples
    --------
    >>> read_cluster_config({"kind": "slurm", "workers": 8, "memory": "4GiB"}).workers
    8
    """
    table, where = (dict(source), "the cluster mapping") if isinstance(source, Mapping) else _read_table(Path(source))
    class_path = _class_path(table.pop("kind", None), table.pop("class", None), where=where)
    workers, adapt = table.pop("workers", None), table.pop("adapt", None)
    if num_workers is not None:
        workers, adapt = num_workers, None
    _check_size(workers, adapt, where=where)
    return ClusterConfig(
        where=where,
        class_path=class_path,
        cls=_load_class(class_path, where=where),
        workers=workers,
        adapt=None if adapt is None else {"minimum": 1, **adapt},
        options=table,
    )


def _read_table(path: Path) -> tuple[dict[str, Any], str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no cluster file {path}: expected a TOML file with a table [cluster]") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder: expected a TOML file with a table [cluster]") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    table = document.get("cluster")
    if not isinstance(table, dict):
        tables = ", ".join(document) or "nothing"
        raise ValueError(
            f"{path} has no table [cluster], it has {tables}. Write e.g.\n"
            '[cluster]\nkind = "slurm"\nworkers = 8\nmemory = "4GiB"\nwalltime = "04:00:00"'
        )
    return table, str(path)


def _class_path(kind: object, class_path: object, *, where: str) -> str:
    if (kind is None) == (class_path is None):
        raise ValueError(
            f'{where}: [cluster] needs either kind = "…" ({", ".join(KINDS)}) or class = "module:Class", '
            f"got {'neither' if kind is None else 'both'}"
        )
    if kind is not None:
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(
                f"{where}: kind must be one of {', '.join(KINDS)}, got {kind!r}; "
                'for another kind of cluster write class = "module:Class"'
            )
        return KINDS[kind]
    module, _, name = str(class_path).partition(":")
    if not module or not name.isidentifier():
        raise ValueError(f'{where}: class must be written "module:Class", got {class_path!r}')
    return f"{module}:{name}"


def _check_size(workers: object, adapt: object, *, where: str) -> None:
    if (workers is None) == (adapt is None):
        raise ValueError(
            f"{where}: [cluster] needs either workers = N or adapt = {{ minimum = 1, maximum = N }}, "
            f"got {'neither' if workers is None else 'both'}"
        )
    if adapt is None:
        if not _is_count(workers):
            raise ValueError(f"{where}: workers must be a whole number, 1 or more, got {workers!r}")
        return
    if not isinstance(adapt, dict):
        raise ValueError(f"{where}: adapt must be a table {{ minimum = 1, maximum = N }}, got {adapt!r}")
    minimum, maximum = adapt.get("minimum", 1), adapt.get("maximum")
    # A minimum of 0 would wait for work before the first worker, and work waits for the first worker.
    if not _is_count(minimum) or not _is_count(maximum) or minimum > maximum:
        raise ValueError(
            f"{where}: adapt needs whole numbers 1 <= minimum <= maximum, got minimum {minimum!r} and maximum {maximum!r}"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _load_class(class_path: str, *, where: str) -> Any:
    module_name, _, name = class_path.partition(":")
    try:
        with _signal_handlers_kept():
            module = import_module(module_name)
    except ModuleNotFoundError as error:
        hint = how_to_install("cluster") if module_name.startswith("dask_jobqueue") else "install it here"
        raise ModuleNotFoundError(
            f"{where}: {class_path} needs the module {error.name}, which is not installed: {hint}"
        ) from error
    cls = getattr(module, name, None)
    if cls is None:
        clusters = [member for member in vars(module) if _is_cluster(getattr(module, member))]
        raise ValueError(
            f"{where}: module {module_name} has no {name}; clusters in it: {', '.join(clusters) or 'none'}"
        )
    if not _is_cluster(cls):
        raise ValueError(
            f"{where}: {class_path} is not a cluster: expected a class derived from distributed.deploy.Cluster or one "
            f"with a scheduler_address, got {cls!r}"
        )
    return cls


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Importing dask-jobqueue sets handlers that end the program with status 0 at Ctrl-C."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _is_cluster(member: object) -> bool:
    return isinstance(member, type) and (issubclass(member, Cluster) or hasattr(member, "scheduler_address"))
