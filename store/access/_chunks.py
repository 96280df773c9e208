"""Pure checks of chunks and shards as they are stored, before anything is decompressed."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from google_crc32c import value as crc32c
from numcodecs import Blosc
from numpy.typing import NDArray

from sweetgrad.store.errors import CorruptShardError
from sweetgrad.store.format.schema import FORMAT_VERSION, STATUS
from sweetgrad.store.redaction import redacted

_BLOSC_HEADER = struct.Struct("<4BIII")
_BLOSC_EXTRA = 16  # what Blosc adds to bytes that it cannot compress
_CRC_BYTES = 4
_INDEX_ENTRY_BYTES = 16


class RefusedChunkError(CorruptShardError, ValueError):
    """A chunk that is missing, or was refused before decoding. A ValueError, like the errors of codecs: readers add the location.

    Attributes
    ----------
    what, advice
        What is wrong, and what to do about it.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what}. {advice}" if advice else what)
        self.what, self.advice = redacted(what), redacted(advice)


@dataclass(frozen=True)
class ChunkLimits:
    """Limits on the files of one array, derived from its metadata.

    Attributes
    ----------
    num_values
        Values in one chunk.
    decoded_bytes
        Size of a decoded chunk in bytes; for strings, the largest size that is allowed.
    num_chunks
        Number of chunks in one file; 0 if the array is not sharded, so that each file is one chunk.
    is_text, is_blosc, is_crc
        Whether the values are strings, and which codecs follow the first.
    first_dim
        Name of the first dimension; None if it has none.
    num_rows, rows_per_file
        Length of the first dimension, and the number of its rows in one file; both are 1 for a scalar.
    """

    num_values: int
    decoded_bytes: int
    num_chunks: int
    is_text: bool
    is_blosc: bool
    is_crc: bool
    first_dim: str | None = None
    num_rows: int = 1
    rows_per_file: int = 1

    @property
    def encoded_bytes(self) -> int:
        """Largest size of a stored chunk."""
        return self.decoded_bytes + _BLOSC_EXTRA + _CRC_BYTES

    @property
    def index_bytes(self) -> int:
        """Size of the index at the end of a shard."""
        return self.num_chunks * _INDEX_ENTRY_BYTES + _CRC_BYTES

    @property
    def file_bytes(self) -> int:
        """Largest size of a file."""
        return self.num_chunks * self.encoded_bytes + self.index_bytes if self.num_chunks else self.encoded_bytes


def check_chunk(data: Any, limits: ChunkLimits, *, where: str) -> None:
    """Check the sizes that a stored chunk declares, before it is decompressed.

    Blosc allocates the size in the header of its input, and the string decoder allocates one object for each string that the
    first four bytes declare: up to 2 GiB and 32 GiB for a file of a hundred bytes.

    Parameters
    ----------
    data
        The chunk as it is stored, uint8.
    limits
        Limits of its array.

    Raises
    ------
    CorruptShardError
        If the chunk declares more than the metadata of its array allows.
    """
    data = memoryview(data)
    payload = data[: len(data) - _CRC_BYTES * limits.is_crc]
    if limits.is_blosc:
        if len(payload) < _BLOSC_HEADER.size:
            _corrupt(where, f"has {len(payload)} bytes", f"a chunk of at least {_BLOSC_HEADER.size}")
        *_, decoded, _block, stored = _BLOSC_HEADER.unpack(payload[: _BLOSC_HEADER.size])
        if decoded > limits.decoded_bytes:
            _corrupt(where, f"would decompress to {decoded:,} bytes", f"at most {limits.decoded_bytes:,}")
        if stored != len(payload):
            _corrupt(where, f"declares {stored:,} bytes, but has {len(payload):,}", "a complete chunk")
    if limits.is_crc:
        _check_crc(data, where=where)
    if limits.is_text:
        try:
            payload = memoryview(Blosc().decode(bytes(payload))) if limits.is_blosc else payload
        except (RuntimeError, ValueError) as error:
            raise RefusedChunkError(f"{where} cannot be decompressed ({error})") from error
        count = int.from_bytes(payload[:4], "little")
        if count != limits.num_values:
            _corrupt(where, f"declares {count:,} strings", f"{limits.num_values:,}, the chunk size of its array")


