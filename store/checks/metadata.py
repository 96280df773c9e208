"""The metadata of a store: read without trusting it, compared with the schema and with the copy in the root, and rewritten."""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import zarr
from zarr.buffer import cpu, default_buffer_prototype
from zarr.storage import MemoryStore

from sweetgrad.store.access import MAX_SHARDS
from sweetgrad.store.access._zarr import ArrayV3Metadata, GroupMetadata, sync
from sweetgrad.store.checks.problem import DAMAGE, Node, Problem, TableCheck
from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.format.arrays import chunking, create_array
from sweetgrad.store.format.bins import NUM_BINS
from sweetgrad.store.format.blocks import COUNTS, VARIABLES
from sweetgrad.store.format.schema import KINDS
from sweetgrad.store.groups import has_rows
from sweetgrad.store.root import consolidate
from sweetgrad.store.training import TRAINING_FOLDER

ACCURACY = "accuracy"
"""Name of the group of a search space that holds its accuracy table."""


def walk(root: zarr.Group, path: str = "") -> Iterator[Node]:
    """Every group of a store down to profiles, accuracy tables and trainings, which are not entered."""
    for name in children(root, path):
        child = f"{path}/{name}".lstrip("/")
        inside = children(root, child)
        if not inside and not exists(root, f"{child}/zarr.json"):
            continue  # a file, or an empty folder, which zarr ignores
        metadata, error = read_metadata(root, child)
        attributes = metadata.get("attributes", {})
        if name.startswith(ACCURACY) and "/" in child:
            yield Node(child, "accuracy" if name == ACCURACY else "accuracy leftover", attributes, error)
        elif f"/{TRAINING_FOLDER}/" in f"/{child}" and ("settings" in attributes or "status" in inside):
            yield Node(child, "training", attributes, error)
        elif "spec" in attributes or (error and "status" in inside and exists(root, f"{child}/zarr.json")):
            lone = "zarr.json describes an array, expected a group" if metadata.get("node_type") == "array" else ""
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
    """The root's ``zarr.json`` as stored; zarr has already parsed it."""
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
        return {}, "zarr.json has attributes that are not a dictionary"
    try:
        parse_metadata(metadata)
    except Exception as error:  # each codec has errors of its own
        return {}, f"zarr.json cannot be read by zarr ({type(error).__name__}: {error})"
    return metadata, ""


def parse_metadata(metadata: dict[str, Any]) -> ArrayV3Metadata | GroupMetadata:
    """Parse a ``zarr.json`` with zarr, which raises errors of many types."""
    kind = ArrayV3Metadata if metadata["node_type"] == "array" else GroupMetadata
    if metadata["zarr_format"] != 3:
        raise ValueError(f"zarr_format is {metadata['zarr_format']!r}, expected 3")
    return kind.from_dict(copy.deepcopy(metadata))  # it modifies its argument


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
    """Differences of an array's metadata from the schema. Attributes may differ, since their wording may improve."""
    keys = ("node_type", "shape", "data_type", "dimension_names", "fill_value", "chunk_key_encoding")
    lines = [
        f"{key} is {found.get(key)!r}, expected {expected[key]!r}" for key in keys if found.get(key) != expected[key]
    ]
    # Older stores have one chunk for each coordinate, which is still valid.
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
    """Whether a file of the store exists."""
    return sync((root.store_path / key).exists())


def has_content(root: zarr.Group, key: str) -> bool:
    """Whether a file of the store exists and is not empty."""
    path = root.store_path / key
    return exists(root, key) and sync(path.store.getsize(path.path)) > 0


def delete_tree(root: zarr.Group, path: str) -> None:
    """Delete everything below a path."""
    sync((root.store_path / path).delete_dir())


def check_layout(profile: TableCheck, *, repair: bool) -> None:
    """Compare every array's metadata with the schema. Sizes are those of most arrays, so that a damaged one is outvoted."""
    for key in ("created", "runs", "complete"):
        if key not in profile.node.attributes:
            profile.add(f"attribute {key} is missing. Copy {profile.name}/zarr.json from a backup.")
    found = {name: read_metadata(profile.root, f"{profile.name}/{name}") for name in VARIABLES}
    shard_size = _shard_size(profile, [found[variable.name][0] for variable in COUNTS.variables])
    votes = [
        pair
        for metadata, _ in found.values()
        for pair in zip(metadata.get("dimension_names") or (), metadata.get("shape") or (), strict=False)
    ]
    sizes = {dim: size for (dim, size), _ in reversed(Counter(votes).most_common())}
    known = {"arch", "layer"} <= set(sizes)
    if not known or not isinstance(shard_size, int) or not 1 <= sizes["arch"] // MAX_SHARDS + 1 <= shard_size:
        profile.add("shard_size or the sizes of the arrays cannot be read: delete the folder and profile again.")
        return
    expected = expected_metadata({**sizes, "kind": len(KINDS), "bin": NUM_BINS}, shard_size)
    damaged = False
    for name, (metadata, error) in found.items():
        wrong = [error] if error else differences(name, metadata, expected[name])
        if wrong:
            damaged = True
            rewrite = _metadata_writer(profile, name, expected[name])
            profile.add(f"{name}: {'; '.join(wrong)}; rows were not checked.", repair=rewrite)
            if repair:
                # Now, not with the other repairs: the rows cannot be checked before.
                rewrite()
    if damaged and not repair:
        return
    profile.num_archs, profile.shard_size = sizes["arch"], shard_size


