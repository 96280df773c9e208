"""The store object that is passed to zarr and xarray: it checks everything that they read.

zarr reads metadata in one place and chunks in many, xarray opens arrays by itself, and a dask worker reads chunks much later.
All of these reads go through the store object.
"""

import asyncio
import json
import os
import stat
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from zarr import AsyncArray
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.storage import LocalStore, StorePath, WrapperStore, ZipStore

from sweetgrad.store.access._chunks import (
    ChunkLimits,
    RefusedChunkError,
    check_chunk,
    check_file,
    check_index,
    is_lost,
    is_lost_table,
    is_row_variable,
    is_stamped,
)
from sweetgrad.store.access._command_line import command_line
from sweetgrad.store.access._documents import check_document, check_document_size, parse_json
from sweetgrad.store.access._files import DurableStore, is_litter
from sweetgrad.store.access._limits import ADVICE, MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_SHARD_BYTES
from sweetgrad.store.access._remote import AtMost, RetryingStore
from sweetgrad.store.access._zarr import ArrayV3Metadata
from sweetgrad.store.access._zip import (
    RemoteZipStore,
    check_members,
    data_offset,
    header_size,
    member_ends,
    store_members,
)
from sweetgrad.store.errors import NotAStoreError, StoreError
from sweetgrad.store.format.schema import LEAN

_VERSION_2 = (".zarray", ".zattrs", ".zgroup", ".zmetadata")

Fence: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited before every write and deletion, which it prevents by raising."""


def guarded(store: Store, *, fence: Fence | None = None) -> "GuardedStore":
    """Wrap a store; the directory of a zip archive that is read through fsspec is checked first."""
    if isinstance(store, RetryingStore):
        files = store._store.fs
        archive = getattr(getattr(files, "sync_fs", files), "zip", None)
        if isinstance(archive, ZipFile):
            check_members(archive.infolist(), where=str(store))
    return GuardedStore(store, fence=fence)


class CheckedZipStore(ZipStore):
    """A zip archive whose directory is checked whenever it is opened, also in another process."""

    def __init__(self, path: Path, *, mode: Literal["r"] = "r") -> None:
        super().__init__(path, mode=mode)
        if path.exists():
            self._sync_open()  # zarr lists members only of an archive that is open already

    def _sync_open(self) -> None:
        super()._sync_open()
        try:
            check_members(self._zf.infolist(), where=str(self.path), archive_bytes=self.path.stat().st_size)
        except NotAStoreError:
            self._zf.close()
            self._is_open = False
            raise
        self._ends = member_ends(self._zf.infolist(), self._zf.start_dir)
        self._zf.NameToInfo = store_members(self._zf.infolist())
        for key, member in self._zf.NameToInfo.items():
            member.filename = key  # zarr lists these names; zipfile compares the header with the original one
        self._zf.filelist = list(self._zf.NameToInfo.values())

    def _get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a member, or a part of it (whose checksum is not checked), from the position in its header."""
        if not self._is_open:
            self._sync_open()
        member = self._zf.NameToInfo.get(key)
        if member is not None and self._zf.fp is not None:
            header = os.pread(self._zf.fp.fileno(), header_size(member), member.header_offset)
            data_offset(header, member, self._ends[member.header_offset])
        return super()._get(key, prototype, byte_range)

    async def getsize(self, key: str) -> int:
        """Decompressed size of a member; raises KeyError if there is none."""
        if not self._is_open:
            self._sync_open()
        return self._zf.getinfo(key).file_size


