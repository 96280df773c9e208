"""Table 6: Sweet Gradient beside estimators that train, by Kendall's tau."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from sweetgrad.analysis.correlation import RankCorrelation, rank_correlation
from sweetgrad.analysis.markdown import markdown_table
from sweetgrad.analysis.reproduction.published import KENDALL_BATCH_128
from sweetgrad.analysis.reproduction.tables import beside_paper, rank_sweet_gradient
from sweetgrad.analysis.scores import score

__all__ = ["PAPER_BATCH_SIZE", "Trained", "table_6"]

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
    """Scores of an estimator that trains, dims (arch,), NaN where there is none; and what its training was."""

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
