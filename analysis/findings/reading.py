"""The profiles that findings rest on, each read once: what every candidate interval says of a sample of its architectures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from sweetgrad.analysis.findings.choosing import Chooser, read_candidates
from sweetgrad.analysis.labels import measured_archs, own_accuracy
from sweetgrad.analysis.reproduction.tables import DATASETS
from sweetgrad.store import Location, ProfileInfo, info, open_accuracy, open_profile

__all__ = ["Found", "default_profiles", "on_shared", "read_profiles", "varying"]

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
    """

    store: Location
    info: ProfileInfo
    selector: str | None
    read: xr.Dataset

    @property
    def name(self) -> str:
        """Name of the profile in its store."""
        return self.info.status.name

    @property
    def kin(self) -> tuple[str, str]:
        """Search space and data set."""
        return self.info.spec.space, self.info.spec.dataset

    @property
    def title(self) -> str:
        """Search space and data set, as they are written."""
        space, dataset = self.kin
        return f"{_SPACES.get(space, space)}, {DATASETS.get(dataset, dataset)}"

    @cached_property
    def accuracy(self) -> xr.DataArray | None:
        """Dims ``(arch,)``, per cent; None if there is none."""
        return None if self.selector is None else open_accuracy(self.store, self.info.spec.space, self.selector)

    def open(self) -> xr.Dataset:
        """The whole profile."""
        return open_profile(self.store, self.name, chunks=None)


def read_profiles(stores: Iterable[Location], *, most: int) -> list[Found]:
    """Read every profile of some stores that has enough architectures to be cut in halves.

    Parameters
    ----------
    stores
        Paths or URLs.
    most
        Architectures of each profile that are sampled at most; those come first that many profiles of the space have measured.
    """
    profiles = [
        (store, profile, own_accuracy(store, found, profile))
        for store in stores
        for found in [info(store)]
        for profile in found.profiles
        if profile.status.num_ok >= 2 * Chooser.num_archs
    ]
    measured = [measured_archs(store, profile) for store, profile, _ in profiles]
    sampled = {}
    for space in {profile.spec.space for _, profile, _ in profiles}:
        of_space = [
            archs for (_, profile, _), archs in zip(profiles, measured, strict=True) if profile.spec.space == space
        ]
        archs, count = np.unique(np.concatenate(of_space), return_counts=True)
        sampled[space] = archs[np.lexsort((np.random.RandomState(0).permutation(len(archs)), -count))]
    found_profiles = []
    for (store, profile, selector), archs in zip(profiles, measured, strict=True):
        order = sampled[profile.spec.space]
        taken = order[np.isin(order, archs)][:most]
        rows = open_profile(store, profile.status.name, chunks=None)
        accuracy = None if selector is None else open_accuracy(store, profile.spec.space, selector)
        found_profiles.append(Found(store, profile, selector, read_candidates(rows, accuracy, taken.tolist())))
    return found_profiles


def on_shared(group: Sequence[Found]) -> list[xr.Dataset]:
    """What was read of the architectures that all of some profiles share, in one order."""
    return list(xr.align(*(each.read for each in group), join="inner", exclude="interval"))


def default_profiles(found: Sequence[Found]) -> list[Found]:
    """Of every search space and data set the profile with the most architectures."""
    kins = dict.fromkeys(each.kin for each in found)
    return [max((each for each in found if each.kin == kin), key=lambda each: each.info.status.num_ok) for kin in kins]


def varying(found: Sequence[Found], of: str) -> list[Found]:
    """The most profiles of one space and data set that differ in ``seed``, or in ``batch_size``, and not in the other."""
    same = {"seed": "batch_size", "batch_size": "seed"}[of]
    groups: dict[object, list[Found]] = {}
    for each in found:
        groups.setdefault((each.kin, getattr(each.info.spec, same)), []).append(each)
    largest = max(groups.values(), key=len)
    return largest if len(largest) > 1 else []
