"""Every estimator beside the paper's figure: training-free ones (Table 1), and those that train (Table 6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.comparison import compare_estimators, is_trained, open_estimator_scores
from sweetgrad.analysis.correlation import RankCorrelation, rank_correlation
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.labels import Labelled
from sweetgrad.analysis.markdown import markdown_table, with_interval
from sweetgrad.analysis.published import KENDALL_BATCH_128, NAS_BENCH_201_ARCHS, REMARKS, TABLE_1
from sweetgrad.analysis.reproduction.ranking import (
    OUTSIDE,
    Rankings,
    beside_paper,
    correlation_cell,
    difference,
    rank_sweet_gradient,
)
from sweetgrad.analysis.scores import score
from sweetgrad.store import open_accuracy

_DARTS = (
    "The paper's figures are of NAS-Bench-301: networks of 32 channels and 8 cells, with accuracies that a surrogate predicts. "
    "Ours are other cells, compared with the accuracies that they were trained to."
)


def table_1(measured: Labelled, rank: Rankings, *, bootstrap: int) -> Iterator[str]:
    """Blocks of Markdown: the estimators of one profile, the paper's figures beside them, and why they differ."""
    profile, accuracy = measured.with_accuracy()
    spec = measured.info.spec
    ranking = rank(measured)
    best, runner_up = ranking.best, ranking.runner_up
    published = TABLE_1.get(spec.space, {}).get(spec.dataset, {})
    scores = open_estimator_scores(measured.store, measured.name, profile, best)
    scores = scores.sel(estimator=[name for name in scores["estimator"].values if not is_trained(name)])
    compared = compare_estimators(scores, accuracy, published=published, bootstrap=bootstrap)

    where = f"{measured.dataset_title}, batch {spec.batch_size}"
    yield f"### Table 1: {where}" if published else f"### {where}: not in the paper"
    yield (
        f"Best interval {best.interval}, with sweetness {best.sweetness:.3f}, best in {best.confidence:.0%} of resamples; "
        f"runner-up {best.runner_up} with {best.runner_up_sweetness:.3f}, best in {best.runner_up_confidence:.0%}, "
        f"which ranks with {runner_up.correlation:.3f} ({runner_up.low:.3f} to {runner_up.high:.3f}). "
        f"Correlated with `{measured.selector}`.{_ceiling(measured)}"
    )
    rows, outside = [], []
    for name in map(str, compared["estimator"].values):
        row = {key: float(value) for key, value in compared.sel(estimator=name).data_vars.items()}
        figures = [row[key] for key in ("spearman", "spearman_low", "spearman_high", "published")]
        is_known = not np.isnan(row["published"])
        beside = [f"{row['published']:.3f}", difference(*figures)] if is_known else ["", ""]
        if is_known and not row["spearman_low"] <= row["published"] <= row["spearman_high"]:
            outside.append(name)
        rows.append(
            [
                f"**{name}**" if name == "sweetimator" else name,
                with_interval(*figures[:3]),
                *beside,
                with_interval(*(row[key] for key in ("kendall", "kendall_low", "kendall_high"))),
                "" if np.isnan(row["seconds"]) else f"{row['seconds']:.3f}",
                f"{row['num_archs']:,.0f}",
            ]
        )
    yield markdown_table(["estimator", "Spearman", "paper", "difference", "Kendall", "s/arch", "archs"], rows)
    if outside:
        yield f"{OUTSIDE}\n\n" + "\n".join(f"* {_remark(name)}" for name in outside)
    if spec.space == "darts":
        archs = profile["arch"].values[measured_rows(profile)]
        yield (
            f"{_DARTS} They have {_options(spec.space_options)}, and {sum('none' in arch for arch in archs):,} of their "
            f"{len(archs):,} cells have `none` among their operations."
        )
    if published and spec.space == "nas-bench-201" and measured.info.status.num_ok < NAS_BENCH_201_ARCHS:
        yield (
            f"The paper's figures rest on all {NAS_BENCH_201_ARCHS:,} architectures and an augmented batch; ours on "
            f"{measured.info.status.num_ok:,} of them and a batch that is {'' if spec.augment else 'not '}augmented."
        )


def _ceiling(measured: Labelled) -> str:
    """How far two trainings of the same architectures agree."""
    if len(measured.seeds) < 2:
        return ""
    first, second, *_ = (
        open_accuracy(measured.store, measured.info.spec.space, selector) for selector in measured.seeds
    )
    found = rank_correlation(first, second)
    mean = (first + second) / 2
    better = rank_correlation(first.where(mean >= mean.median()), second)
    agreement, in_the_better_half = (correlation_cell(each) for each in (found, better))
    return (
        f" It is the mean of {len(measured.seeds)} trainings with seeds of their own, of {found.num_archs:,} architectures. "
        f"Two of them agree with a Spearman correlation of {agreement}, the noise ceiling, and of {in_the_better_half} in "
        "their better half."
    )


