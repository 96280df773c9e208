"""From what a user types (a path, a URL, a zip) to what zarr opens, with errors that say what was found instead."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from zipfile import BadZipFile

import zarr
from zarr.abc.store import Store
from zarr.errors import ContainsArrayError, GroupNotFoundError, ZarrUserWarning
from zarr.storage import FsspecStore, LocalStore, ZipStore

from sweetgrad.store.errors import NotAStoreError, SchemaVersionError
from sweetgrad.store.schema import FORMAT_VERSION

Location: TypeAlias = str | Path


def is_remote(location: Location) -> bool:
    """Whether the location is a URL (or a chain of them) and not a local path."""
    return "://" in str(location) or "::" in str(location)


def zarr_target(location: Location, *, read_only: bool = True) -> Any:
    """What to pass to zarr or xarray as the store: a URL, or a zip or local store object."""
    if is_remote(location):
        return str(location)
    path = Path(location)
    return ZipStore(path, mode="r") if path.suffix == ".zip" else LocalStore(path, read_only=read_only)


def zarr_store(location: Location, *, read_only: bool = True) -> Store:
    """The store object of a location, whether or not there is anything in it."""
    target = zarr_target(location, read_only=read_only)
    return FsspecStore.from_url(target, read_only=read_only) if isinstance(target, str) else target


def open_root(
    location: Location, *, mode: Literal["r", "r+"] = "r", storage_options: dict[str, Any] | None = None
) -> zarr.Group:
    """Open the root group, or raise `NotAStoreError` or `SchemaVersionError`.

    The metadata is read afresh, never from the consolidated copy, which a run in progress leaves behind.
    """
    if not is_remote(location) and not Path(location).exists():
        raise NotAStoreError(
            f"no store at {location}: the path does not exist. `sweetgrad profile {location} …` would make one."
        )
    consolidated = None if is_remote(location) and mode == "r" else False
    try:
        root = zarr.open_group(
            zarr_target(location, read_only=mode == "r"),
            mode=mode,
            use_consolidated=consolidated,
            storage_options=storage_options,
        )
    except (GroupNotFoundError, NotADirectoryError, FileNotFoundError, ContainsArrayError, BadZipFile) as error:
        raise NotAStoreError(
            f"{location} is not a sweetgrad store: expected a zarr v3 group, found none there."
        ) from error
    except (ValueError, TypeError) as error:  # what zarr raises on a zarr.json that it cannot read
        raise NotAStoreError(
            f"{location}: expected the metadata of a zarr v3 group in zarr.json, cannot read it ({error}). "
            "Copy that file from a backup of the store."
        ) from error
    require_readable(root, location)
    return root


def child_groups(group: zarr.Group) -> list[tuple[str, zarr.Group]]:
    """Names and groups directly below a group, sorted."""
    with ignore_leftovers():
        return sorted(group.groups(), key=lambda item: item[0])


@contextmanager
def ignore_leftovers() -> Iterator[None]:
    """Keep zarr from warning of files of writers beside a ``zarr.json``: their claim, and ``.partial`` ones that a kill left."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Object at .*\.(partial|claim) is not recognized", ZarrUserWarning)
        yield


def require_readable(root: zarr.Group, location: Location) -> None:
    """Raise unless the group is the root of a sweetgrad store in a format that this package reads."""
    version = root.attrs.get("schema_version")
    if not isinstance(version, int):
        raise NotAStoreError(
            f"{location} is a zarr group but not a sweetgrad store: its attribute schema_version is missing."
        )
    if version > FORMAT_VERSION:
        raise SchemaVersionError(
            f"{location} has format version {version}; this sweetgrad reads up to {FORMAT_VERSION}. Install a newer sweetgrad."
        )
