"""``sweetgrad evolve``: search a space by evolution, with the score as the fitness, each network run once."""

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

if TYPE_CHECKING:
    import xarray as xr

    from sweetgrad.analysis import BestInterval, Interval, IntervalGrid
    from sweetgrad.store import Location


@dataclass(frozen=True)
class Evolution:
    """What a search found.

    Attributes
    ----------
    name
        Profile in the store that holds the random architectures, then every architecture that the search has visited.
    arch, score
        The architecture with the best score, the first on a tie, and that score.
    interval
        Interval of the score.
    choice
        How sure the interval is; None where it was given.
    history
        Dims (cycle,): ``arch``, ``score`` (NaN where the network failed) and ``is_new``, False for an architecture that the
        search had visited before.
    random
        Dims (arch,): ``score`` and ``num_params`` (weights) of the random architectures that chose the interval.
    num_params
        Weights of the architecture found.
    num_networks, num_run
        Different architectures that the search and its random sample consist of; those of them that this call had to run.
    network_seconds
        What the networks took, those of earlier calls too.
    seconds
        Wall time of this call.
    num_left
        Cycles that are left; 0 unless the search was interrupted. Then ``arch`` is the best so far.
    """

    name: str
    arch: str
    score: float
    interval: "Interval"
    choice: "BestInterval | None" = field(repr=False)
    history: "xr.Dataset" = field(repr=False)
    random: "xr.Dataset" = field(repr=False)
    num_params: int
    num_networks: int
    num_run: int
    network_seconds: float
    seconds: float
    num_left: int