def _shard_size(profile: TableCheck, arrays: list[dict[str, Any]]) -> int | None:
    """Architectures in a shard according to most arrays, otherwise to the attribute; a difference between them is a problem."""
    attribute = profile.node.attributes.get("shard_size")
    votes = [
        array["chunk_grid"]["configuration"]["chunk_shape"][0]
        for array in arrays
        if array.get("chunk_grid", {}).get("name") == "regular"
    ]
    if not votes:
        return attribute
    size = int(Counter(votes).most_common(1)[0][0])
    if attribute != size:

        def write() -> None:
            metadata, _ = read_metadata(profile.root, profile.name)
            metadata["attributes"]["shard_size"] = size
            write_metadata(profile.root, profile.name, metadata)

        profile.add(f"shard_size: the attribute is {attribute!r}, the arrays have {size}.", repair=write)
    return size


def _metadata_writer(profile: TableCheck, name: str, metadata: dict[str, Any]) -> Callable[[], None]:
    return lambda: write_metadata(profile.root, f"{profile.name}/{name}", metadata)


_STAMP = ("shard_size", "complete", "num_ok", "num_failed", "content_digest")


def check_consolidated(root: zarr.Group, profiles: list[TableCheck], *, repair: bool) -> list[Problem]:
    """Compare the copy with what never changes (the arrays and the spec of a profile) and with the stamp of the last run.

    A copy that lags behind is not a problem: nodes of a run that has not ended, or was killed, are missing in it. Profiles with
    problems of their own are skipped.
    """
    copied = read_root(root).get("consolidated_metadata")
    if copied is None:
        return []  # no run has ended yet
    wrong, specs = _differing(root, copied, {profile.name: profile for profile in profiles})
    problems = []
    if wrong:
        what = f"the copy of all metadata in the root's zarr.json is wrong about {', '.join(wrong[:5])}; --repair rewrites it."
        problems.append(Problem("", None, (), what, True))
        if repair and not specs:
            problems += _rewrite_copy(root)
    for name in specs:
        what = (
            "spec: differs from the copy in the root's zarr.json, so one of the two is damaged. The next `sweetgrad profile` of "
            f"this profile rewrites the copy, or names what differs; then copy {name}/zarr.json from a backup."
        )
        problems.append(Problem(name, None, (), what, False))
    return problems


def _rewrite_copy(root: zarr.Group) -> list[Problem]:
    try:
        consolidate(root)
    except DAMAGE as error:
        what = f"the copy of all metadata cannot be rewritten while other problems remain ({error})"
        return [Problem("", None, (), what, False)]
    return []


def _differing(root: zarr.Group, copied: Any, profiles: dict[str, TableCheck]) -> tuple[list[str], list[str]]:
    """Nodes that are wrong in the copy, and profiles whose spec differs in it."""
    if not isinstance(copied, dict) or not isinstance(copied.get("metadata"), dict):
        return ["everything"], []
    wrong, specs = [], []
    for path, metadata in copied["metadata"].items():
        profile = next((each for name, each in profiles.items() if f"{path}/".startswith(f"{name}/")), None)
        if profile and profile.problems:
            continue
        replaced = path.split("/")[1:2] == [ACCURACY]  # an interrupted import leaves a gap for a while
        if _lasting(metadata) is None or not (replaced or exists(root, f"{path}/zarr.json")):
            wrong.append(path)
        elif profile and path == profile.name:
            theirs, ours = metadata.get("attributes") or {}, profile.node.attributes
            if theirs.get("spec") != ours["spec"]:
                specs.append(path)
            if any(theirs.get(key) != ours.get(key) for key in _STAMP):
                wrong.append(path)
        elif profile and _lasting(metadata) != _lasting(read_metadata(root, path)[0]):
            wrong.append(path)
    return wrong, specs


def _lasting(metadata: Any) -> dict[str, Any] | None:
    """What never changes in the metadata of an array, as parsed by zarr; None if zarr cannot parse it."""
    try:
        read = parse_metadata(metadata).to_dict()
    except Exception:  # each codec has errors of its own
        return None
    return {key: value for key, value in read.items() if key not in ("attributes", "consolidated_metadata")}