def _options(options: Mapping[str, Any]) -> str:
    """Settings of a space in words, e.g. ``16 channels and 8 cells``."""
    words = [f"{value} {key}" for key, value in options.items() if isinstance(value, int)]
    return " and ".join(words) or "the space's own size"


def _remark(name: str) -> str:
    return f"`{name}`: {REMARKS.get(name, 'we have no explanation.')}"


PAPER_BATCH_SIZE = 128
"""Images in the batch of the paper's Table 6."""

_NOT_HELD = (
    "The paper's table also has Neural Predictor, NAO, TNASP and SPOS, all of which train. We do not hold its figures for them, "
    "and so quote none."
)

_RECIPE_IMAGES = 250 * 25_000
"""Images that the supernet recipe of NAS-Bench-201 shows: its epochs, and half of CIFAR-10's training images in each."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Scores of an estimator that trains, dims (arch,), NaN where there is none; and its training, as from `open_trainings`."""

    name: str
    score: xr.DataArray
    training: Mapping[str, Any]


def table_6(
    profile: xr.Dataset,
    accuracy: xr.DataArray,
    *,
    title: str,
    batch_size: int,
    is_paper: bool,
    trained: Sequence[Trained] = (),
    bootstrap: int = 1000,
) -> Iterator[str]:
    """Blocks of Markdown: the heading, the table, and what there is to say of each training.

    Parameters
    ----------
    profile, accuracy
        As in `rank_sweet_gradient`: the profile of the paper's batch, or the nearest there is.
    title
        Of the data set.
    batch_size
        Of the profile.
    is_paper
        Whether the paper's figure is of this data set.
    trained
        Estimators that train.
    bootstrap
        As in `rank_correlation`.
    """
    yield f"### Table 6: {title}, Kendall's tau beside methods that train"
    is_set = batch_size == PAPER_BATCH_SIZE
    if not is_set:
        yield (
            f"The paper's table is at batch {PAPER_BATCH_SIZE}, and these stores hold no such profile of the same seed: ours is "
            f"at batch {batch_size}, and no difference is given."
        )
    ranking = rank_sweet_gradient(profile, accuracy, method="kendall", bootstrap=bootstrap)
    published = KENDALL_BATCH_128 if is_paper else None
    what = f"batch {batch_size}, {ranking.best.interval}"
    rows = [_row("**sweetimator**", "nothing", what, ranking.correlation, published, compare=is_set)]
    scores = score(profile, ranking.best)
    for each in trained:
        found = rank_correlation(each.score, accuracy, method="kendall", bootstrap=bootstrap)
        rows.append(_row(each.name, _trains(each.training), "", found))
        same = scores.where(each.score.reindex(arch=scores["arch"].values).notnull().values)
        beside = rank_correlation(same, accuracy, method="kendall", bootstrap=bootstrap)
        rows.append(_row(f"sweetimator, of those {found.num_archs:,}", "nothing", what, beside))
    yield markdown_table(["estimator", "trains", "of", "Kendall", "paper", "difference", "archs"], rows)
    if trained:
        yield "\n".join(_came_along(each) for each in trained)
    if is_paper:
        yield _NOT_HELD


def _row(
    name: str, trains: str, of: str, found: RankCorrelation, published: float | None = None, *, compare: bool = False
) -> list[str]:
    ours, paper, apart = beside_paper(found, published)
    return [name, trains, of, ours, paper, apart if compare else "", f"{found.num_archs:,}"]


def _trains(training: Mapping[str, Any]) -> str:
    epochs = training.get("settings", {}).get("epochs", "?")
    return f"a supernet, {epochs} epochs of {training.get('num_train', 0):,} images, {training.get('train_seconds', 0):,.0f} s"


def _came_along(each: Trained) -> str:
    training, num_archs = each.training, int(each.score.notnull().sum())
    low, middle, high = (float(each.score.quantile(q)) for q in (0.05, 0.5, 0.95))
    lost = (
        ""
        if "loss_first_epoch" not in training
        else (
            f" The loss went from {training['loss_first_epoch']:.3f} in the first epoch to "
            f"{training['loss_last_epoch']:.3f} in the last."
        )
    )
    shown = training.get("settings", {}).get("epochs", 0) * training.get("num_train", 0)
    short = (
        f" It saw {shown / _RECIPE_IMAGES:.1%} of the images that the recipe of NAS-Bench-201 shows (250 epochs of 25,000): no "
        "measurement of the method as published."
        if shown < _RECIPE_IMAGES
        else ""
    )
    return (
        f"* `{each.name}` ({training.get('method', '?')}): accuracies of sub-networks with inherited weights on "
        f"{training.get('num_valid', 0):,} images, {low:.1f} to {high:.1f} % in nine of ten of {num_archs:,}, "
        f"{middle:.1f} % in the middle.{lost}{short}"
    )
