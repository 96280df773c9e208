"""Digests of what was measured: per row, and of a profile as the digest of its rows."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.store.schema import STATUS, row_variables

_UNDIGESTED = {"digest", "profile_seconds", "status"}


def row_digests(rows: xr.Dataset) -> NDArray[np.uint64]:
    """Digest of every row, shape (arch,): first 8 bytes of SHA-256 over its measured variables, little-endian."""
    arrays = [_as_bytes(rows[v.name]) for v in row_variables() if v.name not in _UNDIGESTED]
    ids = [str(arch).encode() for arch in rows["arch"].values]
    digests = [_first_8_bytes(ids[i], *(array[i] for array in arrays)) for i in range(rows.sizes["arch"])]
    return np.array(digests, dtype=np.uint64)


def array_digests(arch: Iterable[object], values: NDArray[Any]) -> NDArray[np.uint64]:
    """Digest of every row of one array alone, shape (arch,), made as `row_digests` are."""
    ids = [str(name).encode() for name in arch]
    rows = _as_bytes(xr.DataArray(values))
    return np.array([_first_8_bytes(name, row) for name, row in zip(ids, rows, strict=True)], dtype=np.uint64)


def profile_digest(digest: NDArray[np.uint64], status: NDArray[np.uint8]) -> str:
    """Hex SHA-256 over the row digests and status of a whole profile; rows that were not run count as empty."""
    # A crash between the digests and the status of a shard leaves digests of rows that do not count.
    digest = np.where(status == STATUS["not run"], 0, digest).astype("<u8", copy=False)
    sha = hashlib.sha256(np.ascontiguousarray(digest).data)
    sha.update(np.ascontiguousarray(status, dtype="u1").data)
    return sha.hexdigest()


def _as_bytes(array: xr.DataArray) -> list[bytes | memoryview]:
    values = array.values
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
