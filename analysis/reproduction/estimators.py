"""Every estimator beside the paper's figure: training-free ones (Table 1), and those that train (Table 6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.comparison import compare_estimators, is_trained, open_estimator_scores
from sweetgrad.analysis.correlation import RankCorrelation, rank_correlation
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.estimators import Figure
from sweetgrad.analysis.labels import LabelledProfile
from sweetgrad.analysis.published import KENDALL_BATCH_128, NAS_BENCH_201_ARCHS, TABLE_1
from sweetgrad.analysis.reproduction.ranking import (
    SEED,
    Ranking,
    Rankings,
    beside_paper,
    correlation_cell,
    default_profile,
    difference,
    rank_sweetimator,
)
from sweetgrad.analysis.scores import score
from sweetgrad.store import Profile, open_accuracy, open_estimators
from sweetgrad.store.pages import with_interval

PAPER_BATCH_SIZE = 128
"""Images in the batch of the paper's Table 6."""

_RECIPE_IMAGES = 250 * 25_000
"""Images that the supernet recipe of NAS-Bench-201 shows: its epochs, and half of CIFAR-10's training images in each."""


@dataclass(frozen=True)
class NoiseCeiling:
    """How far two trainings of the same architectures agree: cells of all, and of the better half."""

    num_trainings: int
    num_archs: int
    agreement: str
    in_better_half: str


@dataclass(frozen=True)
class Table1:
    """Training-free estimators of one profile, the paper's figures beside them.

    Attributes
    ----------
    profile, ranking
        What was measured, and how Sweetimator ranks.
    is_paper
        Whether the paper has figures of this space and data set.
    ceiling
        None unless the accuracy is the mean of several trainings.
    rows
        Cells: estimator, Spearman, the paper's, the difference, Kendall, seconds an architecture, architectures.
    outside
        Estimators whose published figure lies outside our interval.
    num_with_none
        Architectures of DARTS that have ``none`` among their operations; None for other spaces.
    is_partial
        Whether the paper's figures rest on more architectures.
    """

    profile: LabelledProfile
    ranking: Ranking
    is_paper: bool
    ceiling: NoiseCeiling | None
    rows: list[list[str]]
    outside: list[str]
    num_with_none: int | None
    is_partial: bool

    @property
    def options(self) -> str:
        """Settings of the space in words, e.g. ``16 channels and 8 cells``."""
        options = self.profile.info.spec.space_options
        words = [f"{value} {key}" for key, value in options.items() if isinstance(value, int)]
        return " and ".join(words) or "the space's own size"


def table_1(labelled: LabelledProfile, rank: Rankings, *, bootstrap: int) -> Table1:
    """Compare the estimators of one profile with the paper's figures."""
    profile, accuracy = labelled.with_accuracy()
    spec = labelled.info.spec
    ranking = rank(labelled)
    paper = TABLE_1.get(spec.space, {}).get(spec.dataset, {})
    published = {name: Figure(spearman=value) for name, value in paper.items()}
    scores = open_estimator_scores(labelled.store, labelled.name, profile, ranking.best, blocks=False)
    scores = scores.sel(estimator=[name for name in scores["estimator"].values if not is_trained(name)])
    compared = compare_estimators(scores, accuracy, published=published, bootstrap=bootstrap)
    columns = {str(name): values.values for name, values in compared.data_vars.items()}
    estimators = [
        (str(name), {column: float(values[row]) for column, values in columns.items()})
        for row, name in enumerate(compared["estimator"].values)
    ]
    archs = profile["arch"].values[measured_rows(profile)]
    return Table1(
        profile=labelled,
        ranking=ranking,
        is_paper=bool(published),
        ceiling=_noise_ceiling(labelled),
        rows=[_estimator_row(name, values) for name, values in estimators],
        outside=[
            name
            for name, values in estimators
            if not np.isnan(values["published"])
            and not values["spearman_low"] <= values["published"] <= values["spearman_high"]
        ],
        num_with_none=sum("none" in arch for arch in archs) if spec.space == "darts" else None,
        is_partial=bool(published) and spec.space == "nas-bench-201" and len(archs) < NAS_BENCH_201_ARCHS,
    )


def _estimator_row(name: str, values: Mapping[str, float]) -> list[str]:
    figures = [values[column] for column in ("spearman", "spearman_low", "spearman_high", "published")]
    is_known = not np.isnan(values["published"])
    return [
        f"**{name}**" if name == "sweetimator" else name,
        with_interval(*figures[:3]),
        *([f"{values['published']:.3f}", difference(*figures)] if is_known else ["", ""]),
        with_interval(*(values[column] for column in ("kendall", "kendall_low", "kendall_high"))),
        "" if np.isnan(values["seconds"]) else f"{values['seconds']:.3f}",
        f"{values['num_archs']:,.0f}",
    ]


