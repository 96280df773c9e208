"""The root of a store: made in one write, changed by one process at a time, its metadata copied for readers that cannot list."""

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
    """Make an empty store, or see that the one there can be written to.

    Raises
    ------
    NotAStoreError
        If there is something else.
    """
    with editing(location, create=True):
        pass


def refuse_file(location: Location) -> None:
    """Raise `NotAStoreError` where a store cannot be made, since there is a file."""
    path = local_path(location)
    if not is_remote(location) and path.exists() and not path.is_dir():
        raise NotAStoreError(f"{location} is a file: expected a folder of a zarr store, or a new path.")


def _made(location: Location, lock: Lock) -> Store:
    """A store, made if there is none, fenced."""
    folder = None if is_remote(location) else local_path(location)
    if folder is not None and folder.exists() and any(not _is_passing(p) for p in folder.iterdir()):
        return _up_to_date(location, lock)
    # The attributes go into the one write that makes the group: a crash leaves no group that is not a store.
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
    """A store that is there, of the present format, fenced."""
    store = Store.open(location, mode="r+", fence=lock.fence)
    if store.version < FORMAT_VERSION:
        upgrade(store)
        consolidate(store.root)
    return store


def _is_passing(path: Path) -> bool:
    """Whether it belongs to a lock, is what a crash during the very first write leaves, or what a desktop does."""
    return path.suffix in (".claim", ".beat", ".next", PARTIAL) or is_litter(path.name)


@contextmanager
def editing(location: Location, *, create: bool = False) -> Iterator[Store]:
    """A store to change metadata in, while nobody else does; every write through it is fenced.

    A store of an older format is brought to the present one first.

    Parameters
    ----------
    location
        Of the store.
    create
        Whether it is made if there is none.

    Raises
    ------
    NotAStoreError
        If there is no store, or something else.
    StoreError
        If the store has an older format, and a run is writing to it.
    FencedError
        From a write, if this process was stopped for so long that another took its lock over.
    """
    if create:
        refuse_file(location)
    else:
        Store.open(location, mode="r+")  # where there is no store, no lock is left either
    with lock_store(location) as lock:
        yield _made(location, lock) if create else _up_to_date(location, lock)


def consolidate(root: zarr.Group, path: str = "") -> None:
    """Copy all metadata below a path into its own, the root's by default, for readers that cannot list (https)."""
    with warnings.catch_warnings():
        # zarr warns that the v3 specification does not name consolidated metadata; readers without it are served as well.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store, path=path)


def append_run(group: zarr.Group, facts: Mapping[str, Any]) -> None:
    """Append JSON-ready facts about a run that is about to write to a group to its attribute ``runs``, with the time."""
    group.attrs["runs"] = [*group.attrs["runs"], {"started": now(), **redacted_facts(facts)}]  # type: ignore[misc]


def redact_attributes(root: zarr.Group) -> None:
    """Take credentials out of the attributes of all groups: a store that an older version wrote may hold some."""
    with ignore_leftovers():
        groups = [root, *(member for _, member in root.members(max_depth=None) if isinstance(member, zarr.Group))]
    for group in groups:
        before = dict(group.attrs)
        if (after := redacted_facts(before)) != before:
            group.update_attributes(after)


def now() -> str:
    """The time in UTC, to the second, as attributes keep it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
