"""A search space in which every edge of a cell has one of the same operations: neighbours by arithmetic on indices."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["OperationGrid"]

_OPERATION = re.compile(r"\|([^|~]+)~")

# Shape legend: A = architectures, E = edges of a cell; ... = any shape, such as (run, candidate).


class OperationGrid:
    """Every combination of operations on the edges of a cell, such as the 5^6 of NAS-Bench-201.

    Parameters
    ----------
    archs
        Architecture strings, in any order: ``|op~node|`` for each edge, in which every combination of operations occurs once.

    Attributes
    ----------
    operations
        Names of the operations, sorted; their places are the codes.
    codes
        Operation of each edge, shape (architectures, edges).

    Raises
    ------
    ValueError
        If a string is of another form, or a combination is missing or there twice.

    Examples
    --------
    >>> grid = OperationGrid(["|a~0|+|a~0|", "|a~0|+|b~0|", "|b~0|+|a~0|", "|b~0|+|b~0|"])
    >>> grid.codes.tolist(), grid.rows(np.array([1, 0])).item()
    ([[0, 0], [0, 1], [1, 0], [1, 1]], 2)
    """

    def __init__(self, archs: Sequence[str]) -> None:
        names = [_OPERATION.findall(arch) for arch in archs]
        widths = {len(each) for each in names}
        if len(widths) != 1 or widths == {0}:
            odd = next(
                (arch for arch, each in zip(archs, names, strict=True) if len(each) != len(names[0]) or not each), ""
            )
            raise ValueError(f"expected architectures of operations on the same edges, |op~node|…, got {odd!r}")
        self.operations = tuple(sorted({name for each in names for name in each}))
        code = {name: number for number, name in enumerate(self.operations)}
        self.codes = np.array([[code[name] for name in each] for each in names])
        self.num_ops, self.num_edges = len(self.operations), self.codes.shape[1]
        self._place = self.num_ops ** np.arange(self.num_edges)[::-1]
        self._number = self.codes @ self._place
        num_all = self.num_ops**self.num_edges
        if len(np.unique(self._number)) != len(archs) or len(archs) != num_all:
            raise ValueError(
                f"a search moves through every combination of {self.num_ops} operations on {self.num_edges} edges, which are "
                f"{num_all:,} architectures; got {len(archs):,}, of which {len(np.unique(self._number)):,} are different"
            )
        self._row = np.empty(num_all, dtype=np.int64)
        self._row[self._number] = np.arange(num_all)

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self._row)

    def rows(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place among ``archs`` of the architectures with these codes; shape (..., E) to (...)."""
        found: NDArray[np.int64] = self._row[codes @ self._place]
        return found

    def mutate(self, rows: NDArray[np.int64], edge: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give one edge another operation.

        Parameters
        ----------
        rows
            Architectures to start from, shape (...).
        edge
            The edge, in 0 to E - 1, shape (...).
        shift
            Which of the other operations, in 0 to the number of operations - 2, shape (...).

        Returns
        -------
        Neighbours, shape (...): never the architecture itself.
        """
        old = self.codes[rows, edge]
        new = (old + 1 + shift) % self.num_ops
        found: NDArray[np.int64] = self._row[self._number[rows] + (new - old) * self._place[edge]]
        return found