def _noise_ceiling(labelled: LabelledProfile) -> NoiseCeiling | None:
    if len(labelled.seeds) < 2:
        return None
    space = labelled.info.spec.space
    first, second, *_ = (open_accuracy(labelled.store, space, selector) for selector in labelled.seeds)
    agreement = rank_correlation(first, second)
    mean = (first + second) / 2
    in_better_half = rank_correlation(first.where(mean >= mean.median()), second)
    return NoiseCeiling(
        len(labelled.seeds), agreement.num_archs, correlation_cell(agreement), correlation_cell(in_better_half)
    )


@dataclass(frozen=True, eq=False)
class TrainedEstimator:
    """Scores of an estimator that trains, dims (arch,), NaN where there is none; and what its training was."""

    name: str
    score: xr.DataArray
    training: Mapping[str, Any]

    @property
    def epochs(self) -> int | None:
        """Epochs of its training, if known."""
        epochs: int | None = self.training.get("settings", {}).get("epochs")
        return epochs

    @property
    def num_archs(self) -> int:
        """Architectures that have a score."""
        return int(self.score.notnull().sum())

    @property
    def quantiles(self) -> list[float]:
        """5 %, 50 % and 95 % of the scores."""
        return [float(self.score.quantile(q)) for q in (0.05, 0.5, 0.95)]

    @property
    def share_of_recipe(self) -> float:
        """Images that it was trained on, over those of the published recipe."""
        num_images: int = (self.epochs or 0) * self.training.get("num_train", 0)
        return num_images / _RECIPE_IMAGES


@dataclass(frozen=True)
class Table6:
    """Sweetimator beside estimators that train, by Kendall's tau.

    Attributes
    ----------
    profile
        The profile of the paper's batch, or the nearest there is.
    is_paper, is_paper_batch
        Whether the paper's figure is of this data set, and of this batch size.
    rows
        Cells: estimator, what it trains, of what, Kendall, the paper's, the difference, architectures.
    trained
        Estimators that train.
    """

    profile: LabelledProfile
    is_paper: bool
    is_paper_batch: bool
    rows: list[list[str]]
    trained: list[TrainedEstimator]


def table_6(profiles: Sequence[LabelledProfile], *, bootstrap: int) -> Table6 | None:
    """Compare Sweetimator with the estimators that train, of the profiles of one data set; None if neither is of the paper."""
    trained = [estimator for profile in profiles for estimator in _trained_estimators(profile)]
    of_batch = [
        profile
        for profile in profiles
        if profile.info.spec.batch_size == PAPER_BATCH_SIZE and profile.info.spec.seed == SEED
    ]
    is_paper = profiles[0].dataset == "cifar10"
    if not (is_paper or of_batch or trained):
        return None
    labelled = default_profile(of_batch or profiles)
    profile, accuracy = labelled.with_accuracy()
    ranking = rank_sweetimator(profile, accuracy, method="kendall", bootstrap=bootstrap)
    batch_size = labelled.info.spec.batch_size
    of = f"batch {batch_size}, {ranking.best.interval}"
    ours, paper, apart = beside_paper(ranking.correlation, KENDALL_BATCH_128 if is_paper else None)
    is_paper_batch = batch_size == PAPER_BATCH_SIZE
    num_archs = f"{ranking.correlation.num_archs:,}"
    rows = [["**sweetimator**", "nothing", of, ours, paper, apart if is_paper_batch else "", num_archs]]
    scores = score(profile, ranking.best)
    for estimator in trained:
        tau = rank_correlation(estimator.score, accuracy, method="kendall", bootstrap=bootstrap)
        has_score = estimator.score.reindex(arch=scores["arch"].values).notnull().values
        same_archs = rank_correlation(scores.where(has_score), accuracy, method="kendall", bootstrap=bootstrap)
        rows.append(_trained_row(estimator.name, _training_cell(estimator), "", tau))
        rows.append(_trained_row(f"sweetimator, of those {tau.num_archs:,}", "nothing", of, same_archs))
    return Table6(labelled, is_paper, is_paper_batch, rows, trained)


def _trained_estimators(labelled: LabelledProfile) -> Iterator[TrainedEstimator]:
    trainings = Profile.open(labelled.store, labelled.name).trained_estimators()
    if not trainings:
        return
    stored = open_estimators(labelled.store, labelled.name)["score"]
    for name, training in trainings.items():
        scores = stored.sel(estimator=name, drop=True)
        if int(scores.notnull().sum()) > 1:
            yield TrainedEstimator(name, scores, training)


def _trained_row(name: str, trains: str, of: str, tau: RankCorrelation) -> list[str]:
    return [name, trains, of, correlation_cell(tau), "", "", f"{tau.num_archs:,}"]


def _training_cell(estimator: TrainedEstimator) -> str:
    training = estimator.training
    return (
        f"a supernet, {estimator.epochs or '?'} epochs of {training.get('num_train', 0):,} images, "
        f"{training.get('train_seconds', 0):,.0f} s"
    )
