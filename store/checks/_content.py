"""The content of a profile: coordinates, rows (one shard in memory at a time) and stamp."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store._planning import Shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.checks._problem import DAMAGE, ProfileCheck, reason
from sweetgrad.store.checks._rows import failing_rows
from sweetgrad.store.checks._stamp import check_stamp
from sweetgrad.store.format.arrays import write_array
from sweetgrad.store.format.bins import bin_bounds
from sweetgrad.store.format.schema import KINDS, STATUS, VARIABLES, row_variables
from sweetgrad.store.locks import lock_shard
from sweetgrad.store.shards import reset_shard
from sweetgrad.store.upgrade import format_of


def check_shards(profile: ProfileCheck) -> Iterator[None]:
    """Check shard after shard, then what only the whole profile shows."""
    if not profile.shards:
        return
    group = profile.root[profile.name]
    assert isinstance(group, zarr.Group)
    profile.arch = arch = _check_coordinates(profile, group)
    status = np.zeros(profile.num_archs, np.uint8)
    digest = np.zeros(profile.num_archs, np.uint64)
    readable = True
    run = rows_run(profile, group)
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
                _check_block(profile, shard, block.assign_coords(arch=arch[here]))
        yield
    if readable:
        agree = all(problem.shard is None for problem in profile.problems)
        check_stamp(profile, profile.node.attributes, status, digest, agree=agree)


def rows_run(check: ProfileCheck, group: zarr.Group) -> NDArray[np.bool_]:
    """Rows that may have been run: all those of a shard whose status cannot be read, so that it is looked into."""

    def read(shard: Shard | None = None) -> NDArray[np.bool_]:
        status = read_array(group, "status", check.location, shard=shard)
        return np.asarray(status != STATUS["not run"], dtype=bool)

    try:
        return read()
    except DAMAGE:
        run = np.ones(check.num_archs, dtype=bool)
        for shard in check.shards:
            with suppress(*DAMAGE):
                run[shard.start : shard.stop] = read(shard)
        return run


def _check_coordinates(profile: ProfileCheck, group: zarr.Group) -> NDArray[Any] | None:
    """Check the coordinates; returns the architecture strings, or None where they cannot be read."""
    lower, upper = bin_bounds() if format_of(profile.root) > 1 else _bounds_of_format_1()
    index = np.arange(profile.num_archs, dtype="int32")
    known = {"arch_index": index, "kind": np.array(KINDS, object), "bin_lower": lower, "bin_upper": upper}
    values: dict[str, NDArray[Any]] = {}
    for variable in (v for v in VARIABLES.values() if v.role == "coord"):
        name = variable.name
        try:
            values[name] = read_array(group, name, profile.location)
            wrong = "" if name not in known or _equal(values[name], known[name]) else "has not the values of the format"
        except DAMAGE as error:
            wrong = f"cannot be decoded ({reason(error)})"
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


def _bounds_of_format_1() -> Iterator[NDArray[np.float64]]:
    return (bounds.astype(np.float32).astype(np.float64) for bounds in bin_bounds())


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=b.dtype.kind == "f")


def _coordinate_writer(group: zarr.Group, name: str, values: NDArray[Any]) -> Callable[[], None]:
    def write() -> None:
        write_array(group, name, slice(None), values)

    return write


def _read_block(profile: ProfileCheck, group: zarr.Group, shard: Shard) -> xr.Dataset | None:
    """Read every row variable of a shard; what cannot be decoded is a problem, and then there is no block."""
    data = {}
    for variable in row_variables():
        try:
            data[variable.name] = (variable.dims, read_array(group, variable.name, profile.location, shard=shard))
        except DAMAGE as error:
            what = f"{variable.name}: {_key(group, variable.name, shard)} cannot be decoded ({reason(error)})."
            _add_shard(profile, shard, tuple(range(shard.start, shard.stop)), what)
    return xr.Dataset(data) if len(data) == len(row_variables()) else None


def _check_block(profile: ProfileCheck, shard: Shard, block: xr.Dataset) -> None:
    for rows, what in failing_rows(block):
        _add_shard(profile, shard, tuple((rows + shard.start).tolist()), f"{what}.")


def _add_shard(profile: ProfileCheck, shard: Shard, rows: tuple[int, ...], what: str) -> None:
    profile.add(
        what,
        shard=shard.index,
        rows=rows,
        repair=lambda: _reset(profile, shard),
        key=f"shard {shard.index}",
    )


def _reset(profile: ProfileCheck, shard: Shard) -> None:
    with lock_shard(profile.location, profile.name, shard.index, run=uuid.uuid4().hex) as lock:
        reset_shard(profile.location, profile.name, shard, lock=lock)


def _key(group: zarr.Group, variable: str, shard: Shard) -> str:
    array: Any = group[variable]
    return f"{variable}/{array.metadata.encode_chunk_key((shard.index, *[0] * (array.ndim - 1)))}"
