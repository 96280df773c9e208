"""The page of the paper's tables beside our own, in Markdown: everything in it comes from stores and from `published`."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.baselines import loss_summary
from sweetgrad.analysis.comparison import compare_estimators, is_trained, open_estimator_scores
from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.labels import DATASETS, SPACES, Labelled, labelled_profiles
from sweetgrad.analysis.reproduction.published import (
    BATCH_SIZES,
    INITIAL_LOSS,
    NAS_BENCH_201_ARCHS,
    REMARKS,
    SPLITS,
    TABLE_1,
)
from sweetgrad.analysis.reproduction.search import search_section
from sweetgrad.analysis.reproduction.tables import (
    Ranking,
    choice_remark,
    difference,
    file_names,
    markdown_table,
    rank_sweet_gradient,
    with_interval,
)
from sweetgrad.analysis.reproduction.trained import PAPER_BATCH_SIZE, Trained, table_6
from sweetgrad.store import (
    Location,
    open_accuracies,
    open_accuracy,
    open_estimators,
)
from sweetgrad.store.estimators import open_trainings
from sweetgrad.store.schema import STATUS

__all__ = ["reproduction_page"]

_NUM_ARCHS = (100, 150, 200, 300)
_SEED, _BATCH_SIZE = 42, 64
_OUTSIDE = "Where the paper's figure lies outside:"
_DARTS = (
    "The paper's figures are of NAS-Bench-301: networks of 32 channels and 8 cells, with accuracies that a surrogate predicts. "
    "Ours are other cells, compared with the accuracies that they were trained to."
)

_INTRODUCTION = """# Reproduction

What sweetgrad measured, beside what the paper reports (Yang et al. 2023). `sweetgrad reproduce` writes this page from stores;
nothing in it is typed. Brackets hold 95 % bootstrap intervals over architectures. A difference is *inside* when the paper's
figure lies in ours, and **outside** otherwise. The best interval is the one that sweetness chooses from the first 100
architectures, without any accuracy. No setting was tuned towards the paper: the definition decides."""


def reproduction_page(stores: Iterable[Location], *, bootstrap: int = 1000) -> str:
    """Write the page of all tables that the profiles of some stores can answer.

    Parameters
    ----------
    stores
        Paths or URLs. A profile counts whose space has an accuracy for the profile's data set.
    bootstrap
        Resamples behind every interval.

    Returns
    -------
    Markdown.

    Raises
    ------
    ValueError
        If no profile has an accuracy to be compared with.
    """
    stores = list(stores)
    measured = [each for each in labelled_profiles(stores) if each.selector and each.info.status.num_ok > 1]
    if not measured:
        raise ValueError(
            f"expected a profile with trained accuracies of its data set, and there is none in {', '.join(map(str, stores))}: "
            "run `sweetgrad accuracy import` first"
        )
    blocks = [
        _INTRODUCTION,
        f"```console\n$ sweetgrad reproduce {file_names(stores)} --out reproduction.md\n```",
        _profiles(measured),
    ]
    for space in dict.fromkeys(each.info.spec.space for each in measured):
        blocks += _space([each for each in measured if each.info.spec.space == space], bootstrap=bootstrap)
    return "\n\n".join(blocks) + "\n"


def _read(measured: Labelled) -> tuple[xr.Dataset, xr.DataArray]:
    """The profile and its accuracy."""
    assert measured.accuracy is not None
    return measured.open(), measured.accuracy


def _space(measured: list[Labelled], *, bootstrap: int) -> Iterator[str]:
    space = measured[0].info.spec.space
    yield f"## {SPACES.get(space, space)}"
    datasets = dict.fromkeys(each.dataset for each in measured)
    for dataset in sorted(datasets, key=lambda name: name not in TABLE_1.get(space, {})):
        of_dataset = [each for each in measured if each.dataset == dataset]
        yield from _table_1(_default(of_dataset), bootstrap=bootstrap)
        if space == "nas-bench-201":
            yield from _table_5(of_dataset, bootstrap=bootstrap)
            yield from _table_6(of_dataset, bootstrap=bootstrap)
    if space == "nas-bench-201":
        yield from _initial_loss(measured)
        yield from _searches([each for each in measured if each.dataset == "cifar10"])


def _default(measured: list[Labelled]) -> Labelled:
    """The profile of the paper's setting, else the largest."""

    def order(each: Labelled) -> tuple[bool, bool, int]:
        spec = each.info.spec
        return spec.batch_size == _BATCH_SIZE, spec.seed == _SEED, each.info.status.num_ok

    return max(measured, key=order)


