"""Create a profile empty and whole, open it, and stamp it when a run ends."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr
import zarr
from xarray.backends import ZarrStore

from sweetgrad.store._blocks import stamp
from sweetgrad.store._growth import grow, longest, named_archs
from sweetgrad.store._runs import facts_that_differ
from sweetgrad.store.access import (
    Location,
    check_profile,
    command_line,
    ignore_leftovers,
    making_sense,
    open_root,
    with_options,
)
from sweetgrad.store.errors import NotAStoreError, StoreError
from sweetgrad.store.format.bins import NUM_BINS, bin_bounds
from sweetgrad.store.format.schema import VARIABLES
from sweetgrad.store.format.spec import ProfileSpec
from sweetgrad.store.groups import create_group, estimator_groups, find_group, has_rows, profile_group, profile_names
from sweetgrad.store.root import append_run, consolidate, editing, now

DEFAULT_SHARD_SIZE = 625
"""Architectures in one shard: the unit of work, of writing and of what a crash can lose."""


def open_store(location: Location, *, storage_options: dict[str, Any] | None = None) -> xr.DataTree:
    """Open everything in a store, lazily.

    Parameters
    ----------
    location
        Local path, ``.zip`` file (also as ``zip://PATH``), URL that fsspec understands (``s3://``, ``https://``,
        ``zip::https://``), or `RemoteStore`.
    storage_options
        Options for the file system at a URL, as in `RemoteStore`.

    Returns
    -------
    Tree with one node for every profile and accuracy table; nothing but metadata is read.

    Raises
    ------
    NotAStoreError, SchemaVersionError
        If there is no store of a readable format.
    UnreachableStoreError
        If a URL gives no answer, or refuses; also raised when data are read later.
    """
    location = with_options(location, storage_options)
    root = open_root(location)
    # Where the root came with consolidated metadata, they are all there is to go by.
    consolidated = root.metadata.consolidated_metadata is not None
    with ignore_leftovers(), making_sense(location):
        tree = xr.open_datatree(root.store, engine="zarr", chunks={}, consolidated=consolidated)  # type: ignore[arg-type]
    return tree.map_over_datasets(_with_bounds)


def open_profile(
    location: Location,
    name: str,
    *,
    chunks: Mapping[str, int] | str | None = "shard",
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Open one profile, lazily.

    Parameters
    ----------
    location
        As in `open_store`.
    name
        Path of the profile in the store, e.g. ``nas-bench-201/cifar10/bs64-seed42``.
    chunks
        ``"shard"``: dask arrays of one shard a chunk. None: xarray's own lazy arrays, which load when first computed with and
        need no dask. Or sizes by dimension.
    storage_options
        As in `open_store`.

    Returns
    -------
    Variables as in `VARIABLES`; one row for every architecture of the space, of which those with ``status == 1`` were measured.

    Raises
    ------
    NotAStoreError
        If there is no such store, or no such profile in it; the nearest names are given.
    UnreachableStoreError
        As in `open_store`.
    """
    location = with_options(location, storage_options)
    group = profile_group(open_root(location), name, location)
    try:
        with ignore_leftovers():
            profile = xr.open_dataset(ZarrStore(group, mode="r"), chunks=None, mask_and_scale=False)
    except StoreError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # What xarray raises on arrays that do not go together, and codecs on damaged coordinates.
        raise NotAStoreError(
            f"{location}: the arrays of profile {name} cannot be opened ({error}). "
            f"`{command_line('verify', location)}` says which."
        ) from error
    check_profile(profile, group.attrs.get("shard_size"), where=f"{location}: {name}")
    profile = _with_bounds(
        profile[[name for name in VARIABLES if name in profile.data_vars]]
    )  # zarr lists them in no order
    if chunks is None:
        return profile
    coords = {key: coord.load() for key, coord in profile.coords.items()}
    sizes = {"arch": int(group.attrs["shard_size"]), "kind": 1} if chunks == "shard" else chunks  # type: ignore[arg-type]
    return profile.chunk(sizes).assign_coords(coords)


def _with_bounds(profile: xr.Dataset) -> xr.Dataset:
    """The profile with bounds of bins as they are stored since format 2; format 1 has the nearest float32 of them."""
    named = {name: (("bin",), bounds) for name, bounds in zip(("bin_lower", "bin_upper"), bin_bounds(), strict=True)}
    there = {name: profile[name] for name in named if name in profile.coords and profile.sizes["bin"] == NUM_BINS}
    return profile.assign_coords({name: (*named[name], bound.attrs) for name, bound in there.items()})


def list_profiles(location: Location, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Names of all profiles in a store, sorted."""
    location = with_options(location, storage_options)
    root = open_root(location)
    with making_sense(location):
        return sorted(profile_names(root))


def create_profile(
    location: Location,
    spec: ProfileSpec,
    *,
    arch: Sequence[str],
    layers: Sequence[str],
    shard_size: int | None = None,
    may_grow: bool = False,
) -> str:
    """Create an empty profile with a row for every architecture, or check that the one there has this spec.

    Parameters
    ----------
    location
        Local path or writable URL; the store is made if it is not there.
    spec
        Settings of the profile.
    arch, layers
        Architecture strings of the whole space, in index order, and layer names from input to output.
    shard_size
        Architectures in a shard; None: that of the profile found, or `DEFAULT_SHARD_SIZE`.
    may_grow
        Whether the space is an endless list, of which ``arch`` is a beginning: then a profile that is there gets rows at its end
        if ``arch`` is longer, and is taken as it is if ``arch`` is shorter.

    Returns
    -------
    Name of the profile in the store.

    Raises
    ------
    SpecMismatchError
        If the profile exists with other settings; every differing field is named.
    StoreError
        If the profile exists with another ``shard_size``, or holds rows and its spec cannot be read.
    NotAStoreError
        If there is something else at the location.
    ValueError
        If ``shard_size`` is less than 1.
    """
    if shard_size is not None and shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}")
    with editing(location, create=True) as root:
        return _create_profile(root, location, spec, arch, layers, shard_size, may_grow)


def _create_profile(
    root: zarr.Group,
    location: Location,
    spec: ProfileSpec,
    arch: Sequence[str],
    layers: Sequence[str],
    shard_size: int | None,
    may_grow: bool,
) -> str:
    name = spec.profile_name
    where = f"profile {name} in {location}"
    group = find_group(root, name, location)
    # The spec is written last, in one write with what goes with it: a group without it is a creation that was cut off.
    if isinstance(group, zarr.Group) and "spec" in group.attrs:
        _continue_profile(group, spec, arch, shard_size, may_grow, where=where)
    elif has_rows(root, name):
        raise StoreError(
            f"{where} holds rows, but its spec cannot be read ({name}/zarr.json). Copy that file from a backup, or delete the "
            "profile's folder and profile again."
        )
    else:
        attributes = {"spec": spec.to_attrs(), "created": now(), "runs": [], "complete": False}
        create_group(root, name, arch, layers, shard_size or DEFAULT_SHARD_SIZE, attributes)
    return name


def _continue_profile(
    group: zarr.Group, spec: ProfileSpec, arch: Sequence[str], shard_size: int | None, may_grow: bool, *, where: str
) -> None:
    """Check that a profile that is there has this spec, and lengthen it if it may grow and ``arch`` is longer."""
    stored = ProfileSpec.from_attrs(dict(group.attrs["spec"]))  # type: ignore[arg-type]
    named = named_archs(group) if may_grow else []
    is_list = may_grow and all(a == b for a, b in zip(named, arch, strict=False))
    asked = replace(spec, arch_sha256=stored.arch_sha256) if is_list else spec
    asked.require_equal(stored, where=where)
    if shard_size not in (None, group.attrs["shard_size"]):
        raise StoreError(
            f"{where} has shards of {group.attrs['shard_size']} architectures, asked {shard_size}: "
            "leave --shard-size out to continue it."
        )
    if is_list and len(arch) >= len(named) < max(len(arch), longest(group)):
        grow(group, spec, arch)


def stored_archs(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Architectures of a profile in the order of its rows, as far as they are named; none where there is no such profile.

    Unlike `open_profile`, whose arguments it has, it reads a profile whose growth was cut off, which the next `create_profile`
    puts right.
    """
    location = with_options(location, storage_options)
    try:
        return named_archs(profile_group(open_root(location), name, location))
    except NotAStoreError:
        return []


def record_run(location: Location, name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Append JSON-ready facts about a run that is about to write to a profile to its attribute ``runs``, with the time.

    Returns
    -------
    Facts that may move the last bit of a gradient and that an earlier run had otherwise (the version of torch, the CPU
    capability), each as a sentence: rows of the two are not comparable to the last count.
    """
    with editing(location) as root:
        group = profile_group(root, name, location)
        before: list[dict[str, Any]] = list(group.attrs["runs"])  # type: ignore[arg-type]
        append_run(group, facts)
    return facts_that_differ(before, facts)


def finalise_profile(location: Location, name: str) -> None:
    """Stamp a profile and its estimators with their content digest and what is missing; consolidate the metadata of the store.

    Call it once at the end of a run, from one process. A profile is complete when no row is left that was not run.
    """
    with editing(location) as root:
        group = profile_group(root, name, location)
        for each in (group, *(estimator for _, estimator in estimator_groups(group))):
            stamp(each, location, shard_size=int(group.attrs["shard_size"]))  # type: ignore[arg-type]
        consolidate(root)
