"""The combination that was fixed before any figure of it was known, and those found by one rule, on every space and data set.

Candidates are chosen on one random half of the architectures of one profile alone; all else only judges them.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.aggregation import aggregate, ranks_within, side_by_side
from sweetgrad.analysis.best_interval import best_interval
from sweetgrad.analysis.correlation import RankCorrelation, correlate_ranks, dense_ranks, rank_correlation
from sweetgrad.analysis.estimators import available, derived_estimators, open_statistics, params
from sweetgrad.analysis.findings.profiles import default_profiles
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.labels import LabelledProfile
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.selection import ndcg
from sweetgrad.store import STATUS

FIXED = "sweetimator + az_expressivity + az_trainability + synflow"
"""The combination that was fixed in advance: the sum of the log ranks of these four."""

POOL = (
    *("sweetimator", "az_expressivity", "az_progressivity", "az_trainability", "synflow", "synflow_by_tensor"),
    *("zico", "naswot", "jacob_cov", "gradsign", "effective_rank", "meco", "flops", "num_patterns"),
)
"""Signals of which candidates are combined."""

BESIDE = ("params", "flops", "naswot", "az_nas", "az_nas_synflow")
"""What a combination is compared with, besides its parts."""

NUM_CANDIDATES = 10
"""Candidates that go to the judges, all of which are reported."""

_LARGEST = 5
_PLUS = " + "
_TOP_SHARE = 0.064  # 1,000 of the 15,625 architectures of NAS-Bench-201, as nDCG is published for

RECORDS: Mapping[tuple[str, str], str] = {
    ("nas-bench-201", "cifar10"): "tau .776 (AZ-NAS with SynFlow), rho .913 (AZ-NAS)",
    ("nas-bench-201", "cifar100"): "tau .758 (AZ-NAS with SynFlow), rho .905 (VKDNW's aggregate)",
    ("nas-bench-201", "imagenet16-120"): "tau .747 (AZ-NAS with SynFlow), rho .893 (VKDNW's aggregate)",
    ("nas-bench-101", "cifar10"): "tau .56, rho .75 (InTrain)",
    ("nas-bench-301", "cifar10"): "rho .47 (naswot), .46 (params), 1,000 random with surrogate accuracies",
    ("darts", "cifar10"): "rho .93 (SWAP, regularised with two parameters tuned on these architectures)",
}
"""Highest published training-free rank correlations by space and data set, over all architectures if nothing else is said."""


@dataclass(frozen=True)
class Signals:
    """Scores of one profile: dims (arch, estimator), greater is better; with the accuracy of each architecture, in per cent.

    All measured architectures with an accuracy are in it, and ranks are taken among these. One for which an estimator is not
    defined, such as a network without a path from the images to the output, ranks last in it.
    """

    profile: LabelledProfile
    interval: str
    scores: xr.DataArray
    accuracy: xr.DataArray

    @property
    def log_ranks(self) -> dict[str, NDArray[np.float64]]:
        """log(rank / m) of every architecture in every estimator, shape (arch,)."""
        columns = {str(name): self.scores.sel(estimator=name).values for name in self.scores["estimator"].values}
        return {name: np.log(ranks_within(column, column) / len(column)) for name, column in columns.items()}


def read_signals(profile: LabelledProfile) -> Signals | None:
    """Scores of `POOL` and `BESIDE` that a profile has, and its accuracy; None if it lacks a part of `FIXED` or accuracies."""
    if profile.accuracy is None or not {"noise_pass", "synflow"} <= {block.name for block in profile.info.blocks}:
        return None
    data = open_statistics(profile.store, profile.name)
    best = best_interval(data, IntervalGrid(max=10, min=1e-10, split=1), bootstrap=1)
    found = {"sweetimator": score(data, best).reset_coords(drop=True).compute(), "params": params(data).compute()}
    wanted = {*POOL, *BESIDE}
    found |= {each.name: each(data) for each in available(data, derived_estimators()) if each.name in wanted}
    table = side_by_side(found)
    accuracy = profile.accuracy.reindex(arch=table["arch"].values)
    measured = data["status"].values == STATUS["ok"]
    for block in ("noise_pass", "synflow"):
        measured &= data[f"{block}_status"].values != STATUS["not run"]
    rows = np.flatnonzero(accuracy.notnull().values & measured)
    return Signals(profile, str(best.interval), table.isel(arch=rows).fillna(-np.inf), accuracy.isel(arch=rows))


def combine(signals: Signals, members: Sequence[str]) -> xr.DataArray:
    """Sum of the log ranks of some estimators (`aggregate`), dims ``(arch,)``."""
    return aggregate(signals.scores, weights=dict.fromkeys(members, 1.0))


def find_candidates(signals: Signals, *, seed: int = 0) -> list[str]:
    """The combinations of 2 to 5 of `POOL` with the greatest Kendall correlation on a random half of the architectures.

    Parameters
    ----------
    signals
        Scores of the profile on which candidates are chosen. Ranks are taken within the half.
    seed
        Seed of the half.

    Returns
    -------
    `NUM_CANDIDATES` combinations, the best first; names joined by ``+``.
    """
    half = np.random.RandomState(seed).permutation(signals.accuracy.size)[: signals.accuracy.size // 2]
    there = Signals(signals.profile, signals.interval, signals.scores.isel(arch=half), signals.accuracy.isel(arch=half))
    logs, accuracy = there.log_ranks, dense_ranks(there.accuracy.values)
    pool = [name for name in POOL if name in logs]
    found = []
    for size in range(2, _LARGEST + 1):
        for members in itertools.combinations(pool, size):
            total = sum(logs[name] for name in members)
            found.append((correlate_ranks(dense_ranks(np.asarray(total)), accuracy, "kendall"), _PLUS.join(members)))
    return [members for _, members in sorted(found, key=lambda each: -each[0])[:NUM_CANDIDATES]]


@dataclass(frozen=True)
class RecordTable:
    """One profile as a judge of combinations.

    Attributes
    ----------
    title, num_archs, interval, published
        Space and data set; architectures ranked; the interval of Sweetimator; the highest published correlations, if any.
    rows
        Cells: estimator, Spearman and Kendall correlation with their intervals, nDCG.
    losses
        Of `FIXED`, its parts and `BESIDE` those that rank better by Kendall's tau than `FIXED`, the best first.
    """

    title: str
    num_archs: int
    interval: str
    published: str
    rows: list[list[str]]
    losses: list[str]


def record_tables(
    signals: Sequence[Signals], candidates: Sequence[str], *, bootstrap: int = 200
) -> Iterator[RecordTable]:
    """Judge the fixed combination, its parts, what is beside it, and the candidates, on every profile."""
    for each in signals:
        held = {str(name): each.scores.sel(estimator=name, drop=True) for name in each.scores["estimator"].values}
        combined = {
            name: combine(each, name.split(_PLUS))
            for name in (FIXED, *candidates)
            if set(name.split(_PLUS)) <= held.keys()
        }
        shown = dict.fromkeys([FIXED, *FIXED.split(_PLUS), *(name for name in BESIDE if name in held), *combined])
        scores = {name: {**held, **combined}[name] for name in shown}
        k = max(1, round(_TOP_SHARE * each.accuracy.size))
        kendall = {name: _kendall(values, each, bootstrap) for name, values in scores.items()}
        rows = [
            [
                f"**{name}**" if name == FIXED else name,
                _cell(rank_correlation(values, each.accuracy, bootstrap=bootstrap)),
                _cell(kendall[name]),
                f"{ndcg(values, each.accuracy, k, bootstrap=0).value:.3f}",
            ]
            for name, values in scores.items()
        ]
        beside = [name for name in (*FIXED.split(_PLUS), *BESIDE) if name in kendall]
        better = [name for name in beside if kendall[name].correlation > kendall[FIXED].correlation]
        spec = each.profile.info.spec
        yield RecordTable(
            title=each.profile.title,
            num_archs=each.accuracy.size,
            interval=each.interval,
            published=RECORDS.get((spec.space, spec.dataset), ""),
            rows=rows,
            losses=sorted(better, key=lambda name: -kendall[name].correlation),
        )


@dataclass(frozen=True)
class Record:
    """Combinations and their judges.

    Attributes
    ----------
    tables
        Every judge.
    candidates, chosen_on
        Combinations that were found (`find_candidates`), and the title of the profile that they were found on.
    pool, bootstrap
        Number of signals that were combined, and of resamples behind every interval.
    """

    tables: list[RecordTable]
    candidates: list[str]
    chosen_on: str
    pool: int
    bootstrap: int


_CHOOSING = ("nas-bench-201", "cifar10")


def judge_combinations(profiles: Sequence[LabelledProfile], *, bootstrap: int = 100) -> Record | None:
    """Judge `FIXED` and the candidates on the largest profile of every space and data set.

    Returns
    -------
    None if no profile has the blocks of `FIXED`. Without NAS-Bench-201 on CIFAR-10, no candidates are sought.
    """
    signals = [each for profile in default_profiles(profiles) if (each := read_signals(profile)) is not None]
    if not signals:
        return None
    choosing = [each for each in signals if each.profile.task == _CHOOSING]
    candidates = find_candidates(choosing[0]) if choosing else []
    tables = list(record_tables(signals, candidates, bootstrap=bootstrap))
    return Record(tables, candidates, choosing[0].profile.title if choosing else "", len(POOL), bootstrap)


def _kendall(values: xr.DataArray, signals: Signals, bootstrap: int) -> RankCorrelation:
    return rank_correlation(values, signals.accuracy, method="kendall", bootstrap=bootstrap)


def _cell(found: RankCorrelation) -> str:
    return f"{found.correlation:.3f} ({found.low:.3f} to {found.high:.3f})"
