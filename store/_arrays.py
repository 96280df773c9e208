"""How the arrays of a profile lie on disk: chunks, shards, codecs."""

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from sweetgrad.store._groups import has_rows
from sweetgrad.store.access import GuardedStore
from sweetgrad.store.bins import NUM_BINS, bin_bounds
from sweetgrad.store.errors import FencedError
from sweetgrad.store.schema import KINDS, VARIABLES, Variable

_ONE_BLOCK = 1 << 25

_COORDINATE_CHUNK = 25_000
"""Architectures in a chunk of ``arch`` and ``arch_index``: whoever writes a shard reads the strings of that shard."""


def create_group(
    root: zarr.Group,
    name: str,
    arch: Sequence[str],
    layers: Sequence[str],
    shard_size: int,
    attributes: Mapping[str, Any],
) -> None:
    """Create the group of a profile with all its arrays, the coordinates filled in; one that is finished is not touched."""
    group = stage_group({"shard_size": shard_size, **attributes})
    sizes = {"arch": len(arch), "layer": len(layers), "kind": len(KINDS), "bin": NUM_BINS}
    for variable in VARIABLES.values():
        create_array(group, variable, sizes=sizes, shard_size=shard_size)
    write_array(group, "layer", slice(None), np.array(layers, dtype=object))
    write_array(group, "kind", slice(None), np.array(KINDS, dtype=object))
    write_bounds(group)
    write_archs(group, arch)
    put_group(root, name, group)


def stage_group(attributes: Mapping[str, Any]) -> zarr.Group:
    """A new group in memory, for `put_group`."""
    return zarr.create_group(MemoryStore(), attributes=dict(attributes))


def put_group(root: zarr.Group, path: str, staged: zarr.Group, *, last: str = "zarr.json") -> None:
    """Write a group that was made in memory where there is none, all files at once and ``last`` when the others are there.

    On an object store zarr would ask for every group above an array before it makes one: more than half of the requests.

    Nothing is ever overwritten (on an object store, where each condition costs two requests, the last file and no other has
    one). A group is finished when its file ``last`` has the attributes that the staged one has. What is
    there without that, and without a row, is a creation that was cut off: it is moved aside, looked at, and only then deleted.

    Raises
    ------
    FencedError
        If a finished group is there, which another process made meanwhile.
    """
    if "/" in path:
        root.require_group(path.rpartition("/")[0])
    files = {key: data.to_bytes() for key, data in sync(_files(staged)).items()}
    if sync(_names(root, path)):
        _discard(root, path, last, files[last])

    store = root.store
    is_disk = isinstance(store, GuardedStore) and store.can_rename

    async def put(key: str) -> None:
        write = store.set_if_not_exists if is_disk or key == last else store.set
        await write(f"{path}/{key}", cpu.Buffer.from_bytes(files[key]))

    async def put_all() -> None:
        await asyncio.gather(*(put(key) for key in files if key != last))
        await put(last)

    sync(put_all())
    if sync(_read(root, f"{path}/{last}")) != files[last]:
        _refuse(root, path)


def _discard(root: zarr.Group, path: str, last: str, staged: bytes) -> None:
    """Delete a creation that was cut off. On a disk it is renamed first: whoever stands still in between deletes no other."""

    def is_leftover(place: str) -> bool:
        document = sync(_read(root, f"{place}/{last}"))
        needed = set(json.loads(staged)["attributes"])
        try:
            finished = document is not None and needed <= set(json.loads(document)["attributes"])
        except (ValueError, KeyError, TypeError):
            finished = False
        return not finished and not has_rows(root, place)

    if not is_leftover(path):
        _refuse(root, path)
    store = root.store
    if isinstance(store, GuardedStore) and store.can_rename:
        aside = f"{path}.{uuid.uuid4().hex}"
        sync(store.rename(path, aside))
        if not is_leftover(aside):
            sync(store.rename(aside, path, undo=True))
            _refuse(root, path)
        path = aside
    sync(store.delete_dir(path))


def _refuse(root: zarr.Group, path: str) -> NoReturn:
    raise FencedError(
        f"{path} was made by another process meanwhile; expected nothing there. It was left as it is: do the same again."
    )


async def _files(group: zarr.Group) -> dict[str, Buffer]:
    """Every file of a group in memory."""
    keys = [key async for key in group.store.list()]
    found = {key: await group.store.get(key, default_buffer_prototype()) for key in keys}
    return {key: data for key, data in found.items() if data is not None}


async def _names(root: zarr.Group, path: str) -> list[str]:
    return [name async for name in root.store.list_dir(path)]


async def _read(root: zarr.Group, key: str) -> bytes | None:
    data = await root.store.get(key, default_buffer_prototype())
    return None if data is None else data.to_bytes()


def write_bounds(group: zarr.Group) -> None:
    """Fill in the bounds of the bins."""
    for name, bounds in zip(("bin_lower", "bin_upper"), bin_bounds(), strict=True):
        write_array(group, name, slice(None), bounds)


def write_array(group: zarr.Group, name: str, rows: slice, values: NDArray[Any]) -> None:
    """Write rows of an array, those that hold nothing but fill values as well: a file that is absent later was lost."""
    array: Any = group[name]
    array.with_config({"write_empty_chunks": True})[rows] = values


def write_archs(group: zarr.Group, arch: Sequence[str]) -> None:
    """Fill in the coordinates along ``arch``: the strings, and their positions."""
    for start in range(0, len(arch), _COORDINATE_CHUNK):  # a space may have millions of strings
        stop = min(start + _COORDINATE_CHUNK, len(arch))
        write_array(group, "arch", slice(start, stop), np.array(arch[start:stop], dtype=object))
        write_array(group, "arch_index", slice(start, stop), np.arange(start, stop, dtype="int32"))


def create_array(
    group: zarr.Group, variable: Variable, *, sizes: Mapping[str, int], shard_size: int
) -> zarr.Array[Any]:
    """Create the empty array of one variable, chunked as `chunking` says."""
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
        compressors=[compressor(is_text=is_text), Crc32cCodec()],
        fill_value=variable.fill,
        dimension_names=variable.dims,
        attributes=attributes,
    )


def compressor(*, is_text: bool = False) -> BloscCodec:
    """Zstandard over the shuffled bytes of a whole chunk: with Blosc's usual small blocks, counts take a tenth more."""
    return BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle" if is_text else "shuffle", blocksize=_ONE_BLOCK)


def chunking(
    variable: Variable, *, sizes: Mapping[str, int], shard_size: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk shape and shard shape of a variable; a shard holds one chunk for each kind, None: the chunks are files themselves.

    Most questions are about weights alone. Chunks of fewer architectures would compress worse.
    """
    if variable.role == "coord":
        most = {"arch": _COORDINATE_CHUNK}
        return tuple(max(1, min(sizes[dim], most.get(dim, sizes[dim]))) for dim in variable.dims), None
    shard = tuple(shard_size if dim == "arch" else sizes[dim] for dim in variable.dims)
    if "kind" not in variable.dims:
        return shard, None
    return tuple(1 if dim == "kind" else size for dim, size in zip(variable.dims, shard, strict=True)), shard
