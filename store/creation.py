"""Create an empty profile, or extend one of an open-ended space."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import zarr

from sweetgrad.store.access import Location
from sweetgrad.store.errors import NotAStoreError, StoreError
from sweetgrad.store.format.arrays import write_archs
from sweetgrad.store.format.blocks import VARIABLES
from sweetgrad.store.format.spec import ProfileSpec
from sweetgrad.store.groups import Store, block_groups, create_group, has_rows
from sweetgrad.store.profile import Profile
from sweetgrad.store.root import editing, now

DEFAULT_SHARD_SIZE = {"cpu": 625, "cuda": 125}
"""Smaller on GPUs: several processes share each of them, and the last shards would leave some of these without work."""
"""Number of architectures in a shard: the unit of work, of writing, and of loss in a crash."""


def create_profile(
    location: Location,
    spec: ProfileSpec,
    *,
    arch: Sequence[str],
    layers: Sequence[str],
    shard_size: int | None = None,
    may_grow: bool = False,
) -> Profile:
    """Create an empty profile with a row for every architecture, or check that the existing one has this spec.

    Parameters
    ----------
    location
        Local path or writable URL; the store is created if it does not exist.
    spec
        Settings of the profile.
    arch, layers
        Architecture strings of the whole space, in index order, and layer names from input to output.
    shard_size
        Architectures in a shard; None: that of the existing profile, or `DEFAULT_SHARD_SIZE`.
    may_grow
        Whether the space is an open-ended list that begins with ``arch``: then an existing profile is extended if ``arch`` is
        longer, and left unchanged if ``arch`` is shorter.

    Returns
    -------
    The opened profile.

    Raises
    ------
    SpecMismatchError
        If the profile exists with other settings; the message has every differing field.
    StoreError
        If the profile exists with another ``shard_size``, or has rows but its spec cannot be read.
    NotAStoreError
        If the location has other content.
    ValueError
        If ``shard_size`` is less than 1.
    """
    if shard_size is not None and shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}")
    with editing(location, create=True) as store:
        _create_profile(store, spec, arch, layers, shard_size, may_grow)
    return Profile.open(location, spec.profile_name)


def _create_profile(
    store: Store,
    spec: ProfileSpec,
    arch: Sequence[str],
    layers: Sequence[str],
    shard_size: int | None,
    may_grow: bool,
) -> None:
    name = spec.profile_name
    where = f"profile {name} in {store.location}"
    group = store.find_group(name)
    # The spec is written last, in the same write as the other attributes: without it, the creation was interrupted.
    if isinstance(group, zarr.Group) and "spec" in group.attrs:
        _continue_profile(group, spec, arch, shard_size, may_grow, where=where)
    elif has_rows(store.root, name):
        raise StoreError(
            f"{where} has rows, but its spec cannot be read ({name}/zarr.json). Copy that file from a backup, or delete the "
            "profile's folder and profile again."
        )
    else:
        attributes = {"spec": spec.to_attrs(), "created": now(), "runs": [], "complete": False}
        create_group(
            store.root,
            name,
            arch,
            layers,
            shard_size or DEFAULT_SHARD_SIZE.get(spec.device, DEFAULT_SHARD_SIZE["cpu"]),
            attributes,
        )


def _continue_profile(
    group: zarr.Group, spec: ProfileSpec, arch: Sequence[str], shard_size: int | None, may_grow: bool, *, where: str
) -> None:
    """Check that an existing profile has this spec, and extend it if it may grow and ``arch`` is longer."""
    stored = ProfileSpec.from_attrs(dict(group.attrs["spec"]))  # type: ignore[arg-type]
    named = named_archs(group) if may_grow else []
    is_list = may_grow and all(a == b for a, b in zip(named, arch, strict=False))
    asked = replace(spec, arch_sha256=stored.arch_sha256) if is_list else spec
    asked.require_equal(stored, where=where)
    if shard_size not in (None, group.attrs["shard_size"]):
        raise StoreError(
            f"{where} has shards of {group.attrs['shard_size']} architectures, requested {shard_size}: "
            "omit --shard-size to continue it."
        )
    if is_list and len(arch) >= len(named) < max(len(arch), _longest(group)):
        _grow(group, spec, arch)


def stored_archs(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Architectures of a profile in the order of its rows; empty if there is no such profile.

    Arguments as in `open_profile`. It also reads a profile whose extension was interrupted, which the next `create_profile`
    completes.
    """
    try:
        return named_archs(Store.open(location, storage_options=storage_options).profile_group(name))
    except NotAStoreError:
        return []


def named_archs(group: zarr.Group) -> list[str]:
    """Architecture strings of a profile, without those rows that an interrupted extension left unnamed."""
    names = [str(name) for name in np.asarray(group["arch"][:])] if "arch" in group else []  # type: ignore[index]
    while names and not names[-1]:
        names.pop()
    return names


def _longest(group: zarr.Group) -> int:
    """Number of rows of the longest array; after an interrupted extension, more than have names."""
    return max(group[v.name].shape[0] for v in VARIABLES.values() if v.dims[0] == "arch" and v.name in group)  # type: ignore[union-attr]


def _grow(group: zarr.Group, spec: ProfileSpec, arch: Sequence[str]) -> None:
    """Add empty rows. Names and spec are written last, so that the next run repeats an interrupted extension."""
    num_archs = len(arch)
    for variable in VARIABLES.values():
        # Resized, not created again: if a search has found the names, they are stored only here.
        if variable.dims[0] == "arch":
            _lengthen(group[variable.name], num_archs)  # type: ignore[arg-type]
    for block in block_groups(group).values():
        for _, array in sorted(block.arrays()):
            if (array.metadata.dimension_names or ("arch",))[0] == "arch":  # type: ignore[union-attr]  # zarr: v2 has none
                _lengthen(array, num_archs)
    write_archs(group, arch)
    group.attrs.update({"complete": False, "spec": spec.to_attrs()})


def _lengthen(array: zarr.Array[Any], num_archs: int) -> None:
    array.resize((num_archs, *array.shape[1:]))
