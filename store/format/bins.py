r"""The bins of every histogram: 342 exact rational edges from 1e-10 to 10.

The edges are :math:`\frac{j}{s} 10^{k+1}` for ``s`` in 1..10, ``1 <= j <= s``, ``j/s > 1/10`` and ``k`` in -10..0, together
with 1e-10. Every interval of the paper's triplets (max, min, split) with split 1 to 10 is a union of bins, so its count is exact.

Bins, in order: ``g == 0`` | ``0 < g < 1e-10`` | 341 half-open bins ``[edge[i], edge[i + 1])`` | ``10 <= g < inf`` | not finite,
where ``g = abs(dJ/dtheta)``. Exact zeros have a bin of their own because weights on a path that never reaches the output have
gradient exactly 0; the number of the other, live parameters is a strong baseline.
"""

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

_FRACTIONS = sorted({Fraction(j, s) for s in range(1, 11) for j in range(1, s + 1) if Fraction(j, s) > Fraction(1, 10)})

EDGES: tuple[Fraction, ...] = (
    Fraction(1, 10**10),
    *(f * Fraction(10) ** (k + 1) for k in range(-10, 1) for f in _FRACTIONS),
)
"""The exact edges, ascending, in units of ``abs(dJ/dtheta)``."""

NUM_BINS = len(EDGES) + 3
"""Length of the ``bin`` dimension."""


@cache
def edges_f32() -> NDArray[np.float32]:
    """Edges rounded to float32, the precision in which gradients are compared; shape (342,), read-only.

    Examples
    --------
    >>> edges_f32()[[0, -1]]
    array([1.e-10, 1.e+01], dtype=float32)
    """
    # Fraction -> float64 -> float32 rounds twice; no edge lies close enough to a float32 midpoint for that to matter.
    edges = np.array([float(edge) for edge in EDGES], dtype=np.float64).astype(np.float32)
    edges.setflags(write=False)
    return edges


def bin_bounds() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower (inclusive) and upper (exclusive) bound of every bin; two arrays of shape (345,), NaN for the last bin.

    Each bound is the float64 nearest to its exact edge. Gradients are compared in float32 with the float32 nearest to it
    (`edges_f32`), so round both sides to float32 before comparing with these bounds. The first bin has exact zeros only, and both
    its bounds are 0.

    Examples
    --------
    >>> lower, upper = bin_bounds()
    >>> [(float(lower[i]), float(upper[i])) for i in (0, 1, -2, -1)]
    [(0.0, 0.0), (0.0, 1e-10), (10.0, inf), (nan, nan)]
    """
    edges = np.array([float(edge) for edge in EDGES])
    lower = np.concatenate([[0.0, 0.0], edges, [np.nan]])
    upper = np.concatenate([[0.0], edges, [np.inf, np.nan]])
    return lower, upper


_BIN_OF_EDGE = {Fraction(0): 0, **{edge: i + 2 for i, edge in enumerate(EDGES)}}


def threshold_bin(threshold: Fraction) -> int | None:
    """Index of the first bin whose values are all ``>= threshold``; None if the threshold is not an edge.

    Examples
    --------
    >>> threshold_bin(Fraction(0)), threshold_bin(Fraction(1, 10**10)), threshold_bin(Fraction(10)), threshold_bin(Fraction(11))
    (0, 2, 343, None)
    """
    return _BIN_OF_EDGE.get(threshold)
