"""``sweetgrad profile``: measure architectures of a search space into a store."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

if TYPE_CHECKING:
    from sweetgrad.profiling import Batch, Examples, SearchSpace
    from sweetgrad.store import Location


@dataclass(frozen=True)
class ProfileSummary:
    """What a run did.

    Attributes
    ----------
    name
        Profile in the store, e.g. ``nas-bench-201/cifar10/bs64-seed42``.
    num_asked, num_done
        Architectures requested, and those of them that this run profiled.
    num_left
        Architectures requested that still have to run; 0 unless the run was interrupted.
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


def profile(
    store: "Location",
    *,
    space: "str | SearchSpace" = "nas-bench-201",
    dataset: "str | Examples | Batch" = "digits",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    space_options: Mapping[str, Any] | None = None,
    archs: str = "all",
    batch_size: int = 64,
    seed: int = 42,
    augment: bool = False,
    shard_size: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    processes_per_gpu: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | Mapping[str, Any] | None = None,
    estimators: Sequence[str] = (),
    blocks: Sequence[str] = (),
    retry_failed: bool = False,
    download: bool = False,
    console: Console | None = None,
) -> ProfileSummary:
    """Profile architectures of a search space into a store; rows that the store already holds are not measured again.

    The command line and the Prefect deployment take their options from this signature and the entries below.

    Parameters
    ----------
    store
        Folder or URL of the store; created if it does not exist.
    space
        Search space: nas-bench-201, nas-bench-101, darts, nas-bench-nlp, nas-bench-asr, nds-pnas, ... or one of your own, by its
        registered name or as FILE.py:NAME.
    dataset
        Data set: digits, synthetic, cifar10, cifar100, imagenet16-120, imagenet, text, ptb, wikitext2, speech, timit, or one of
        your own, by its registered name or as FILE.py:NAME.
    data_dir
        Folder with the files of the data set.
    space_file
        Table that lists or orders the architectures (default: the table of the space in the benchmarks folder of the data
        directory, if there is one). nas-bench-201 is the list of that benchmark, which is part of the package.
    space_options
        Parameters of the search space, e.g. channels=16 for darts.
    archs
        Architectures: all, START:STOP, sample:N (uniform, always the same ones), unique (one of each class of cells that are the
        same in other words), an index, one architecture string, or @FILE with a string or an index on each line.
    batch_size
        Images, sequences or utterances in the one batch that all architectures see.
    seed
        Seed of the batch and of the initialisation.
    augment
        Apply a random crop and flip to the batch (seeded).
    shard_size
        Architectures per shard of a new profile (default: 625; 125 on GPUs).
    device
        Device: auto (CUDA if available), cpu or cuda.
    workers
        Number of worker processes (default: one per core, as many per GPU as help, or the number in the cluster file).
    processes_per_gpu
        Worker processes on each GPU of this machine (default: as many as its cores and its memory allow, 8 at most).
    scheduler
        Address of a running Dask scheduler, tcp://HOST:PORT.
    cluster
        TOML file with a [cluster] table that describes a Dask cluster: SLURM, PBS, or a class of your own.
    estimators
        Estimators to store as well, e.g. grad_norm,snip or mine.py:NAME.
    blocks
        Blocks of statistics to store beside the counts, from which estimators are derived: all, or e.g. tensor_sums,noise_pass;
        also moments (sums of gradients per bin) and activations (their histograms).
    retry_failed
        Run architectures that failed before again.
    download
        Download CIFAR, or the table of an NDS space, from its official address into the data directory.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was done. After Ctrl-C ``num_left`` is greater than 0, and the same call resumes.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can fix; no measurement has been written then.
    SpecMismatchError
        If the store holds this profile with other settings.
    """
    # First, while there are no other local variables.
    arguments = {name: value for name, value in locals().items() if name != "console"}
    # Imported here, so that reading the options of a command does not load torch, Prefect and Dask.
    from sweetgrad.flows.cluster import choose_workers
    from sweetgrad.flows.inputs import find_table, require_cells, resolve_device, select_blocks
    from sweetgrad.flows.parameters import command_of
    from sweetgrad.flows.provenance import provenance, report_differences
    from sweetgrad.flows.runs.shard_flow import run_profile
    from sweetgrad.flows.runs.work import ProfileWork
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.profiling import Batch, draw_batch, load_examples, load_space, make_spec, registry
    from sweetgrad.profiling.architectures import ArchIds, load_functions, parameter_axes, task_of
    from sweetgrad.profiling.own_code import absolute as absolute_reference
    from sweetgrad.store import create_profile
    from sweetgrad.store.access import absolute
    from sweetgrad.store.spaces import arch_order

    start = time.monotonic()
    console = console or Console(stderr=True)
    space = absolute_reference(space) if isinstance(space, str) else space
    dataset = absolute_reference(dataset) if isinstance(dataset, str) else dataset
    estimators, blocks = ([absolute_reference(name) for name in given] for given in (estimators, blocks))
    used = [name for name in (space, dataset, *estimators, *blocks) if isinstance(name, str)]
    source = choose_workers(workers=workers, scheduler=scheduler, cluster=cluster, processes_per_gpu=processes_per_gpu)
    resolved_device = resolve_device(device, remote=source.is_remote)
    registry.require("estimators", estimators)
    chosen = select_blocks(blocks, task=task_of(registry.load("spaces", space) if isinstance(space, str) else space))
    registry.require("blocks", chosen)
    table = space_file
    if isinstance(space, str):
        table = space_file or find_table(space, data_dir, download=download)
        search_space = load_space(space, table=table, options=space_options)
    else:
        search_space = space
    rows = select_archs(archs, ArchIds(search_space), space=search_space.name)
    if isinstance(dataset, str):
        dataset = load_examples(dataset, data_dir=data_dir, seed=seed, download=download)
    if isinstance(dataset, Batch):
        batch = dataset
    else:
        batch = draw_batch(dataset, batch_size=batch_size, seed=seed, augment=augment, second=bool(chosen))
    spec = make_spec(search_space, batch, seed=seed, device=resolved_device)
    require_cells(search_space, rows, spec, chosen)
    functions = load_functions(estimators, chosen, spec=spec, batch=batch)
    axes = parameter_axes(search_space, functions)
    location = absolute(store)
    stored = create_profile(
        location,
        spec,
        arch=ArchIds(search_space),
        layers=search_space.layer_names,
        shard_size=shard_size,
        may_grow=getattr(search_space, "open_ended", False),
    )
    stored.add_blocks(functions, axes=axes)
    command = command_of(profile, arguments)
    names = tuple(dict.fromkeys(estimators))
    work = ProfileWork(stored, rows, search_space, batch, spec, names, chosen, tuple(functions), retry_failed, command)
    shards = work.shards_to_do()
    num_done = num_left = 0
    if shards:
        order = arch_order(search_space, table)
        facts = provenance(device=resolved_device, data_source=batch.source, arch_order=order, used=used)
        report_differences(stored.record_run(facts), console=console)
        data = batch.source or batch.dataset
        console.print(f"Space {search_space.name}, order of architectures: {order}. Data: {data}.", markup=False)
        num_done, num_left = run_profile(work, shards, source=source, console=console)
    else:
        stored.finalise()  # the run that wrote the last row may have been killed before it did
    num_failed = stored.count_rows()["failed"]
    return ProfileSummary(stored.name, len(rows), num_done, num_left, num_failed, time.monotonic() - start)
