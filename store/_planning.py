"""A shard, the unit of work, and which of its rows are left to run: no store is read here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.format.schema import STATUS


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of a profile, of which ``rows`` (positions in the profile, ascending) are to be run.

    ``rows`` is a `range` if it has no gap, else a tuple: the plan of a whole space takes no memory to speak of.
    """

    index: int
    start: int
    stop: int
    rows: Sequence[int]

    def __post_init__(self) -> None:
        """Bring ``rows`` into its one form."""
        rows = self.rows
        without_gap = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        object.__setattr__(self, "rows", range(rows[0], rows[-1] + 1) if without_gap else tuple(rows))

    def without(self, done: NDArray[np.bool_]) -> Self:
        """The shard without the rows to run that are done; ``done`` says so of each row of the shard, shape (stop - start,)."""
        return replace(self, rows=tuple(row for row in self.rows if not done[row - self.start]))


def rows_by_shard(to_run: NDArray[np.bool_], shard_size: int) -> list[Shard]:
    """A `Shard` of ``shard_size`` rows for each that has rows to run; ``to_run`` says so of each row, shape (arch,).

    Examples
    --------
    >>> rows_by_shard(np.array([False, False, True, True, False]), shard_size=2)
    [Shard(index=1, start=2, stop=4, rows=range(2, 4))]
    """
    shards = []
    for index, start in enumerate(range(0, len(to_run), shard_size)):
        stop = min(start + shard_size, len(to_run))
        positions = start + np.flatnonzero(to_run[start:stop])
        if positions.size:
            shards.append(Shard(index, start, stop, positions.tolist()))
    return shards


def is_done(status: NDArray[np.uint8], *, retry_failed: bool) -> NDArray[np.bool_]:
    """Whether nothing is left to run, row by row; a failed row is left only if it is to be tried again."""
    return np.isin(status, [STATUS["ok"]] if retry_failed else [STATUS["ok"], STATUS["failed"]])
