"""Digests of what was measured: per row of any set of columns, and of a group as the digest of its rows."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.store.format.schema import FORMAT_VERSION, STATUS, row_variables

_UNDIGESTED = {"digest", "profile_seconds", "seconds", "status"}
"""Columns that two measurements of one architecture may differ in, or that speak of the others."""


def row_digests(rows: xr.Dataset) -> NDArray[np.uint64]:
    """Digest of every row of a profile, shape (arch,): over its measured variables, in the order of the schema."""
    columns = [rows[v.name].values for v in row_variables() if v.name not in _UNDIGESTED]
    return _digests(rows["arch"].values, columns)


def column_digests(arch: Iterable[object], columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """Digest of every row of any other group, shape (arch,): over its columns in the order of their names.

    Parameters
    ----------
    arch
        Architecture string of each row.
    columns
        All variables of the group along ``arch``, as they are stored; wall times, ``digest`` and ``status`` are passed over.
    """
    return _digests(arch, [columns[name] for name in sorted(columns) if name not in _UNDIGESTED])


def accepted_digests(
    arch: Iterable[object], columns: Mapping[str, NDArray[Any]], *, version: int
) -> tuple[NDArray[np.uint64], ...]:
    """The digests that rows of such a group may have in a format: in format 1, activations had that of their counts alone."""
    ids = list(arch)
    counts = {name: values for name, values in columns.items() if name == "activation_count"}
    return tuple(column_digests(ids, each) for each in ([columns, counts] if version < FORMAT_VERSION else [columns]))


def content_digest(digest: NDArray[np.uint64], status: NDArray[np.uint8]) -> str:
    """Hex SHA-256 over the row digests and status of a whole group; rows that were not run count as empty."""
    # A crash between the digests and the status of a shard leaves digests of rows that do not count.
    digest = np.where(status == STATUS["not run"], 0, digest).astype("<u8", copy=False)
    sha = hashlib.sha256(np.ascontiguousarray(digest).data)
    sha.update(np.ascontiguousarray(status, dtype="u1").data)
    return sha.hexdigest()


def _digests(arch: Iterable[object], columns: Iterable[NDArray[Any]]) -> NDArray[np.uint64]:
    """First 8 bytes, little-endian, of the SHA-256 over an architecture's string and its slice of every column."""
    ids = [str(name).encode() for name in arch]
    rows = zip(ids, *map(_as_bytes, columns), strict=True)
    return np.array([_first_8_bytes(*parts) for parts in rows], dtype=np.uint64)


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
