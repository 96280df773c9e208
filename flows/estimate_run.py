"""``sweetgrad estimate``: estimators for a profile that is there, its counts untouched."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sweetgrad.flows.cluster_config import read_cluster_config
from sweetgrad.flows.evaluations import SearchedSpace, searched_variant
from sweetgrad.flows.inputs import check_workers, find_table, resolve_device
from sweetgrad.flows.provenance import provenance, say_what_differs
from sweetgrad.flows.run import ProfileSummary, check_details, run_on_workers, with_details
from sweetgrad.flows.selection import select_archs
from sweetgrad.flows.work import ProfileWork
from sweetgrad.profiling import SearchSpace, load_batch, load_space, make_spec, registry
from sweetgrad.store import (
    STATUS,
    Location,
    Profile,
    ProfileSpec,
    profile_block,
)
from sweetgrad.store.access import absolute

__all__ = ["estimate"]


def estimate(
    store: Location,
    profile: str,
    *,
    estimators: Sequence[str],
    archs: str = "all",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | Mapping[str, Any] | None = None,
    moments: bool = False,
    activations: bool = False,
    retry_failed: bool = False,
    download: bool = False,
    console: Console | None = None,
) -> ProfileSummary:
    """Compute estimators for the measured architectures of a profile; scores that the store holds already are not computed again.

    Space, data set and batch are made again from the settings that the profile was measured with, and compared with it.

    Parameters
    ----------
    store, profile
        Folder, URL or `RemoteStore`, and name of a profile in it.
    estimators
        Registered estimators, or ``["all"]`` (but moments and activations).
    archs
        Which of the measured architectures; as in `profile`.
    data_dir, space_file, workers, scheduler, cluster, download
        As in `profile`.
    moments
        Whether to keep sums of gradients in every bin (`sweetgrad.store.open_moments`).
    activations
        Whether to keep histograms of what every cell puts out (`sweetgrad.store.open_activations`).
    retry_failed
        Whether estimators that failed for an architecture run again.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was done; ``num_asked`` counts measured architectures, ``num_failed`` those of them for which an estimator has failed.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can put right; nothing is written then.
    NotAStoreError
        If there is no such profile.
    SpecMismatchError
        If the space or the data are not those that the profile was measured with.
    """
    start = time.monotonic()
    console = console or Console(stderr=True)
    every = [name for name in registry.names("estimators") if not profile_block(name).arrays]
    names = every if list(estimators) == ["all"] else list(dict.fromkeys(estimators))
    names = with_details(names, moments=moments, activations=activations)
    if not names:
        raise ValueError(f"name the estimators to compute; registered are {', '.join(every)}")
    for name in names:
        registry.load("estimators", name)
    check_workers(workers=workers, scheduler=scheduler, cluster=cluster)
    config = None if cluster is None else read_cluster_config(cluster, num_workers=workers)
    location = absolute(store)
    stored = Profile.open(location, profile)
    spec, data = stored.spec, stored.dataset(chunks=None)
    resolve_device(spec.device, remote=scheduler is not None or cluster is not None)
    table = space_file or find_table(spec.space, data_dir, download=download)
    space = _space_of(spec, data["arch"].values.tolist(), table)
    batch = load_batch(
        spec.dataset,
        batch_size=spec.batch_size,
        seed=spec.seed,
        augment=spec.augment,
        data_dir=data_dir,
        download=download,
    )
    made = make_spec(space, batch, seed=spec.seed, device=spec.device)
    made.require_equal(spec, where=f"profile {profile} in {location}")
    measured = data["status"].values == STATUS["ok"]
    rows = [row for row in select_archs(archs, num_archs=len(space)) if measured[row]]
    if not rows:
        raise ValueError(f"none of the architectures asked for ({archs}) is measured in {profile}: profile them first")
    check_details(space, rows, spec, names)
    stored.add_blocks(map(profile_block, names))
    run = ProfileWork(stored, tuple(rows), space, batch, spec, tuple(names), retry_failed)
    shards = run.shards_to_do()
    num_done = num_left = 0
    if shards:
        order = f"file {Path(table).name}" if table else "the space's own"
        facts = provenance(device=spec.device, data_source=batch.source, arch_order=order)
        say_what_differs(stored.record_run({**facts, "estimators": names}), console=console)
        num_done, num_left = run_on_workers(
            run, shards, workers=workers, scheduler=scheduler, cluster=config, console=console
        )
    status = stored.scores()["status"].sel(estimator=names).values[rows]
    num_failed = int((status == STATUS["failed"]).any(axis=1).sum())
    return ProfileSummary(profile, len(rows), num_done, num_left, num_failed, time.monotonic() - start)


def _space_of(spec: ProfileSpec, archs: list[str], table: str | Path | None) -> SearchSpace:
    """The space of a profile with these architectures: its own list as far as the profile has grown, or what a search came to."""
    options = dict(spec.space_options)
    if table is None and getattr(registry.load("spaces", spec.space), "open_ended", False):
        options["num_archs"] = len(archs)
    space = load_space(spec.space, table=table, options=options)
    return SearchedSpace(space, archs) if spec.variant == searched_variant(space.variant) else space
