"""Rows of one group that has a ``status``, be it a profile, an estimator or trainings: written, digested and stamped alike."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sweetgrad.store._planning import Shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.access import Location, ignore_leftovers, map_in_threads
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.format.arrays import write_array
from sweetgrad.store.format.digests import column_digests, content_digest
from sweetgrad.store.format.schema import STATUS, Variable, full
from sweetgrad.store.locks import Lock

_NO_COLUMNS = ("arch", "arch_index", "digest", "status")


def write_rows(
    group: zarr.Group,
    variables: Iterable[Variable],
    shard: Shard,
    rows: Mapping[str, NDArray[Any]],
    *,
    position: NDArray[np.int64],
    location: Location,
    lock: Lock | None,
) -> None:
    """Merge rows into their shard and write the shard whole, ``status`` last.

    Parameters
    ----------
    group
        Where to write.
    variables
        Those along ``arch``, in the order in which they are written.
    shard
        The shard; what it holds of other rows stays.
    rows
        Values of every variable, by name, along ``arch``.
    position
        Of each row in the shard.
    location, lock
        As in `sweetgrad.store.write_shard`.
    """
    here = slice(shard.start, shard.stop)
    status = read_array(group, "status", location, shard=shard)
    if status[position].any():  # a row that is run again must not count while half of it is new
        status[position] = STATUS["not run"]
        _require(lock)
        write_array(group, "status", here, status)
    keeps_rows = np.delete(status, position).any()

    def write(variable: Variable) -> None:
        # Where no other row of the shard counts, there is nothing to keep, and so nothing to read.
        block = (
            read_array(group, variable.name, location, shard=shard)
            if keeps_rows
            else _unwritten(group, variable, shard)
        )
        block[position] = rows[variable.name]
        _require(lock)
        write_array(group, variable.name, here, block)

    *others, last = variables
    for _ in map_in_threads(write, others):  # a disk forces several files at once in the time of two or three
        pass
    write(last)


def clear_rows(group: zarr.Group, variables: Sequence[Variable], shard: Shard, *, lock: Lock | None = None) -> None:
    """Forget the rows of a shard: ``status`` first, which is 0 from then on, then the files of everything else."""
    _require(lock)
    write_array(group, "status", slice(shard.start, shard.stop), np.zeros(shard.stop - shard.start, np.uint8))
    for variable in variables:
        array: Any = group[variable.name]
        if variable.name != "status":
            _require(lock)
            sync((array.store_path / _first_key(array, shard)).delete())


def digests_of(arch: Iterable[object], variables: Iterable[Variable], rows: Mapping[str, Any]) -> NDArray[np.uint64]:
    """Digest of every row of a group that is no profile, of its values as they will be stored."""
    columns = {v.name: np.asarray(rows[v.name]) for v in variables if v.name in rows and v.dims[0] == "arch"}
    types = {v.name: object if v.dtype == "str" else np.dtype(v.dtype) for v in variables}
    return column_digests(arch, {name: values.astype(types[name]) for name, values in columns.items()})


def columns_of(
    group: zarr.Group, location: Location, *, shard: Shard | None = None, only_absent: bool = False
) -> dict[str, NDArray[Any]]:
    """Values of all variables of a group along ``arch`` but ``digest`` and ``status``; coordinates are none of them.

    Parameters
    ----------
    group, location
        Group, and its store for errors.
    shard
        Whose rows; None: all.
    only_absent
        Only those variables that have no file for the shard.

    Raises
    ------
    CorruptShardError
        If one is lost or cannot be decoded.
    """
    found = {}
    with ignore_leftovers():
        arrays = sorted(group.arrays(), key=lambda item: item[0])
    for name, array in arrays:
        if name in _NO_COLUMNS or array.metadata.dimension_names[:1] != ("arch",):  # type: ignore[union-attr, index]
            continue
        if not only_absent or not has_file(group, name, shard):
            found[name] = read_array(group, name, location, shard=shard)
    if "message" not in found and "status" in group and not only_absent:
        rows = group["status"].shape[0] if shard is None else shard.stop - shard.start  # type: ignore[union-attr]
        found["message"] = np.full(rows, "", dtype=object)  # written before there were messages
    return found


def has_file(group: zarr.Group, name: str, shard: Shard | None = None) -> bool:
    """Whether a variable has a file for a shard; None: for the whole of an array that is one."""
    array: Any = group[name]
    return bool(sync((array.store_path / _first_key(array, shard)).exists()))


def stamp(group: zarr.Group, location: Location, *, shard_size: int) -> None:
    """Record in a group's attributes how many rows it has, their digest, and whether and where rows are missing."""
    status = read_array(group, "status", location)
    group.update_attributes(
        {
            "complete": bool((status != STATUS["not run"]).all()),
            "num_ok": int((status == STATUS["ok"]).sum()),
            "num_failed": int((status == STATUS["failed"]).sum()),
            "content_digest": content_digest(read_array(group, "digest", location), status),
            "shards_run": _ranges(status, shard_size),
        }
    )


def all_shards(num_archs: int, shard_size: int) -> Iterator[Shard]:
    """Every shard of a group, with no rows to run."""
    for index, start in enumerate(range(0, num_archs, shard_size)):
        yield Shard(index, start, min(start + shard_size, num_archs), ())


def _ranges(status: NDArray[np.uint8], shard_size: int) -> list[list[int]]:
    """Shards that hold a row, as ranges from the first to after the last.

    Examples
    --------
    >>> _ranges(np.array([1, 0, 2, 0, 0, 0, 0, 1], "uint8"), 2)
    [[0, 2], [3, 4]]
    """
    started = [bool(status[i : i + shard_size].any()) for i in range(0, len(status), shard_size)]
    edges = [i for i, (a, b) in enumerate(pairwise([False, *started, False])) if a != b]
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


def _first_key(array: zarr.Array[Any], shard: Shard | None) -> str:
    """The one file of an array that holds a shard."""
    return array.metadata.encode_chunk_key((shard.index if shard else 0, *[0] * (array.ndim - 1)))


def _require(lock: Lock | None) -> None:
    if lock is not None:
        lock.require()


def _unwritten(group: zarr.Group, variable: Variable, shard: Shard) -> NDArray[Any]:
    """What a shard holds that was never written."""
    shape = (shard.stop - shard.start, *group[variable.name].shape[1:])  # type: ignore[union-attr]
    return full(variable, dict(zip(variable.dims, shape, strict=True)))
