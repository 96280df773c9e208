"""All data of one profile for figures and reports; each quantity is read and computed once."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.best_interval import BestInterval, best_interval
from sweetgrad.analysis.comparison import compare_estimators, open_estimator_scores, published_figures
from sweetgrad.analysis.correlation import heatmap
from sweetgrad.analysis.counts import as_slice, measured_rows
from sweetgrad.analysis.figures.choice import choice_by_setting
from sweetgrad.analysis.intervals import Interval, IntervalGrid
from sweetgrad.analysis.labels import own_accuracy, selectors_of
from sweetgrad.analysis.scores import score
from sweetgrad.store import (
    ACTIVATIONS,
    CorruptShardError,
    Location,
    ProfileSpec,
    StoreInfo,
    info,
    open_accuracy,
    open_activations,
    open_profile,
)
from sweetgrad.store.access import command_line

_IN_MEMORY_BYTES = 1 << 28


@dataclass(frozen=True)
class ProfileAnalysis:
    """One profile of a store, and the quantities computed from it.

    Attributes
    ----------
    location, store
        The store, and the result of `info`.
    name, spec
        Name and settings of the profile.
    accuracy_name
        ``dataset/split`` of the trained accuracy with which scores are compared; None if there is none.
    grid, interval
        Intervals to choose from, and an interval to use instead of the best of them.
    bootstrap
        Number of bootstrap resamples.
    opened
        Analyses of profiles of the same store by name, so that figures of several profiles read each profile once.
    """

    location: Location
    store: StoreInfo
    name: str
    spec: ProfileSpec
    accuracy_name: str | None
    grid: IntervalGrid
    interval: Interval | None
    bootstrap: int
    opened: dict[str, "ProfileAnalysis"] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def profile(self) -> xr.Dataset:
        """Measured rows of the profile: in memory if they are few, otherwise xarray's own lazy arrays.

        Raises ``CorruptShardError`` if data that is read into memory is damaged.
        """
        profile = self._whole.isel(arch=self._rows)
        if profile.nbytes > _IN_MEMORY_BYTES:
            return profile
        try:
            return profile.load()
        except (ValueError, RuntimeError) as error:  # errors of codecs for data that they cannot decode
            raise CorruptShardError(
                f"{self.location}: {self.name} cannot be decoded ({error}). `{command_line('verify', self.location)}` says more."
            ) from error

    @cached_property
    def _rows(self) -> slice | NDArray[np.int64]:
        """Positions of the measured rows."""
        return as_slice(measured_rows(self._whole))

    @cached_property
    def _whole(self) -> xr.Dataset:
        return open_profile(self.location, self.name, chunks=None)

    @cached_property
    def activations(self) -> xr.Dataset | None:
        """Histograms of activations, lazily; None if they were not counted for any architecture."""
        estimators = self.store.profile(self.name).estimators
        if not any(estimator.name == ACTIVATIONS.name and estimator.num_ok for estimator in estimators):
            return None
        return open_activations(self.location, self.name)

    @cached_property
    def accuracy(self) -> xr.DataArray:
        """Trained accuracy; raises ``ValueError`` if the store has none."""
        if self.accuracy_name is None:
            adding = command_line("accuracy", "import", self.location, "--space", self.spec.space, "--from", "FILE")
            raise ValueError(
                f"{self.name} needs trained accuracies for comparison, but the store has none of {self.spec.space} on "
                f"{self.spec.dataset}. `{adding}` adds a table; --accuracy selects those of another data set. "
                f"In the store: {', '.join(selectors_of(self.store, self.spec.space)) or 'none'}"
            )
        return open_accuracy(self.location, self.spec.space, self.accuracy_name)

    @cached_property
    def best(self) -> BestInterval:
        """The best interval of the grid (Algorithm 1)."""
        return best_interval(self.profile, self.grid, bootstrap=self.bootstrap)

    @property
    def chosen(self) -> Interval:
        """The requested interval, or the best one."""
        return self.interval or self.best.interval

    @property
    def chosen_or_none(self) -> Interval | None:
        """The interval as in `chosen`; None if there is too little data: networks with one layer, or a single architecture."""
        try:
            return self.chosen
        except ValueError:
            return None

    @cached_property
    def score(self) -> xr.DataArray:
        """Score in the chosen interval (Eq. 1)."""
        return score(self.profile, self.chosen)

    @cached_property
    def heatmap(self) -> xr.DataArray:
        """Rank correlation for every pair of thresholds."""
        return heatmap(self.profile, self.accuracy, self.grid)

    @cached_property
    def comparison(self) -> xr.Dataset:
        """Rank correlation of every estimator, with the published one for comparison."""
        dataset = (self.accuracy_name or "").partition("/")[0]
        published = published_figures(self.spec.space, dataset)
        scores = open_estimator_scores(self.location, self.name, self.profile, self.chosen, rows=self._rows)
        return compare_estimators(
            scores, self.accuracy, published=published, bootstrap=self.bootstrap, methods=("spearman",)
        )

    def siblings(self, setting: str) -> dict[str, "ProfileAnalysis"]:
        """Profiles that differ only in one field of the spec (and in the batch), by its value, in ascending order."""
        siblings = {}
        for profile in self.store.profiles:
            if profile.status.num_ok and _without(profile.spec, setting) == _without(self.spec, setting):
                sibling = replace(self, name=profile.status.name, spec=profile.spec)
                siblings[getattr(profile.spec, setting)] = self.opened.setdefault(profile.status.name, sibling)
        return {str(value): siblings[value] for value in sorted(siblings)}

    def by_setting(self, setting: str) -> xr.Dataset:
        """`choice_by_setting` over the siblings; raises ``ValueError`` if there are none."""
        siblings = self.siblings(setting)
        if len(siblings) < 2:
            raise ValueError(
                f"the store has only one {setting.replace('_', ' ')} of {self.spec.space} on {self.spec.dataset}: {self.name}. "
                f"Profile with another --{setting.replace('_', '-')} into the same store first."
            )
        profiles = {value: sibling.profile for value, sibling in siblings.items()}
        accuracy = self.accuracy if self.accuracy_name is not None else None
        return choice_by_setting(profiles, self.grid, accuracy=accuracy, bootstrap=self.bootstrap)


def open_analysis(
    location: Location,
    name: str,
    *,
    store: StoreInfo | None = None,
    accuracy: str | None = None,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    interval: Interval | None = None,
    bootstrap: int = 1000,
    opened: dict[str, ProfileAnalysis] | None = None,
) -> ProfileAnalysis:
    """Open one profile for figures.

    Parameters
    ----------
    location, name
        As in `open_profile`.
    store
        Result of `info`, if already known.
    accuracy
        Selector as in `open_accuracy`; None: that of `own_accuracy`.
    grid, interval, bootstrap, opened
        As in `ProfileAnalysis`; the new analysis is added to ``opened``.

    Raises
    ------
    NotAStoreError
        If there is no such store or profile.
    """
    open_profile(location, name, chunks=None)  # raises with the available names if there is no such profile
    store = store or info(location)
    profile = store.profile(name)
    accuracy = accuracy or own_accuracy(location, store, profile)
    opened = {} if opened is None else opened
    opened[name] = ProfileAnalysis(location, store, name, profile.spec, accuracy, grid, interval, bootstrap, opened)
    return opened[name]


def _without(spec: ProfileSpec, field: str) -> ProfileSpec:
    """The spec with a field, and the batch that depends on it, excluded from comparison."""
    changed: dict[str, Any] = {field: -1, "batch_sha256": ""}
    return replace(spec, **changed)
