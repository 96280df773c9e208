"""Random search, and regularised evolution (REA; Real et al. 2019), with or without an estimator that picks the child."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.draws import Draws
from sweetgrad.analysis.search.grid import OperationGrid
from sweetgrad.analysis.search.runs import Runs, SearchSettings, best_scored

__all__ = ["evolution", "random_search"]


def random_search(benchmark: SearchBenchmark, settings: SearchSettings = SearchSettings()) -> xr.Dataset:  # noqa: B008
    """Train architectures drawn uniformly, with replacement, until the budget is spent.

    Returns
    -------
    As `Runs.history`. `Runs` says what errors there are.
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
    """Train a child of the best of a few, which takes the place of the oldest (REA); assisted, S-REA.

    Parameters
    ----------
    benchmark, settings
        What is searched, and for how long; every combination of operations must be in the benchmark.
    scores
        None: the child is one mutant of the parent. Else: the best-scored of ``pool`` mutants. A mutant has another
        operation on one edge. The first ``population`` architectures are uniform in either case.
    pool
        Mutants to choose among.
    population, tournament
        Architectures alive; of them, those that a parent is the fittest of, drawn with replacement.

    Returns
    -------
    As `Runs.history`. `Runs` and `OperationGrid` say what errors there are.
    """
    grid, draws = OperationGrid(benchmark.arch), Draws(settings.seed, settings.num_runs)
    runs, num_mutants, run = (
        Runs(benchmark, settings, scores),
        1 if scores is None else pool,
        np.arange(settings.num_runs),
    )
    alive = np.empty((settings.num_runs, population), dtype=np.int64)
    fitness = np.empty(alive.shape)
    step = 0
    while runs.active.any():
        scoring: np.ndarray | float = 0.0
        if step < population:
            child = draws.integers(1, len(benchmark))[:, 0]
        else:
            drawn = draws.uniform(tournament + 2 * num_mutants)
            # Counted from the oldest, whose place is step % population.
            sample = ((drawn[:, :tournament] * population).astype(np.int64) + step) % population
            best = fitness[run[:, None], sample].argmax(axis=1)
            parent = alive[run, sample[run, best]]
            mutants = mutate(grid, np.broadcast_to(parent[:, None], (len(run), num_mutants)), drawn[:, tournament:])
            child = mutants[:, 0]
            if scores is not None:
                child, scoring = best_scored(mutants, scores)
        place = step % population
        alive[:, place], fitness[:, place] = child, runs.train(child, scoring=scoring)
        step += 1
    return runs.history()


def mutate(grid: OperationGrid, rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Mutants of architectures, shape (run, mutant), by uniform numbers, shape (run, 2 * mutant): edges, then operations."""
    edge, shift = np.split(drawn, 2, axis=1)
    return grid.mutate(rows, (edge * grid.num_edges).astype(np.int64), (shift * (grid.num_ops - 1)).astype(np.int64))
