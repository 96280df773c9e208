"""The root of a store: created in one write, changed by one process at a time, with consolidated metadata."""

import datetime as dt
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import zarr
from zarr.errors import ZarrUserWarning

from sweetgrad.store.access import (
    PARTIAL,
    Location,
    ignore_leftovers,
    is_litter,
    is_remote,
    local_path,
    require_readable,
    zarr_store,
)
from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.format.schema import FORMAT_VERSION
from sweetgrad.store.groups import Store
from sweetgrad.store.locks import Lock, lock_store
from sweetgrad.store.redaction import redacted_facts
from sweetgrad.store.upgrade import upgrade


def create_store(location: Location) -> None:
    """Create an empty store, or check that an existing one can be written to.

    Raises
    ------
    NotAStoreError
        If the location has other content.
    """
    with editing(location, create=True):
        pass


def refuse_file(location: Location) -> None:
    """Raise `NotAStoreError` if the location is a file, so that no store can be created there."""
    path = local_path(location)
    if not is_remote(location) and path.exists() and not path.is_dir():
        raise NotAStoreError(f"{location} is a file: expected a folder of a zarr store, or a new path.")


def _made(location: Location, lock: Lock) -> Store:
    """The store, created if it does not exist, with fenced writes."""
    folder = None if is_remote(location) else local_path(location)
    if folder is not None and folder.exists() and any(not _is_passing(p) for p in folder.iterdir()):
        return _up_to_date(location, lock)
    # The attributes are part of the write that creates the group, so a crash cannot leave a group that is not a store.
    root = zarr.open_group(
        zarr_store(location, read_only=False, fence=lock.fence),
        mode="a",
        zarr_format=3,
        use_consolidated=False,
        attributes={
            "schema_version": FORMAT_VERSION,
            "title": "sweetgrad: gradient histograms at initialisation",
            "licence": "CC-BY-4.0",
            "citation": "Yang et al., Sweet Gradient Matters, Neural Networks 168 (2023), doi:10.1016/j.neunet.2023.09.012",
            "creator": f"sweetgrad {version('sweetgrad')}",
            "history": f"created {now()}",
        },
    )
    require_readable(root, location)
    store = Store(location, root)
    return _up_to_date(location, lock) if store.version < FORMAT_VERSION else store


def _up_to_date(location: Location, lock: Lock) -> Store:
    """An existing store, upgraded to the current format, with fenced writes."""
    store = Store.open(location, mode="r+", fence=lock.fence)
    if store.version < FORMAT_VERSION:
        upgrade(store)
        consolidate(store.root)
    return store


def _is_passing(path: Path) -> bool:
    """Whether it belongs to a lock, or was left by a crash during the first write or by a desktop."""
    return path.suffix in (".claim", ".beat", ".next", PARTIAL) or is_litter(path.name)


@contextmanager
def editing(location: Location, *, create: bool = False) -> Iterator[Store]:
    """Context manager for exclusive changes to the metadata of a store, in which every write is fenced.

    A store of an older format is upgraded first.

    Parameters
    ----------
    location
        Location of the store.
    create
        Whether to create the store if it does not exist.

    Raises
    ------
    NotAStoreError
        If there is no store, or the location has other content.
    StoreError
        If the store has an older format and a run is writing to it.
    FencedError
        From a write, if this process was stopped for so long that another one took its lock over.
    """
    if create:
        refuse_file(location)
    else:
        Store.open(location, mode="r+")  # raises before a lock is created where there is no store
    with lock_store(location) as lock:
        yield _made(location, lock) if create else _up_to_date(location, lock)


def consolidate(root: zarr.Group, path: str = "") -> None:
    """Consolidate all metadata below a path (by default, the root) in its ``zarr.json``, for readers that cannot list (https)."""
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not in the v3 specification; readers that do not support it ignore it.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store, path=path)


def append_run(group: zarr.Group, facts: Mapping[str, Any]) -> None:
    """Append facts (JSON-ready) about a run that is about to write to a group, and the time, to the attribute ``runs``."""
    group.attrs["runs"] = [*group.attrs["runs"], {"started": now(), **redacted_facts(facts)}]  # type: ignore[misc]


def redact_attributes(root: zarr.Group) -> None:
    """Remove credentials from the attributes of all groups, where older versions may have stored some."""
    with ignore_leftovers():
        groups = [root, *(member for _, member in root.members(max_depth=None) if isinstance(member, zarr.Group))]
    for group in groups:
        before = dict(group.attrs)
        if (after := redacted_facts(before)) != before:
            group.update_attributes(after)


def now() -> str:
    """Current time in UTC, to the second, in the format of the attributes."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
