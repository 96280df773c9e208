"""A remote zip file, read by range requests: its directory once, then only the bytes that are needed."""

import asyncio
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipInfo

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.buffer import default_buffer_prototype

from sweetgrad.store.access._files import is_litter
from sweetgrad.store.access._limits import (
    MAX_CHUNK_BYTES,
    MAX_DEFLATE_RATIO,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_SHARD_BYTES,
    refuse,
    short,
)
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.errors import CorruptShardError, NotAStoreError
from sweetgrad.store.redaction import redacted

_TAIL = 1 << 16


class RemoteZipStore(Store):
    """The files in a zip, of which only the requested parts are read.

    Parameters
    ----------
    base
        Store that holds the zip file.
    name
        Its key there.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, base: Store, name: str) -> None:
        super().__init__(read_only=True)
        self._base, self._name = base, name
        self._entries, self._ends = _read_directory(base, name)
        self._begins: dict[str, int] = {}

    def __reduce__(self) -> Any:
        return RemoteZipStore, (self._base, self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteZipStore) and (self._base, self._name) == (other._base, other._name)

    def __str__(self) -> str:
        return redacted(f"zip::{self._base}/{self._name}")

    def with_read_only(self, read_only: bool = False) -> "RemoteZipStore":
        if not read_only:
            raise ValueError(f"{self} can only be read")
        return self

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        start, stop = _bounds(byte_range, entry.file_size)
        if entry.compress_type == zipfile.ZIP_STORED:
            data = await self._data(entry, start, stop)
            whole = stop - start == entry.file_size
        else:
            data = _inflate(await self._data(entry, 0, entry.compress_size), entry, self)
            whole = True
        if whole and zlib.crc32(data) != entry.CRC:
            raise CorruptShardError(
                f"{self}: {key} does not match its checksum in the zip. Download the file again from its source."
            )
        if entry.compress_type != zipfile.ZIP_STORED:
            data = data[start:stop]
        return prototype.buffer.from_bytes(data)

    async def _data(self, entry: zipfile.ZipInfo, start: int, stop: int) -> bytes:
        """Read a part of a stored file; the header of the file is compared with the directory on the first read.

        The size of most headers can be guessed from the directory, so reading the header takes no extra time: it is read in the
        same request if the part starts at the beginning of the file, and in a concurrent one otherwise.
        """
        begin = self._begins.get(entry.filename)
        if begin is not None:
            return await self._read(begin + start, begin + stop)
        first, size = entry.header_offset, header_size(entry)
        guess = first + size + len(entry.extra)
        if start == 0:
            both = await self._read(first, guess + stop)
            header, data = both, both[guess - first :]
        else:
            header, data = await asyncio.gather(
                self._read(first, first + size), self._read(guess + start, guess + stop)
            )
        begin = self._begins[entry.filename] = data_offset(header, entry, self._ends[first])
        return data if begin == guess else await self._read(begin + start, begin + stop)

    async def _read(self, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        found = await self._base.get(self._name, default_buffer_prototype(), RangeByteRequest(start, stop))
        if found is None or len(found) != stop - start:
            raise CorruptShardError(
                f"{self}: expected {stop - start} bytes from {start}, got {0 if found is None else len(found)}: the file is "
                "incomplete, or was replaced since it was opened. Open it again."
            )
        return found.to_bytes()

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, each) for key, each in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self._entries

    async def getsize(self, key: str) -> int:
        return self._entries[key].file_size

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        for key in self._entries:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self._entries:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        inside = (key.removeprefix(folder).partition("/")[0] for key in self._entries if key.startswith(folder))
        for name in dict.fromkeys(inside):
            yield name


def _read_directory(base: Store, name: str) -> tuple[dict[str, zipfile.ZipInfo], dict[int, int]]:
    """Read the directory at the end of a zip: its files by name, and an upper bound on the end of each (`member_ends`)."""
    try:
        size = sync(base.getsize(name))
    except FileNotFoundError as error:
        raise NotAStoreError(f"no store at zip::{base}/{name}: expected a zip file, found none there.") from error

    def fetch(start: int, stop: int) -> bytes:
        found = sync(base.get(name, default_buffer_prototype(), RangeByteRequest(start, stop)))
        return b"" if found is None else found.to_bytes()

    try:
        with zipfile.ZipFile(io.BufferedReader(_Tail(size, fetch), 1)) as archive:
            check_members(archive.infolist(), where=f"zip::{base}/{name}", archive_bytes=size)
            ends = member_ends(archive.infolist(), archive.start_dir)
            entries = {key: entry for key, entry in store_members(archive.infolist()).items() if not entry.is_dir()}
    except zipfile.BadZipFile as error:
        raise NotAStoreError(
            f"zip::{base}/{name}: expected a zip file, cannot read its directory ({error}). Download it again from its source."
        ) from error
    return entries, ends


class _Tail(io.RawIOBase):
    """A file of known size, read backwards in large pieces: what `zipfile.ZipFile` reads is at the end."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch, self._at = size, fetch, 0
        self._start = size
        self._data = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        if self._at < 0:
            raise OSError("before the start of the file")
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if self._at >= stop:
            return 0
        if self._at < self._start:
            start = max(0, min(self._at, self._start - _TAIL))
            self._data = self._fetch(start, self._start) + self._data
            self._start = start
        piece = self._data[self._at - self._start : stop - self._start]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _bounds(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    if isinstance(byte_range, RangeByteRequest):
        return min(byte_range.start, size), min(byte_range.end, size)
    if isinstance(byte_range, OffsetByteRequest):
        return min(byte_range.offset, size), size
    if isinstance(byte_range, SuffixByteRequest):
        return max(0, size - byte_range.suffix), size
    return 0, size


def _inflate(data: bytes, entry: zipfile.ZipInfo, store: RemoteZipStore) -> bytes:
    """Decompress a file, but never to more bytes than the directory declares."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflater.decompress(data, max(1, entry.file_size))
    except zlib.error as error:
        raise CorruptShardError(
            f"{store}: {entry.filename} cannot be decompressed ({error}). Download the file again."
        ) from error


_HEADER = struct.Struct("<4s5H3I2H")
_UTF_8 = 1 << 11


def check_members(members: Sequence[ZipInfo], *, where: str, archive_bytes: int | None = None) -> None:
    """Check the directory of a zip archive, before any of its members is read.

    Parameters
    ----------
    members
        As returned by `zipfile.ZipFile.infolist`.
    where
        Name of the archive in error messages.
    archive_bytes
        Size of the archive if it is known; the sizes of members that overlap add up to more.

    Raises
    ------
    NotAStoreError
        If the name of a member leads out of the archive or occurs twice, or a member is a link, is encrypted, or would
        decompress to too many bytes.
    """
    seen: set[str] = set()
    for member in members:
        name, mode = member.orig_filename, member.external_attr >> 16
        parts = name.removesuffix("/").split("/")
        if (
            name.startswith("/")
            or {"", ".", ".."} & set(parts)
            or any(c in name for c in "\\:\0")
            or len(parts) > MAX_DEPTH
        ):
            refuse(where, f"has a member named {short(name)}", f"paths inside the archive, at most {MAX_DEPTH} deep")
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            refuse(where, f"has a member {short(name)} that is a link or a device", "regular files")
        if name in seen:
            refuse(where, f"has two members named {short(name)}", "each name once")
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            refuse(
                where,
                f"has a member {short(name)} that is encrypted, or compressed by a method other than deflate",
                "members that are stored or deflated",
            )
        most = MAX_DOCUMENT_BYTES if parts[-1] == "zarr.json" else MAX_SHARD_BYTES + MAX_CHUNK_BYTES
        if member.file_size > min(most, max(1 << 20, member.compress_size * MAX_DEFLATE_RATIO)):
            refuse(
                where,
                f"has a member {short(name)} of {member.compress_size:,} bytes that would decompress to {member.file_size:,}",
                f"at most {most:,}, and at most {MAX_DEFLATE_RATIO} times the stored size",
            )
    total = sum(member.compress_size for member in members)
    if archive_bytes is not None and total > archive_bytes:
        refuse(where, f"has {archive_bytes:,} bytes, but members of {total:,}", "members that do not overlap")


def store_members(members: Iterable[ZipInfo]) -> dict[str, ZipInfo]:
    """Members of an archive by their key in its store, which is the archive itself, or the only folder that is a store.

    Desktops zip a folder with its name as a prefix, and add files of their own beside it.
    """
    named = {member.filename: member for member in members if not is_litter(member.filename)}
    groups = {name.removesuffix("zarr.json") for name in named if name == "zarr.json" or name.endswith("/zarr.json")}
    tops = [group for group in groups if not any(group != other and group.startswith(other) for other in groups)]
    if len(tops) != 1:
        return named
    (top,) = tops
    return {name.removeprefix(top): member for name, member in named.items() if name.startswith(top) and name != top}


def member_ends(members: Iterable[ZipInfo], directory: int) -> dict[int, int]:
    """Upper bound on the end of each member, by its start: the start of the next member, or of the directory at the end."""
    return dict(pairwise([*sorted({member.header_offset for member in members}), directory]))


def header_size(member: ZipInfo) -> int:
    """Size of the header of a member, without the extra fields, which may differ from those in the directory."""
    return _HEADER.size + len(_stored_name(member))


def data_offset(header: bytes, member: ZipInfo, end: int) -> int:
    """Offset of the data of a member according to its header, which must agree with the directory.

    Parameters
    ----------
    header
        At least `header_size` bytes, starting at ``member.header_offset``.
    member
        Entry of the directory.
    end
        Upper bound from `member_ends`.

    Raises
    ------
    BadZipFile
        If another member is at that place, or the data would extend beyond the end.
    """
    if len(header) < header_size(member) or not header.startswith(b"PK\3\4"):
        raise BadZipFile(f"{short(member.filename)} has no header where the directory says")
    _, _, flags, *_, len_name, len_extra = _HEADER.unpack_from(header)
    name = header[_HEADER.size : _HEADER.size + len_name]
    if name != _stored_name(member) or (flags ^ member.flag_bits) & _UTF_8:
        raise BadZipFile(f"the directory has {short(member.filename)} where the header has {short(repr(name))}")
    begin: int = member.header_offset + _HEADER.size + len_name + len_extra
    if begin + member.compress_size > end:
        raise BadZipFile(f"{short(member.filename)} would end after the start of the next member")
    if member.compress_type == ZIP_STORED and member.compress_size != member.file_size:
        raise BadZipFile(
            f"{short(member.filename)} is stored in {member.compress_size:,} bytes, but declares {member.file_size:,}"
        )
    return begin


def _stored_name(member: ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF_8 else "cp437")
