"""The groups and arrays of a store read as plain JSON, so that a damaged one can be named instead of raised."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import zarr
from zarr.buffer import cpu, default_buffer_prototype
from zarr.storage import MemoryStore

from sweetgrad.store.access._zarr import ArrayV3Metadata, GroupMetadata, sync
from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.format.arrays import chunking, create_array
from sweetgrad.store.format.schema import VARIABLES
from sweetgrad.store.groups import has_rows
from sweetgrad.store.training import TRAINING

ACCURACY = "accuracy"
"""Name of the group of a search space that holds its accuracy table."""

NodeKind = Literal["profile", "unfinished profile", "accuracy", "accuracy leftover", "training", "group"]


@dataclass(frozen=True)
class Node:
    """One group below the root. ``error`` says why its ``zarr.json`` cannot be used; empty if it can."""

    path: str
    kind: NodeKind
    attributes: dict[str, Any]
    error: str = ""


def walk(root: zarr.Group, path: str = "") -> Iterator[Node]:
    """Every group of a store down to profiles, accuracy tables and trainings, which are not entered."""
    for name in children(root, path):
        child = f"{path}/{name}".lstrip("/")
        inside = children(root, child)
        if not inside and not exists(root, f"{child}/zarr.json"):
            continue  # a file, or an empty folder, which is nothing to zarr
        metadata, error = read_metadata(root, child)
        attributes = metadata.get("attributes", {})
        if name.startswith(ACCURACY) and "/" in child:
            yield Node(child, "accuracy" if name == ACCURACY else "accuracy leftover", attributes, error)
        elif f"/{TRAINING}/" in f"/{child}" and ("settings" in attributes or "status" in inside):
            yield Node(child, "training", attributes, error)
        elif "spec" in attributes or (error and "status" in inside and exists(root, f"{child}/zarr.json")):
            lone = (
                "zarr.json is that of an array, expected that of a group"
                if metadata.get("node_type") == "array"
                else ""
            )
            yield Node(child, "profile", attributes, error or lone)
        elif has_rows(root, child):
            missing = error or "zarr.json has no attribute spec, though rows were written"
            yield Node(child, "profile", attributes, missing)
        elif "shard_size" in attributes or "status" in inside:
            yield Node(child, "unfinished profile", attributes, error)
        else:
            yield Node(child, "group", attributes, error)
            yield from walk(root, child)


def read_root(root: zarr.Group) -> dict[str, Any]:
    """The root's ``zarr.json`` as it stands there; zarr has read it before."""
    raw = sync((root.store_path / "zarr.json").get(default_buffer_prototype()))
    metadata: dict[str, Any] = {} if raw is None else json.loads(raw.to_bytes())
    return metadata


def read_metadata(root: zarr.Group, path: str) -> tuple[dict[str, Any], str]:
    """A node's ``zarr.json`` as a dictionary, and what is wrong with it (empty: nothing)."""
    try:
        raw = sync((root.store_path / f"{path}/zarr.json").get(default_buffer_prototype()))
    except NotAStoreError as error:  # refused by the limits of `sweetgrad.store.access`
        return {}, f"zarr.json is refused ({error})"
    if raw is None:
        return {}, "zarr.json is missing"
    try:
        metadata = json.loads(raw.to_bytes())
    except ValueError as error:
        return {}, f"zarr.json cannot be read ({error})"
    if not isinstance(metadata, dict) or metadata.get("node_type") not in ("group", "array"):
        return {}, "zarr.json is not the metadata of a zarr group or array"
    if not isinstance(metadata.get("attributes", {}), dict):
        return {}, "zarr.json has attributes that are no dictionary"
    try:
        parse_metadata(metadata)
    except Exception as error:  # each codec has errors of its own
        return {}, f"zarr.json cannot be read by zarr ({type(error).__name__}: {error})"
    return metadata, ""


