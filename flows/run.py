"""The profiling flow: one Prefect task for each shard, each handing one plain function to a Dask worker."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import torch
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console

from sweetgrad.flows.cluster import open_client
from sweetgrad.flows.interrupt import draining
from sweetgrad.flows.progress import progress_bar
from sweetgrad.flows.provenance import provenance
from sweetgrad.flows.selection import select_archs
from sweetgrad.flows.server import prefect_server, wait_until_up
from sweetgrad.flows.worker import run_shard
from sweetgrad.profiling import Batch, SearchSpace, load_batch, load_space, make_spec, registry
from sweetgrad.store import (
    STATUS,
    ProfileSpec,
    Shard,
    create_estimators,
    create_profile,
    finalise_profile,
    open_profile,
    plan_shards,
    record_run,
)

__all__ = ["ProfileSummary", "profile", "profile_flow"]


@dataclass(frozen=True)
class ProfileSummary:
    """What a run did.

    Attributes
    ----------
    name
        Profile in the store, e.g. ``nas-bench-201/cifar10/bs64-seed42``.
    num_asked, num_done
        Architectures asked for, and those of them that this run profiled.
    num_left
        Architectures asked for that still have to run; 0 unless the run was interrupted.
    num_failed
        Architectures of the profile whose network raised; `sweetgrad.store.status` says why.
    seconds
        Wall time of the run.
    """

    name: str
    num_asked: int
    num_done: int
    num_left: int
    num_failed: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """Everything a run needs, loaded and checked."""

    store: str
    name: str
    rows: tuple[int, ...]
    space: SearchSpace
    batch: Batch
    spec: ProfileSpec
    estimators: tuple[str, ...]
    retry_failed: bool

    def shards_to_do(self) -> list[Shard]:
        """Shards with rows that still have to run."""
        return plan_shards(self.store, self.name, self.rows, estimators=self.estimators, retry_failed=self.retry_failed)


def profile(
    store: str | Path,
    *,
    space: str = "nas-bench-201",
    dataset: str = "digits",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    archs: str = "all",
    batch_size: int = 64,
    seed: int = 42,
    augment: bool = False,
    shard_size: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    estimators: Sequence[str] = (),
    retry_failed: bool = False,
    download: bool = False,
    console: Console | None = None,
) -> ProfileSummary:
    """Profile architectures of a search space into a store; what the store holds already is not run again.

    Parameters
    ----------
    store
        Folder of the store; made if it is not there.
    space, space_file
        Registered search space, and the file that lists or orders its architectures. Without it,
        ``benchmarks/<space>.csv.gz`` under ``data_dir`` is taken if it is there.
    dataset, data_dir, download
        Registered data set, the folder of its files, and whether to fetch them.
    archs
        ``all``, ``START:STOP``, ``sample:N`` or an index (`select_archs`).
    batch_size, seed, augment
        Images in the batch; seed of the batch, the initialisation and the sample; random crop and flip.
    shard_size
        Architectures in a shard of a new profile (default 625).
    device
        ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
    workers, scheduler
        Worker processes on this machine (default: one for each core or GPU), or the address of a running Dask scheduler.
    estimators
        Registered estimators to store beside the histogram.
    retry_failed
        Whether architectures that failed before run again.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was done. After Ctrl-C ``num_left`` is greater than 0, and the same call continues.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can put right; nothing is written then.
    SpecMismatchError
        If the store holds this profile with other settings.
    """
    start = time.monotonic()
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    console = console or Console(stderr=True)
    device = _resolve_device(device, remote=scheduler is not None)
    for estimator in estimators:
        registry.load("estimators", estimator)
    table = space_file or _find_table(space, data_dir)
    search_space = load_space(space, table=table)
    rows = select_archs(archs, num_archs=len(search_space), seed=seed)
    folder = None if data_dir is None else Path(data_dir)
    batch = load_batch(dataset, batch_size=batch_size, seed=seed, augment=augment, data_dir=folder, download=download)
    spec = make_spec(search_space, batch, seed=seed, device=device)
    location = str(store) if "://" in str(store) else str(Path(store).resolve())
    arch = [search_space.arch_id(index) for index in range(len(search_space))]
    name = create_profile(location, spec, arch=arch, layers=search_space.layer_names, shard_size=shard_size)
    create_estimators(location, name, estimators)
    run = Run(location, name, tuple(rows), search_space, batch, spec, tuple(estimators), retry_failed)
    shards = run.shards_to_do()
    num_done = 0
    if shards:
        order = (
            f"file {Path(table).name}" if table else f"the space's own ({getattr(search_space, 'order', 'built in')})"
        )
        facts = provenance(device=device, data_source=batch.source, arch_order=order)
        record_run(location, name, facts)
        console.print(f"Space {space}, order of architectures: {order}. Data: {batch.source or dataset}.")
        num_done = _run_shards(run, shards, workers=workers, scheduler=scheduler, console=console)
    num_left = sum(len(shard.rows) for shard in run.shards_to_do())
    num_failed = int((open_profile(location, name, chunks=None)["status"] == STATUS["failed"]).sum())
    return ProfileSummary(name, len(rows), num_done, num_left, num_failed, time.monotonic() - start)


def _run_shards(
    run: Run, shards: Sequence[Shard], *, workers: int | None, scheduler: str | None, console: Console
) -> int:
    """Start a server and workers, which live as long as the flow that they serve."""
    num_rows = sum(len(shard.rows) for shard in shards)
    console.print(f"{run.name}: {num_rows} of {len(run.rows)} architectures to profile, in {len(shards)} shards.")
    with (
        prefect_server() as url,
        console.status("starting workers and the Prefect server (half a minute the first time)") as wait,
        open_client(scheduler=scheduler, device=run.spec.device, num_workers=workers, num_shards=len(shards)) as client,
    ):
        wait_until_up(url)
        wait.stop()
        # Two shards a worker in flight: the next one is there when a worker has written its last.
        num_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        runner: Any = ThreadPoolTaskRunner(max_workers=2 * max(1, num_workers))
        return profile_flow.with_options(task_runner=runner)(run, shards, client=client, console=console)


@flow(name="sweetgrad-profile", flow_run_name="{run.name}", validate_parameters=False)
def profile_flow(run: Run, shards: Sequence[Shard], *, client: distributed.Client, console: Console) -> int:
    """Run shards on a Dask cluster and stamp the profile; returns the number of architectures done.

    An error of one shard stops the others after the networks in hand, so that everything measured is written.
    """
    channel = f"sweetgrad-{uuid.uuid4().hex}"
    stop = threading.Event()
    resources = {"GPU": 1} if run.spec.device == "cuda" else {}

    @task(task_run_name="shard-{index}")
    def profile_shard_task(index: int) -> int:
        if stop.is_set():
            return 0
        arguments = (run.store, run.name, shards[index], run.space, run.batch, run.spec, run.estimators, channel)
        try:
            return int(
                client.submit(run_shard, *arguments, pure=False, resources=resources, key=f"{channel}-{index}").result()
            )
        except distributed.KilledWorker as error:
            stop.set()
            shard = shards[index]
            raise RuntimeError(
                f"workers died again and again on architectures {shard.start} to {shard.stop - 1}, most likely for want of "
                "memory: try fewer --workers or a smaller --batch-size. All other shards are written."
            ) from error
        except BaseException:
            stop.set()
            raise

    def ask_workers_to_stop() -> None:
        distributed.Event(channel, client=client).set()

    total = sum(len(shard.rows) for shard in shards)
    try:
        with (
            progress_bar(total, console=console) as count,
            _subscribed(client, channel, count),
            draining(stop, console=console, on_stop=ask_workers_to_stop),
        ):
            futures = [profile_shard_task.submit(index) for index in range(len(shards))]
            for future in futures:
                future.wait()
        return sum(future.result() for future in futures)
    finally:
        finalise_profile(run.store, run.name)


def _find_table(space: str, data_dir: str | Path | None) -> Path | None:
    found = Path(data_dir or ".") / "benchmarks" / f"{space}.csv.gz"
    return found if data_dir is not None and found.exists() else None


def _resolve_device(device: str, *, remote: bool) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not remote and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no CUDA device here; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@contextmanager
def _subscribed(client: distributed.Client, channel: str, count: Callable[[int], None]) -> Iterator[None]:
    client.subscribe_topic(channel, lambda event: count(event[1]))
    try:
        yield
    finally:
        client.unsubscribe_topic(channel)
