"""The profiles that findings rest on, each read once: what every candidate interval says of a sample of its architectures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from sweetgrad.analysis.findings.choosing import Chooser, read_candidates
from sweetgrad.analysis.labels import own_accuracy
from sweetgrad.store import Location, ProfileInfo, info, open_accuracy, open_profile
from sweetgrad.store.schema import STATUS

__all__ = ["Found", "default_profiles", "read_profiles", "varying"]

_DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet16-120"}
_SPACES = {"nas-bench-101": "NAS-Bench-101", "nas-bench-201": "NAS-Bench-201", "darts": "DARTS"}


@dataclass(frozen=True)
class Found:
    """A profile and what was read of it.

    Attributes
    ----------
    store, info, selector
        Where it lies, what the store says of it, and its accuracy; None if there is none.
    read
        As from `read_candidates`.
    shared
        The rows of ``read`` whose architectures were measured in every profile of the space.
    """

    store: Location
    info: ProfileInfo
    selector: str | None
    read: xr.Dataset
    shared: xr.Dataset

    @property
    def name(self) -> str:
        return self.info.status.name

    @property
    def kin(self) -> tuple[str, str]:
        """Search space and data set."""
        return self.info.spec.space, self.info.spec.dataset

    @property
    def title(self) -> str:
        space, dataset = self.kin
        return f"{_SPACES.get(space, space)}, {_DATASETS.get(dataset, dataset)}"

    @cached_property
    def accuracy(self) -> xr.DataArray | None:
        return None if self.selector is None else open_accuracy(self.store, self.info.spec.space, self.selector)

    def open(self) -> xr.Dataset:
        return open_profile(self.store, self.name, chunks=None)


def read_profiles(stores: Iterable[Location], *, most: int) -> list[Found]:
    """Read every profile of some stores that has enough architectures to be cut in halves.

    Parameters
    ----------
    stores
        Paths or URLs.
    most
        Architectures of each profile that are sampled at most, those that all profiles of the space share first.
    """
    profiles = [
        (store, profile, own_accuracy(store, found, profile))
        for store in stores
        for found in [info(store)]
        for profile in found.profiles
        if profile.status.num_ok >= 2 * Chooser.num_archs
    ]
    return list(_read(profiles, most=most))


def _read(profiles: Sequence[tuple[Location, ProfileInfo, str | None]], *, most: int) -> Iterator[Found]:
    measured: dict[str, list[set[str]]] = {}
    for store, profile, _ in profiles:
        status = open_profile(store, profile.status.name, chunks=None)["status"]
        archs = set(status["arch"].values[status.values == STATUS["ok"]])
        measured.setdefault(profile.spec.space, []).append(archs)
    for store, profile, selector in profiles:
        shared = sorted(set.intersection(*measured[profile.spec.space]))
        shared = np.random.RandomState(0).permutation(shared)[:most].tolist()
        accuracy = None if selector is None else open_accuracy(store, profile.spec.space, selector)
        rows = open_profile(store, profile.status.name, chunks=None)
        read = read_candidates(rows, accuracy, first=shared, most=most)
        kept = sorted(set(shared) & set(read["arch"].values.tolist()))
        yield Found(store, profile, selector, read, read.sel(arch=kept))


def default_profiles(found: Sequence[Found]) -> list[Found]:
    """Of every search space and data set the profile with the most architectures."""
    kins = dict.fromkeys(each.kin for each in found)
    return [max((each for each in found if each.kin == kin), key=lambda each: each.info.status.num_ok) for kin in kins]


def varying(found: Sequence[Found], of: str) -> list[Found]:
    """The largest set of profiles of one space and data set that differ in ``seed``, or in ``batch_size``, and not in the other."""
    same = {"seed": "batch_size", "batch_size": "seed"}[of]
    groups: dict[object, list[Found]] = {}
    for each in found:
        groups.setdefault((each.kin, getattr(each.info.spec, same)), []).append(each)
    largest = max(groups.values(), key=len)
    return largest if len(largest) > 1 else []
