"""What the explorer holds of a profile: counts, accuracies and scores as compact arrays, and facts about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.best_interval import BestInterval, best_interval
from sweetgrad.analysis.comparison import open_estimator_scores, smaller_is_better
from sweetgrad.analysis.counts import as_slice, measured_rows, total_counts
from sweetgrad.analysis.intervals import Interval, IntervalGrid
from sweetgrad.analysis.labels import own_accuracy
from sweetgrad.analysis.proportion import DEPTH_LAYERS, chosen_layers
from sweetgrad.store import (
    KINDS,
    NUM_BINS,
    Location,
    NotAStoreError,
    ProfileInfo,
    StoreInfo,
    info,
    open_accuracies,
    open_profile,
)
from sweetgrad.store.benchmarks.reading import read_accuracy_file
from sweetgrad.store.benchmarks.shipped import SHIPPED

MOST_ROWS = 20_000
"""A page shows at most so many architectures; of more it shows a uniform sample."""

NUM_CHOOSERS = 100
"""Architectures that choose the interval: the first that were measured, as in `best_interval`."""

_WHOLE_LAYER_COUNTS = 24_000_000
"""Counts by layer of all architectures are in the page if they are at most so many numbers, else those of the choosers."""

Progress = Callable[[str, int, int], None]
"""Called with the current step, the number of steps done, and their total."""


@dataclass(frozen=True)
class ProfilePage:
    """What the page shows of one profile.

    Attributes
    ----------
    facts
        Plain data for JSON: the profile, names of accuracies and estimators, sizes.
    archs
        Architecture string of every row.
    arrays
        By name: ``counts`` (row, bin), conv and linear weights of the whole network; ``index`` (row,), positions in the search
        space; ``accuracies`` and ``estimators`` (name, row), NaN where there is none; and, if intervals can be chosen,
        ``layer_counts`` (place, layer, bin) and ``layer_params`` (place, layer) of the layers that Eq. 3 compares, closed up,
        ``layer_depth`` (place,), their number, and ``layer_rows`` (place,), the row of each, -1 if it is not in the page.
    """

    facts: dict[str, Any]
    archs: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]


def collect(
    location: Location,
    *,
    profiles: Sequence[str] | None = None,
    accuracy: str | None = None,
    most_rows: int = MOST_ROWS,
    progress: Progress | None = None,
) -> tuple[StoreInfo, tuple[ProfilePage, ...]]:
    """Read everything that an explorer of a store shows.

    Parameters
    ----------
    location
        As in `open_store`.
    profiles
        Names of those to show, in this order; None: all that have measured architectures.
    accuracy
        ``dataset/split`` or ``dataset/split/epochs`` to begin with; None: that of `own_accuracy`.
    most_rows
        Number of architectures from which on a uniform sample of so many is shown.
    progress
        Called before each profile.

    Returns
    -------
    Result of `info`, and the profiles.

    Raises
    ------
    NotAStoreError
        If there is no such store, or it holds no such profile.
    ValueError
        If no architecture of a profile was measured, or no profile has such an accuracy.
    """
    store = info(location)
    by_name = {profile.status.name: profile for profile in store.profiles}
    unknown = [name for name in profiles or () if name not in by_name]
    if unknown or not by_name:
        raise NotAStoreError(
            f"{location} has no profile {', '.join(unknown)}; it has {', '.join(by_name) or 'none yet'}"
        )
    named = list(by_name.values()) if profiles is None else [by_name[name] for name in profiles]
    chosen = [profile for profile in named if profile.status.num_ok]
    empty = [profile.status.name for profile in named if not profile.status.num_ok]
    if not chosen or (empty and profiles is not None):
        raise ValueError(f"no architecture of {', '.join(empty or by_name)} was measured: profile some of them first")
    pages = []
    for number, profile in enumerate(chosen):
        if progress is not None:
            progress(profile.status.name, number, len(chosen))
        pages.append(_profile_page(location, store, profile, accuracy=accuracy, most_rows=most_rows))
    if accuracy is not None and all(page.facts["accuracy"] is None for page in pages):
        known = dict.fromkeys(name for page in pages for name in page.facts["accuracies"])
        raise ValueError(f"no accuracies {accuracy!r}; available: {', '.join(known) or 'none'}")
    return store, tuple(pages)


def _profile_page(
    location: Location, store: StoreInfo, profile: ProfileInfo, *, accuracy: str | None, most_rows: int
) -> ProfilePage:
    name = profile.status.name
    whole = open_profile(location, name, chunks=None)
    measured = measured_rows(whole)
    rows = _sample(measured, most_rows)
    shown = whole.isel(arch=as_slice(rows))
    archs = tuple(map(str, shown["arch"].values))
    best = _best_or_none(whole)
    layers = {} if best is None else _layer_arrays(whole, measured, rows, profile.rows_by_layer)
    accuracies, source = _accuracies(location, profile.spec.space, archs)
    scores = open_estimator_scores(location, name, shown, best or Interval.live(), rows=as_slice(rows))
    estimators = _estimators(scores)
    negated = smaller_is_better()
    facts = {
        "name": name,
        "space": profile.spec.space,
        "dataset": profile.spec.dataset,
        "batchSize": profile.spec.batch_size,
        "seed": profile.spec.seed,
        "numRows": len(rows),
        "numMeasured": len(measured),
        "accuracies": list(accuracies),
        "accuracy": _first_accuracy(location, store, profile, list(accuracies), accuracy),
        "accuracySource": source,
        "estimators": [
            {"name": each, "sign": -1 if each in negated else 1, "interval": _interval_of(each, best)}
            for each in estimators
        ],
        "numChoosers": min(NUM_CHOOSERS, len(measured)) if layers else 0,
        "numPlaces": len(layers["layer_rows"]) if layers else 0,
        "numLayers": int(layers["layer_params"].shape[1]) if layers else 0,
    }
    arrays: dict[str, NDArray[Any]] = {
        "counts": np.asarray(shown["grad_count_network"].isel(kind=KINDS.index("weight")).values, dtype=np.uint32),
        "index": np.asarray(shown["arch_index"].values, dtype=np.int32),
        "accuracies": _stacked(accuracies, len(rows)),
        "estimators": _stacked(estimators, len(rows)),
        **layers,
    }
    return ProfilePage(facts, archs, arrays)


def _sample(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """All rows, or a uniform sample of them, ascending: the same one every time."""
    if rows.size <= most:
        return rows
    return np.sort(np.random.RandomState(0).choice(rows, most, replace=False))


def _best_or_none(profile: xr.Dataset) -> BestInterval | None:
    try:
        return best_interval(profile, IntervalGrid(), num_archs=NUM_CHOOSERS, bootstrap=1)
    except ValueError:  # too few architectures, or networks of a single layer
        return None


def _layer_arrays(
    whole: xr.Dataset, measured: NDArray[np.int64], rows: NDArray[np.int64], rows_by_layer: int
) -> dict[str, NDArray[Any]]:
    """Counts of the layers that the sweetness compares, of all rows if they are few, else of those that choose the interval."""
    per_row = whole.sizes["layer"] * NUM_BINS
    fits = len(rows) == len(measured) and len(rows) * per_row <= _WHOLE_LAYER_COUNTS and measured[-1] < rows_by_layer
    places = measured if fits else measured[:NUM_CHOOSERS]
    first = whole[["grad_count", "num_params", "layer_type", "status"]].isel(arch=as_slice(places))
    chosen = chosen_layers(first, DEPTH_LAYERS)[0].values
    depth = chosen.sum(axis=1)
    # Chosen layers first, in their order: where they stand differs from architecture to architecture.
    order = np.argsort(~chosen, axis=1, kind="stable")[:, : int(depth.max())]
    inside = np.arange(order.shape[1]) < depth[:, None]
    counts = first["grad_count"].isel(kind=KINDS.index("weight")).values
    params = total_counts(first).values
    return {
        "layer_counts": np.take_along_axis(counts, order[:, :, None], axis=1) * inside[:, :, None].astype(np.uint32),
        "layer_params": (np.take_along_axis(params, order, axis=1) * inside).astype(np.uint32),
        "layer_depth": depth.astype(np.int32),
        "layer_rows": _positions(places, rows),
    }


def _positions(places: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """Position of every place among ascending rows; -1 where it is not among them."""
    found = np.searchsorted(rows, places)
    return np.where(rows[np.minimum(found, len(rows) - 1)] == places, found, -1).astype(np.int32)


def _accuracies(
    location: Location, space: str, archs: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], str | None]:
    """Accuracies by ``dataset/split/epochs``, and the table that they are from unless it is the store's own."""
    try:
        table, source = open_accuracies(location, space)["accuracy"], None
    except NotAStoreError:
        if space not in SHIPPED:
            return {}, None
        tidy = read_accuracy_file(space, space=space)
        keys = ["arch", "dataset", "split", "epochs"]
        table, source = xr.DataArray.from_series(tidy.set_index(keys)["accuracy"]), space
    here = table.reindex(arch=np.array(archs, dtype=object)).stack(of=("dataset", "split", "epochs"))
    columns = {
        "/".join(map(str, key)): np.asarray(here.isel(of=number).values, dtype=np.float64)
        for number, key in enumerate(here["of"].values.tolist())
    }
    return {name: column for name, column in columns.items() if np.isfinite(column).sum() > 1}, source


