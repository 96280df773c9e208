"""Rules that choose an interval, judged on architectures that had no part in the choice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.best_interval import sweetest
from sweetgrad.analysis.correlation import spearman_by_column
from sweetgrad.analysis.intervals import Interval, IntervalGrid, sliding_windows
from sweetgrad.store.pages import with_interval

PAPER = "split 2"
"""The paper's rule."""


def _union_of_splits() -> list[Interval]:
    intervals = {interval for split in range(1, 11) for interval in IntervalGrid(split=split)}
    return sorted(intervals, key=lambda interval: (interval.lower, interval.upper))


GRIDS: Mapping[str, Sequence[Interval]] = {
    PAPER: IntervalGrid().intervals,
    **{f"split {split}": IntervalGrid(split=split).intervals for split in (1, 3, 5, 10)},
    "splits 1 to 10 at once": _union_of_splits(),
    **{f"sliding, ratio {ratio}": sliding_windows(ratio) for ratio in (2, 3, 5, 10)},
}
"""Sets of intervals to choose from, each in the order in which ties are broken."""


@cache
def candidates() -> tuple[Interval, ...]:
    """Every interval of every grid, once."""
    return tuple(dict.fromkeys(interval for grid in GRIDS.values() for interval in grid))


@dataclass(frozen=True)
class Chooser:
    """A way to choose: the sweetest interval of a grid, by the sweetness of some architectures.

    Attributes
    ----------
    grid
        Name in `GRIDS`.
    sweetness
        Dims ``(arch, interval)``, maybe averaged over profiles; None for that of the profile that is judged.
    num_archs
        Architectures that choose.
    """

    grid: str = PAPER
    sweetness: xr.DataArray | None = None
    num_archs: int = 100


def judge(
    sample: xr.Dataset, choosers: Mapping[str, Chooser], *, replicates: int = 100, draws: int = 50, seed: int = 0
) -> xr.Dataset:
    """Let every chooser choose, and correlate the score in what it chose with accuracy, on other architectures.

    In each replicate the architectures fall at random into two halves. ``draws`` random subsets of the first half choose; the
    correlations are those on a bootstrap resample of the second half.

    Parameters
    ----------
    sample
        As returned by `read_candidates`.
    choosers
        By name. All get the same halves and nested subsets, so that their differences are paired.
    replicates, draws, seed
        Halves and resamples; subsets in each; the seed of both.

    Returns
    -------
    ``correlation`` (chooser, replicate): Spearman, mean over draws; ``unlucky`` (chooser): its 5 % quantile over all draws;
    ``win_rate`` (chooser, interval): share of the draws in which the interval was chosen. Without accuracies the first two are
    NaN.

    Raises
    ------
    ValueError
        If a half holds fewer architectures than a chooser needs.
    """
    num_archs, num_intervals = sample.sizes["arch"], sample.sizes["interval"]
    half = num_archs // 2
    needed = max(chooser.num_archs for chooser in choosers.values())
    if half < needed:
        raise ValueError(f"expected two halves of at least {needed} architectures, got {num_archs} in all")
    random = np.random.RandomState(seed)
    has_accuracy = bool(sample["accuracy"].notnull().any())
    chosen = np.empty((len(choosers), replicates, draws), dtype=np.int64)
    correlation = np.full(chosen.shape, np.nan)
    for replicate in range(replicates):
        order = random.permutation(num_archs)
        # The architectures with the smallest ranks are a subset: nested, whatever its size.
        rank = random.rand(draws, half).argsort(axis=1)
        chosen[:, replicate] = _choices(sample, choosers.values(), order[:half], rank)
        if has_accuracy:
            resample = random.choice(order[half:], num_archs - half)
            correlation[:, replicate] = _correlations(sample, chosen[:, replicate], resample)
    wins = [np.bincount(columns.ravel(), minlength=num_intervals) for columns in chosen]
    return xr.Dataset(
        {
            "correlation": (("chooser", "replicate"), correlation.mean(axis=2)),
            "unlucky": ("chooser", np.quantile(correlation.reshape(len(choosers), -1), 0.05, axis=1)),
            "win_rate": (("chooser", "interval"), np.array(wins) / (replicates * draws)),
        },
        {"chooser": list(choosers), "interval": sample["interval"].values},
    )


