"""Open what a user names (a path, a URL, a zip) with zarr; errors say what was found instead."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from zipfile import BadZipFile

import zarr
from zarr.abc.store import Store
from zarr.errors import ContainsArrayError, GroupNotFoundError, ZarrUserWarning
from zarr.storage import LocalStore

from sweetgrad.store.access._command_line import command_line
from sweetgrad.store.access._files import DurableStore
from sweetgrad.store.access._guard import CheckedZipStore, Fence, GuardedStore, guarded
from sweetgrad.store.access._limits import short
from sweetgrad.store.access._remote import RemoteStore, open_remote
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.access._zip import RemoteZipStore
from sweetgrad.store.errors import NotAStoreError, SchemaVersionError, StoreError
from sweetgrad.store.format.schema import FORMAT_VERSION

Location: TypeAlias = str | Path | RemoteStore


def is_remote(location: Location) -> bool:
    """Whether the location is a URL (or a chain of them) and not a local path."""
    return "://" in str(location) or "::" in str(location)


def local_path(location: Location) -> Path:
    """The path of a location that is not a URL. ``~`` is expanded, since a shell expands it only at the start of a word."""
    return Path(str(location)).expanduser()


def is_zip(location: Location) -> bool:
    """Whether the location is a zip file, local or at a URL."""
    path = str(location).partition("?")[0] if is_remote(location) else str(location)  # a signature may follow
    return path.startswith("zip:") or path.endswith(".zip")


def url_of(location: Location) -> str:
    """The location as fsspec needs it. Unlike ``str(location)``, it has the credentials of a `RemoteStore`: not for messages."""
    return location.url if isinstance(location, RemoteStore) else str(location)


def with_options(location: Location, storage_options: Mapping[str, Any] | None) -> Location:
    """The location with further storage options, which override its own.

    Raises
    ------
    ValueError
        If it is a local path, which has no options.
    """
    if not storage_options:
        return location
    if not is_remote(location):
        raise ValueError(f"storage options ({', '.join(storage_options)}) are for URLs; {location} is a local path")
    before = location.storage_options if isinstance(location, RemoteStore) else {}
    return RemoteStore(url_of(location), {**before, **storage_options})


def absolute(location: Location) -> Location:
    """The location in a form that does not depend on the working directory."""
    return location if is_remote(location) else str(local_path(location).resolve())


def zarr_store(
    location: Location, *, read_only: bool = True, fence: Fence | None = None, durable: bool = True
) -> GuardedStore:
    """The store object of a location, whether or not there is anything in it.

    Parameters
    ----------
    location
        As in `sweetgrad.store.open_store`.
    read_only
        Whether writing is refused.
    fence
        Awaited before every write.
    durable
        Whether writes to a disk are flushed (`os.fsync`).

    Raises
    ------
    NotAStoreError
        If it is a zip file that cannot be read, or a URL where there is no zip file.
    StoreError
        If it cannot be written to and ``read_only`` is False.
    """
    if is_zip(location) and not read_only:
        raise StoreError(f"{location} is a zip file, which can only be read: unpack it, and use the folder.")
    if not is_remote(location):
        path = local_path(location)
        try:
            if is_zip(location):
                return guarded(CheckedZipStore(path, mode="r"))
            return guarded((DurableStore if durable else LocalStore)(path, read_only=read_only), fence=fence)
        except BadZipFile as error:
            raise NotAStoreError(
                f"{location} is not a sweetgrad store: expected a zarr v3 group in a zip, cannot read its directory ({error})."
            ) from error
    remote = location if isinstance(location, RemoteStore) else RemoteStore(str(location))
    if remote.url.startswith("zip://") and "::" not in remote.url:  # no further URL: the zip file is local
        remote = RemoteStore(f"zip::file://{Path(remote.url.removeprefix('zip://')).resolve()}", remote.storage_options)
    file = RemoteStore(remote.url.rpartition("::")[2], remote.storage_options)
    if is_zip(location) and remote.url in (f"zip::{file.url}", f"zip://::{file.url}", file.url):
        address, question, query = file.url.partition("?")  # a signature may hold slashes
        folder, _, name = address.rpartition("/")
        name = f"{name}{question}{query}"
        return guarded(RemoteZipStore(open_remote(RemoteStore(folder, file.storage_options), read_only=True), name))
    return guarded(open_remote(remote, read_only=read_only), fence=fence)


def cannot_list(location: Location) -> bool:
    """Whether files there cannot be listed, so that readers depend on consolidated metadata."""
    return str(location).startswith(("http://", "https://")) and not is_zip(location)


def open_root(location: Location, *, mode: Literal["r", "r+"] = "r", fence: Fence | None = None) -> zarr.Group:
    """Open the root group, or raise `NotAStoreError` or `SchemaVersionError`.

    Where possible, metadata is not read from the consolidated copy, which is outdated during a run. The exceptions are files
    behind a web server, which cannot be listed, and a remote zip file, which does not change.
    """
    if not is_remote(location) and not local_path(location).exists():
        raise NotAStoreError(
            f"no store at {location}: the path does not exist. `{command_line('profile', location)}` would create one."
        )
    consolidated = True if cannot_list(location) else None if is_remote(location) and is_zip(location) else False
    store = zarr_store(location, read_only=mode == "r", fence=fence)
    try:
        root = zarr.open_group(store, mode=mode, use_consolidated=consolidated, zarr_format=3)
    except (GroupNotFoundError, NotADirectoryError, FileNotFoundError, ContainsArrayError) as error:
        raise NotAStoreError(
            f"{location} is not a sweetgrad store: expected a zarr v3 group, found none there."
            + _where_instead(location, store)
        ) from error
    except (ValueError, TypeError) as error:  # what zarr raises on a zarr.json that it cannot read
        if "Consolidated metadata requested" in str(error):
            raise NotAStoreError(
                f"{location}: expected consolidated metadata in zarr.json, since files behind a web server cannot be listed; "
                "found none. `sweetgrad profile` writes it when it completes; so does `sweetgrad publish`."
            ) from error
        raise NotAStoreError(
            f"{location}: expected the metadata of a zarr v3 group in zarr.json, cannot read it ({error}). "
            "Copy that file from a backup of the store."
        ) from error
    require_readable(root, location)
    return root


def _where_instead(location: Location, store: Store) -> str:
    """What to open instead, if the location is the folder of a release, or a zip file with something else in it."""
    if is_zip(location):

        async def names() -> list[str]:
            return sorted({name.strip("/") async for name in store.list_dir("")})

        inside = sync(names())
        more = ", …" if len(inside) > 5 else ""
        return f" It contains {', '.join(map(short, inside[:5]))}{more}: unpack it, and open the store in it, if there is one."
    if is_remote(location):
        return " Check the address, and that the bucket exists."
    folder = local_path(location)
    found = sorted(folder.glob("*.zarr")) or sorted(folder.glob("*.zarr.zip"))
    return f" A release? Open the store in it: {found[0]}" if len(found) == 1 else ""


def child_groups(group: zarr.Group) -> list[tuple[str, zarr.Group]]:
    """Names and groups directly below a group, sorted."""
    with warnings.catch_warnings():
        # This includes the folder of an array whose metadata is being written at this moment: it is not a group.
        warnings.filterwarnings("ignore", r"Object at .* is not recognized", ZarrUserWarning)
        return sorted(group.groups(), key=lambda item: item[0])


@contextmanager
def making_sense(location: Location) -> Iterator[None]:
    """Raise `NotAStoreError`, which says where and what to do, for metadata that is well formed but inconsistent.

    An array in place of a group or a list in place of a number raises errors of all kinds in zarr, in xarray and in our code.
    """
    try:
        yield
    except StoreError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        raise NotAStoreError(
            f"{location}: expected the groups, arrays and attributes of a sweetgrad store, cannot interpret those there "
            f"({type(error).__name__}: {error}). `{command_line('verify', location)}` says which."
        ) from error


@contextmanager
def ignore_leftovers() -> Iterator[None]:
    """Suppress zarr's warnings about locks beside a ``zarr.json``, and about ``.partial`` files of killed processes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Object at .*\.(partial|claim|beat|next) is not recognized", ZarrUserWarning)
        yield


def require_readable(root: zarr.Group, location: Location) -> None:
    """Raise unless the group is the root of a sweetgrad store in a format that this package reads."""
    version = root.attrs.get("schema_version")
    if not isinstance(version, int):
        raise NotAStoreError(
            f"{location} is a zarr group but not a sweetgrad store: its attribute schema_version is missing. If it was one, copy "
            "zarr.json from a backup of the store."
        )
    if version > FORMAT_VERSION:
        raise SchemaVersionError(
            f"{location} has format version {version}; this sweetgrad reads up to {FORMAT_VERSION}. Install a newer sweetgrad "
            "(or copy zarr.json from a backup, if that number is damage)."
        )
