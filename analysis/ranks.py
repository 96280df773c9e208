"""The one kernel of rank correlation: Spearman's rho and Kendall's tau-b of arrays in memory, with ties as in scipy."""

import math
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Method", "correlate_ranks", "dense_ranks", "spearman_by_column", "spearman_within"]

Method: TypeAlias = Literal["spearman", "kendall"]


def dense_ranks(values: NDArray[Any]) -> NDArray[np.int64]:
    """Dense rank of every value from 0: all that a rank correlation needs, and ranking a resample is then counting.

    Examples
    --------
    >>> dense_ranks(np.array([0.3, 0.1, 0.3]))
    array([1, 0, 1])
    """
    return np.unique(values, return_inverse=True)[1]


def correlate_ranks(x: NDArray[np.int64], y: NDArray[np.int64], method: Method) -> float:
    """Rank correlation of two vectors of `dense_ranks`, or of a resample of both; NaN if one is constant.

    Examples
    --------
    >>> correlate_ranks(np.array([0, 1, 2]), np.array([0, 2, 1]), "spearman")
    0.5
    """
    if method == "spearman":
        return _pearson(_centred_ranks(x), _centred_ranks(y))
    if (x == x[0]).all() or (y == y[0]).all():
        return math.nan
    from scipy.stats import kendalltau  # half a second to import, so only where it is needed

    # The p-value is not used and the exact one is slow; the asymptotic one does not exist for two values.
    return float(kendalltau(x, y, method="asymptotic" if x.size > 2 else "auto").statistic)


def spearman_by_column(scores: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rho of every column with one vector; shape (n, k) and (n,) to (k,), 0 for a constant column."""
    # One contiguous column at a time: sorting needs no copy of the whole matrix.
    columns, trained = np.ascontiguousarray(scores.T), dense_ranks(accuracy)
    rho = np.array([correlate_ranks(dense_ranks(column), trained, "spearman") for column in columns])
    return np.asarray(np.nan_to_num(rho))  # a score that is the same for all architectures prefers none of them


def spearman_within(x: NDArray[np.float64], y: NDArray[np.float64], group: NDArray[np.float64]) -> float:
    """Mean of Spearman's rho within groups, weighted by their size; groups in which one side is constant are left out.

    Examples
    --------
    >>> spearman_within(np.array([1, 2, 3, 9, 8]), np.array([4, 5, 6, 1, 2]), np.array([0, 0, 0, 1, 1]))
    0.2
    """
    code, size = np.unique(group, return_inverse=True, return_counts=True)[1:]
    a, b = (_centred_ranks_within(values, code, size) for values in (x, y))
    product, aa, bb = (np.bincount(code, values, len(size)) for values in (a * b, a * a, b * b))
    varies = (aa > 0) & (bb > 0)
    if not varies.any():
        return math.nan
    return float(np.average(product[varies] / np.sqrt(aa[varies] * bb[varies]), weights=size[varies]))


def _centred_ranks(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank of every value, less the mean rank; ties get the mean of their places."""
    count = np.bincount(codes)
    rank = np.cumsum(count) - (count - 1) / 2
    return rank[codes] - (codes.size + 1) / 2


def _centred_ranks_within(
    x: NDArray[np.float64], code: NDArray[np.int64], size: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Rank of every value in its group, less the mean rank of the group."""
    # Ranks of the pairs (group, value): a group's ranks follow those of the groups before it.
    ranks = _centred_ranks(dense_ranks(code * (len(x) + 1) + dense_ranks(x)))
    return np.asarray(ranks - (np.bincount(code, ranks, len(size)) / size)[code])


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson correlation of two centred vectors; NaN if one is constant."""
    # einsum and not BLAS, whose threads cost more than they save on vectors as short as these.
    xx, yy, xy = (float(np.einsum("i,i->", p, q)) for p, q in ((x, x), (y, y), (x, y)))
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy))) if xx > 0 and yy > 0 else math.nan
