"""The profiles that findings rest on, each read once: what every candidate interval gives for a sample of its architectures."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import interval_counts
from sweetgrad.analysis.findings.choosing import Chooser, candidates
from sweetgrad.analysis.labels import LabelledProfile, labelled_profiles, measured_archs
from sweetgrad.analysis.sweetness import sweetness_by_arch
from sweetgrad.store import Location

AnyProfile = TypeVar("AnyProfile", bound=LabelledProfile)


@dataclass(frozen=True)
class SampledProfile(LabelledProfile):
    """A profile with its accuracy, and the result of `read_candidates` for a sample of its architectures."""

    sample: xr.Dataset


def read_profiles(stores: Iterable[Location], *, most: int) -> list[SampledProfile]:
    """Read every profile of some stores that has enough architectures to be split into halves.

    Parameters
    ----------
    stores
        Paths or URLs.
    most
        Size of the sample of each profile; architectures that many profiles of the space have measured come first.

    Raises
    ------
    ValueError
        If two stores hold a profile of one name, which would be judged as another batch of the same.
    """
    profiles = [profile for profile in labelled_profiles(stores) if profile.info.status.num_ok >= 2 * Chooser.num_archs]
    require_different(profiles)
    measured = [measured_archs(profile.store, profile.info, by_layer=True) for profile in profiles]
    order = {
        space: _sampling_order(
            [archs for profile, archs in zip(profiles, measured, strict=True) if profile.info.spec.space == space]
        )
        for space in {profile.info.spec.space for profile in profiles}
    }
    sampled = []
    for profile, archs in zip(profiles, measured, strict=True):
        of_space = order[profile.info.spec.space]
        sample = read_candidates(profile.open(), profile.accuracy, of_space[np.isin(of_space, archs)][:most].tolist())
        sampled.append(SampledProfile(profile.store, profile.info, profile.selector, profile.seeds, sample))
    return sampled


def _sampling_order(measured: Sequence[np.ndarray]) -> np.ndarray:
    """Architectures of several profiles: first those that most of them have, at random among equals."""
    archs, count = np.unique(np.concatenate(measured), return_counts=True)
    return np.asarray(archs[np.lexsort((np.random.RandomState(0).permutation(len(archs)), -count))])


def require_different(profiles: Sequence[LabelledProfile]) -> None:
    """Raise ``ValueError`` if two stores hold a profile of one name."""
    first: dict[str, LabelledProfile] = {}
    for profile in profiles:
        if profile.name in first:
            raise ValueError(
                f"{first[profile.name].store} and {profile.store} both hold {profile.name}, and it counts once: join them with "
                "`sweetgrad merge`, or leave one out"
            )
        first[profile.name] = profile


def read_candidates(profile: xr.Dataset, accuracy: xr.DataArray | None, archs: Collection[str]) -> xr.Dataset:
    """Compute sweetness and score of every candidate interval for some architectures of a profile.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`.
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


def align(profiles: Sequence[SampledProfile]) -> list[xr.Dataset]:
    """Samples of several profiles, of the architectures that all of them share, in one order."""
    return list(xr.align(*(profile.sample for profile in profiles), join="inner", exclude="interval"))


def default_profiles(profiles: Sequence[AnyProfile]) -> list[AnyProfile]:
    """Of every search space and data set the profile with the most architectures."""
    by_task: dict[tuple[str, str], list[AnyProfile]] = {}
    for profile in profiles:
        by_task.setdefault(profile.task, []).append(profile)
    return [max(of_task, key=lambda profile: profile.info.status.num_ok) for of_task in by_task.values()]


def varying(profiles: Sequence[SampledProfile], setting: str) -> list[SampledProfile]:
    """The most profiles of one space and data set that differ in ``seed``, or in ``batch_size``, and not in the other."""
    fixed = {"seed": "batch_size", "batch_size": "seed"}[setting]
    groups: dict[object, list[SampledProfile]] = {}
    for profile in profiles:
        groups.setdefault((profile.task, getattr(profile.info.spec, fixed)), []).append(profile)
    largest = max(groups.values(), key=len)
    return largest if len(largest) > 1 else []
