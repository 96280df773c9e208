"""Rank correlation of a score, of every interval, of every pair of thresholds (Fig. 2): the one Spearman and Kendall kernel."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, interval_coords
from sweetgrad.analysis.intervals import Interval, IntervalGrid, Intervals, as_intervals
from sweetgrad.analysis.scores import score

Method: TypeAlias = Literal["spearman", "kendall"]


def dense_ranks(values: NDArray[Any]) -> NDArray[np.int64]:
    """Dense rank of every value, from 0; ranking a resample then only takes counting.

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
    from scipy.stats import kendalltau  # takes half a second to import

    # The p-value is not used and the exact one is slow; the asymptotic one does not exist for two values.
    return float(kendalltau(x, y, method="asymptotic" if x.size > 2 else "auto").statistic)


def spearman_by_column(scores: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rho of every column with one vector; shape (n, k) and (n,) to (k,), 0 for a constant column."""
    # One contiguous column at a time: sorting needs no copy of the whole matrix.
    columns, trained = np.ascontiguousarray(scores.T), dense_ranks(accuracy)
    rho = np.array([correlate_ranks(dense_ranks(column), trained, "spearman") for column in columns])
    return np.asarray(np.nan_to_num(rho))  # a score that is the same for all architectures prefers none of them


def spearman_within(x: NDArray[np.float64], y: NDArray[np.float64], group: NDArray[np.float64]) -> float:
    """Mean of Spearman's rho within groups, weighted by their size; groups in which either side is constant are skipped.

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


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation in [-1, 1], its bootstrap confidence interval ``[low, high]``, and the number of architectures."""

    correlation: float
    low: float
    high: float
    num_archs: int
    method: Method

    def __str__(self) -> str:
        return f"{self.method} {self.correlation:.3f} [{self.low:.3f}, {self.high:.3f}] over {self.num_archs} architectures"


def rank_correlation(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    method: Method = "spearman",
    bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> RankCorrelation:
    """Rank correlation of two quantities over their common architectures, with a bootstrap percentile interval.

    Parameters
    ----------
    a, b
        Dims ``(arch,)`` with architecture strings as coordinate, in any order; NaN in either drops the pair.
    method
        ``"spearman"``, or ``"kendall"`` (tau-b). Ties are treated, and results are, as in scipy.
    bootstrap, seed
        Resamples of the architectures, and the seed of their draw; 0 leaves the interval NaN. On 15,625 architectures 1,000
        resamples take about half a second for Spearman and three for Kendall.
    level
        Coverage of the interval, in (0, 1).

    Returns
    -------
    `RankCorrelation`. NaN where one side is constant, as in scipy; constant resamples are skipped.

    Raises
    ------
    ValueError
        If ``method`` is unknown, ``level`` is not in (0, 1), ``bootstrap`` is negative, an architecture occurs twice, no
        architecture is in both, or fewer than 2 pairs remain.

    Examples
    --------
    >>> a = xr.DataArray([1.0, 2.0, 3.0, 4.0], {"arch": ["p", "q", "r", "s"]}, "arch")
    >>> b = xr.DataArray([9.0, 7.0, 5.0], {"arch": ["s", "r", "q"]}, "arch")
    >>> rank_correlation(a, b, bootstrap=10).correlation
    1.0
    """
    _check_method(method)
    x, y = paired_values(a, b)
    kept = ~(np.isnan(x) | np.isnan(y))
    _require_pairs(int(kept.sum()))
    x_ranks, y_ranks = dense_ranks(x[kept]), dense_ranks(y[kept])
    resampled = (correlate_ranks(x_ranks[i], y_ranks[i], method) for i in resamples(x_ranks.size, bootstrap, seed))
    low, high = percentile_interval(resampled, level)
    return RankCorrelation(correlate_ranks(x_ranks, y_ranks, method), low, high, x_ranks.size, method)


def correlation_by_interval(
    profile: xr.Dataset,
    accuracy: xr.DataArray,
    grid: Intervals = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    method: Method = "spearman",
    kind: Kind = "weight",
) -> xr.DataArray:
    """Rank correlation of the score in every interval with accuracy.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`; only ``grad_count_network`` and ``status`` are read.
    accuracy
        Dims ``(arch,)``, per cent, with architecture strings as coordinate.
    grid
        Intervals to try.
    method, kind
        As in `rank_correlation` and `score`.

    Returns
    -------
    Dims ``(interval,)``, in [-1, 1]; NaN where every architecture has the same score. ``num_archs`` is in the attributes.

    Raises
    ------
    ValueError
        As in `rank_correlation`.
    """
    _check_method(method)
    pieces = as_intervals(grid)
    scores = score(profile, pieces, kind=kind)
    x, y = paired_values(scores, accuracy)
    # A row is NaN in all intervals or in none: it was measured or not.
    kept = ~(np.isnan(x[:, 0]) | np.isnan(y))
    _require_pairs(int(kept.sum()))
    # One contiguous column at a time: sorting needs no copy of the whole matrix.
    columns, y_ranks = np.ascontiguousarray(x[kept].T), dense_ranks(y[kept])
    values = np.array([correlate_ranks(dense_ranks(column), y_ranks, method) for column in columns])
    attrs = {"units": "1", "method": method, "num_archs": int(kept.sum())}
    return xr.DataArray(values, interval_coords(pieces), "interval", name="correlation", attrs=attrs)


def heatmap(
    profile: xr.Dataset,
    accuracy: xr.DataArray,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    method: Method = "spearman",
    kind: Kind = "weight",
) -> xr.DataArray:
    """Rank correlation of the score with accuracy for every pair of thresholds t1 < t2 of a grid (Fig. 2).

    Parameters
    ----------
    profile, accuracy, method, kind
        As in `correlation_by_interval`.
    grid
        The grid whose thresholds are paired.

    Returns
    -------
    Dims ``(lower, upper)`` with the thresholds as coordinates, in [-1, 1]; NaN where ``lower >= upper``.

    Raises
    ------
    ValueError
        As in `rank_correlation`.
    """
    thresholds = grid.thresholds
    pairs = list(combinations(range(len(thresholds)), 2))
    intervals = [Interval(thresholds[i], thresholds[j]) for i, j in pairs]
    values = correlation_by_interval(profile, accuracy, intervals, method=method, kind=kind)
    table = np.full((len(thresholds) - 1, len(thresholds) - 1), np.nan)
    for (i, j), value in zip(pairs, values.values, strict=True):
        table[i, j - 1] = value
    edges = np.array([float(threshold) for threshold in thresholds])
    coords = {"lower": edges[:-1], "upper": edges[1:]}
    return xr.DataArray(table, coords, ("lower", "upper"), name="correlation", attrs=values.attrs)


def percentile_interval(resampled: Iterable[float], level: float) -> tuple[float, float]:
    """The bootstrap percentile interval of a statistic of resamples; NaN values are skipped, and it is NaN if none is left.

    Examples
    --------
    >>> percentile_interval([1.0, 2.0, math.nan, 3.0], 0.5)
    (1.5, 2.5)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}: 0.95 stands for 95 %")
    values = [value for value in resampled if not np.isnan(value)]
    if not values:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def paired_values(a: xr.DataArray, b: xr.DataArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of both at the architectures that both have, in the order of ``a``."""
    first, second = _arch_index(a, "first"), _arch_index(b, "second")
    position = second.get_indexer(first)
    in_both = position >= 0
    if not in_both.any():
        raise ValueError(
            f"no architecture is in both: the first starts with {list(first[:2])}, the second with {list(second[:2])}"
        )
    a_values = np.asarray(a.transpose("arch", ...).values, dtype=np.float64)
    b_values = np.asarray(b.values, dtype=np.float64)
    return a_values[in_both], b_values[position[in_both]]


def _arch_index(array: xr.DataArray, which: str) -> "pd.Index[Any]":
    if "arch" not in array.coords or "arch" not in array.dims:
        raise ValueError(f"the {which} array needs a dimension arch with architecture strings, got dims {array.dims}")
    index: pd.Index[Any] = array.indexes["arch"]
    if not index.is_unique:
        raise ValueError(
            f"architecture {index[index.duplicated()][0]!r} occurs more than once in the {which} array: keep one row of each"
        )
    return index


def _check_method(method: str) -> None:
    if method not in ("spearman", "kendall"):
        raise ValueError(f"method must be 'spearman' or 'kendall', got {method!r}")


def _require_pairs(num: int) -> None:
    if num < 2:
        raise ValueError(
            f"a rank correlation needs at least 2 architectures with both values, got {num}: profile more of them"
        )


def resamples(num: int, bootstrap: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices of ``bootstrap`` resamples of ``num`` architectures, the same for every statistic."""
    if bootstrap < 0:
        raise ValueError(f"bootstrap must be 0 or more resamples, got {bootstrap}")
    random = np.random.RandomState(seed)
    return (random.randint(0, num, num) for _ in range(bootstrap))
