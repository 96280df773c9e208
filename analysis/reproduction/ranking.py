"""How well the score ranks under one choice of interval, and under other settings (Table 5)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from sweetgrad.analysis.correlation import Method, RankCorrelation, rank_correlation
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.labels import DATASETS, Labelled
from sweetgrad.analysis.markdown import markdown_table, with_interval
from sweetgrad.analysis.published import BATCH_SIZES, REMARKS, SPLITS
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.sweetness import BestInterval, best_interval

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


_NUM_ARCHS = (100, 150, 200, 300)


def table_5(measured: list[Labelled], rank: Rankings) -> Iterator[str]:
    """Blocks of Markdown: what the choice of the interval does under other splits, architectures, batch sizes and seeds."""
    default = default_profile(measured)
    paper = default.dataset == "cifar10"
    title = default.dataset_title
    table = "Table 5: " if default.dataset in DATASETS else ""

    splits = {split: rank(default, split=split) for split in range(2, 6)}
    yield f"### {table}{title}, intervals in a decade"
    yield _rankings("split", splits, SPLITS if paper else {})

    counts = [count for count in _NUM_ARCHS if count <= default.info.status.num_ok]
    choices = {count: rank(default, num_archs=count) for count in counts}
    if choices:
        yield f"### {table}{title}, number of architectures that choose the interval"
        yield _rankings("architectures", choices, {})

    of_seed = {each.info.spec.batch_size: each for each in measured if each.info.spec.seed == SEED}
    if len(of_seed) > 1:
        sizes = {size: rank(of_seed[size]) for size in sorted(of_seed)}
        yield f"### {table}{title}, batch size"
        yield _rankings("batch", sizes, BATCH_SIZES if paper else {})
    of_batch = {each.info.spec.seed: each for each in measured if each.info.spec.batch_size == BATCH_SIZE}
    if len(of_batch) > 1:
        seeds = {seed: rank(of_batch[seed]) for seed in sorted(of_batch)}
        yield f"### {title}, seed of the batch and of the initialisation"
        yield _rankings("seed", seeds, {})


def _rankings(of: str, rankings: dict[int, Ranking], published: Mapping[int, float]) -> str:
    rows = []
    for key, each in rankings.items():
        rows.append(
            [
                str(key),
                str(each.best.interval),
                f"{each.best.confidence:.0%}",
                *beside_paper(each.correlation, published.get(key)),
                str(each.best.runner_up),
                f"{each.best.runner_up_confidence:.0%}",
                correlation_cell(each.runner_up),
                f"{each.correlation.num_archs:,}",
            ]
        )
    method = next(iter(rankings.values())).correlation.method.capitalize()
    header = [of, "best interval", "best in", method, "paper", "difference", "runner-up", "best in", method, "archs"]
    outside = [
        f"* {of} {key}: {choice_remark(rankings[key], figure)}"
        for key, figure in published.items()
        if key in rankings and not rankings[key].correlation.low <= figure <= rankings[key].correlation.high
    ]
    return "\n\n".join([markdown_table(header, rows), *([f"{OUTSIDE}\n\n" + "\n".join(outside)] if outside else [])])
