"""How well a score finds the best architectures, rather than orders all of them: nDCG, precision and regret of the k best."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.correlation import dense_ranks, paired_values, percentile_interval, resamples


@dataclass(frozen=True)
class SelectionQuality:
    """A measure of the ``k`` best scores of ``num_archs`` architectures, and its bootstrap interval ``[low, high]``."""

    value: float
    low: float
    high: float
    num_archs: int
    k: int
    measure: str

    def __str__(self) -> str:
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"{self.measure}@{self.k} {self.value:.3f} {interval} over {self.num_archs} architectures"


def ndcg(
    scores: xr.DataArray,
    accuracy: xr.DataArray,
    k: int,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> SelectionQuality:
    r"""Normalised discounted cumulative gain of the ``k`` best scores (Tybl & Neumann, VKDNW, CVPR 2025, Eq. 14).

    .. math:: \mathrm{nDCG}_k = \frac{1}{Z} \sum_{j=1}^{k} \frac{2^{acc_j} - 1}{\log_2 (1 + j)}

    where acc_j is the accuracy in per cent of the architecture with the j-th best score, and Z is the sum of the k best
    accuracies in their own order. One per cent of accuracy doubles the gain, so only the few best architectures count.
    (``sklearn.metrics.ndcg_score`` of the accuracies themselves, without the power of 2, is above 0.9 for nearly any score.)

    Parameters
    ----------
    scores
        Dims ``(arch,)`` with architecture strings as coordinate, greater is better; ``-inf`` is last, NaN is left out. Equal
        scores share the mean of their gains, which is the expected value over their orders, as in scikit-learn.
    accuracy
        Dims ``(arch,)``, per cent in [0, 100], in any order of architectures; NaN is left out.
    k
        How many architectures are selected.
    bootstrap, seed, level
        As in `rank_correlation`: resamples of the architectures, and the coverage of the interval. On 15,625 architectures 1,000
        resamples take less than a second.

    Returns
    -------
    `SelectionQuality`, in [0, 1]: 1 if the k best are in the right order.

    Raises
    ------
    ValueError
        If ``k`` is not between 1 and the number of architectures with both values, accuracies are not in per cent, ``level`` or
        ``bootstrap`` is out of range, an architecture occurs twice, or no architecture is in both.

    Examples
    --------
    Figure 2 of the paper: the two best architectures are only in places 3 and 4. Spearman's rho is 0.90.

    >>> accuracy = xr.DataArray([80.0, 70, 100, 90, 60, 50, 40, 30, 20, 10], {"arch": list("abcdefghij")}, "arch")
    >>> scores = accuracy.copy(data=[10, 9, 8, 7, 6, 5, 4, 3, 2, 1])
    >>> round(ndcg(scores, accuracy, 10, bootstrap=0).value, 2)
    0.5
    """
    return _measure(_ndcg, "ndcg", scores, accuracy, k, bootstrap, seed, level)


def precision_at(
    scores: xr.DataArray,
    accuracy: xr.DataArray,
    k: int,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> SelectionQuality:
    """Share of the ``k`` best by score that are among the ``k`` best by accuracy.

    An architecture with the accuracy of the k-th best is among them. If only some of several equal scores can be among the k
    best, the value is the expected one over their orders.

    Parameters
    ----------
    scores, accuracy, k, bootstrap, seed, level
        As in `ndcg`.

    Returns
    -------
    `SelectionQuality`, in [0, 1]; scores that know nothing come to k / number of architectures.

    Raises
    ------
    ValueError
        As in `ndcg`.

    Examples
    --------
    >>> scores = xr.DataArray([4.0, 3.0, 2.0, 1.0], {"arch": list("abcd")}, "arch")
    >>> precision_at(scores, scores.copy(data=[92.0, 90.0, 93.0, 91.0]), 2, bootstrap=0).value
    0.5
    """
    return _measure(_precision, "precision", scores, accuracy, k, bootstrap, seed, level)


def regret_at(
    scores: xr.DataArray,
    accuracy: xr.DataArray,
    k: int,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> SelectionQuality:
    """Best accuracy of all, less the best accuracy among the ``k`` best by score: what training only those k costs.

    If only some of several equal scores can be among the k best, the value is the expected one over their orders.

    Parameters
    ----------
    scores, accuracy, k, bootstrap, seed, level
        As in `ndcg`. A resample leaves out a third of the architectures, often the best one among them, so the interval says how
        the regret varies between samples of the space, rather than how well it is known for this one.

    Returns
    -------
    `SelectionQuality`, in percentage points, 0 or more; 0 if the best architecture is selected.

    Raises
    ------
    ValueError
        As in `ndcg`.

    Examples
    --------
    >>> scores = xr.DataArray([4.0, 3.0, 2.0, 1.0], {"arch": list("abcd")}, "arch")
    >>> regret_at(scores, scores.copy(data=[92.0, 90.0, 93.0, 91.0]), 2, bootstrap=0).value
    1.0
    """
    return _measure(_regret, "regret", scores, accuracy, k, bootstrap, seed, level)


@dataclass(frozen=True)
class _Order:
    """Architectures sorted from the best value to the worst, in groups of equal values."""

    order: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "_Order":
        codes = dense_ranks(values)
        order = np.argsort(-codes, kind="stable")
        return cls(order, np.flatnonzero(np.diff(codes[order], prepend=-1)))

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the values of each group."""
        return np.asarray(np.add.reduceat(values[self.order], self.start))

    def members(self, group: int) -> NDArray[np.int64]:
        return self.order[self.start[group] : (*self.start, self.order.size)[group + 1]]


