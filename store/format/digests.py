"""Digests of measurements: of each row over a set of columns, and of a group over the digests of its rows."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.format.schema import STATUS


def row_digests(arch: Iterable[object], columns: Iterable[NDArray[Any]]) -> NDArray[np.uint64]:
    """First 8 bytes, little-endian, of the SHA-256 over an architecture's string and its slice of every column; shape (arch,)."""
    ids = [str(name).encode() for name in arch]
    rows = zip(ids, *map(_as_bytes, columns), strict=True)
    return np.array([_first_8_bytes(*parts) for parts in rows], dtype=np.uint64)


def content_digest(digest: NDArray[np.uint64], status: NDArray[np.uint8]) -> str:
    """Hex SHA-256 over the row digests and status of a whole group; rows that were not run count as empty."""
    # A crash between writing the digests and the status of a shard leaves digests of rows that do not count.
    digest = np.where(status == STATUS["not run"], 0, digest).astype("<u8", copy=False)
    sha = hashlib.sha256(np.ascontiguousarray(digest).data)
    sha.update(np.ascontiguousarray(status, dtype="u1").data)
    return sha.hexdigest()


def _as_bytes(values: NDArray[Any]) -> list[bytes | memoryview]:
    if values.dtype.kind in "OUT":
        return [str(value).encode() for value in values]
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).reshape(len(values), values[:1].size)
    return [row.data for row in values.view(np.uint8)]


def _first_8_bytes(*parts: bytes | memoryview) -> int:
    sha = hashlib.sha256()
    for part in parts:
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return int.from_bytes(sha.digest()[:8], "little")
