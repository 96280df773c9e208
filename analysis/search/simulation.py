"""Simulated search runs that advance in lockstep: their random streams, their budgets, and the grid of operations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark


class Draws:
    """Uniform random numbers for runs that advance in lockstep.

    The stream of a run depends only on the seed and on the number of the run: run 7 of 500 is the same as run 7 of 10, and its
    numbers are the same for every algorithm.

    Parameters
    ----------
    seed
        Seed, from 0 to 2**32 - 1.
    num_runs
        Number of runs, at least 1.

    Attributes
    ----------
    streams
        Random generator of each run.

    Examples
    --------
    >>> many, few = Draws(0, 5), Draws(0, 2)
    >>> bool((many.uniform(3)[:2] == few.uniform(3)).all())
    True
    """

    def __init__(self, seed: int, num_runs: int) -> None:
        if num_runs < 1:
            raise ValueError(f"expected at least one run, got {num_runs}")
        # RandomState, since NumPy guarantees that its stream never changes.
        self.streams = [np.random.RandomState([seed, run]) for run in range(num_runs)]

    def uniform(self, num: int) -> NDArray[np.float64]:
        """Next random numbers of every run in [0, 1); shape (run, num)."""
        return np.stack([stream.random_sample(num) for stream in self.streams])

    def integers(self, num: int, below: int) -> NDArray[np.int64]:
        """Next random integers of every run from 0 to ``below`` - 1; shape (run, num)."""
        return (self.uniform(num) * below).astype(np.int64)


@dataclass(frozen=True)
class SearchSettings:
    """Number and length of the search runs.

    Attributes
    ----------
    num_runs
        Number of independent runs.
    budget
        Simulated seconds of each run.
    seed
        Seed, which together with the number of a run determines its random numbers.
    """

    num_runs: int = 500
    budget: float = 12_000.0
    seed: int = 0


class Runs:
    """Simulated trainings of all runs of an algorithm.

    A training counts if it ends within the budget. The first one that does not ends its run, and later steps of that run are
    ignored. Training an architecture again is charged again, as in the searches on NAS-Bench-201.

    Parameters
    ----------
    benchmark, settings
        Search space and budget.
    scores
        Scores that the algorithm uses, if any; their ``setup_seconds`` are charged at the start.

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
            before = f" after {start:.0f} s for choosing the interval" if start else ""
            raise ValueError(
                f"a budget of {settings.budget:g} s is smaller than one training{before}: {benchmark.arch[slowest]} takes "
                f"{benchmark.seconds[slowest]:.1f} s; give at least {np.ceil(start + benchmark.seconds[slowest]):.0f}"
            )
        self._spent = np.full(settings.num_runs, start)
        self.active = np.ones(settings.num_runs, dtype=bool)
        self._rows: list[NDArray[np.int64]] = []
        self._seconds: list[NDArray[np.float64]] = []

    def train(self, rows: NDArray[np.int64], *, scoring: NDArray[np.float64] | float = 0.0) -> NDArray[np.float64]:
        """Train one architecture in each run, after ``scoring`` seconds of scoring; returns the fitness, shape (run,)."""
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
        """All trainings in order.

        Returns
        -------
        Dims (run, step): ``arch_index``, the row in the benchmark, -1 after the end of the run; ``seconds``, the simulated time
        at the end of the training, NaN after the end of the run.
        """
        data = {
            "arch_index": (("run", "step"), np.stack(self._rows, axis=1).astype(np.int32)),
            "seconds": (("run", "step"), np.stack(self._seconds, axis=1)),
        }
        return xr.Dataset(data)


def best_scored(candidates: NDArray[np.int64], scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best-scored candidate of each run (the first on a tie), and the time of scoring all candidates in seconds.

    Parameters
    ----------
    candidates
        Rows of the benchmark, shape (run, candidate).
    scores
        As returned by `search_scores`.

    Returns
    -------
    Both have shape (run,). Every candidate is charged, even if it was scored before.
    """
    chosen = scores.values[candidates].argmax(axis=1)
    return candidates[np.arange(len(candidates)), chosen], scores.seconds[candidates].sum(axis=1)


_OPERATION = re.compile(r"\|([^|~]+)~")

# Shape legend: A = architectures, E = edges of a cell; ... = any shape, such as (run, candidate).


class OperationGrid:
    """Every combination of operations on the edges of a cell, such as the 5^6 of NAS-Bench-201.

    Parameters
    ----------
    archs
        Architecture strings in any order, with ``|op~node|`` for each edge; every combination of operations must occur once.

    Attributes
    ----------
    operations
        Names of the operations, sorted; their positions are the codes.
    codes
        Operation of each edge, shape (architectures, edges).

    Raises
    ------
    ValueError
        If a string has another form, or a combination is missing or duplicated.

    Examples
    --------
    >>> grid = OperationGrid(["|a~0|+|a~0|", "|a~0|+|b~0|", "|b~0|+|a~0|", "|b~0|+|b~0|"])
    >>> grid.codes.tolist(), grid.rows(np.array([1, 0])).item()
    ([[0, 0], [0, 1], [1, 0], [1, 1]], 2)
    """

    def __init__(self, archs: Sequence[str]) -> None:
        cells = [_OPERATION.findall(arch) for arch in archs]
        widths = {len(cell) for cell in cells}
        if len(widths) != 1 or widths == {0}:
            odd = next(
                (arch for arch, cell in zip(archs, cells, strict=True) if len(cell) != len(cells[0]) or not cell), ""
            )
            raise ValueError(f"expected architectures of operations on the same edges, |op~node|…, got {odd!r}")
        self.operations = tuple(sorted({name for cell in cells for name in cell}))
        code = {name: number for number, name in enumerate(self.operations)}
        self.codes = np.array([[code[name] for name in cell] for cell in cells])
        self.num_ops, self.num_edges = len(self.operations), self.codes.shape[1]
        self._place = self.num_ops ** np.arange(self.num_edges)[::-1]
        self._number = self.codes @ self._place
        num_all = self.num_ops**self.num_edges
        if len(np.unique(self._number)) != len(archs) or len(archs) != num_all:
            raise ValueError(
                f"a search needs every combination of {self.num_ops} operations on {self.num_edges} edges, that is "
                f"{num_all:,} architectures; got {len(archs):,}, of which {len(np.unique(self._number)):,} are different"
            )
        self._row = np.empty(num_all, dtype=np.int64)
        self._row[self._number] = np.arange(num_all)

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self._row)

    def rows(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions in ``archs`` of the architectures with these codes; shape (..., E) to (...)."""
        rows: NDArray[np.int64] = self._row[codes @ self._place]
        return rows

    def mutate(self, rows: NDArray[np.int64], edge: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
        """Change the operation of one edge.

        Parameters
        ----------
        rows
            Architectures to start from, shape (...).
        edge
            The edge, from 0 to E - 1, shape (...).
        shift
            Which of the other operations, from 0 to the number of operations - 2, shape (...).

        Returns
        -------
        Neighbours, shape (...), which always differ from the given architectures.
        """
        old = self.codes[rows, edge]
        new = (old + 1 + shift) % self.num_ops
        neighbours: NDArray[np.int64] = self._row[self._number[rows] + (new - old) * self._place[edge]]
        return neighbours