def _profiles(measured: list[Labelled]) -> str:
    rows = []
    for each in measured:
        run = each.info.runs[-1] if each.info.runs else {}
        seconds = float(np.nanmedian(each.open()["profile_seconds"].to_numpy()))
        rows.append(
            [
                f"`{each.name}`",
                f"{each.info.status.num_ok:,}",
                str(run.get("data_source", "")),
                f"`{each.info.spec.batch_sha256[:8]}`",
                f"`{each.info.content_digest[:8]}`" if each.info.content_digest else "run not ended",
                f"{seconds:.2f}",
                f"{run.get('device_name', '')}, torch {run.get('torch', '')}",
            ]
        )
    header = ["profile", "archs", "images", "batch SHA-256", "content digest", "s/arch", "machine"]
    return "## What was measured\n\n" + markdown_table(header, rows)


def _table_1(measured: Labelled, *, bootstrap: int) -> Iterator[str]:
    profile, accuracy = _read(measured)
    spec = measured.info.spec
    ranking = rank_sweet_gradient(profile, accuracy, bootstrap=bootstrap)
    best, runner_up = ranking.best, ranking.runner_up
    published = TABLE_1.get(spec.space, {}).get(spec.dataset, {})
    scores = open_estimator_scores(measured.store, measured.name, profile, best)
    scores = scores.sel(estimator=[name for name in scores["estimator"].values if not is_trained(name)])
    compared = compare_estimators(scores, accuracy, published=published, bootstrap=bootstrap)

    where = f"{DATASETS.get(spec.dataset, spec.dataset)}, batch {spec.batch_size}"
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
        beside = ["", ""] if np.isnan(row["published"]) else [f"{row['published']:.3f}", difference(*figures)]
        if beside[1].endswith("**"):
            outside.append(name)
        rows.append(
            [
                f"**{name}**" if name == "sweetimator" else name,
                with_interval(*figures[:3]),
                *beside,
                with_interval(*(row[key] for key in ("kendall", "kendall_low", "kendall_high"))),
                f"{row['seconds']:.3f}",
                f"{row['num_archs']:,.0f}",
            ]
        )
    yield markdown_table(["estimator", "Spearman", "paper", "difference", "Kendall", "s/arch", "archs"], rows)
    if outside:
        yield f"{_OUTSIDE}\n\n" + "\n".join(f"* {_remark(name)}" for name in outside)
    if spec.space == "darts":
        archs = profile["arch"].values[profile["status"].values == STATUS["ok"]]
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
    agreement, in_the_better_half = (with_interval(each.correlation, each.low, each.high) for each in (found, better))
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


def _table_5(measured: list[Labelled], *, bootstrap: int) -> Iterator[str]:
    default = _default(measured)
    profile, accuracy = _read(default)
    paper = default.dataset == "cifar10"
    title = DATASETS.get(default.dataset, default.dataset)
    table = "Table 5: " if default.dataset in DATASETS else ""

    splits = {split: rank_sweet_gradient(profile, accuracy, split=split, bootstrap=bootstrap) for split in range(2, 6)}
    yield f"### {table}{title}, intervals in a decade"
    yield _rankings("split", splits, SPLITS if paper else {})

    counts = [count for count in _NUM_ARCHS if count <= default.info.status.num_ok]
    choices = {count: rank_sweet_gradient(profile, accuracy, num_archs=count, bootstrap=bootstrap) for count in counts}
    if choices:
        yield f"### {table}{title}, number of architectures that choose the interval"
        yield _rankings("architectures", choices, {})

    of_seed = {each.info.spec.batch_size: each for each in measured if each.info.spec.seed == _SEED}
    if len(of_seed) > 1:
        sizes = {size: rank_sweet_gradient(*_read(of_seed[size]), bootstrap=bootstrap) for size in sorted(of_seed)}
        yield f"### {table}{title}, batch size"
        yield _rankings("batch", sizes, BATCH_SIZES if paper else {})
    of_batch = {each.info.spec.seed: each for each in measured if each.info.spec.batch_size == _BATCH_SIZE}
    if len(of_batch) > 1:
        seeds = {seed: rank_sweet_gradient(*_read(of_batch[seed]), bootstrap=bootstrap) for seed in sorted(of_batch)}
        yield f"### {title}, seed of the batch and of the initialisation"
        yield _rankings("seed", seeds, {})