def evolve(
    store: "Location",
    *,
    space: str = "darts",
    dataset: str = "cifar10",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    space_options: Mapping[str, Any] | None = None,
    cycles: int = 200,
    population: int = 10,
    tournament: int = 3,
    interval: "Interval | None" = None,
    grid: "IntervalGrid | None" = None,
    num_random: int = 100,
    batch_size: int = 128,
    seed: int = 42,
    search_seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    needs_genotypes: bool = False,
    download: bool = False,
    console: Console | None = None,
) -> Evolution:
    """Search a space by regularised evolution; the fitness of an architecture is its score (Eq. 1) at initialisation.

    First, random architectures of the space are run, and choose the interval (Algorithm 1). Then come ``cycles`` architectures:
    the first ``population`` are drawn uniformly, each later one is a mutation of the winner of a tournament and replaces the
    oldest. Every network that is run is a row of one profile in the store, and is not run again; so the same call resumes a
    search that was interrupted, with the same rows and the same result.

    Parameters
    ----------
    store
        As in `profile`.
    space
        Search space with mutations: darts, darts-imagenet, nas-bench-301, nas-bench-201, or one of your own.
    dataset, data_dir
        As in `profile`.
    space_file
        Table of the architectures that are drawn from.
    space_options
        As in `profile`.
    cycles
        Architectures that the search visits, the first population and repetitions included.
    population
        Population size.
    tournament
        Tournament size: architectures drawn from the population, with replacement, the best of which is the parent.
    interval
        Interval of the score (default: the best of the grid over the random architectures, Algorithm 1).
    grid
        Intervals to choose from (default: those of `IntervalGrid`).
    num_random
        Random architectures, always the same ones, that choose the interval and that the result is compared with.
    batch_size, seed
        As in `profile`.
    search_seed
        Seed of the search itself; searches with different ones share a profile.
    device
        As in `profile`.
    needs_genotypes
        Whether the result will be drawn or passed to a surrogate, which requires genotypes.
    download
        Download CIFAR into the data directory.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was found. After Ctrl-C ``num_left`` is greater than 0, and the same call resumes.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can fix; nothing has been written then. Also if every random network fails.
    RuntimeError
        If Ctrl-C was pressed before the interval was chosen.
    LockedError
        If another search writes to the same profile.
    SpecMismatchError
        If the store holds this profile with other settings.
    """
    # Imported here, so that reading the options of a command does not load torch.
    import numpy as np
    import xarray as xr

    from sweetgrad.analysis import IntervalGrid, best_interval, score
    from sweetgrad.analysis.search import Draws
    from sweetgrad.flows.evolution import Evaluations, Search, require_genotype, require_measured, run_sample
    from sweetgrad.flows.inputs import find_table, resolve_device
    from sweetgrad.flows.interrupt import draining
    from sweetgrad.flows.provenance import provenance, report_differences
    from sweetgrad.flows.runs.progress import progress_bar
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.profiling import load_batch, load_space
    from sweetgrad.profiling.architectures import ArchIds
    from sweetgrad.store.access import absolute

    start = time.monotonic()
    console = console or Console(stderr=True)
    _check(cycles=cycles, population=population, tournament=tournament, num_random=num_random)
    resolved_device = resolve_device(device, remote=False)
    table = space_file or find_table(space, data_dir, download=download)
    opened = load_space(space, table=table, options=space_options)
    if not hasattr(opened, "mutate"):
        raise ValueError(
            f"space {space!r} cannot be searched: it has no method mutate(arch_id, random), which returns a neighbour of an "
            "architecture. darts, darts-imagenet, nas-bench-301 and nas-bench-201 have one"
        )
    if needs_genotypes:
        require_genotype(opened.arch_id(0), space)
    archs = [opened.arch_id(row) for row in select_archs(f"sample:{num_random}", ArchIds(opened), space=space)]
    batch = load_batch(dataset, batch_size=batch_size, seed=seed, data_dir=data_dir, download=download)
    evaluations = Evaluations(absolute(store), opened, batch, seed=seed, device=resolved_device)
    facts = provenance(device=resolved_device, data_source=batch.source, arch_order="as searches came to them")
    stop = threading.Event()
    console.print(
        f"{evaluations.name}: {num_random} random architectures, then {cycles} cycles. Data: {batch.source}.",
        markup=False,
    )
    with (
        evaluations.writing(archs, facts, run=uuid.uuid4().hex) as differences,
        draining(stop, console=console),
        progress_bar(num_random + cycles, console=console) as count,
    ):
        report_differences(differences, console=console)
        sample = run_sample(evaluations, archs, stop=stop, count=count)
        random = evaluations.open().isel(arch=sample)
        require_measured(random, space)
        choice = None if interval is not None else best_interval(random, grid or IntervalGrid(), num_archs=num_random)
        chosen = choice.interval if choice is not None else interval
        assert chosen is not None
        console.print(f"Interval {choice or chosen}", markup=False)
        search = Search(evaluations, opened, chosen, on_cycle=lambda: count(1), console=console)
        search.evolve(Draws(search_seed, 1), stop, cycles=cycles, population=population, tournament=tournament)
    if not search.scores:
        raise RuntimeError("stopped after the random architectures, which are written: the same command resumes")
    profile = evaluations.open()
    best = int(np.argmax(search.scores))
    rows = sorted({*sample, *search.rows})
    num_params = profile["num_params"].sel(kind="weight").sum("layer")
    return Evolution(
        name=evaluations.name,
        arch=search.archs[best],
        score=search.scores[best],
        interval=chosen,
        choice=choice,
        history=search.history(),
        random=xr.Dataset({"score": score(profile, chosen), "num_params": num_params}).isel(arch=sample).compute(),
        num_params=int(num_params[search.rows[best]]),
        num_networks=len(rows),
        num_run=evaluations.num_run,
        network_seconds=float(profile["profile_seconds"].values[rows].sum()),
        seconds=time.monotonic() - start,
        num_left=cycles - len(search.rows),
    )


def _check(*, cycles: int, population: int, tournament: int, num_random: int) -> None:
    for name, value, least in (
        ("population", population, 1),
        ("tournament", tournament, 1),
        ("num_random", num_random, 2),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if cycles < population:
        raise ValueError(
            f"{cycles} cycles are fewer than the population of {population}, which they include: give at least {population}"
        )
