"""How well the score ranks under one choice of interval, and under other settings (Table 5)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import xarray as xr

from sweetgrad.analysis.best_interval import BestInterval, best_interval
from sweetgrad.analysis.correlation import Method, RankCorrelation, rank_correlation
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.labels import DATASETS, LabelledProfile
from sweetgrad.analysis.published import BATCH_SIZES, SPLITS
from sweetgrad.analysis.scores import score
from sweetgrad.store.pages import with_interval

SEED, BATCH_SIZE = 42, 64
"""The setting of the paper's tables, where they do not say otherwise."""

_NUM_ARCHS = (100, 150, 200, 300)


@dataclass(frozen=True)
class Ranking:
    """The interval that sweetness chose, and how the score in it, and in the runner-up, ranks architectures."""

    best: BestInterval
    correlation: RankCorrelation
    runner_up: RankCorrelation

    def runner_up_explains(self, published: float) -> bool:
        """Whether a published correlation lies in the confidence interval of the runner-up's."""
        return self.runner_up.low <= published <= self.runner_up.high


class Rankings:
    """`rank_sweetimator` of labelled profiles, each computed once: several tables of a page show the same."""

    def __init__(self, *, bootstrap: int) -> None:
        self._bootstrap = bootstrap
        self._rankings: dict[tuple[str, str, int, int], Ranking] = {}

    def __call__(self, profile: LabelledProfile, *, split: int = 2, num_archs: int = 100) -> Ranking:
        """As `rank_sweetimator`, by Spearman's correlation."""
        key = (str(profile.store), profile.name, split, num_archs)
        if key not in self._rankings:
            self._rankings[key] = rank_sweetimator(
                *profile.with_accuracy(), split=split, num_archs=num_archs, bootstrap=self._bootstrap
            )
        return self._rankings[key]


def rank_sweetimator(
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
        A profile as returned by `open_profile`.
    accuracy
        Dims ``(arch,)``, per cent, as returned by `open_accuracy`.
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


def default_profile(profiles: Sequence[LabelledProfile]) -> LabelledProfile:
    """The profile of the paper's setting, else the largest."""

    def order(profile: LabelledProfile) -> tuple[bool, bool, int]:
        spec = profile.info.spec
        return spec.batch_size == BATCH_SIZE, spec.seed == SEED, profile.info.status.num_ok

    return max(profiles, key=order)


@dataclass(frozen=True)
class Ablation:
    """The choice of the interval under several values of one setting: a part of Table 5.

    Attributes
    ----------
    title, setting, method
        Heading, what varies, and the rank correlation.
    rows
        Cells: value, best interval, its win rate, its correlation, the paper's, the difference; the runner-up, its win rate, its
        correlation; architectures.
    outside
        Values whose published correlation lies outside our interval; each with the choice if its runner-up explains that.
    """

    title: str
    setting: str
    method: str
    rows: list[list[str]]
    outside: list[tuple[int, BestInterval | None]]


def table_5(profiles: Sequence[LabelledProfile], rank: Rankings) -> Iterator[Ablation]:
    """Tables of other splits, numbers of architectures, batch sizes and seeds, from the profiles of one data set."""
    default = default_profile(profiles)
    is_paper = default.dataset == "cifar10"
    name = default.dataset_title
    title = f"Table 5: {name}" if default.dataset in DATASETS else name

    splits = {split: rank(default, split=split) for split in range(2, 6)}
    yield _ablation(f"{title}, intervals in a decade", "split", splits, SPLITS if is_paper else {})

    sizes = [size for size in _NUM_ARCHS if size <= default.info.status.num_ok]
    if sizes:
        by_size = {size: rank(default, num_archs=size) for size in sizes}
        yield _ablation(f"{title}, number of architectures that choose the interval", "architectures", by_size)

    of_seed = {profile.info.spec.batch_size: profile for profile in profiles if profile.info.spec.seed == SEED}
    if len(of_seed) > 1:
        by_batch = {batch_size: rank(of_seed[batch_size]) for batch_size in sorted(of_seed)}
        yield _ablation(f"{title}, batch size", "batch", by_batch, BATCH_SIZES if is_paper else {})
    of_batch = {profile.info.spec.seed: profile for profile in profiles if profile.info.spec.batch_size == BATCH_SIZE}
    if len(of_batch) > 1:
        by_seed = {seed: rank(of_batch[seed]) for seed in sorted(of_batch)}
        yield _ablation(f"{name}, seed of the batch and of the initialisation", "seed", by_seed)


def _ablation(
    title: str, setting: str, rankings: Mapping[int, Ranking], published: Mapping[int, float] = MappingProxyType({})
) -> Ablation:
    rows, outside = [], []
    for value, ranking in rankings.items():
        best, correlation, figure = ranking.best, ranking.correlation, published.get(value)
        rows.append(
            [
                str(value),
                str(best.interval),
                f"{best.win_rate:.0%}",
                *beside_paper(correlation, figure),
                str(best.runner_up),
                f"{best.runner_up_win_rate:.0%}",
                correlation_cell(ranking.runner_up),
                f"{correlation.num_archs:,}",
            ]
        )
        if figure is not None and not correlation.low <= figure <= correlation.high:
            outside.append((value, best if ranking.runner_up_explains(figure) else None))
    return Ablation(title, setting, correlation.method.capitalize(), rows, outside)


def beside_paper(ours: RankCorrelation, published: float | None) -> list[str]:
    """Three cells: our correlation, the paper's, and the difference; the last two are empty where the paper has none."""
    if published is None:
        return [correlation_cell(ours), "", ""]
    return [
        correlation_cell(ours),
        f"{published:.3f}",
        difference(ours.correlation, ours.low, ours.high, published),
    ]


def correlation_cell(correlation: RankCorrelation) -> str:
    """A correlation with its interval; empty for NaN."""
    return with_interval(correlation.correlation, correlation.low, correlation.high)


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
