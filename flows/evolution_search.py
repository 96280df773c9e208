"""The cycles of an evolution whose fitness is the score of an architecture, each network run once."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console

from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.search import Draws, regularised_evolution
from sweetgrad.flows.evaluations import Evaluations
from sweetgrad.profiling import SearchSpace

__all__ = ["Search"]


class Search:
    """One search in progress.

    Attributes
    ----------
    archs, rows, scores
        Of each cycle so far: the architecture, its row in the profile, and its score, minus infinity where its network failed.
    """

    def __init__(
        self,
        evaluations: Evaluations,
        space: SearchSpace,
        interval: Interval,
        *,
        on_cycle: Callable[[], None],
        console: Console,
    ) -> None:
        self._evaluations, self._space, self._interval = evaluations, space, interval
        self._on_cycle, self._console = on_cycle, console
        self.archs: list[str] = []
        self.rows: list[int] = []
        self.scores: list[float] = []

    def evolve(self, draws: Draws, stop: threading.Event, *, cycles: int, population: int, tournament: int) -> None:
        """Go on until so many cycles are done, or ``stop`` is set; ``population`` and ``tournament`` as in `evolve`."""
        space: Any = self._space  # that it has `mutate` was asked before

        def first() -> NDArray[np.int64]:
            return self._cycle(space.arch_id(int(draws.integers(1, len(space))[0, 0])))

        def mutant(parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
            return self._cycle(space.mutate(self.archs[parent[0]], draws.streams[0])), 0.0

        regularised_evolution(
            draws,
            first=first,
            mutant=mutant,
            train=lambda child, _: self._fitness(self.archs[child[0]]),
            is_active=lambda: len(self.rows) < cycles and not stop.is_set(),
            population=population,
            tournament=tournament,
        )

    def history(self) -> xr.Dataset:
        """As in `Evolution`."""
        values = np.array(self.scores)
        is_new = [row not in self.rows[:cycle] for cycle, row in enumerate(self.rows)]
        return xr.Dataset(
            {
                "arch": ("cycle", np.array(self.archs, dtype=object)),
                "score": ("cycle", np.where(np.isfinite(values), values, np.nan)),
                "is_new": ("cycle", is_new),
            }
        )

    def _cycle(self, arch: str) -> NDArray[np.int64]:
        """An architecture is numbered by the cycle in which the search comes to it."""
        self.archs.append(arch)
        return np.array([len(self.archs) - 1])

    def _fitness(self, arch: str) -> NDArray[np.float64]:
        row = self._evaluations.run(arch)
        value = self._evaluations.score(row, self._interval)
        if value > max(self.scores, default=-np.inf):
            self._console.print(f"cycle {len(self.scores) + 1}: score {value:,.0f}", markup=False)
        self.rows.append(row)
        self.scores.append(value)
        self._on_cycle()
        return np.array([value])