def _table_6(measured: list[Labelled], *, bootstrap: int) -> Iterator[str]:
    dataset = measured[0].dataset
    trained = list(chain.from_iterable(_trained(each) for each in measured))
    of_batch = [each for each in measured if each.info.spec.batch_size == PAPER_BATCH_SIZE]
    of_batch = [each for each in of_batch if each.info.spec.seed == _SEED]
    if dataset == "cifar10" or of_batch or trained:
        chosen = _default(of_batch or measured)
        yield from table_6(
            *_read(chosen),
            title=DATASETS.get(dataset, dataset),
            batch_size=chosen.info.spec.batch_size,
            is_paper=dataset == "cifar10",
            trained=trained,
            bootstrap=bootstrap,
        )


def _trained(measured: Labelled) -> Iterator[Trained]:
    trainings = open_trainings(measured.store, measured.name)
    stored = open_estimators(measured.store, measured.name)["score"] if trainings else None
    for name, training in trainings.items():
        assert stored is not None
        scores = stored.sel(estimator=name, drop=True)
        if int(scores.notnull().sum()) > 1:
            yield Trained(name, scores, training)


def _rankings(of: str, rankings: dict[int, Ranking], published: Mapping[int, float]) -> str:
    rows = []
    for key, each in rankings.items():
        found = each.correlation
        figures = (found.correlation, found.low, found.high)
        rows.append(
            [
                str(key),
                str(each.best.interval),
                f"{each.best.confidence:.0%}",
                with_interval(*figures),
                *([f"{published[key]:.3f}", difference(*figures, published[key])] if key in published else ["", ""]),
                str(each.best.runner_up),
                f"{each.best.runner_up_confidence:.0%}",
                with_interval(each.runner_up.correlation, each.runner_up.low, each.runner_up.high),
                f"{found.num_archs:,}",
            ]
        )
    method = next(iter(rankings.values())).correlation.method.capitalize()
    header = [of, "best interval", "best in", method, "paper", "difference", "runner-up", "best in", method, "archs"]
    outside = [
        f"* {of} {key}: {choice_remark(rankings[key], figure)}"
        for key, figure in published.items()
        if key in rankings and not rankings[key].correlation.low <= figure <= rankings[key].correlation.high
    ]
    return "\n\n".join([markdown_table(header, rows), *([f"{_OUTSIDE}\n\n" + "\n".join(outside)] if outside else [])])


def _initial_loss(measured: list[Labelled]) -> Iterator[str]:
    rows = []
    for each in (
        _default([m for m in measured if m.dataset == name]) for name in dict.fromkeys(m.dataset for m in measured)
    ):
        found = loss_summary(each.open())
        paper = INITIAL_LOSS.get(each.dataset)
        rows.append(
            [
                DATASETS.get(each.dataset, each.dataset),
                f"{found.mean:.3f} ± {found.sd:.3f}",
                f"{paper[0]:.3f} ± {paper[1]:.3f}" if paper else "",
                f"{found.num_archs:,}",
            ]
        )
    yield "### Appendix A: initial loss"
    yield markdown_table(["data set", "mean ± standard deviation, nats", "paper", "archs"], rows)


def _searches(measured: list[Labelled]) -> Iterator[str]:
    if measured:
        default = _default(measured)
        stored = open_estimators(default.store, default.name)
        yield from search_section(default.open(), stored, open_accuracies(default.store, default.info.spec.space))