def parse_metadata(metadata: dict[str, Any]) -> ArrayV3Metadata | GroupMetadata:
    """What zarr makes of a ``zarr.json``, or whatever it raises."""
    kind = ArrayV3Metadata if metadata["node_type"] == "array" else GroupMetadata
    if metadata["zarr_format"] != 3:
        raise ValueError(f"zarr_format is {metadata['zarr_format']!r}, expected 3")
    return kind.from_dict(copy.deepcopy(metadata))  # it takes what it is given apart


def write_metadata(root: zarr.Group, path: str, metadata: dict[str, Any]) -> None:
    """Write a node's ``zarr.json``."""
    buffer = cpu.Buffer.from_bytes(json.dumps(metadata, indent=2).encode())
    sync((root.store_path / f"{path}/zarr.json").set(buffer))


def expected_metadata(sizes: dict[str, int], shard_size: int) -> dict[str, dict[str, Any]]:
    """The ``zarr.json`` that `create_array` writes for every variable of the schema."""
    root = zarr.create_group(MemoryStore())
    for variable in VARIABLES.values():
        create_array(root, variable, sizes=sizes, shard_size=shard_size)
    return {name: read_metadata(root, name)[0] for name in VARIABLES}


def differences(name: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What in an array's metadata is not as the schema has it; attributes may differ, as their words may improve."""
    keys = ("node_type", "shape", "data_type", "dimension_names", "fill_value", "chunk_key_encoding")
    lines = [
        f"{key} is {found.get(key)!r}, expected {expected[key]!r}" for key in keys if found.get(key) != expected[key]
    ]
    # Before coordinates were cut into chunks, they were one chunk each; such a store is as good as ever.
    whole = VARIABLES[name].role == "coord" and _chunks(found) == [[max(1, size) for size in expected["shape"]]]
    if _chunks(found) != _chunks(expected) and not whole and not _is_grown(name, found, expected):
        sizes = dict(zip(VARIABLES[name].dims, expected["shape"], strict=True))
        chunks, shards = chunking(VARIABLES[name], sizes=sizes, shard_size=_chunks(expected)[0][0])
        lines.append(f"shard and chunk shapes are {_chunks(found)}, expected {[shards or chunks, chunks]}")
    return lines


def _is_grown(name: str, found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether it is a coordinate that was one chunk before its profile grew."""
    variable = VARIABLES[name]
    if variable.role != "coord" or variable.dims != ("arch",):
        return False
    most = _chunks(expected)[0][0]
    return any(_chunks(found) == [[size]] for size in range(1, most))


def _chunks(metadata: dict[str, Any]) -> list[Any]:
    """Shape of the shard (or unsharded chunk), then of the chunks in it."""
    codecs = metadata.get("codecs") or []
    inner = [c["configuration"]["chunk_shape"] for c in codecs if c.get("name") == "sharding_indexed"]
    return [metadata.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape"), *inner]


def children(root: zarr.Group, path: str) -> list[str]:
    """Names directly below a path, sorted; where files cannot be listed, those in the consolidated metadata of the root."""
    if root.metadata.consolidated_metadata is not None:
        inside = f"{path}/" if path else ""
        keys = [key for key in root.metadata.consolidated_metadata.flattened_metadata if key.startswith(inside)]
        return sorted({key.removeprefix(inside).partition("/")[0] for key in keys})

    async def names() -> list[str]:
        prefix = "/".join(part for part in (root.store_path.path, path) if part)
        return sorted([name async for name in root.store.list_dir(prefix)])

    return [name.strip("/") for name in sync(names()) if name.strip("/") != "zarr.json"]


def exists(root: zarr.Group, key: str) -> bool:
    """Whether a file of the store is there."""
    return sync((root.store_path / key).exists())


def has_content(root: zarr.Group, key: str) -> bool:
    """Whether a file of the store is there and not empty."""
    path = root.store_path / key
    return exists(root, key) and sync(path.store.getsize(path.path)) > 0


def delete_tree(root: zarr.Group, path: str) -> None:
    """Delete everything below a path."""
    sync((root.store_path / path).delete_dir())