def _first_accuracy(
    location: Location, store: StoreInfo, profile: ProfileInfo, names: Sequence[str], asked: str | None
) -> str | None:
    """The accuracy to begin with: the one asked for, or the profile's own, after the longest training."""
    wanted = asked or own_accuracy(location, store, profile) or f"{profile.spec.dataset}/test"
    found = [name for name in names if name == wanted or name.rpartition("/")[0] == wanted]
    if asked is None and not found:
        found = list(names)
    return max(found, key=lambda name: int(name.rpartition("/")[2]), default=None)


def _estimators(scores: xr.Dataset) -> dict[str, NDArray[np.float64]]:
    """Scores by estimator, without Sweetimator, which follows the thresholds, and without those that have no scores."""
    table = scores["score"].transpose("estimator", "arch").compute()
    columns = dict(zip(map(str, table["estimator"].values), np.asarray(table.values, np.float64), strict=True))
    return {name: c for name, c in columns.items() if name != "sweetimator" and (~np.isnan(c)).sum() > 1}


def _interval_of(estimator: str, best: BestInterval | None) -> str:
    """The interval that the scores of an estimator are of; empty if they are of no interval."""
    return str(best.interval if best else Interval.live()) if estimator in ("sweet_grad_norm", "sweet_snip") else ""


def _stacked(columns: dict[str, NDArray[np.float64]], num_rows: int) -> NDArray[np.float64]:
    return np.stack(list(columns.values())) if columns else np.zeros((0, num_rows))
