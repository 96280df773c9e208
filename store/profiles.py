"""Create a profile empty and whole, open it, and stamp it when a run ends."""

import datetime as dt
import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import ZarrStore
from zarr.core.sync import sync
from zarr.errors import ZarrUserWarning

from sweetgrad.store._arrays import create_group
from sweetgrad.store._digest import profile_digest
from sweetgrad.store._growth import grow, longest, named_archs
from sweetgrad.store.access import (
    Location,
    check_profile,
    child_groups,
    ignore_leftovers,
    is_remote,
    making_sense,
    open_root,
    require_readable,
    with_options,
    zarr_store,
)
from sweetgrad.store.claims import exclusively
from sweetgrad.store.errors import NotAStoreError, StoreError
from sweetgrad.store.schema import FORMAT_VERSION, STATUS, VARIABLES
from sweetgrad.store.spec import ProfileSpec

__all__ = [
    "DEFAULT_SHARD_SIZE",
    "create_profile",
    "create_store",
    "finalise_profile",
    "list_profiles",
    "open_profile",
    "open_store",
    "record_run",
    "refuse_file",
    "stored_archs",
]

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
        return xr.open_datatree(root.store, engine="zarr", chunks={}, consolidated=consolidated)  # type: ignore[arg-type]


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
    group = _profile_group(open_root(location), name, location)
    try:
        with ignore_leftovers():
            profile = xr.open_dataset(ZarrStore(group, mode="r"), chunks=None, mask_and_scale=False)
    except StoreError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # What xarray raises on arrays that do not go together, and codecs on damaged coordinates.
        raise NotAStoreError(
            f"{location}: the arrays of profile {name} cannot be opened ({error}). `sweetgrad verify {location}` says which."
        ) from error
    check_profile(profile, group.attrs.get("shard_size"), where=f"{location}: {name}")
    profile = profile[[name for name in VARIABLES if name in profile.data_vars]]  # zarr lists them in no order
    if chunks is None:
        return profile
    coords = {key: coord.load() for key, coord in profile.coords.items()}
    sizes = {"arch": int(group.attrs["shard_size"]), "kind": 1} if chunks == "shard" else chunks  # type: ignore[arg-type]
    return profile.chunk(sizes).assign_coords(coords)


def list_profiles(location: Location, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Names of all profiles in a store, sorted."""
    location = with_options(location, storage_options)
    root = open_root(location)
    with making_sense(location):
        return sorted(_profile_names(root))


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
        If the profile exists with another ``shard_size``.
    """
    if shard_size is not None and shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}")
    refuse_file(location)
    with exclusively(location):
        return _create_profile(_create_root(location), location, spec, arch, layers, shard_size, may_grow)


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
    group = _get(root, name, location)
    # The spec is written last, in one write with what goes with it: a group without it is a creation that was cut off.
    if isinstance(group, zarr.Group) and "spec" in group.attrs:
        stored = ProfileSpec.from_attrs(dict(group.attrs["spec"]))  # type: ignore[arg-type]
        named = named_archs(group) if may_grow else []
        is_list = may_grow and all(a == b for a, b in zip(named, arch, strict=False))
        asked = replace(spec, arch_sha256=stored.arch_sha256) if is_list else spec
        asked.require_equal(stored, where=f"profile {name} in {location}")
        if shard_size not in (None, group.attrs["shard_size"]):
            raise StoreError(
                f"profile {name} in {location} has shards of {group.attrs['shard_size']} architectures, asked {shard_size}: "
                "leave --shard-size out to continue it."
            )
        if is_list and len(arch) >= len(named) < max(len(arch), longest(group)):
            grow(group, spec, arch)
    elif has_rows(root, name):
        raise StoreError(
            f"profile {name} in {location} holds rows, but its spec cannot be read ({name}/zarr.json). Copy that file from a "
            "backup, or delete the profile's folder and profile again."
        )
    else:
        group = create_group(root, name, arch, layers, shard_size or DEFAULT_SHARD_SIZE)
        group.update_attributes({"spec": spec.to_attrs(), "created": _now(), "runs": [], "complete": False})
    return name


def has_rows(root: zarr.Group, name: str) -> bool:
    """Whether a status was ever written at a path, whatever became of the metadata: no row is written before the spec is."""

    async def any_status() -> bool:
        return any([True async for _ in root.store.list_dir(f"{name}/status/c")])

    return sync(any_status())


