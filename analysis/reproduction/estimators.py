"""Table 1: every estimator of a profile beside the paper's figure."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sweetgrad.analysis.comparison import compare_estimators, is_trained, open_estimator_scores
from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.labels import Labelled
from sweetgrad.analysis.markdown import markdown_table, with_interval
from sweetgrad.analysis.reproduction.published import NAS_BENCH_201_ARCHS, REMARKS, TABLE_1
from sweetgrad.analysis.reproduction.tables import OUTSIDE, Rankings, correlation_cell, difference
from sweetgrad.analysis.rows import measured_rows
from sweetgrad.store import open_accuracy

__all__ = ["table_1"]

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
