"""The trainings of many runs that advance in step, each with its own account of simulated time."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark

__all__ = ["Runs", "SearchSettings", "best_scored"]


@dataclass(frozen=True)
class SearchSettings:
    """How often and how long to search.

    Attributes
    ----------
    num_runs
        Independent runs.
    budget
        Simulated seconds of each.
    seed
        With the number of a run, it decides all that the run draws.
    """

    num_runs: int = 500
    budget: float = 12_000.0
    seed: int = 0


class Runs:
    """Trainings of all runs of an algorithm.

    A training counts if it ends within the budget; the first that does not ends its run, and what an algorithm does with that run
    later leaves no trace. Training an architecture again is paid again, as in the searches on NAS-Bench-201.

    Parameters
    ----------
    benchmark, settings
        What is searched, and for how long.
    scores
        The estimator that the algorithm asks, if any: its ``setup_seconds`` are paid at once.

    Attributes
    ----------
    active
        Runs that have not ended, shape (run,).

    Raises
    ------
    ValueError
        If the budget is smaller than one training, or not finite.
    """

    def __init__(self, benchmark: SearchBenchmark, settings: SearchSettings, scores: Scores | None = None) -> None:
        self._benchmark, self._budget = benchmark, settings.budget
        start = scores.setup_seconds if scores is not None else 0.0
        if not np.isfinite(settings.budget):
            raise ValueError(f"the budget must be a number of seconds, got {settings.budget}")
        slowest = int(benchmark.seconds.argmax())
        if start + benchmark.seconds[slowest] > settings.budget:
            before = f" after {start:.0f} s that choose the interval" if start else ""
            raise ValueError(
                f"a budget of {settings.budget:g} s is smaller than one training{before}: {benchmark.arch[slowest]} takes "
                f"{benchmark.seconds[slowest]:.1f} s; give at least {np.ceil(start + benchmark.seconds[slowest]):.0f}"
            )
        self._spent = np.full(settings.num_runs, start)
        self.active = np.ones(settings.num_runs, dtype=bool)
        self._rows: list[NDArray[np.int64]] = []
        self._seconds: list[NDArray[np.float64]] = []

    def train(self, rows: NDArray[np.int64], *, scoring: NDArray[np.float64] | float = 0.0) -> NDArray[np.float64]:
        """Train one architecture in each run, after ``scoring`` seconds of estimating; returns its fitness, shape (run,)."""
        spent = self._spent + scoring + self._benchmark.seconds[rows]
        fits = self.active & (spent <= self._budget)
        if not self._rows and not fits.all():
            raise ValueError(
                f"a budget of {self._budget:g} s is smaller than one training with its scores, which takes {spent.max():.1f} s"
            )
        self.active, self._spent = fits, np.where(fits, spent, self._spent)
        if fits.any():
            self._rows.append(np.where(fits, rows, -1))
            self._seconds.append(np.where(fits, spent, np.nan))
        fitness: NDArray[np.float64] = self._benchmark.fitness[rows]
        return fitness

    def history(self) -> xr.Dataset:
        """All trainings in their order.

        Returns
        -------
        Dims (run, step): ``arch_index``, the row of the benchmark, -1 after the end of the run; ``seconds``, the simulated time
        at which the training ended, NaN there.
        """
        data = {
            "arch_index": (("run", "step"), np.stack(self._rows, axis=1).astype(np.int32)),
            "seconds": (("run", "step"), np.stack(self._seconds, axis=1)),
        }
        return xr.Dataset(data)


def best_scored(candidates: NDArray[np.int64], scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best-scored candidate of each run, the first on a tie, and the seconds of scoring them all.

    Parameters
    ----------
    candidates
        Rows of the benchmark, shape (run, candidate).
    scores
        As from `search_scores`.

    Returns
    -------
    Both of shape (run,). Every candidate is paid for, also one that was scored before.
    """
    chosen = scores.values[candidates].argmax(axis=1)
    return candidates[np.arange(len(candidates)), chosen], scores.seconds[candidates].sum(axis=1)
