"""The profiles that findings rest on, each read once: what every candidate interval gives for a sample of its architectures."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import interval_counts
from sweetgrad.analysis.findings.choosing import Chooser, candidates
from sweetgrad.analysis.labels import Labelled, labelled_profiles, measured_archs
from sweetgrad.analysis.sweetness import sweetness_by_arch
from sweetgrad.store import Location


@dataclass(frozen=True)
class Found(Labelled):
    """A profile with its accuracy, and what was read of it: as from `read_candidates`."""

    read: xr.Dataset


def read_profiles(stores: Iterable[Location], *, most: int) -> list[Found]:
    """Read every profile of some stores that has enough architectures to be cut in halves.

    Parameters
    ----------
    stores
        Paths or URLs.
    most
        Architectures of each profile that are sampled at most; those come first that many profiles of the space have measured.

    Raises
    ------
    ValueError
        If two stores hold a profile of one name, which would be judged as another batch of the same.
    """
    profiles = [each for each in labelled_profiles(stores) if each.info.status.num_ok >= 2 * Chooser.num_archs]
    _require_different(profiles)
    measured = [measured_archs(each.store, each.info) for each in profiles]
    sampled = {}
    for space in {each.info.spec.space for each in profiles}:
        of_space = [archs for each, archs in zip(profiles, measured, strict=True) if each.info.spec.space == space]
        archs, count = np.unique(np.concatenate(of_space), return_counts=True)
        sampled[space] = archs[np.lexsort((np.random.RandomState(0).permutation(len(archs)), -count))]
    found = []
    for each, archs in zip(profiles, measured, strict=True):
        order = sampled[each.info.spec.space]
        taken = order[np.isin(order, archs)][:most]
        read = read_candidates(each.open(), each.accuracy, taken.tolist())
        found.append(Found(each.store, each.info, each.selector, each.seeds, read))
    return found


def _require_different(profiles: Sequence[Labelled]) -> None:
    first: dict[str, Labelled] = {}
    for each in profiles:
        if each.name in first:
            raise ValueError(
                f"{first[each.name].store} and {each.store} both hold {each.name}, and it counts once: join them with "
                "`sweetgrad merge`, or leave one out"
            )
        first[each.name] = each


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


def read_candidates(profile: xr.Dataset, accuracy: xr.DataArray | None, archs: Collection[str]) -> xr.Dataset:
    """Read what every candidate says of some architectures of a profile.

    Parameters
    ----------
    profile
        A profile as from `open_profile`.
    accuracy
        Dims ``(arch,)``, per cent; None if there is none.
    archs
        Architectures, all measured.

    Returns
    -------
    Dims ``(arch, interval)``: ``sweetness`` and ``score`` of each candidate; ``accuracy`` (arch), NaN where unknown.
    """
    rows = profile.isel(arch=np.flatnonzero(profile["arch"].isin(list(archs)).values))
    by_arch = sweetness_by_arch(rows, candidates())
    counts = interval_counts(rows, candidates(), level="network").sel(arch=by_arch["arch"])
    known = xr.full_like(by_arch[:, 0], np.nan) if accuracy is None else accuracy.reindex(arch=by_arch["arch"])
    return xr.Dataset(
        {
            "sweetness": by_arch.drop_vars("estimated"),
            "score": (("arch", "interval"), counts.values),
            "accuracy": ("arch", known.values),
        }
    )