def stored_archs(location: Location, name: str) -> list[str]:
    """Architectures of a profile in the order of its rows, as far as they are named; none where there is no such profile.

    Unlike `open_profile` it reads a profile whose growth was cut off, which the next `create_profile` puts right.
    """
    try:
        return named_archs(_profile_group(open_root(location), name, location))
    except NotAStoreError:
        return []


def record_run(location: Location, name: str, facts: Mapping[str, Any]) -> None:
    """Append JSON-ready facts about a run that is about to write to a profile to its attribute ``runs``, with the time."""
    with editing(location) as root:
        group = _profile_group(root, name, location)
        group.attrs["runs"] = [*group.attrs["runs"], {"started": _now(), **facts}]  # type: ignore[misc]


def finalise_profile(location: Location, name: str) -> None:
    """Stamp a profile with its content digest and whether it is complete, and consolidate the metadata of the store.

    Call it once at the end of a run, from one process. A profile is complete when no row is left that was not run.
    """
    with editing(location) as root:
        _stamp(_profile_group(root, name, location))
        consolidate(root)


def _stamp(group: zarr.Group) -> None:
    status = np.asarray(group["status"][:])  # type: ignore[index]
    digest = np.asarray(group["digest"][:])  # type: ignore[index]
    group.update_attributes(
        {
            "complete": bool((status != STATUS["not run"]).all()),
            "num_ok": int((status == STATUS["ok"]).sum()),
            "num_failed": int((status == STATUS["failed"]).sum()),
            "content_digest": profile_digest(digest, status),
        }
    )


@contextmanager
def editing(location: Location) -> Iterator[zarr.Group]:
    """The root of a store, to change metadata in, while nobody else does."""
    open_root(location, mode="r+")  # where there is no store, no claim is left either
    with exclusively(location):
        yield open_root(location, mode="r+")


def consolidate(root: zarr.Group) -> None:
    """Copy all metadata into the root, for readers that cannot list (https)."""
    with warnings.catch_warnings():
        # zarr warns that the v3 specification does not name consolidated metadata; readers without it are served as well.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store)


def create_store(location: Location) -> None:
    """Make an empty store, or see that the one there can be written to.

    Raises
    ------
    NotAStoreError
        If there is something else.
    """
    refuse_file(location)
    with exclusively(location):
        _create_root(location)


def refuse_file(location: Location) -> None:
    """Raise `NotAStoreError` where a store cannot be made, since there is a file."""
    if not is_remote(location) and Path(str(location)).is_file():
        raise NotAStoreError(f"{location} is a file: expected a folder of a zarr store, or a new path.")


def _create_root(location: Location) -> zarr.Group:
    folder = None if is_remote(location) else Path(str(location))
    if folder is not None and folder.exists() and any(not _is_passing(p) for p in folder.iterdir()):
        return open_root(location, mode="r+")
    # The attributes go into the one write that makes the group: a crash leaves no group that is not a store.
    root = zarr.open_group(
        zarr_store(location, read_only=False),
        mode="a",
        zarr_format=3,
        use_consolidated=False,
        attributes={
            "schema_version": FORMAT_VERSION,
            "title": "sweetgrad: gradient histograms at initialisation",
            "licence": "CC-BY-4.0",
            "citation": "Yang et al., Sweet Gradient Matters, Neural Networks 168 (2023), doi:10.1016/j.neunet.2023.09.012",
            "creator": f"sweetgrad {version('sweetgrad')}",
            "history": f"created {_now()}",
        },
    )
    require_readable(root, location)
    return root


def _is_passing(path: Path) -> bool:
    """Whether it is our own claim, or what a crash during the very first write leaves."""
    return path.suffix in (".claim", ".partial")


def _profile_group(root: zarr.Group, name: str, location: Location) -> zarr.Group:
    group = _get(root, name, location)
    if isinstance(group, zarr.Group) and "spec" in group.attrs:
        return group
    names = sorted(_profile_names(root))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names
    raise NotAStoreError(f"{location} has no profile {name!r}; it holds {', '.join(near) or 'none yet'}.")


def _get(root: zarr.Group, name: str, location: Location) -> Any:
    try:
        return root.get(name)
    except (ValueError, TypeError) as error:  # what zarr raises on a zarr.json that it cannot read
        raise NotAStoreError(
            f"{location}: the metadata of profile {name} ({name}/zarr.json) cannot be read ({error}). "
            "Copy that file from a backup, or delete the profile's folder and profile again."
        ) from error


def _profile_names(group: zarr.Group) -> Iterator[str]:
    if "spec" in group.attrs:
        yield group.path
        return
    for _, child in child_groups(group):
        yield from _profile_names(child)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