class GuardedStore(WrapperStore[Store]):
    """A store that refuses to read what sweetgrad never writes, and to write outside its folder or when its fence raises.

    Raises
    ------
    NotAStoreError
        If metadata or a zip archive is refused.
    CorruptShardError
        If a chunk is damaged, or is missing although one of its rows counts as measured.
    """

    def __init__(self, store: Store, *, fence: Fence | None = None) -> None:
        super().__init__(store)
        self._fence = fence
        self._looking: asyncio.Future[None] | None = None
        self._limits: dict[str, ChunkLimits] = {}
        self._attributes: dict[str, dict[str, Any]] = {}
        self._statuses: dict[str, ArrayV3Metadata] = {}
        self._not_run: set[tuple[str, int, int]] = set()

    def _with_store(self, store: Store) -> "GuardedStore":
        other = GuardedStore(store, fence=self._fence)
        other._limits, other._attributes = self._limits, self._attributes
        return other

    @property
    def supports_consolidated_metadata(self) -> bool:
        return self._store.supports_consolidated_metadata

    async def getsize(self, key: str) -> int:
        return await self._store.getsize(key)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        name = key.rpartition("/")[2]
        if name in _VERSION_2:
            return None  # zarr version 2 can name any codec, and pickled objects: it is never requested
        limits = None if name == "zarr.json" else self._limits.get(_array_of(key))
        data = await self._read(key, prototype, byte_range, limits)
        if data is not None and name == "zarr.json":
            document = self._learn(key, data)
            if isinstance(document, dict) and isinstance(document.get("attributes"), dict):
                self._attributes[_node_of(key)] = document["attributes"]
        if limits is None:
            return data
        if _is_absent(data, byte_range) and await self._is_lost(key, limits):
            # A writer may have finished after the file was read and before the status was: then it has written both.
            data = await self._read(key, prototype, byte_range, limits)
            if _is_absent(data, byte_range):
                await self._refuse_left_out(key, limits)
                self._refuse_lost(key, data, limits)
        if data is None or _is_absent(data, byte_range):
            return None  # an empty file was left by a crash, and counts as missing
        self._check_data(key, data, byte_range, limits)
        return data

    async def _is_lost(self, key: str, limits: ChunkLimits) -> bool:
        """Whether a file that is missing should be there."""
        version = (await self._read_attributes("")).get("schema_version")
        if type(version) is not int:
            return False  # not a sweetgrad store, or not yet
        array, (index, start, stop) = _array_of(key), _rows_of(key, limits)
        group, _, name = array.rpartition("/")
        run = await self._status(group, start, stop) if is_row_variable(name, limits.first_dim) else None
        if run is not None:
            return is_lost(name, index, run, version=version)
        if name == "status":
            return is_stamped(await self._read_attributes(group), index)
        return is_lost_table(name, version=version)

    async def _status(self, group: str, start: int, stop: int) -> NDArray[np.uint8] | None:
        """Status of some rows of a group, cached while none of them was run; None if the group has no status."""
        if (group, start, stop) in self._not_run:
            return np.zeros(stop - start, np.uint8)
        if group not in self._statuses:
            document = await self._document(f"{group}/status")
            if document is None:
                return None
            self._statuses[group] = ArrayV3Metadata.from_dict(json.loads(document.to_bytes()))
        array = AsyncArray(self._statuses[group], StorePath(self, f"{group}/status"))
        run = np.asarray(await array.getitem(slice(start, stop))).astype(np.uint8)
        if not run.any():
            self._not_run.add((group, start, stop))
        return run

    async def _read_attributes(self, group: str) -> dict[str, Any]:
        """Attributes of a group, cached, since stamps only grow; empty if there are none."""
        if group not in self._attributes:
            await self._document(group)
        return self._attributes.setdefault(group, {})

    async def _document(self, path: str) -> Buffer | None:
        return await self.get(f"{path}/zarr.json".lstrip("/"), default_buffer_prototype())

    async def _refuse_left_out(self, key: str, limits: ChunkLimits) -> None:
        """Raise if a file that is missing was left out of a lean release."""
        group, _, name = _array_of(key).rpartition("/")
        until = (await self._read_attributes(group)).get(LEAN)
        _, start, stop = _rows_of(key, limits)
        if name == "grad_count" and type(until) is int and start >= until:
            raise RefusedChunkError(
                f"{self._name(key)}, with the rows {start} to {stop - 1}, is not part of this lean release",
                f"Counts by layer are kept for the rows before {until}, those of the whole network for all: ask for these rows, "
                "or open the full data set.",
            )

    def _refuse_lost(self, key: str, data: Buffer | None, limits: ChunkLimits) -> NoReturn:
        _, start, stop = _rows_of(key, limits)
        rows = f", with the rows {start} to {stop - 1}" if limits.first_dim == "arch" else ""
        self._refuse(f"{self._name(key)} is {'missing' if data is None else 'empty'}{rows}, although it was written")

    async def _read(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None, limits: ChunkLimits | None
    ) -> Buffer | None:
        if key.count("/") > 2 * MAX_DEPTH:
            raise NotAStoreError(
                f"{self._name(key[:80])}…: {key.count('/')} nested groups; expected at most {2 * MAX_DEPTH}."
            )
        most = MAX_DOCUMENT_BYTES if not _array_of(key) else MAX_SHARD_BYTES if limits is None else limits.file_bytes
        size = await self._size(key)
        if size is not None and size > most:
            self._too_large(key, size, most)
        if isinstance(byte_range, RangeByteRequest) and byte_range.end - byte_range.start > most:
            self._too_large(key, byte_range.end - byte_range.start, most)
        if byte_range is None and isinstance(self._store, RetryingStore):
            byte_range = AtMost(0, most + 1)  # one request, which carries its own limit
        try:
            data = await self._store.get(key, prototype, byte_range)
        except (BadZipFile, zlib.error, EOFError) as error:
            self._refuse(f"{self._name(key)} cannot be read from the archive ({error})", error)
        if data is not None and len(data) > most:
            self._too_large(key, len(data), most)
        return data

    async def _size(self, key: str) -> int | None:
        """Size of the file to be read; None if there is none, or if asking for the size would take a request."""
        if isinstance(self._store, CheckedZipStore | RemoteZipStore):
            try:
                return await self._store.getsize(key)
            except KeyError:
                return None
        if not isinstance(self._store, LocalStore):
            return None
        try:
            found = (self._store.root / key).stat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise NotAStoreError(
                f"{self._name(key)} is a device or a pipe; expected a regular file. Delete it: it does not belong to the store."
            )
        return found.st_size

    def _too_large(self, key: str, size: int, most: int) -> None:
        if key.rpartition("/")[2] == "zarr.json":
            check_document_size(size, where=self._name(key))
        self._refuse(
            f"{self._name(key)}: {size:,} bytes or more; expected at most {most:,} according to the metadata of its array. "
            "It was not read"
        )

    def _refuse(self, what: str, cause: Exception | None = None) -> NoReturn:
        where = self._where
        can_repair = not where.startswith(("http", "zip")) and not where.endswith(".zip")
        advice = (
            f"`{command_line('verify', where, '--repair')}` clears what can be measured again, and says what to do about "
            "the rest; then repeat the run that wrote it. If the store is a release, download this file again."
            if can_repair
            else f"Download it again from its source. `{command_line('verify', where)}` lists any other damage."
        )
        raise RefusedChunkError(what, advice) from cause

    def _learn(self, key: str, data: Buffer) -> Any:
        where = self._name(key)
        path = _node_of(key)
        document = parse_json(data.to_bytes(), where=where)
        self._limits |= check_document(document, path=path, where=where)
        return document

    def _check_data(self, key: str, data: Buffer, byte_range: ByteRequest | None, limits: ChunkLimits) -> None:
        # zarr reads either a whole shard, or its index from the end and then one chunk after another.
        where, values = self._name(key), data.as_numpy_array()
        try:
            if isinstance(byte_range, RangeByteRequest):
                where = f"{where}, from byte {byte_range.start:,},"
                expected = byte_range.end - byte_range.start
                if len(data) != expected:  # zarr would take missing bytes for fill values
                    raise RefusedChunkError(
                        f"{where} has {len(data):,} bytes; expected {expected:,} according to the shard's index"
                    )
                check_chunk(values, limits, where=where)
            elif isinstance(byte_range, SuffixByteRequest):
                check_index(values, limits, where=where)
            elif byte_range is None:
                check_file(values, limits, where=where)
        except RefusedChunkError as error:
            self._refuse(error.what, error)

    def _name(self, key: str) -> str:
        return f"{self._where}: {key}"

    @property
    def _where(self) -> str:
        return str(self._store).removeprefix("file://")

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for request in requests:
            yield request[0], await self.get(*request)

    async def set(self, key: str, value: Buffer) -> None:
        await self._before_write(key, value)
        await self._store.set(key, value)
        self._attributes.pop(_node_of(key), None)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        await self._before_write(key, value)
        await self._store.set_if_not_exists(key, value)  # an existing file keeps its own attributes

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def delete(self, key: str) -> None:
        await self._before_write(key)
        await self._store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        await self._before_write(prefix, is_folder=True)
        await self._store.delete_dir(prefix)

    @property
    def can_rename(self) -> bool:
        """Whether it is a folder on a disk, in which renaming a group is atomic."""
        return isinstance(self._store, DurableStore)

    async def rename(self, source: str, target: str, *, undo: bool = False) -> None:
        """Rename a group, if `can_rename`; raises `OSError` if the target exists. With ``undo``, the fence is not called."""
        assert isinstance(self._store, DurableStore)
        for key in (source, target):
            self._require_inside(key, is_folder=True)
        if not undo:
            await self._require_fence()
        try:
            await asyncio.to_thread(self._store.rename, source, target)
        except OSError:
            await self._require_fence()  # another process may have created or renamed it
            raise

    async def _before_write(self, key: str, value: Buffer | None = None, *, is_folder: bool = False) -> None:
        self._require_inside(key, is_folder=is_folder)
        if "/status/" in key:
            self._not_run.clear()
            self._statuses.clear()
        if value is not None and key.rpartition("/")[2] == "zarr.json":
            try:
                self._learn(key, value)
            except NotAStoreError as error:
                raise StoreError(
                    f"{str(error).removesuffix(ADVICE)} No reader would open it again, so it was not written. Use smaller "
                    "shards, fewer attributes, or fewer profiles in one store."
                ) from error
        await self._require_fence()

    async def _require_fence(self) -> None:
        """Call the fence, once for all concurrent writes."""
        if self._fence is None:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._fence())
        await asyncio.shield(self._looking)

    def _require_inside(self, key: str, *, is_folder: bool) -> None:
        """Raise if a link in the folder of a store, or a key with ``..``, would lead a writer out of it.

        A link to a file is replaced or deleted. A link to a folder is neither renamed nor emptied.
        """
        if not isinstance(self._store, LocalStore):
            return
        root, path = os.path.realpath(self._store.root), Path(self._store.root, key)
        folder = os.path.realpath(path.parent)
        if is_folder and path.is_symlink():
            place = f"is a link to {os.path.realpath(path)}"
        elif os.path.commonpath([root, folder]) != root:
            place = f"lies in {folder}, outside the store"
        else:
            return
        raise NotAStoreError(
            f"{self._name(key)} {place}; expected a folder without links that lead out of it. Nothing was written. Replace the "
            "link with its target."
        )

    async def list(self) -> AsyncIterator[str]:
        async for key in self._store.list():
            if not is_litter(key):
                yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._store.list_prefix(prefix):
            if not is_litter(key):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._store.list_dir(prefix):
            if not is_litter(key):
                yield key


def _is_absent(data: Buffer | None, byte_range: ByteRequest | None) -> bool:
    return data is None or (len(data) == 0 and not isinstance(byte_range, RangeByteRequest))


def _rows_of(key: str, limits: ChunkLimits) -> tuple[int, int, int]:
    """Index of a chunk's file along the first dimension, and the rows that are in it."""
    index = int(key.rpartition("/c/")[2].partition("/")[0] or 0) if "/c/" in key else 0
    start = index * limits.rows_per_file
    return index, start, min(start + limits.rows_per_file, limits.num_rows)


def _node_of(key: str) -> str:
    """Path of the group or array that a ``zarr.json`` describes."""
    return key.removesuffix("zarr.json").rstrip("/")


def _array_of(key: str) -> str:
    """Path of the array that a chunk belongs to; empty if the key is not that of a chunk."""
    return key.rpartition("/c/")[0] or (key.removesuffix("/c") if key.endswith("/c") else "")
