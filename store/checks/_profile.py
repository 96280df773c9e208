"""The checks of one profile: its metadata against the schema, then its rows, one shard in memory at a time."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store._digest import profile_digest
from sweetgrad.store.access import MAX_SHARDS, Location
from sweetgrad.store.bins import NUM_BINS, bin_bounds
from sweetgrad.store.checks._rows import failing_rows
from sweetgrad.store.checks._tree import (
    Node,
    children,
    delete_tree,
    differences,
    expected_metadata,
    has_content,
    read_metadata,
    write_metadata,
)
from sweetgrad.store.errors import CorruptShardError, NotAStoreError
from sweetgrad.store.schema import KINDS, STATUS, VARIABLES, row_variables
from sweetgrad.store.shards import Shard, _read, reset_shard

_NEVER_EMPTY = (
    "digest",
    "grad_abs_sum",
    "grad_sq_sum",
    "grad_count",
    "grad_count_network",
    "layer_type",
    "loss",
    "num_params",
)
DAMAGE = (CorruptShardError, NotAStoreError, ValueError, TypeError, KeyError, IndexError, RuntimeError)
"""What zarr raises on metadata or bytes that make no sense; a full disk or a lost network (OSError) is no damage."""


@dataclass(frozen=True)
class Problem:
    """One thing in a store that is not as it must be.

    Attributes
    ----------
    profile
        Path of the profile (or other group) in the store; empty for the store as a whole.
    shard
        Index of the shard; None if the problem is not inside one.
    rows
        Positions of the architectures concerned; empty if it concerns no single row.
    what
        The variable, what is wrong with it, and what to do.
    repairable
        Whether ``verify(…, repair=True)`` deals with it.
    """

    profile: str
    shard: int | None
    rows: tuple[int, ...]
    what: str
    repairable: bool

    def __str__(self) -> str:
        """One line that names all of it."""
        shard = None if self.shard is None else f"shard {self.shard}"
        rows = f"rows {_ranges(self.rows)}" if self.rows else None
        return ": ".join([", ".join(part for part in (self.profile or "store", shard, rows) if part), self.what])


@dataclass
class ProfileCheck:
    """What the check of one profile gathers. A repair is done after all checks, in order, each once."""

    root: zarr.Group
    location: Location
    node: Node
    shard_size: int = 0
    num_archs: int = 0
    problems: list[Problem] = field(default_factory=list)
    repairs: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.node.path

    @property
    def shards(self) -> list[Shard]:
        size = self.shard_size
        count = math.ceil(self.num_archs / size) if size else 0
        return [Shard(i, i * size, min((i + 1) * size, self.num_archs), ()) for i in range(count)]

    def add(
        self,
        what: str,
        *,
        shard: int | None = None,
        rows: tuple[int, ...] = (),
        repair: Callable[[], None] | None = None,
        key: str = "",
    ) -> None:
        if repair:
            does = (
                "puts it right"
                if shard is None
                else "clears the shard, and the next `sweetgrad profile` makes it again"
            )
            what = f"{what} `sweetgrad verify {self.location} --repair` {does}."
        self.problems.append(Problem(self.name, shard, rows, what, repair is not None))
        if repair:
            self.repairs[key or f"{len(self.repairs)}"] = repair


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
            _rewrite = _metadata_writer(profile, name, expected[name])
            profile.add(f"{name}: {'; '.join(wrong)}; rows were not checked.", repair=_rewrite)
            if repair:
                _rewrite()
    if damaged and not repair:
        return
    profile.num_archs, profile.shard_size = sizes["arch"], shard_size


def _shard_size(profile: ProfileCheck, arrays: list[dict[str, Any]]) -> int | None:
    """Architectures in a shard, as most arrays have it, or else the attribute, which is compared with it."""
    attribute = profile.node.attributes.get("shard_size")
    votes = [
        array["chunk_grid"]["configuration"]["chunk_shape"][0]
        for array in arrays
        if array and array["chunk_grid"]["name"] == "regular"
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


def check_shards(profile: ProfileCheck) -> Iterator[None]:
    """Check shard after shard, then what only the whole profile shows."""
    if not profile.shards:
        return
    group = profile.root[profile.name]
    assert isinstance(group, zarr.Group)
    arch = _check_coordinates(profile, group)
    status = np.zeros(profile.num_archs, np.uint8)
    digest = np.zeros(profile.num_archs, np.uint64)
    readable = True
    run = _rows_run(profile, group)
    for shard in profile.shards:
        if not run[shard.start : shard.stop].any():
            yield  # nothing is promised about rows that were not run; a run that comes to them starts the shard anew
            continue
        block = _read_block(profile, group, shard)
        if block is None:
            readable = False
        else:
            here = slice(shard.start, shard.stop)
            status[here], digest[here] = block["status"].values, block["digest"].values
            if arch is not None:
                _check_block(profile, group, shard, block.assign_coords(arch=arch[here]))
        yield
    if readable:
        agree = all(problem.shard is None for problem in profile.problems)
        _check_stamp(profile, status, digest, agree=agree)


def _rows_run(profile: ProfileCheck, group: zarr.Group) -> NDArray[np.bool_]:
    """Rows that may have been run: all those of a shard whose status cannot be read, so that it is looked into."""

    def read(shard: Shard) -> NDArray[np.bool_]:
        return np.asarray(_read(group, "status", shard, profile.location) != STATUS["not run"], dtype=bool)

    try:
        return read(Shard(0, 0, profile.num_archs, ()))
    except DAMAGE:
        run = np.ones(profile.num_archs, dtype=bool)
        for shard in profile.shards:
            with suppress(*DAMAGE):
                run[shard.start : shard.stop] = read(shard)
        return run


def _check_coordinates(profile: ProfileCheck, group: zarr.Group) -> NDArray[Any] | None:
    """Check the coordinates; returns the architecture strings, or None where they cannot be read."""
    lower, upper = bin_bounds()
    index = np.arange(profile.num_archs, dtype="int32")
    known = {"arch_index": index, "kind": np.array(KINDS, object), "bin_lower": lower, "bin_upper": upper}
    everything = Shard(0, 0, max(profile.num_archs, NUM_BINS), ())
    values: dict[str, NDArray[Any]] = {}
    for variable in (v for v in VARIABLES.values() if v.role == "coord"):
        name = variable.name
        try:
            values[name] = _read(group, name, everything, profile.location)
            wrong = "" if name not in known or _equal(values[name], known[name]) else "has not the values of the format"
        except DAMAGE as error:
            wrong = f"cannot be decoded ({error.__cause__ or error})"
        if wrong and name in known:
            profile.add(f"{name}: {wrong}.", repair=_coordinate_writer(group, name, known[name]))
        elif wrong:
            profile.add(f"{name}: {wrong}; digests were not checked. Copy {profile.name}/{name} from a backup.")
    arch, spec = values.get("arch"), profile.node.attributes["spec"]
    if arch is not None and isinstance(spec, dict):
        sha256 = hashlib.sha256("".join(f"{name}\n" for name in arch).encode()).hexdigest()
        if sha256 != spec.get("arch_sha256"):
            profile.add(f"arch: the strings have not the SHA-256 of the spec. Copy {profile.name}/arch from a backup.")
    return arch


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=b.dtype.kind == "f")


def _coordinate_writer(group: zarr.Group, name: str, values: NDArray[Any]) -> Callable[[], None]:
    def write() -> None:
        group[name][:] = values  # type: ignore[index]

    return write


def _read_block(profile: ProfileCheck, group: zarr.Group, shard: Shard) -> xr.Dataset | None:
    """Read every row variable of a shard; what cannot be decoded is a problem, and then there is no block."""
    data = {}
    for variable in row_variables():
        try:
            data[variable.name] = (variable.dims, _read(group, variable.name, shard, profile.location))
        except DAMAGE as error:
            key = _key(group, variable.name, shard)
            what = (
                f"{variable.name}: {key} cannot be decoded ({error.__cause__ or error}){_lost(profile, group, shard)}."
            )
            _add_shard(profile, shard, tuple(range(shard.start, shard.stop)), what)
    return xr.Dataset(data) if len(data) == len(row_variables()) else None


def _check_block(profile: ProfileCheck, group: zarr.Group, shard: Shard, block: xr.Dataset) -> None:
    for rows, what in failing_rows(block):
        what = f"{what}{_lost(profile, group, shard)}."
        _add_shard(profile, shard, tuple((rows + shard.start).tolist()), what)


def _lost(profile: ProfileCheck, group: zarr.Group, shard: Shard) -> str:
    """Files of a shard that hold nothing, for a message: zarr reads a file that is absent or empty as fill values."""
    keys = [_key(group, name, shard) for name in _NEVER_EMPTY]
    lost = [key for key in keys if not has_content(profile.root, f"{profile.name}/{key}")]
    return f" (no content in {', '.join(lost)})" if lost else ""


def _add_shard(profile: ProfileCheck, shard: Shard, rows: tuple[int, ...], what: str) -> None:
    profile.add(
        what,
        shard=shard.index,
        rows=rows,
        repair=lambda: reset_shard(profile.location, profile.name, shard),
        key=f"shard {shard.index}",
    )


def _key(group: zarr.Group, variable: str, shard: Shard) -> str:
    array: Any = group[variable]
    return f"{variable}/{array.metadata.encode_chunk_key((shard.index, *[0] * (array.ndim - 1)))}"


def _check_stamp(profile: ProfileCheck, status: NDArray[np.uint8], digest: NDArray[np.uint64], *, agree: bool) -> None:
    """Compare the rows with the stamp of the last run that ended; rows added by a run that was cut off since are no problem.

    ``agree`` says whether all rows have the content of their own digest; otherwise the digest of all says nothing new.
    """
    stamp = profile.node.attributes
    if "content_digest" not in stamp:
        return
    ok, failed = int((status == STATUS["ok"]).sum()), int((status == STATUS["failed"]).sum())
    stamped_ok, stamped_failed = stamp.get("num_ok", 0), stamp.get("num_failed", 0)
    if ok + failed < stamped_ok + stamped_failed or ok < stamped_ok:
        holes = np.flatnonzero(status == STATUS["not run"])
        # A digest without a status marks a row that was there; with none left, any hole can be one.
        lost = holes[digest[holes] != 0] if (digest[holes] != 0).any() else holes
        word = "complete" if stamp.get("complete") else "unfinished"
        profile.add(
            f"status: the profile was stamped {word} with {stamped_ok} rows ok and {stamped_failed} failed, and now has {ok} and "
            f"{failed}: rows were lost. The next `sweetgrad profile` makes them again.",
            rows=tuple(lost.tolist()),
            repair=lambda: None,
        )
    elif (
        agree
        and (ok, failed) == (stamped_ok, stamped_failed)
        and profile_digest(digest, status) != stamp["content_digest"]
    ):
        profile.add(
            "content_digest: rows were replaced after the profile was stamped, though each agrees with its own digest.",
            repair=lambda: None,
        )


def check_estimators(profile: ProfileCheck) -> None:
    """Check that every block of every estimator's arrays decodes."""
    for name in children(profile.root, f"{profile.name}/estimators"):
        path = f"{profile.name}/estimators/{name}"
        for array in children(profile.root, path):
            try:
                for shard in profile.shards:  # the largest array of an estimator is as large as the counts
                    np.asarray(profile.root[f"{path}/{array}"][shard.start : shard.stop])  # type: ignore[index]
            except DAMAGE as error:
                what = f"estimators/{name}/{array}: cannot be decoded ({error}). --repair deletes the estimator; run it again."
                profile.problems.append(Problem(profile.name, None, (), what, True))
                profile.repairs[path] = _tree_deleter(profile.root, path)


def _tree_deleter(root: zarr.Group, path: str) -> Callable[[], None]:
    return lambda: delete_tree(root, path)


def _ranges(rows: tuple[int, ...]) -> str:
    """Rows as ranges, at most five of them: ``0-3, 7``."""
    starts = [i for i in range(len(rows)) if i == 0 or rows[i] != rows[i - 1] + 1]
    ends = [*[i - 1 for i in starts[1:]], len(rows) - 1]
    texts = [f"{rows[a]}" if a == b else f"{rows[a]}-{rows[b]}" for a, b in zip(starts, ends, strict=True)]
    rest = f" and {len(rows) - starts[5]} more" if len(starts) > 5 else ""
    return ", ".join(texts[:5]) + rest
