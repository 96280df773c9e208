"""The metadata of a profile's arrays against the schema."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from sweetgrad.store.access import MAX_SHARDS
from sweetgrad.store.checks._problem import ProfileCheck
from sweetgrad.store.checks._tree import differences, expected_metadata, read_metadata, write_metadata
from sweetgrad.store.format.bins import NUM_BINS
from sweetgrad.store.format.schema import KINDS, VARIABLES, row_variables


def check_layout(profile: ProfileCheck, *, repair: bool) -> None:
    """Compare every array's metadata with the schema. Sizes are what most arrays say, so that a damaged one is outvoted."""
    for key in ("created", "runs", "complete"):
        if key not in profile.node.attributes:
            profile.add(f"attribute {key} is missing. Copy {profile.name}/zarr.json from a backup.")
    found = {name: read_metadata(profile.root, f"{profile.name}/{name}") for name in VARIABLES}
    shard_size = _shard_size(profile, [found[variable.name][0] for variable in row_variables()])
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
                # At once, and not with the other repairs: the rows cannot be checked before.
                rewrite()
    if damaged and not repair:
        return
    profile.num_archs, profile.shard_size = sizes["arch"], shard_size


def _shard_size(profile: ProfileCheck, arrays: list[dict[str, Any]]) -> int | None:
    """Architectures in a shard, as most arrays have it, or else the attribute, which is compared with it."""
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


def _metadata_writer(profile: ProfileCheck, name: str, metadata: dict[str, Any]) -> Callable[[], None]:
    return lambda: write_metadata(profile.root, f"{profile.name}/{name}", metadata)
