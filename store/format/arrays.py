"""How the arrays of a profile are stored: chunks, shards, codecs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from sweetgrad.store.format.bins import bin_bounds
from sweetgrad.store.format.schema import Variable

_ONE_BLOCK = 1 << 25

_COORDINATE_CHUNK = 25_000
"""Architectures in a chunk of ``arch`` and ``arch_index``: the writer of a shard reads the strings of that shard."""


def write_bounds(group: zarr.Group) -> None:
    """Write the bounds of the bins."""
    for name, bounds in zip(("bin_lower", "bin_upper"), bin_bounds(), strict=True):
        write_array(group, name, slice(None), bounds)


def write_array(group: zarr.Group, name: str, rows: slice, values: NDArray[Any]) -> None:
    """Write rows of an array, even if all of them are fill values, so that a missing file is known to be lost."""
    array: Any = group[name]
    array.with_config({"write_empty_chunks": True})[rows] = values


def write_archs(group: zarr.Group, arch: Sequence[str]) -> None:
    """Write the coordinates along ``arch``: the strings and their positions."""
    for start in range(0, len(arch), _COORDINATE_CHUNK):  # a space may have millions of strings
        stop = min(start + _COORDINATE_CHUNK, len(arch))
        write_array(group, "arch", slice(start, stop), np.array(arch[start:stop], dtype=object))
        write_array(group, "arch_index", slice(start, stop), np.arange(start, stop, dtype="int32"))


def create_array(
    group: zarr.Group, variable: Variable, *, sizes: Mapping[str, int], shard_size: int
) -> zarr.Array[Any]:
    """Create the empty array of one variable, with the chunks of `chunking`."""
    shape = tuple(sizes[dim] for dim in variable.dims)
    chunks, shards = chunking(variable, sizes=sizes, shard_size=shard_size)
    is_text = variable.dtype == "str"
    attributes: dict[str, Any] = {"units": variable.units, "doc": variable.doc}
    if variable.role == "row" and variable.dims[-1] == "bin":
        attributes["coordinates"] = "arch_index bin_lower bin_upper"
    return group.create_array(
        variable.name,
        shape=shape,
        dtype=str if is_text else variable.dtype,
        chunks=chunks,
        shards=shards,
        # A flipped bit is found by every read of the chunk, not only by `verify`.
        compressors=[compressor(is_text=is_text, is_rounded=variable.keep_bits is not None), Crc32cCodec()],
        fill_value=variable.fill,
        dimension_names=variable.dims,
        attributes=attributes,
    )


def compressor(*, is_text: bool = False, is_rounded: bool = False) -> BloscCodec:
    """Zstandard over the shuffled bytes of a whole chunk; with Blosc's usual small blocks, counts would take 10 % more.

    Statistics, which are rounded, take 9 % less at level 8 than at 5, for 0.3 s more a shard.
    """
    level = 8 if is_rounded else 5
    return BloscCodec(cname="zstd", clevel=level, shuffle="noshuffle" if is_text else "shuffle", blocksize=_ONE_BLOCK)


def chunking(
    variable: Variable, *, sizes: Mapping[str, int], shard_size: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk shape and shard shape of a variable. A shard has one chunk for each kind; None if the chunks are files themselves.

    Most analyses read the weights only. Chunks with fewer architectures would compress worse.
    """
    if variable.role == "coord":
        most = {"arch": _COORDINATE_CHUNK}
        return tuple(max(1, min(sizes[dim], most.get(dim, sizes[dim]))) for dim in variable.dims), None
    # A space may have no parameter of a kind, and zarr no chunk without entries.
    shard = tuple(shard_size if dim == "arch" else max(1, sizes[dim]) for dim in variable.dims)
    if "kind" not in variable.dims:
        return shard, None
    return tuple(1 if dim == "kind" else size for dim, size in zip(variable.dims, shard, strict=True)), shard