def _choices(
    sample: xr.Dataset, choosers: Collection[Chooser], archs: NDArray[np.int64], rank: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Column of the interval that each chooser chooses from each subset; shapes (half,) and (draw, half) to (chooser, draw)."""
    chosen = np.empty((len(choosers), len(rank)), dtype=np.int64)
    means: dict[tuple[int, int], NDArray[np.float64]] = {}  # choosers that differ in their grid alone share one
    for row, chooser in enumerate(choosers):
        key = id(chooser.sweetness), chooser.num_archs
        if key not in means:
            sweetness = sample["sweetness"] if chooser.sweetness is None else chooser.sweetness
            means[key] = mean_sweetness(sweetness.values[archs], rank < chooser.num_archs)
        columns = columns_of(chooser.grid)
        chosen[row] = columns[sweetest(means[key][:, columns])]
    return chosen


def _correlations(sample: xr.Dataset, chosen: NDArray[np.int64], archs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spearman's correlation with accuracy of the score in each chosen interval, among ``archs``; shape as ``chosen``."""
    accuracy = sample["accuracy"].values
    archs = archs[~np.isnan(accuracy[archs])]
    columns, position = np.unique(chosen, return_inverse=True)
    correlation = spearman_by_column(sample["score"].values[np.ix_(archs, columns)], accuracy[archs])
    return correlation[position.reshape(chosen.shape)]


def mean_sweetness(sweetness: NDArray[np.float64], subsets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Outer mean of Eq. 3 for many subsets at once; shapes (arch, interval) and (subset, arch) to (subset, interval)."""
    return np.asarray(subsets.astype(np.float64) @ sweetness / subsets.sum(axis=1, keepdims=True))


@cache
def columns_of(grid: str) -> NDArray[np.int64]:
    """Positions of the intervals of one of `GRIDS` among the `candidates`."""
    position = {interval: column for column, interval in enumerate(candidates())}
    return np.array([position[interval] for interval in GRIDS[grid]])


Verdict: TypeAlias = Literal["better", "worse", "open"]


def mean_ci(values: xr.DataArray) -> tuple[float, float, float]:
    """Mean and 95 % confidence interval (percentiles) over replicates that are not NaN; NaN if all are."""
    kept = values.values[~np.isnan(values.values)]
    if not kept.size:
        return np.nan, np.nan, np.nan
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(kept.mean()), float(low), float(high)


def verdict(gain: xr.DataArray) -> Verdict:
    """Whether the 95 % interval of a gain lies above zero, below it, or around it.

    Examples
    --------
    >>> verdict(xr.DataArray([0.1, 0.2])), verdict(xr.DataArray([-0.1, 0.2]))
    ('better', 'open')
    """
    _, low, high = mean_ci(gain)
    return "better" if low > 0 else "worse" if high < 0 else "open"


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Better: nowhere worse, and better in more than half; worse: the same the other way round; else open.

    Examples
    --------
    >>> overall(["better", "better", "open"]), overall(["better", "better", "worse"]), overall(["open", "open", "better"])
    ('better', 'open', 'open')
    """
    better, worse = verdicts.count("better"), verdicts.count("worse")
    if worse == 0 and 2 * better > len(verdicts):
        return "better"
    return "worse" if better == 0 and 2 * worse > len(verdicts) else "open"


def gain_cell(gain: xr.DataArray) -> str:
    """A gain with its interval, bold where zero lies outside."""
    mean, low, high = mean_ci(gain)
    text = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
    return text if verdict(gain) == "open" else f"**{text}**"


def estimate_cell(values: xr.DataArray) -> str:
    """An estimate, which is the first of the values, and the interval of the resamples, which are the others; empty for NaN.

    Examples
    --------
    >>> estimate_cell(xr.DataArray([0.3, 0.1, 0.2]))
    '0.300 (0.103 to 0.198)'
    """
    _, low, high = mean_ci(values[1:])
    return with_interval(float(values[0]), low, high)


def mean_cell(values: xr.DataArray) -> str:
    """Mean and interval over replicates; empty for NaN."""
    return with_interval(*mean_ci(values))
