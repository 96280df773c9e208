"""``sweetgrad estimate``: add estimators to a profile that has been measured; its counts stay as they are."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sweetgrad.flows.profile import ProfileSummary

if TYPE_CHECKING:
    from sweetgrad.store import Location


def estimate(
    store: "Location",
    profile: str,
    *,
    space: str | None = None,
    dataset: str | None = None,
    estimators: Sequence[str] = (),
    blocks: Sequence[str] = (),
    archs: str = "all",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    workers: int | None = None,
    processes_per_gpu: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    download: bool = False,
    console: Console | None = None,
) -> ProfileSummary:
    """Compute estimators for the measured architectures of a profile; scores that the store already holds are not recomputed.

    Space, data set and batch are rebuilt from the settings of the profile, and compared with them.

    Parameters
    ----------
    store
        Folder or URL of the store.
    profile
        Name of a profile in the store.
    space
        FILE.py:NAME of its search space, if that is not a registered one.
    dataset
        FILE.py:NAME of its data set, if that is not a registered one.
    estimators
        Estimators to compute, or all of them: all.
    blocks
        As in `profile`.
    archs
        Which of the measured architectures: all, START:STOP, sample:N, unique, an index, or an architecture string.
    data_dir, space_file, workers, processes_per_gpu, scheduler, cluster
        As in `profile`.
    retry_failed
        Recompute estimators that failed for an architecture before.
    download
        Download missing files of the data set into the data directory.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was done; ``num_asked`` counts measured architectures, ``num_failed`` those of them for which an estimator failed.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can fix; nothing has been written then.
    NotAStoreError
        If there is no such profile.
    SpecMismatchError
        If the space or the data are not those that the profile was measured with.
    """
    # Imported here, so that reading the options of a command does not load torch, Prefect and Dask.
    import numpy as np

    from sweetgrad.flows.cluster import choose_workers
    from sweetgrad.flows.evolution import rebuild_space
    from sweetgrad.flows.inputs import find_table, require_cells, resolve_device, select_blocks, select_estimators
    from sweetgrad.flows.provenance import provenance, report_differences
    from sweetgrad.flows.runs.shard_flow import run_profile
    from sweetgrad.flows.runs.work import ProfileWork
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.profiling import load_batch, make_spec, registry
    from sweetgrad.profiling.architectures import load_functions, parameter_axes
    from sweetgrad.profiling.own_code import absolute as absolute_reference
    from sweetgrad.store import STATUS, Profile
    from sweetgrad.store.access import absolute

    start = time.monotonic()
    console = console or Console(stderr=True)
    if not (list(estimators) or list(blocks)):
        raise ValueError(
            f"name the estimators to compute (--estimators): {', '.join(registry.names('estimators'))}; "
            f"or the blocks (--blocks): all, {', '.join(registry.names('blocks'))}"
        )
    estimators, blocks = ([absolute_reference(name) for name in given] for given in (estimators, blocks))
    source = choose_workers(workers=workers, scheduler=scheduler, cluster=cluster, processes_per_gpu=processes_per_gpu)
    registry.require("estimators", [name for name in estimators if name != "all"])
    registry.require("blocks", select_blocks(blocks))
    location = absolute(store)
    stored = Profile.open(location, profile)
    spec, data = stored.spec, stored.dataset(chunks=None)
    names, chosen = select_estimators(estimators, task=spec.task), select_blocks(blocks, task=spec.task)
    resolve_device(spec.device, remote=source.is_remote)
    of_space, of_data = absolute_reference(space or spec.space), absolute_reference(dataset or spec.dataset)
    table = space_file or find_table(of_space, data_dir, download=download)
    search_space = rebuild_space(spec, data["arch"].values.tolist(), table, space=of_space)
    batch = load_batch(
        of_data,
        batch_size=spec.batch_size,
        seed=spec.seed,
        augment=spec.augment,
        data_dir=data_dir,
        download=download,
        second=bool(chosen),
    )
    rebuilt = make_spec(search_space, batch, seed=spec.seed, device=spec.device)
    rebuilt.require_equal(spec, where=f"profile {profile} in {location}")
    measured = data["status"].values == STATUS["ok"]
    rows = [row for row in select_archs(archs, data["arch"].values.tolist(), space=spec.space) if measured[row]]
    if not rows:
        raise ValueError(f"none of the requested architectures ({archs}) is measured in {profile}: profile them first")
    require_cells(search_space, rows, spec, chosen)
    functions = load_functions(names, chosen, spec=spec, batch=batch)
    stored.add_blocks(functions, axes=parameter_axes(search_space, functions))
    work = ProfileWork(
        stored, tuple(rows), search_space, batch, spec, tuple(names), chosen, tuple(functions), retry_failed
    )
    shards = work.shards_to_do()
    num_done = num_left = 0
    if shards:
        order = f"file {Path(table).name}" if table else "the space's own"
        used = (of_space, of_data, *names, *chosen)
        facts = provenance(device=spec.device, data_source=batch.source, arch_order=order, used=used)
        report_differences(stored.record_run({**facts, "estimators": names, "blocks": list(chosen)}), console=console)
        num_done, num_left = run_profile(work, shards, source=source, console=console)
    status = np.stack([stored.status(block)[rows] for block in functions], axis=1)
    num_failed = int((status == STATUS["failed"]).any(axis=1).sum())
    return ProfileSummary(profile, len(rows), num_done, num_left, num_failed, time.monotonic() - start)