@dataclass(frozen=True)
class _Pairs:
    """Scores and accuracies of the same architectures, sorted once: a resample only says how often each of them was drawn."""

    accuracy: NDArray[np.float64]
    by_score: _Order
    by_accuracy: _Order
    k: int


_Measure = Callable[[_Pairs, NDArray[np.float64]], float]


def _measure(
    function: _Measure,
    name: str,
    scores: xr.DataArray,
    accuracy: xr.DataArray,
    k: int,
    bootstrap: int,
    seed: int,
    level: float,
) -> SelectionQuality:
    for which, array in (("scores", scores), ("accuracy", accuracy)):
        if array.ndim != 1:
            raise ValueError(f"{which} must have the dims (arch,), got {array.dims}: select one entry of the others")
    x, y = paired_values(scores, accuracy)
    kept = ~(np.isnan(x) | np.isnan(y))
    x, y = x[kept], y[kept]
    if not 1 <= k <= y.size:
        raise ValueError(f"k must be from 1 to the {y.size} architectures that have a score and an accuracy, got {k}")
    if y.min() < 0 or y.max() > 100:
        raise ValueError(f"accuracies must be in %, from 0 to 100, got {y.min()} to {y.max()}")
    pairs = _Pairs(y, _Order.of(x), _Order.of(y), int(k))
    drawn = (np.bincount(rows, minlength=y.size).astype(np.float64) for rows in resamples(y.size, bootstrap, seed))
    low, high = percentile_interval((function(pairs, counts) for counts in drawn), level)
    return SelectionQuality(function(pairs, np.ones(y.size)), low, high, y.size, int(k), name)


def _places(order: _Order, counts: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Number of members of each group, and the first k places that are filled after it."""
    num = order.sums(counts)
    return num, np.minimum(np.cumsum(num), k).astype(np.int64)


def _ndcg(pairs: _Pairs, counts: NDArray[np.float64]) -> float:
    gain = counts * (2.0**pairs.accuracy - 1)
    best = _dcg(pairs.by_accuracy, counts, gain, pairs.k)
    return _dcg(pairs.by_score, counts, gain, pairs.k) / best if best > 0 else np.nan


def _dcg(order: _Order, counts: NDArray[np.float64], gain: NDArray[np.float64], k: int) -> float:
    num, filled = _places(order, counts, k)
    discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    # Equal scores share their places: each has the mean gain at all of them.
    mean = np.divide(order.sums(gain), num, out=np.zeros_like(num), where=num > 0)
    return float(np.einsum("i,i->", mean, np.diff(discount[filled], prepend=0.0)))


def _precision(pairs: _Pairs, counts: NDArray[np.float64]) -> float:
    last = int(np.argmax(_places(pairs.by_accuracy, counts, pairs.k)[1] == pairs.k))
    threshold = pairs.accuracy[pairs.by_accuracy.order[pairs.by_accuracy.start[last]]]
    num, filled = _places(pairs.by_score, counts, pairs.k)
    good = pairs.by_score.sums(counts * (pairs.accuracy >= threshold))
    share = np.divide(np.diff(filled, prepend=0), num, out=np.zeros_like(num), where=num > 0)
    return float(np.einsum("i,i->", share, good) / pairs.k)


def _regret(pairs: _Pairs, counts: NDArray[np.float64]) -> float:
    filled = _places(pairs.by_score, counts, pairs.k)[1]
    last = int(np.argmax(filled == pairs.k))
    sure = pairs.by_score.order[: pairs.by_score.start[last]]
    sure_best = pairs.accuracy[sure[counts[sure] > 0]].max(initial=-np.inf)
    tied = pairs.by_score.members(last)
    accuracies = np.sort(np.repeat(pairs.accuracy[tied], counts[tied].astype(np.int64)))[::-1]
    chosen = pairs.k - (filled[last - 1] if last else 0)
    # Differences and then their mean: exactly 0 where the best is selected for sure.
    missed = pairs.accuracy[counts > 0].max() - np.maximum(accuracies, sure_best)
    return float(np.einsum("i,i->", missed, _is_best_of(chosen, accuracies.size)))


def _is_best_of(chosen: int, num: int) -> NDArray[np.float64]:
    """Probability that each of ``num`` sorted values is the greatest of ``chosen`` that are drawn without replacement.

    Examples
    --------
    >>> _is_best_of(2, 3).round(3)
    array([0.667, 0.333, 0.   ])
    """
    drawn = np.minimum(chosen / np.arange(num, 0, -1), 1.0)  # if none of those before was drawn
    return np.asarray(drawn * np.concatenate([[1.0], np.cumprod(1 - drawn)[:-1]]))
