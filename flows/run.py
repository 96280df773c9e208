"""``sweetgrad profile``: load and check everything, start workers and a Prefect server, run the flow."""

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from rich.console import Console

from sweetgrad.flows.cluster import open_client
from sweetgrad.flows.cluster_config import ClusterConfig, read_cluster_config
from sweetgrad.flows.inputs import check_workers, find_table, resolve_device
from sweetgrad.flows.provenance import provenance, say_what_differs
from sweetgrad.flows.selection import select_archs
from sweetgrad.flows.shard_flow import shard_flow
from sweetgrad.flows.startup import started
from sweetgrad.flows.summary import profile_command
from sweetgrad.flows.work import ProfileWork, num_rows
from sweetgrad.profiling import load_batch, load_space, make_spec, registry
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.profiling.estimators.histograms import cells_of
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store import (
    ACTIVATIONS,
    MOMENTS,
    Location,
    ProfileSpec,
    Shard,
    create_profile,
    profile_block,
)
from sweetgrad.store.access import absolute
from sweetgrad.store.spaces import arch_order

__all__ = ["ProfileSummary", "check_details", "profile", "run_on_workers", "with_details"]


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
        Architectures of the profile whose network raised; `sweetgrad.store.overview` says why.
    seconds
        Wall time of the run.
    """

    name: str
    num_asked: int
    num_done: int
    num_left: int
    num_failed: int
    seconds: float


def profile(
    store: Location,
    *,
    space: str = "nas-bench-201",
    dataset: str = "digits",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    space_options: Mapping[str, Any] | None = None,
    archs: str = "all",
    batch_size: int = 64,
    seed: int = 42,
    augment: bool = False,
    shard_size: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | Mapping[str, Any] | None = None,
    estimators: Sequence[str] = (),
    moments: bool = False,
    activations: bool = False,
    retry_failed: bool = False,
    download: bool = False,
    console: Console | None = None,
) -> ProfileSummary:
    """Profile architectures of a search space into a store; what the store holds already is not run again.

    Parameters
    ----------
    store
        Folder, URL or `RemoteStore`; made if it is not there.
    space, space_file
        Registered search space, and the file that lists or orders its architectures. Without it,
        ``benchmarks/<space>.csv.gz`` under ``data_dir`` is taken if it is there (or what the space names in ``tables``).
    space_options
        Parameters of the search space, such as ``{"channels": 16, "cells": 8}``.
    dataset, data_dir, download
        Registered data set, the folder of its files, and whether to fetch them.
    archs
        ``all``, ``START:STOP``, ``sample:N`` or an index (`select_archs`).
    batch_size, seed, augment
        Images in the batch; seed of the batch and the initialisation; random crop and flip.
    shard_size
        Architectures in a shard of a new profile (default 625).
    device
        ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
    workers, scheduler
        Worker processes on this machine (default: one for each core or GPU), or the address of a running Dask scheduler.
    cluster
        TOML file with a ``[cluster]`` table, or that table: what builds a Dask cluster (`read_cluster_config`). ``workers``
        replaces the number in it.
    estimators
        Registered estimators to store beside the histogram.
    moments
        Whether to keep sums of gradients in every bin (`sweetgrad.store.open_moments`).
    activations
        Whether to keep histograms of what every cell puts out (`sweetgrad.store.open_activations`).
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
    asked = {key: value for key, value in locals().items() if key != "console"}
    start = time.monotonic()
    console = console or Console(stderr=True)
    check_workers(workers=workers, scheduler=scheduler, cluster=cluster)
    config = None if cluster is None else read_cluster_config(cluster, num_workers=workers)
    device = resolve_device(device, remote=scheduler is not None or cluster is not None)
    estimators = with_details(estimators, moments=moments, activations=activations)
    for estimator in estimators:
        registry.load("estimators", estimator)
    table = space_file or find_table(space, data_dir, download=download)
    search_space = load_space(space, table=table, options=space_options)
    rows = select_archs(archs, num_archs=len(search_space))
    batch = load_batch(dataset, batch_size=batch_size, seed=seed, augment=augment, data_dir=data_dir, download=download)
    spec = make_spec(search_space, batch, seed=seed, device=device)
    check_details(search_space, rows, spec, estimators)
    location = absolute(store)
    arch, layers = ArchIds(search_space), search_space.layer_names
    may_grow = getattr(search_space, "open_ended", False)
    stored = create_profile(location, spec, arch=arch, layers=layers, shard_size=shard_size, may_grow=may_grow)
    stored.add_blocks(map(profile_block, estimators))
    run = ProfileWork(stored, rows, search_space, batch, spec, tuple(estimators), retry_failed, _command(asked))
    shards = run.shards_to_do()
    num_done = num_left = 0
    if shards:
        order = arch_order(search_space, table)
        facts = provenance(device=device, data_source=batch.source, arch_order=order)
        say_what_differs(stored.record_run(facts), console=console)
        console.print(f"Space {space}, order of architectures: {order}. Data: {batch.source or dataset}.", markup=False)
        num_done, num_left = run_on_workers(
            run, shards, workers=workers, scheduler=scheduler, cluster=config, console=console
        )
    else:
        stored.finalise()  # the run that wrote the last row may have been killed before it did
    num_failed = stored.count_rows()["failed"]
    return ProfileSummary(stored.name, len(rows), num_done, num_left, num_failed, time.monotonic() - start)


def with_details(estimators: Sequence[str], *, moments: bool, activations: bool) -> list[str]:
    """Estimators, and what is computed and stored as one of them: sums of gradients, histograms of activations."""
    asked = [name for name, wanted in ((MOMENTS.name, moments), (ACTIVATIONS.name, activations)) if wanted]
    return list(dict.fromkeys([*estimators, *asked]))


def check_details(space: SearchSpace, rows: Sequence[int], spec: ProfileSpec, estimators: Sequence[str]) -> None:
    """Refuse activations of a space whose networks do not say what their cells are, before anything is written."""
    if ACTIVATIONS.name in estimators and len(rows):
        shape = {"in_channels": spec.input_shape[0], "num_classes": spec.num_classes}
        cells_of(space.build(space.arch_id(rows[0]), **shape))


def run_on_workers(
    run: ProfileWork,
    shards: Sequence[Shard],
    *,
    workers: int | None,
    scheduler: str | None,
    cluster: ClusterConfig | None,
    console: Console,
) -> tuple[int, int]:
    """Run shards on workers that are started for them."""
    console.print(
        f"{run.table.name}: {num_rows(shards)} of {len(run.rows)} architectures to profile, in {len(shards)} shards.",
        markup=False,
    )
    watched = PREFECT_API_URL.value() is not None  # nobody looks at the server that we start for the run
    opening = open_client(
        scheduler=scheduler,
        cluster=cluster,
        store=run.table.location,
        device=run.spec.device,
        num_workers=workers,
        num_shards=len(shards),
        console=console,
    )
    with started(opening, console=console) as client:
        return shard_flow(run, shards, client=client, console=console, watched=watched)


def _command(asked: Mapping[str, Any]) -> str:
    return profile_command(asked, {key: each.default for key, each in inspect.signature(profile).parameters.items()})
