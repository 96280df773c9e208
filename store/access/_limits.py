"""What a store may ask of the machine that reads it: pure checks of metadata, chunks and zip archives, before anything is made.

A store, or a release of one, comes from anybody. Metadata of a few bytes can declare petabytes, name a codec that runs code, or
promise texts by the billion. Nothing that sweetgrad writes comes near these limits (see ``docs/security.md``).
"""

import json
import math
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

import numpy as np
import xarray as xr
from numcodecs import Blosc  # type: ignore[import-untyped]

from sweetgrad.store.bins import NUM_BINS
from sweetgrad.store.errors import CorruptShardError, NotAStoreError
from sweetgrad.store.schema import KINDS, VARIABLES

__all__ = [
    "ChunkLimits",
    "RefusedChunkError",
    "check_chunk",
    "check_document",
    "check_members",
    "check_num_shards",
    "check_profile",
    "parse_json",
]

MAX_DOCUMENT_BYTES = 16 << 20
"""A ``zarr.json``; the root's holds the consolidated metadata, some 25 kB for each profile: hundreds of them."""
MAX_DEPTH = 32
"""Lists and dictionaries inside each other in a ``zarr.json``, and groups inside each other in a store."""
MAX_SIZES = {"arch": 50_000_000, "layer": 4096, "kind": len(KINDS), "bin": NUM_BINS}
"""Length of a dimension, by its name."""
MAX_ARRAY_BYTES = 1 << 40
MAX_CHUNK_BYTES = 1 << 30
"""A chunk, decoded. (Blosc itself stops at twice that.)"""
MAX_SHARD_BYTES = 4 << 30
MAX_SHARDS = 1_000_000
"""Files of one array."""
MAX_CHUNKS_IN_SHARD = 1024
MAX_TEXT_BYTES = 1 << 16
"""A text, on the average of its chunk."""
MAX_DEFLATE_RATIO = 200
"""Deflate alone gets to 1000; what Blosc has compressed does not shrink, and the metadata of a store shrinks to a thirtieth."""


class RefusedChunkError(CorruptShardError, ValueError):
    """A chunk that was not decoded. Also a ValueError, as codecs raise, so that readers add what they know of the place."""