def check_file(data: Any, limits: ChunkLimits, *, where: str) -> None:
    """Check a whole file of an array: its one chunk, or every chunk in the index of the shard."""
    if not limits.num_chunks:
        check_chunk(data, limits, where=where)
        return
    check_index(data, limits, where=where)
    index = np.frombuffer(data[len(data) - limits.index_bytes : len(data) - _CRC_BYTES], "<u8").reshape(-1, 2)
    for offset, size in index.tolist():
        if (offset, size) == (2**64 - 1, 2**64 - 1):
            continue  # no such chunk: all of it is fill values
        if offset + size > len(data):
            _corrupt(
                where,
                f"has a chunk of {size:,} bytes at {offset:,}, but ends at {len(data):,}",
                "chunks inside the file",
            )
        check_chunk(data[offset : offset + size], limits, where=where)


def check_index(data: Any, limits: ChunkLimits, *, where: str) -> None:
    """Check the index of a shard, which is at the end of the bytes given."""
    if len(data) < limits.index_bytes:
        _corrupt(where, f"has {len(data):,} bytes", f"a shard, whose index alone takes {limits.index_bytes:,}")
    _check_crc(memoryview(data)[len(data) - limits.index_bytes :], where=f"{where}: the shard index")


def _check_crc(data: memoryview, *, where: str) -> None:
    """Check the CRC32C at the end of the data. zarr's codec checks it too, but its error does not name the file."""
    content = np.frombuffer(data[:-_CRC_BYTES], np.uint8)
    stored, computed = int.from_bytes(data[-_CRC_BYTES:], "little"), crc32c(content)
    if stored != computed:
        _corrupt(where, f"has the checksum {computed:08x}", f"{stored:08x}, which was stored with it")


def _corrupt(where: str, came: str, expected: str) -> NoReturn:
    raise RefusedChunkError(f"{where} {came}; expected {expected}. It was not decoded")


_MAY_HOLD_FILL = ("message", "seconds", "profile_seconds", "train_seconds")
"""Variables that may equal the fill value in a row that is ok. Format 1 wrote no file in which all of their values did."""

_GROWING = ("arch", "arch_index")
"""Coordinates that are written after their array was resized: an interrupted resize leaves its new rows without them."""


def is_row_variable(name: str, first_dim: str | None) -> bool:
    """Whether a group's ``status`` says which rows of an array were written; the other arrays are always written whole."""
    return first_dim == "arch" and name != "status"


def is_lost(name: str, index: int, run: NDArray[np.uint8], *, version: int) -> bool:
    """Whether a missing file of a row variable is damage.

    Parameters
    ----------
    name
        Name of the variable.
    index
        Index of the file along ``arch``.
    run
        Status of its rows.
    version
        Format version of the store. Since version 2, all files of a shard are written if it has a row.

    Examples
    --------
    >>> ok, failed = np.array([1, 0], "uint8"), np.array([2, 0], "uint8")
    >>> is_lost("loss", 0, ok, version=1), is_lost("loss", 0, failed, version=1), is_lost("loss", 0, failed, version=2)
    (True, False, True)
    """
    if name in _GROWING and index == 0:
        return True
    if version >= FORMAT_VERSION or name in _GROWING:
        return bool((run != STATUS["not run"]).any())
    return name not in _MAY_HOLD_FILL and bool((run == STATUS["ok"]).any())


def is_lost_table(name: str, *, version: int) -> bool:
    """Whether a missing file is damage in a group without ``status``, or in an array without rows, which is always complete."""
    return version >= FORMAT_VERSION or name not in _MAY_HOLD_FILL


def is_stamped(attributes: Mapping[str, Any], index: int) -> bool:
    """Whether a finished run recorded rows in a shard, so that its ``status`` was on the disk.

    Examples
    --------
    >>> stamp = {"complete": False, "shards_run": [[0, 2], [5, 6]]}
    >>> [is_stamped(stamp, index) for index in (1, 2, 5)], is_stamped({"complete": True}, 7), is_stamped({}, 7)
    ([True, False, True], True, False)
    """
    ranges = attributes.get("shards_run")
    if not isinstance(ranges, list):
        return attributes.get("complete") is True  # a stamp of format 1 has no ranges
    return any(_is_range(each) and each[0] <= index < each[1] for each in ranges)


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
