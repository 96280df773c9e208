"""The groups of a store that hold profiles and what belongs to them: found, or told what is wrong with them."""

import difflib
from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from sweetgrad.store.access import Location, child_groups
from sweetgrad.store.errors import NotAStoreError

__all__ = [
    "archs_by_profile",
    "archs_of_space",
    "estimator_groups",
    "find_group",
    "has_rows",
    "profile_group",
    "profile_names",
]

_OF_ROWS = ("status", "digest", "score", "accuracy")
"""Arrays that profiles, estimators and trainings have, and of which nothing is written before there are rows."""


def profile_group(root: zarr.Group, name: str, location: Location) -> zarr.Group:
    """The group of a profile; `NotAStoreError` names the nearest profiles if there is no such one."""
    group = find_group(root, name, location)
    if isinstance(group, zarr.Group) and "spec" in group.attrs:
        return group
    names = sorted(profile_names(root))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names
    raise NotAStoreError(f"{location} has no profile {name!r}; it holds {', '.join(near) or 'none yet'}.")


def profile_names(group: zarr.Group) -> Iterator[str]:
    """Paths of all profiles in a group, the group itself included."""
    if "spec" in group.attrs:
        yield group.path
        return
    for _, child in child_groups(group):
        yield from profile_names(child)


def archs_by_profile(root: zarr.Group, space: str) -> dict[str, list[str]]:
    """Architectures of each profile of a space, in the order of its rows."""
    group = root.get(space)
    names = profile_names(group) if isinstance(group, zarr.Group) else ()
    return {name: np.asarray(root[f"{name}/arch"][:]).tolist() for name in names}  # type: ignore[index]


def archs_of_space(root: zarr.Group, space: str) -> list[str]:
    """Architectures of all profiles of a space, those of the largest profile first."""
    profiles = sorted(archs_by_profile(root, space).values(), key=len, reverse=True)
    return list(dict.fromkeys(arch for profile in profiles for arch in profile))


def estimator_groups(group: zarr.Group) -> list[tuple[str, zarr.Group]]:
    """Names and groups of the estimators of a profile, sorted; one without ``status`` is a creation that was cut off."""
    parent = group.get("estimators")
    if not isinstance(parent, zarr.Group):
        return []
    return [(name, child) for name, child in child_groups(parent) if "status" in child]


def find_group(root: zarr.Group, name: str, location: Location) -> Any:
    """What is at the path of a profile, None if nothing is; `NotAStoreError` if its metadata cannot be read."""
    try:
        return root.get(name)
    except (ValueError, TypeError) as error:  # what zarr raises on a zarr.json that it cannot read
        raise NotAStoreError(
            f"{location}: the metadata of profile {name} ({name}/zarr.json) cannot be read ({error}). "
            "Copy that file from a backup, or delete the profile's folder and profile again."
        ) from error


def has_rows(root: zarr.Group, name: str) -> bool:
    """Whether a row was ever written at a path, whatever became of the metadata: none is before its group is finished.

    False where files cannot be listed, as over https; nothing can be written there either.
    """
    if root.metadata.consolidated_metadata is not None:
        return False

    async def any_chunk() -> bool:
        arrays = {array async for array in root.store.list_dir(name)} & set(_OF_ROWS)
        return any([True for array in arrays async for _ in root.store.list_dir(f"{name}/{array}/c")])

    return sync(any_chunk())
