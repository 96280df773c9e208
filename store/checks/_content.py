"""The content of a profile: coordinates, rows (one shard in memory at a time), stamp and estimators."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store._digest import array_digests, profile_digest
from sweetgrad.store._reading import read_array
from sweetgrad.store.bins import bin_bounds
from sweetgrad.store.checks._problem import DAMAGE, Problem, ProfileCheck
from sweetgrad.store.checks._rows import failing_rows
from sweetgrad.store.checks._tree import children, delete_tree, has_content
from sweetgrad.store.estimators import ACTIVATIONS
from sweetgrad.store.locks import claim_shard
from sweetgrad.store.schema import KINDS, STATUS, VARIABLES, row_variables
from sweetgrad.store.shards import Shard, reset_shard

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

    def read(shard: Shard | None = None) -> NDArray[np.bool_]:
        status = read_array(group, "status", profile.location, shard=shard)
        return np.asarray(status != STATUS["not run"], dtype=bool)

    try:
        return read()
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
    values: dict[str, NDArray[Any]] = {}
    for variable in (v for v in VARIABLES.values() if v.role == "coord"):
        name = variable.name
        try:
            values[name] = read_array(group, name, profile.location)
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
            data[variable.name] = (variable.dims, read_array(group, variable.name, profile.location, shard=shard))
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
        repair=lambda: _reset(profile, shard),
        key=f"shard {shard.index}",
    )


def _reset(profile: ProfileCheck, shard: Shard) -> None:
    with claim_shard(profile.location, profile.name, shard.index, run=uuid.uuid4().hex) as claim:
        reset_shard(profile.location, profile.name, shard, claim=claim)


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
    counts, sha256 = (stamp.get("num_ok", 0), stamp.get("num_failed", 0)), stamp["content_digest"]
    if not all(type(count) is int for count in counts) or not isinstance(sha256, str):
        what = (
            f"num_ok, num_failed and content_digest are {counts[0]!r}, {counts[1]!r} and {sha256!r}, which say nothing."
        )
        profile.add(what, repair=lambda: None)
        return
    ok, failed = int((status == STATUS["ok"]).sum()), int((status == STATUS["failed"]).sum())
    stamped_ok, stamped_failed = counts
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
    elif agree and (ok, failed) == (stamped_ok, stamped_failed) and profile_digest(digest, status) != sha256:
        profile.add(
            "content_digest: rows were replaced after the profile was stamped, though each agrees with its own digest.",
            repair=lambda: None,
        )


def check_estimators(profile: ProfileCheck) -> None:
    """Check that every block of every estimator's arrays decodes, and that activations have their digests."""
    for name in children(profile.root, f"{profile.name}/estimators"):
        path = f"{profile.name}/estimators/{name}"
        damaged = False
        for array in children(profile.root, path):
            try:
                for shard in profile.shards:  # the largest array of an estimator is as large as the counts
                    np.asarray(profile.root[f"{path}/{array}"][shard.start : shard.stop])  # type: ignore[index]
            except DAMAGE as error:
                _add_estimator(profile, name, f"{name}/{array}: cannot be decoded ({error}).")
                damaged = True
        if name == ACTIVATIONS and not damaged and (wrong := _wrong_activations(profile, path)):
            _add_estimator(profile, name, f"{name}: activation_count has not its digest.", rows=wrong)


def _add_estimator(profile: ProfileCheck, name: str, what: str, *, rows: tuple[int, ...] = ()) -> None:
    path = f"{profile.name}/estimators/{name}"
    what = f"estimators/{what} --repair deletes the estimator; run it again."
    profile.problems.append(Problem(profile.name, None, rows, what, True))
    profile.repairs[path] = lambda: delete_tree(profile.root, path)


def _wrong_activations(profile: ProfileCheck, path: str) -> tuple[int, ...]:
    """Rows whose counts are not those that were written: zarr reads a file that is absent as zeros."""
    try:
        arch = np.asarray(profile.root[f"{profile.name}/arch"][:])  # type: ignore[index]
    except DAMAGE:
        return ()  # without the strings there are no digests, and of them it was told
    wrong: list[int] = []
    for shard in profile.shards:
        here = slice(shard.start, shard.stop)
        try:
            counts, digest, status = (
                np.asarray(profile.root[f"{path}/{key}"][here])  # type: ignore[index]
                for key in ("activation_count", "digest", "status")
            )
            rows = np.flatnonzero((status == STATUS["ok"]) & (array_digests(arch[here], counts) != digest))
        except DAMAGE:  # an array is missing, or has another shape
            rows = np.arange(shard.stop - shard.start)
        wrong += (rows + shard.start).tolist()
    return tuple(wrong)
