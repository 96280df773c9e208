"""Rules that choose an interval, judged on architectures that had no part in the choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.correlation import spearman_by_column
from sweetgrad.analysis.intervals import Interval, IntervalGrid, sliding_windows
from sweetgrad.analysis.markdown import with_interval
from sweetgrad.analysis.sweetness import sweetest

PAPER = "split 2"
"""The paper's rule."""


def _union_of_splits() -> list[Interval]:
    pieces = {piece for split in range(1, 11) for piece in IntervalGrid(split=split)}
    return sorted(pieces, key=lambda piece: (piece.lower, piece.upper))


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
    return tuple(dict.fromkeys(piece for grid in GRIDS.values() for piece in grid))


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
    read: xr.Dataset, choosers: Mapping[str, Chooser], *, replicates: int = 100, draws: int = 50, seed: int = 0
) -> xr.Dataset:
    """Let every chooser choose, and correlate the score in what it chose with accuracy, on other architectures.

    In each replicate the architectures fall at random into two halves. ``draws`` random subsets of the first half choose; the
    correlations are those on a bootstrap resample of the second half.

    Parameters
    ----------
    read
        As from `read_candidates`.
    choosers
        By name. All get the same halves and nested subsets, so that their differences are paired.
    replicates, draws, seed
        Halves and resamples; subsets in each; the seed of both.

    Returns
    -------
    ``correlation`` (chooser, replicate): Spearman, mean over draws; ``unlucky`` (chooser): its 5 % quantile over all draws;
    ``share`` (chooser, interval): of all draws, those in which the interval was chosen. Without accuracies the first two are NaN.

    Raises
    ------
    ValueError
        If a half holds fewer architectures than a chooser needs.
    """
    half = read.sizes["arch"] // 2
    needed = max(chooser.num_archs for chooser in choosers.values())
    if half < needed:
        raise ValueError(f"expected two halves of at least {needed} architectures, got {read.sizes['arch']} in all")
    random = np.random.RandomState(seed)
    sources = {(id(each.sweetness), each.num_archs): each for each in choosers.values()}
    accuracy, score = read["accuracy"].values, read["score"].values
    known = not np.isnan(accuracy).all()
    chosen = np.empty((len(choosers), replicates, draws), dtype=np.int64)
    correlation = np.full(chosen.shape, np.nan)
    for replicate in range(replicates):
        order = random.permutation(read.sizes["arch"])
        place = random.rand(draws, half).argsort(axis=1)
        means = {
            source: mean_sweetness(
                (read["sweetness"] if each.sweetness is None else each.sweetness).values[order[:half]],
                place < each.num_archs,
            )
            for source, each in sources.items()
        }
        for row, each in enumerate(choosers.values()):
            of_grid = columns_of(each.grid)
            chosen[row, replicate] = of_grid[sweetest(means[id(each.sweetness), each.num_archs][:, of_grid])]
        if known:
            others = random.choice(order[half:], read.sizes["arch"] - half)
            others = others[~np.isnan(accuracy[others])]
            columns, position = np.unique(chosen[:, replicate], return_inverse=True)
            found = spearman_by_column(score[np.ix_(others, columns)], accuracy[others])
            correlation[:, replicate] = found[position.reshape(chosen[:, replicate].shape)]
    flat = chosen.reshape(len(choosers), -1)
    share = np.array([np.bincount(row, minlength=read.sizes["interval"]) for row in flat]) / flat.shape[1]
    return xr.Dataset(
        {
            "correlation": (("chooser", "replicate"), correlation.mean(axis=2)),
            "unlucky": ("chooser", np.quantile(correlation.reshape(len(choosers), -1), 0.05, axis=1)),
            "share": (("chooser", "interval"), share),
        },
        {"chooser": list(choosers), "interval": read["interval"].values},
    )


def mean_sweetness(sweetness: NDArray[np.float64], subsets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Outer mean of Eq. 3 for many subsets at once; shapes (arch, interval) and (subset, arch) to (subset, interval)."""
    return np.asarray(subsets.astype(np.float64) @ sweetness / subsets.sum(axis=1, keepdims=True))


@cache
def columns_of(grid: str) -> NDArray[np.int64]:
    """Where the intervals of one of `GRIDS` stand among the `candidates`."""
    place = {piece: column for column, piece in enumerate(candidates())}
    return np.array([place[piece] for piece in GRIDS[grid]])


Verdict: TypeAlias = Literal["better", "worse", "open"]


def interval_of(values: xr.DataArray) -> tuple[float, float, float]:
    """Mean, and 95 % percentile interval over replicates that are not NaN; NaN if all are."""
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
    _, low, high = interval_of(gain)
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
    mean, low, high = interval_of(gain)
    text = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
    return text if verdict(gain) == "open" else f"**{text}**"


def estimate_cell(values: xr.DataArray) -> str:
    """An estimate, which is the first of the values, and the interval of the resamples, which are the others; empty for NaN.

    Examples
    --------
    >>> estimate_cell(xr.DataArray([0.3, 0.1, 0.2]))
    '0.300 (0.103 to 0.198)'
    """
    _, low, high = interval_of(values[1:])
    return with_interval(float(values[0]), low, high)


def mean_cell(values: xr.DataArray) -> str:
    """Mean and interval over replicates; empty for NaN."""
    return with_interval(*interval_of(values))
