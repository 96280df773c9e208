"""Random search, and regularised evolution (REA; Real et al. 2019), with or without an estimator that selects the child."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.simulation import Draws, OperationGrid, Runs, SearchSettings, best_scored

Child = tuple[NDArray[np.int64], NDArray[np.float64] | float]
"""Architecture of each run, and the time that selecting it took in seconds."""


def random_search(benchmark: SearchBenchmark, settings: SearchSettings = SearchSettings()) -> xr.Dataset:  # noqa: B008
    """Train uniformly drawn architectures, with replacement, until the budget is spent.

    Returns
    -------
    As `Runs.history`. Errors are those of `Runs`.
    """
    draws, runs = Draws(settings.seed, settings.num_runs), Runs(benchmark, settings)
    while runs.active.any():
        runs.train(draws.integers(1, len(benchmark))[:, 0])
    return runs.history()


def evolution(
    benchmark: SearchBenchmark,
    settings: SearchSettings = SearchSettings(),  # noqa: B008
    *,
    scores: Scores | None = None,
    pool: int = 10,
    population: int = 10,
    tournament: int = 3,
) -> xr.Dataset:
    """Regularised evolution (REA), or its assisted form (S-REA): the child of a tournament's winner replaces the oldest.

    Parameters
    ----------
    benchmark, settings
        Search space and budget; every combination of operations must be in the benchmark.
    scores
        None: the child is one mutant of the parent. Otherwise: the best-scored of ``pool`` mutants. A mutant has another
        operation on one edge. The first ``population`` architectures are uniform in both cases.
    pool
        Number of mutants from which the child is selected.
    population, tournament
        Population size and tournament size: the parent is the fittest of ``tournament`` architectures drawn with replacement.

    Returns
    -------
    As `Runs.history`. Errors are those of `Runs` and `OperationGrid`.
    """
    grid, draws = OperationGrid(benchmark.arch), Draws(settings.seed, settings.num_runs)
    runs, num_mutants = Runs(benchmark, settings, scores), 1 if scores is None else pool

    def mutant(parent: NDArray[np.int64]) -> Child:
        many = np.broadcast_to(parent[:, None], (settings.num_runs, num_mutants))
        mutants = mutate(grid, many, draws.uniform(2 * num_mutants))
        return (mutants[:, 0], 0.0) if scores is None else best_scored(mutants, scores)

    regularised_evolution(
        draws,
        first=lambda: draws.integers(1, len(benchmark))[:, 0],
        mutant=mutant,
        train=lambda child, seconds: runs.train(child, scoring=seconds),
        is_active=lambda: bool(runs.active.any()),
        population=population,
        tournament=tournament,
    )
    return runs.history()


def regularised_evolution(
    draws: Draws,
    *,
    first: Callable[[], NDArray[np.int64]],
    mutant: Callable[[NDArray[np.int64]], Child],
    train: Callable[[NDArray[np.int64], NDArray[np.float64] | float], NDArray[np.float64]],
    is_active: Callable[[], bool],
    population: int = 10,
    tournament: int = 3,
) -> None:
    """The loop of REA (Real et al. 2019, Algorithm 1) for all runs at once, independent of architectures and cost.

    Parameters
    ----------
    draws
        Random numbers of the runs, from which ``first`` and ``mutant`` draw too.
    first
        Returns the indices of random architectures, shape (run,), for the first ``population`` steps.
    mutant
        Returns the children of parents, shape (run,), and the time that selecting them took in seconds.
    train
        Returns the fitness of architectures, shape (run,); its second argument is the time that selecting them took.
    is_active
        Called before each step; returns whether to continue.
    population, tournament
        As in `evolution`.
    """
    run = np.arange(len(draws.streams))
    alive = np.empty((len(run), population), dtype=np.int64)
    fitness = np.empty(alive.shape)
    step = 0
    seconds: NDArray[np.float64] | float
    while is_active():
        if step < population:
            child, seconds = first(), 0.0
        else:
            # Counted from the oldest, whose position is step % population.
            sample = (draws.integers(tournament, population) + step) % population
            best = fitness[run[:, None], sample].argmax(axis=1)
            child, seconds = mutant(alive[run, sample[run, best]])
        place = step % population
        alive[:, place], fitness[:, place] = child, train(child, seconds)
        step += 1


def mutate(grid: OperationGrid, rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Mutants of architectures, shape (run, mutant), from uniform numbers, shape (run, 2 * mutant): edges, then operations."""
    edge, shift = np.split(drawn, 2, axis=1)
    return grid.mutate(rows, (edge * grid.num_edges).astype(np.int64), (shift * (grid.num_ops - 1)).astype(np.int64))