_DTYPES = {
    "bool": 1,
    **{f"{kind}{bits}": bits // 8 for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float32": 4,
    "float64": 8,
    "string": 16,  # in memory, the text itself apart
}
ADVICE = (
    " No sweetgrad store looks like that, and nothing of it was read: it is damaged or hostile. Get it again from somebody you "
    "trust."
)
"""End of every refusal of a reader."""

_BLOSC_HEADER = struct.Struct("<4BIII")
_BLOSC_EXTRA = 16  # what Blosc adds to bytes that it cannot compress
_CRC_BYTES = 4
_INDEX_ENTRY_BYTES = 16


@dataclass(frozen=True)
class ChunkLimits:
    """What the files of one array may hold, from its metadata.

    Attributes
    ----------
    num_values
        Values in one chunk.
    decoded_bytes
        Bytes of one chunk, decoded; of texts, the most that is allowed.
    num_chunks
        Chunks in one file; 0 if the array is not sharded and a file is a chunk.
    is_text, is_blosc, is_crc
        Whether values are texts, and which codecs come after the first.
    """

    num_values: int
    decoded_bytes: int
    num_chunks: int
    is_text: bool
    is_blosc: bool
    is_crc: bool

    @property
    def encoded_bytes(self) -> int:
        """The most that one chunk takes when it is stored."""
        return self.decoded_bytes + _BLOSC_EXTRA + _CRC_BYTES

    @property
    def index_bytes(self) -> int:
        """Size of the index at the end of a shard."""
        return self.num_chunks * _INDEX_ENTRY_BYTES + _CRC_BYTES

    @property
    def file_bytes(self) -> int:
        """The most that one file takes."""
        return self.num_chunks * self.encoded_bytes + self.index_bytes if self.num_chunks else self.encoded_bytes


def parse_json(raw: bytes, *, where: str) -> Any:
    """Read a ``zarr.json`` of bounded size and depth; None if it is no JSON at all, which is for zarr to say.

    Raises
    ------
    NotAStoreError
        If it is larger or deeper than any that sweetgrad writes, or holds NaN or Infinity, which JSON has not.

    Examples
    --------
    >>> parse_json(b'{"zarr_format": 3}', where="zarr.json")
    {'zarr_format': 3}
    """
    check_document_size(len(raw), where=where)
    try:
        document = json.loads(raw, parse_constant=lambda word: _refuse(where, f"holds {word}", "numbers that JSON has"))
    except RecursionError:
        _refuse(where, "nests without end", f"at most {MAX_DEPTH} lists and dictionaries inside each other")
    except ValueError:
        return None
    level, depth = [document], 0
    while level := [each for node in level for each in _inside(node)]:
        depth += 1
        if depth > MAX_DEPTH:
            _refuse(
                where, f"nests deeper than {MAX_DEPTH}", f"at most {MAX_DEPTH} lists and dictionaries inside each other"
            )
    return document


def check_document_size(size: int, *, where: str) -> None:
    """Raise NotAStoreError if a ``zarr.json`` has more bytes than may be read."""
    if size > MAX_DOCUMENT_BYTES:
        _refuse(
            where,
            f"has more than {MAX_DOCUMENT_BYTES:,} bytes",
            "less: large attributes belong into files of their own",
        )


def _inside(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [value for value in values if isinstance(value, dict | list)]


def check_document(document: Any, *, path: str, where: str) -> dict[str, ChunkLimits]:
    """Check a parsed ``zarr.json``, and those that are consolidated in it.

    Parameters
    ----------
    document
        As from `parse_json`.
    path
        Of its group or array in the store; empty: the root.
    where
        Names the file in errors.

    Returns
    -------
    Limits of the files of every array that it describes, by path.

    Raises
    ------
    NotAStoreError
        If an array is larger than any store may ask for, or is stored in a way that sweetgrad never writes.
    """
    if document is None:
        return {}
    if not isinstance(document, dict):
        _refuse(where, f"is {_short(document)}", "the metadata of a group or an array")
    found = {}
    if document.get("node_type") == "array" and path:  # a lone array is no store, whatever is in it
        found[path] = check_array(document, where=where)
    consolidated = document.get("consolidated_metadata")
    nodes = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        if {"", ".", ".."} & set(name.split("/")) or "\\" in name or name.count("/") > MAX_DEPTH:
            _refuse(where, f"has metadata of {_short(name)}", "paths inside the store")
        found |= check_document(node, path=f"{path}/{name}".lstrip("/"), where=f"{where}, {name}")
    return found


def check_array(document: dict[str, Any], *, where: str) -> ChunkLimits:
    """Check the metadata of one array.

    Examples
    --------
    >>> codecs = [{"name": "bytes"}, {"name": "numcodecs.pickle"}]
    >>> check_array({"shape": [2], "data_type": "int8", "codecs": codecs}, where="a/zarr.json")
    Traceback (most recent call last):
    sweetgrad.store.errors.NotAStoreError: a/zarr.json: the codecs are ['bytes', 'numcodecs.pickle']; expected ...
    """
    if document.get("zarr_format") not in (None, 3):
        _refuse(where, f"zarr_format is {_short(document['zarr_format'])}", "3")
    dtype, fill = document.get("data_type"), document.get("fill_value")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        _refuse(where, f"data_type is {_short(dtype)}", f"one of {', '.join(_DTYPES)}")
    if (isinstance(fill, str) and len(fill) > 32) or isinstance(fill, dict | list):
        # NumPy would copy a long text into every row that was not run.
        _refuse(where, f"fill_value is {_short(fill)}", "a number or an empty text")
    inner, codecs = _codecs(document.get("codecs"), where)
    shape = _sizes(document.get("shape"), where, "shape")
    file_shape = _sizes(_configured(document.get("chunk_grid"), "regular", "chunk_shape"), where, "chunk_shape")
    chunk_shape = file_shape if inner is None else _sizes(inner, where, "chunk_shape of a shard")
    if not len(shape) == len(file_shape) == len(chunk_shape) or 0 in (*file_shape, *chunk_shape):
        _refuse(where, f"shape {shape} has chunks of {file_shape}, of {chunk_shape}", "chunks as its dimensions")
    if _configured(document.get("chunk_key_encoding"), "default", "separator") not in (None, "/"):
        _refuse(where, f"chunk_key_encoding is {_short(document['chunk_key_encoding'])}", "default, with /")
    names = document.get("dimension_names") or [None] * len(shape)
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        _refuse(where, f"dimension_names is {_short(names)}", "texts")
    for name, size in zip(names, shape, strict=False):
        if size > MAX_SIZES.get(name, size):
            _refuse(where, f"dimension {name} declares {size:,}", f"at most {MAX_SIZES[name]:,}")
    num_files = math.prod(math.ceil(a / b) for a, b in zip(shape, file_shape, strict=True))
    num_chunks = (
        0 if inner is None else math.prod(math.ceil(a / b) for a, b in zip(file_shape, chunk_shape, strict=True))
    )
    num_values, size = math.prod(chunk_shape), _DTYPES[dtype]
    for count, most, what in (
        (math.prod(shape) * size, MAX_ARRAY_BYTES, "bytes"),
        (math.prod(file_shape) * size, MAX_SHARD_BYTES, "bytes in a shard"),
        (num_values * size, MAX_CHUNK_BYTES, "bytes in a chunk"),
        (num_files, MAX_SHARDS, "files"),
        (num_chunks, MAX_CHUNKS_IN_SHARD, "chunks in a shard"),
    ):
        if count > most:
            _refuse(
                where,
                f"shape {shape} of {dtype}, in chunks of {file_shape}, declares {count:,} {what}",
                f"at most {most:,}",
            )
    is_text = dtype == "string"
    if is_text != (codecs[0] == "vlen-utf8"):
        _refuse(where, f"{dtype} is encoded by {codecs[0]}", "text by vlen-utf8, and numbers by bytes")
    most_text = min(MAX_CHUNK_BYTES, 4 + num_values * (4 + MAX_TEXT_BYTES))
    return ChunkLimits(
        num_values=num_values,
        decoded_bytes=most_text if is_text else num_values * size,
        num_chunks=num_chunks,
        is_text=is_text,
        is_blosc="blosc" in codecs,
        is_crc="crc32c" in codecs,
    )


def _codecs(codecs: Any, where: str) -> tuple[Any, list[str]]:
    """Chunk shape inside a shard (None: not sharded), and the names of the codecs of a chunk. No other codec is looked up."""
    names, inner = _names(codecs), None
    if names == ["sharding_indexed"]:
        configuration = codecs[0].get("configuration")
        configuration = configuration if isinstance(configuration, dict) else {}
        index = _names(configuration.get("index_codecs"))
        if index != ["bytes", "crc32c"] or configuration.get("index_location", "end") != "end":
            _refuse(where, f"the index of a shard is {_short(index)}", "bytes and crc32c, at the end")
        inner, names = configuration.get("chunk_shape"), _names(configuration.get("codecs"))
    first = names[:1] in (["bytes"], ["vlen-utf8"])
    if not first or names[1:] not in ([], ["blosc"], ["crc32c"], ["blosc", "crc32c"]):
        _refuse(where, f"the codecs are {_short(names)}", "bytes or vlen-utf8, blosc, crc32c, in shards or not")
    return inner, names


def _names(codecs: Any) -> list[Any]:
    return (
        [codec.get("name") if isinstance(codec, dict) else codec for codec in codecs]
        if isinstance(codecs, list)
        else []
    )


def _configured(part: Any, name: str, key: str) -> Any:
    """One entry of the configuration of a part of the metadata that must have this name."""
    if not isinstance(part, dict) or part.get("name") != name:
        return part
    configuration = part.get("configuration")
    return configuration.get(key) if isinstance(configuration, dict) else None


def _sizes(sizes: Any, where: str, what: str) -> tuple[int, ...]:
    if not isinstance(sizes, list) or len(sizes) > 8 or not all(type(size) is int and size >= 0 for size in sizes):
        _refuse(where, f"{what} is {_short(sizes)}", "up to 8 whole numbers from 0")
    return tuple(sizes)


def check_profile(profile: xr.Dataset, shard_size: Any, *, where: str) -> None:
    """Check that the variables of a profile, as opened, have the dimensions of the schema.

    Raises
    ------
    NotAStoreError
        If one has others, ``kind`` or ``bin`` another length, or ``shard_size`` cannot be worked with.
    """
    for name in profile.variables:
        found, variable = profile[name], VARIABLES.get(str(name))
        if variable is not None and found.dims != variable.dims:
            _refuse(where, f"{name} has the dimensions {found.dims}", f"{variable.dims}")
    for dim in ("kind", "bin"):
        if profile.sizes.get(dim, MAX_SIZES[dim]) != MAX_SIZES[dim]:
            _refuse(where, f"dimension {dim} declares {profile.sizes[dim]:,}", f"{MAX_SIZES[dim]:,}")
    check_num_shards(profile.sizes.get("arch", 0), shard_size, where=where)


def check_num_shards(num_archs: int, shard_size: Any, *, where: str) -> int:
    """The attribute ``shard_size`` of a profile, if it is one that can be worked with.

    Raises
    ------
    NotAStoreError
        If it is no whole number from 1, or would cut the architectures into more shards than are allowed.
    """
    if type(shard_size) is not int or shard_size < 1 or math.ceil(num_archs / shard_size) > MAX_SHARDS:
        _refuse(
            where,
            f"shard_size is {_short(shard_size)} for {num_archs:,} architectures",
            f"a whole number that makes at most {MAX_SHARDS:,} shards",
        )
    return int(shard_size)


def check_chunk(data: Any, limits: ChunkLimits, *, where: str) -> None:
    """Check what a stored chunk says that it will be, before it is decompressed.

    Blosc allocates what the header of its input asks for, and the decoder of texts one object for each text that the first four
    bytes announce: up to 2 GiB and 32 GiB, for a file of a hundred bytes.

    Parameters
    ----------
    data
        The chunk as it is stored, uint8.
    limits
        Of its array.

    Raises
    ------
    CorruptShardError
        If the chunk announces more than the metadata of its array has room for.
    """
    payload = memoryview(data)[: len(data) - _CRC_BYTES * limits.is_crc]
    if limits.is_blosc:
        if len(payload) < _BLOSC_HEADER.size:
            _corrupt(where, f"has {len(payload)} bytes", f"a chunk of at least {_BLOSC_HEADER.size}")
        *_, decoded, _block, stored = _BLOSC_HEADER.unpack(payload[: _BLOSC_HEADER.size])
        if decoded > limits.decoded_bytes:
            _corrupt(where, f"would decompress to {decoded:,} bytes", f"at most {limits.decoded_bytes:,}")
        if stored != len(payload):
            _corrupt(where, f"says that it has {stored:,} bytes, and has {len(payload):,}", "a whole chunk")
    if limits.is_text:
        try:
            payload = memoryview(Blosc().decode(bytes(payload))) if limits.is_blosc else payload
        except (RuntimeError, ValueError) as error:
            raise RefusedChunkError(
                f"{where} cannot be decompressed ({error}). `sweetgrad verify` says what to do."
            ) from error
        count = int.from_bytes(payload[:4], "little")
        if count != limits.num_values:
            _corrupt(where, f"announces {count:,} texts", f"{limits.num_values:,}, as its array says")


def check_file(data: Any, limits: ChunkLimits, *, where: str) -> None:
    """Check a whole file of an array: its one chunk, or every chunk in the index of the shard."""
    if not limits.num_chunks:
        check_chunk(data, limits, where=where)
        return
    if len(data) < limits.index_bytes:
        _corrupt(where, f"has {len(data):,} bytes", f"a shard, whose index alone has {limits.index_bytes:,}")
    index = np.frombuffer(data[len(data) - limits.index_bytes : len(data) - _CRC_BYTES], "<u8").reshape(-1, 2)
    for offset, size in index.tolist():
        if (offset, size) == (2**64 - 1, 2**64 - 1):
            continue  # no such chunk: all of it is fill values
        if offset + size > len(data):
            _corrupt(
                where,
                f"has a chunk of {size:,} bytes at {offset:,}, and ends at {len(data):,}",
                "chunks inside the file",
            )
        check_chunk(data[offset : offset + size], limits, where=where)


def check_members(members: Sequence[ZipInfo], *, where: str, archive_bytes: int | None = None) -> None:
    """Check the directory of a zip archive, before any of its members is read.

    Parameters
    ----------
    members
        As `zipfile.ZipFile.infolist` gives them.
    where
        Names the archive in errors.
    archive_bytes
        Size of the archive, where it is known: members that overlap have more bytes than that.

    Raises
    ------
    NotAStoreError
        If a member has a name that leaves the archive, is a link, is encrypted, is there twice, or would swell beyond measure.
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
            _refuse(where, f"has a member named {_short(name)}", f"paths inside the archive, at most {MAX_DEPTH} deep")
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            _refuse(where, f"has a member {_short(name)} that is a link or a device", "plain files")
        if name in seen:
            _refuse(where, f"has two members named {_short(name)}", "each name once")
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            _refuse(
                where,
                f"has a member {_short(name)} that is encrypted or compressed otherwise",
                "stored or deflated ones",
            )
        most = MAX_DOCUMENT_BYTES if parts[-1] == "zarr.json" else MAX_SHARD_BYTES + MAX_CHUNK_BYTES
        if member.file_size > min(most, max(1 << 20, member.compress_size * MAX_DEFLATE_RATIO)):
            _refuse(
                where,
                f"has a member {_short(name)} of {member.compress_size:,} bytes that would become {member.file_size:,}",
                f"at most {most:,}, and {MAX_DEFLATE_RATIO} times what is stored",
            )
    total = sum(member.compress_size for member in members)
    if archive_bytes is not None and total > archive_bytes:
        _refuse(where, f"has {archive_bytes:,} bytes, and members of {total:,}", "members that do not overlap")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}… ({len(text):,} characters)"


def _refuse(where: str, came: str, expected: str) -> NoReturn:
    raise NotAStoreError(f"{where}: {came}; expected {expected}.{ADVICE}")


def _corrupt(where: str, came: str, expected: str) -> NoReturn:
    raise RefusedChunkError(
        f"{where} {came}; expected {expected}. It was not decoded. `sweetgrad verify` says what is damaged and what to do."
    )
