"""The accuracies that profiles are compared with by default, and display names of search spaces and data sets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import measured_rows
from sweetgrad.store import Location, ProfileInfo, StoreInfo, info, open_accuracy, open_profile

_SPACES = {"nas-bench-101": "NAS-Bench-101", "nas-bench-201": "NAS-Bench-201", "darts": "DARTS"}
"""Display names of search spaces."""

DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet16-120"}
"""Display names of data sets."""


@dataclass(frozen=True)
class LabelledProfile:
    """A profile of a store with the trained accuracy that it is compared with.

    Attributes
    ----------
    store, info
        Location of the store, and what `info` returns for the profile.
    selector
        Result of `own_accuracy`; None if the store has no accuracy for the data set.
    seeds
        Result of `seeds_of`: accuracies of the single seeds that it is the mean of, if any.
    """

    store: Location
    info: ProfileInfo
    selector: str | None
    seeds: Sequence[str]

    @property
    def name(self) -> str:
        """Name of the profile in its store."""
        return self.info.status.name

    @property
    def dataset(self) -> str:
        """Data set that it was measured on."""
        return self.info.spec.dataset

    @property
    def task(self) -> tuple[str, str]:
        """Search space and data set."""
        return self.info.spec.space, self.dataset

    @property
    def title(self) -> str:
        """Display name of search space and data set."""
        return f"{self.space_title}, {self.dataset_title}"

    @property
    def space_title(self) -> str:
        """Display name of the search space."""
        return _SPACES.get(self.info.spec.space, self.info.spec.space)

    @property
    def dataset_title(self) -> str:
        """Display name of the data set."""
        return DATASETS.get(self.dataset, self.dataset)

    @cached_property
    def accuracy(self) -> xr.DataArray | None:
        """Dims ``(arch,)``, per cent; None if there is none."""
        return None if self.selector is None else open_accuracy(self.store, self.info.spec.space, self.selector)

    def open(self) -> xr.Dataset:
        """Open the whole profile, as lazy arrays of xarray without dask."""
        return open_profile(self.store, self.name, chunks=None)

    def with_accuracy(self) -> tuple[xr.Dataset, xr.DataArray]:
        """Open the profile and its accuracy; raises ``ValueError`` if there is none."""
        if self.accuracy is None:
            raise ValueError(f"{self.store} has no accuracy of {self.title} to compare {self.name} with")
        return self.open(), self.accuracy


def labelled_profiles(stores: Iterable[Location]) -> Iterator[LabelledProfile]:
    """Every profile of some stores with its accuracy, in their order."""
    for store in stores:
        store_info = info(store)
        for profile in store_info.profiles:
            selector = own_accuracy(store, store_info, profile)
            seeds = seeds_of(store_info, profile.spec.space, selector) if selector else ()
            yield LabelledProfile(store, profile, selector, seeds)


def selectors_of(store: StoreInfo, space: str) -> Sequence[str]:
    """``dataset/split/epochs`` of every accuracy that a store has for a search space."""
    return next((table.selectors for table in store.accuracies if table.space == space), ())


def seeds_of(store: StoreInfo, space: str, selector: str) -> list[str]:
    """Accuracies of single seeds behind ``dataset/split``, which `train` names ``dataset/seedN``: ``dataset/seedN/split``."""
    dataset, split = selector.rsplit("/", 1)
    parts = (name.rsplit("/", 2) for name in selectors_of(store, space))
    return sorted({f"{name}/{of}" for name, of, _ in parts if of == split and name.startswith(f"{dataset}/seed")})


def measured_archs(location: Location, profile: ProfileInfo, *, by_layer: bool = False) -> NDArray[np.str_]:
    """Architectures of a profile that were measured, in its order; ``by_layer``: only those that have counts by layer."""
    rows = slice(profile.rows_by_layer) if by_layer else slice(None)
    stored = open_profile(location, profile.status.name, chunks=None).isel(arch=rows)
    return np.array(stored["arch"].values[measured_rows(stored)].tolist(), dtype=np.str_)


def own_accuracy(location: Location, store: StoreInfo, profile: ProfileInfo) -> str | None:
    """The accuracy to compare a profile with: on test images if there is one, of the most architectures.

    Parameters
    ----------
    location, store
        The store, and what `info` says of it.
    profile
        One of its profiles.

    Returns
    -------
    ``dataset/split``, of the profile's own data set, which stands for the longest training; None if the store has none. A test
    split with an accuracy of a single measured architecture, which correlates with nothing, counts as no test split.
    """
    dataset, space = profile.spec.dataset, profile.spec.space
    parts = (name.rsplit("/", 2) for name in selectors_of(store, space))
    splits = {split for name, split, _ in parts if name == dataset}
    if len(splits) < 2:
        return f"{dataset}/{splits.pop()}" if splits else None
    archs = measured_archs(location, profile)

    def order(split: str) -> tuple[bool, int, int, str]:
        accuracy = open_accuracy(location, space, f"{dataset}/{split}")
        num = int(accuracy.reindex(arch=archs).notnull().sum())
        return "test" in split and num > 1, num, -len(split), split

    return f"{dataset}/{max(splits, key=order)}"
