"""How well Sweet Gradient ranks, under one choice of interval: a row of the paper's ablations (Tables 5 and 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from sweetgrad.analysis.correlation import Method, RankCorrelation, rank_correlation
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.labels import Labelled
from sweetgrad.analysis.markdown import with_interval
from sweetgrad.analysis.reproduction.published import REMARKS
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.sweetness import BestInterval, best_interval

__all__ = [
    "BATCH_SIZE",
    "OUTSIDE",
    "SEED",
    "Ranking",
    "Rankings",
    "beside_paper",
    "choice_remark",
    "correlation_cell",
    "default_profile",
    "difference",
    "rank_sweet_gradient",
]

SEED, BATCH_SIZE = 42, 64
"""The setting of the paper's tables, where they do not say otherwise."""

OUTSIDE = "Where the paper's figure lies outside:"
"""What stands above the remarks on a table."""


@dataclass(frozen=True)
class Ranking:
    """The interval that sweetness chose, and how the Sweet Gradient in it, and in the runner-up, ranks architectures."""

    best: BestInterval
    correlation: RankCorrelation
    runner_up: RankCorrelation


class Rankings:
    """`rank_sweet_gradient` of labelled profiles, each choice ranked once: several tables of a page show the same."""

    def __init__(self, *, bootstrap: int) -> None:
        self._bootstrap = bootstrap
        self._known: dict[tuple[str, str, int, int], Ranking] = {}

    def __call__(self, measured: Labelled, *, split: int = 2, num_archs: int = 100) -> Ranking:
        """As `rank_sweet_gradient`, by Spearman's correlation."""
        key = (str(measured.store), measured.name, split, num_archs)
        if key not in self._known:
            self._known[key] = rank_sweet_gradient(
                *measured.with_accuracy(), split=split, num_archs=num_archs, bootstrap=self._bootstrap
            )
        return self._known[key]


def rank_sweet_gradient(
    profile: xr.Dataset,
    accuracy: xr.DataArray,
    *,
    split: int = 2,
    num_archs: int = 100,
    method: Method = "spearman",
    bootstrap: int = 1000,
) -> Ranking:
    """Choose the interval by sweetness, score in it, and correlate with accuracy.

    Parameters
    ----------
    profile
        A profile as from `open_profile`.
    accuracy
        Dims ``(arch,)``, per cent, as from `open_accuracy`.
    split
        Intervals in a decade, as in `IntervalGrid`.
    num_archs
        Architectures, from the first, that choose the interval.
    method, bootstrap
        As in `rank_correlation`.

    Returns
    -------
    `Ranking`. Ties in the score count as in scipy.
    """
    best = best_interval(profile, IntervalGrid(split=split), num_archs=num_archs, bootstrap=bootstrap)
    chosen, runner_up = (
        rank_correlation(score(profile, interval), accuracy, method=method, bootstrap=bootstrap)
        for interval in (best.interval, best.runner_up)
    )
    return Ranking(best, chosen, runner_up)


def default_profile(measured: Sequence[Labelled]) -> Labelled:
    """The profile of the paper's setting, else the largest."""

    def order(each: Labelled) -> tuple[bool, bool, int]:
        spec = each.info.spec
        return spec.batch_size == BATCH_SIZE, spec.seed == SEED, each.info.status.num_ok

    return max(measured, key=order)


def difference(ours: float, low: float, high: float, published: float) -> str:
    """Say where a published figure lies: in our interval, or how far beyond it.

    Examples
    --------
    >>> difference(0.883, 0.867, 0.896, 0.888)
    '-0.005, inside'
    >>> difference(0.868, 0.85, 0.88, 0.251)
    '+0.617, **outside**'
    """
    return f"{ours - published:+.3f}, " + ("inside" if low <= published <= high else "**outside**")


def correlation_cell(found: RankCorrelation) -> str:
    """A correlation with its interval; empty for NaN."""
    return with_interval(found.correlation, found.low, found.high)


def beside_paper(found: RankCorrelation, published: float | None) -> list[str]:
    """Three cells: our correlation, the paper's, and the difference; the last two are empty where the paper has none."""
    if published is None:
        return [correlation_cell(found), "", ""]
    apart = difference(found.correlation, found.low, found.high, published)
    return [correlation_cell(found), f"{published:.3f}", apart]


def choice_remark(ranking: Ranking, published: float) -> str:
    """Why a row may differ from the paper's: the interval that our batch chose, or the batch alone."""
    best, other = ranking.best, ranking.runner_up
    if other.low <= published <= other.high:
        return (
            f"the paper's figure is that of our runner-up, {best.runner_up}, which is best in {best.runner_up_confidence:.0%} of "
            "resamples: which of two nearly equally sweet intervals is chosen depends on the batch."
        )
    return REMARKS["sweetimator"]
