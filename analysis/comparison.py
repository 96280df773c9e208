"""Every estimator of a profile side by side: its scores, and how they rank architectures beside trained accuracy (Table 1)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.aggregation import side_by_side
from sweetgrad.analysis.correlation import Method, RankCorrelation, rank_correlation
from sweetgrad.analysis.counts import is_estimated
from sweetgrad.analysis.estimators import (
    Figure,
    available,
    derived_estimators,
    open_statistics,
    params,
    params_live,
    params_weights,
    sweet_grad_norm,
    sweet_snip,
    te_nas,
    te_nas_nobn,
)
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.analysis.published import TABLE_1
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.selection import ndcg, precision_at, regret_at
from sweetgrad.store import MOMENTS, Location, Profile, open_estimators, open_moments, profile_block

_METHODS: tuple[Method, ...] = ("spearman", "kendall")

_TRAINED = " (trained)"

_FEWER_OF_KENDALL = 5


WITHOUT_PASS = ("params", "params_weights")
"""Scores from the histogram that need no pass."""

_COMBINED = {
    "te_nas": (te_nas, ("te_nas_condition", "te_nas_regions")),
    "te_nas_nobn": (te_nas_nobn, ("te_nas_condition_nobn", "te_nas_regions_nobn")),
}


def estimator_scores(
    profile: xr.Dataset,
    stored: xr.Dataset,
    interval: Intervals,
    *,
    moments: xr.Dataset | None = None,
    statistics: xr.Dataset | None = None,
) -> xr.Dataset:
    """Scores of every estimator: those stored, those derived from the histogram and from blocks, and combinations of others.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`.
    stored
        Its estimators, as returned by `open_estimators`.
    interval
        The interval of Sweetimator, such as the result of `best_interval`.
    moments
        As returned by `open_moments`: adds `sweet_grad_norm` and `sweet_snip` of the same interval, which requires reading them.
    statistics
        As returned by `open_statistics`: adds all `derived_estimators` for which it has the blocks, except those that are stored.

    Returns
    -------
    ``score`` and ``seconds``, dims ``(arch, estimator)``; NaN where there is no score. Scores are returned as stored: infinite
    values are kept, because the logarithm of 0 has a rank, and smaller condition numbers are better. For estimators derived from
    the histogram (``sweetimator``, and ``params_live`` unless it is stored), ``seconds`` are ``profile_seconds``: building the
    network, one forward and backward pass, and counting; for those derived from blocks, the seconds of the blocks, and of the
    pass if the blocks need it. ``params`` and ``params_weights`` need no pass; their ``seconds`` are NaN unless they are stored.
    """
    held = {
        "sweetimator": score(profile, interval).reset_coords(drop=True),
        "params": params(profile),
        "params_weights": params_weights(profile),
        "params_live": params_live(profile),
    }
    if moments is not None:
        held |= {estimator.__name__: estimator(moments, interval) for estimator in (sweet_grad_norm, sweet_snip)}
    scores = dict(held)
    whole_pass = profile["profile_seconds"].astype(np.float64)
    seconds = {name: xr.full_like(whole_pass, np.nan) if name in WITHOUT_PASS else whole_pass for name in held}
    if statistics is not None:
        for estimator in available(statistics, derived_estimators()):
            scores[estimator.name], seconds[estimator.name] = estimator(statistics), estimator.seconds(statistics)
    for name in map(str, stored["estimator"].values):
        if profile_block(name).contents:
            continue
        scores[name] = stored["score"].sel(estimator=name, drop=True)
        seconds[name] = stored["seconds"].sel(estimator=name, drop=True)
    for name, (combine, parts) in _COMBINED.items():
        if set(parts) <= set(scores):
            scores[name] = combine(stored["score"])
            seconds[name] = stored["seconds"].sel(estimator=list(parts)).sum("estimator", skipna=False)
    in_order = {name: seconds[name] for name in scores}
    return xr.Dataset({"score": side_by_side(scores), "seconds": side_by_side(in_order)})


def open_estimator_scores(
    location: Location,
    name: str,
    profile: xr.Dataset,
    interval: Intervals,
    *,
    rows: Any = slice(None),
    blocks: bool = True,
) -> xr.Dataset:
    """`estimator_scores` with all that the store holds of a profile, moments too unless ``interval`` cuts a bin.

    Parameters
    ----------
    location, name
        As in `open_profile`.
    profile, interval
        As in `estimator_scores`.
    rows
        Positions of the architectures of ``profile`` among those stored; all by default.
    blocks
        Whether to add what is derived from blocks of statistics.

    Returns
    -------
    As `estimator_scores`. The name of an estimator that is not training-free ends in
    ``(trained)``.

    Raises
    ------
    NotAStoreError
        If there is no such store or profile.
    """
    stored = open_estimators(location, name).isel(arch=rows)
    # Sums cannot be split inside a bin.
    has_moments = MOMENTS.name in stored["estimator"].values and not is_estimated(interval)
    moments = open_moments(location, name).isel(arch=rows) if has_moments else None
    statistics = open_statistics(location, name).isel(arch=rows) if blocks else None
    scores = estimator_scores(profile, stored, interval, moments=moments, statistics=statistics)
    trained = Profile.open(location, name).trained_estimators()
    names = [f"{name}{_TRAINED}" if name in trained else name for name in scores["estimator"].values]
    return scores.assign_coords(estimator=np.array(names, dtype=object))


def published_figures(space: str, dataset: str) -> dict[str, Figure]:
    """Published rank correlations by estimator: those of the paper's Table 1, then those of derived estimators."""
    others = {name: each.published.get((space, dataset)) for name, each in derived_estimators().items()}
    paper = TABLE_1.get(space, {}).get(dataset, {})
    table_1 = {name: Figure(spearman=value, source="Sweet Gradient, Table 1") for name, value in paper.items()}
    return {**{name: figure for name, figure in others.items() if figure is not None}, **table_1}


def is_trained(shown: str) -> bool:
    """Whether a name, as `open_estimator_scores` gives it, is of an estimator that trains."""
    return shown.endswith(_TRAINED)


def compare_estimators(
    scores: xr.Dataset,
    accuracy: xr.DataArray,
    *,
    published: Mapping[str, Figure] = MappingProxyType({}),
    bootstrap: int = 1000,
    seed: int = 0,
    methods: Sequence[Method] = _METHODS,
) -> xr.Dataset:
    """Rank correlation of every estimator with accuracy: a column of Table 1.

    Parameters
    ----------
    scores
        As returned by `estimator_scores`.
    accuracy
        Dims ``(arch,)``, per cent, with architecture strings as coordinate.
    published
        Published figures by estimator to include (`published_figures`).
    bootstrap, seed
        As in `rank_correlation`; for Kendall's tau, of which a resample takes seven times as long, a fifth of the resamples.
    methods
        Any of ``"spearman"`` and ``"kendall"``.

    Returns
    -------
    Dims ``(estimator,)``, the greatest Spearman correlation first: ``spearman``, ``spearman_low``, ``spearman_high`` and the same
    of ``kendall``, in [-1, 1], NaN for an estimator with fewer than two scores; ``num_archs`` that have a score and an accuracy;
    ``seconds``, the median of an architecture; ``published`` and ``published_kendall``, NaN where nothing is; and as coordinates
    ``published_over``, the architectures of that figure, and ``published_by``.
    """
    names = [str(name) for name in scores["estimator"].values]
    columns: dict[str, list[float]] = {}
    for name in names:
        values = scores["score"].sel(estimator=name, drop=True)
        for method in methods:
            resamples = bootstrap if method == "spearman" else -(-bootstrap // _FEWER_OF_KENDALL)
            correlation = _correlation(values, accuracy, method=method, bootstrap=resamples, seed=seed)
            columns.setdefault(method, []).append(correlation.correlation)
            columns.setdefault(f"{method}_low", []).append(correlation.low)
            columns.setdefault(f"{method}_high", []).append(correlation.high)
        columns.setdefault("num_archs", []).append(correlation.num_archs)
        columns.setdefault("seconds", []).append(float(scores["seconds"].sel(estimator=name).compute().median()))
        figure = published.get(name, Figure())
        columns.setdefault("published", []).append(figure.spearman)
        columns.setdefault("published_kendall", []).append(figure.kendall)
    figures = [published.get(name, Figure()) for name in names]
    about = {
        "published_over": ("estimator", np.array([figure.population for figure in figures], dtype=object)),
        "published_by": ("estimator", np.array([figure.source for figure in figures], dtype=object)),
    }
    data = {key: ("estimator", np.array(values)) for key, values in columns.items()}
    table = xr.Dataset(data, coords={"estimator": np.array(names, dtype=object), **about})
    return table.isel(estimator=np.argsort(-table["spearman"].values, kind="stable"))


def compare_selections(
    scores: xr.Dataset, accuracy: xr.DataArray, k: int, *, bootstrap: int = 1000, seed: int = 0
) -> xr.Dataset:
    """How well each estimator finds the best architectures: nDCG, precision and regret of its ``k`` best scores.

    Parameters
    ----------
    scores, accuracy, bootstrap, seed
        As in `compare_estimators`; scores of which less is better are negated.
    k
        How many architectures are selected.

    Returns
    -------
    Dims ``(estimator,)``, the greatest nDCG first: ``ndcg`` and ``precision`` in [0, 1], ``regret`` in percentage points, each
    with ``_low`` and ``_high``; estimators with fewer than ``k`` scores are left out.

    Raises
    ------
    ValueError
        As in `ndcg`; and if no estimator has ``k`` scores.
    """
    measures = {"ndcg": ndcg, "precision": precision_at, "regret": regret_at}
    negated = smaller_is_better()
    rows: dict[str, dict[str, float]] = {}
    for name in map(str, scores["estimator"].values):
        values = scores["score"].sel(estimator=name, drop=True).compute()
        if int(values.notnull().sum()) < k:
            continue
        signed = -values if name in negated else values
        found = {key: measure(signed, accuracy, k, bootstrap=bootstrap, seed=seed) for key, measure in measures.items()}
        rows[name] = {
            f"{key}{part}": value
            for key, each in found.items()
            for part, value in (("", each.value), ("_low", each.low), ("_high", each.high))
        }
    if not rows:
        raise ValueError(f"no estimator has scores of {k} architectures: choose a smaller number")
    data = {key: ("estimator", np.array([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    table = xr.Dataset(data, coords={"estimator": np.array(list(rows), dtype=object)}, attrs={"k": k})
    return table.isel(estimator=np.argsort(-table["ndcg"].values, kind="stable"))


def smaller_is_better() -> set[str]:
    """Names of the estimators of which less is better."""
    derived = {name for name, each in derived_estimators().items() if each.sign < 0}
    return derived | {"te_nas_condition", "te_nas_condition_nobn"}


def _correlation(
    values: xr.DataArray, accuracy: xr.DataArray, *, method: Method, bootstrap: int, seed: int
) -> RankCorrelation:
    if int(values.notnull().sum()) < 2:
        return RankCorrelation(np.nan, np.nan, np.nan, int(values.notnull().sum()), method)
    return rank_correlation(values, accuracy, method=method, bootstrap=bootstrap, seed=seed)
