"""The unit of work: plan the shards that still have something to do, read their rows, write each one whole."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store._blocks import clear_rows, digests_of, write_rows
from sweetgrad.store._planning import Shard, is_done, rows_by_shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.access import Location, map_in_threads, open_root
from sweetgrad.store.errors import CorruptShardError
from sweetgrad.store.estimators import estimator_variables
from sweetgrad.store.format.digests import row_digests
from sweetgrad.store.format.schema import STATUS, row_variables
from sweetgrad.store.groups import profile_group
from sweetgrad.store.locks import Lock


def plan_shards(
    location: Location,
    name: str,
    rows: Sequence[int],
    *,
    estimators: Sequence[str] = (),
    retry_failed: bool = False,
) -> list[Shard]:
    """Group the rows that still have to run by shard. The store is the only truth about what is done.

    Parameters
    ----------
    location, name
        Store and profile.
    rows
        Positions of the architectures asked for.
    estimators
        Estimators (of `create_estimators`) that a row must have as well to count as done.
    retry_failed
        Whether rows with status failed run again.

    Returns
    -------
    One `Shard` for every shard that has rows to run, in order.

    Raises
    ------
    ValueError
        If a row is not in the profile.
    """
    group = _group(location, name)
    size = int(group.attrs["shard_size"])  # type: ignore[arg-type]
    num_archs = int(group["status"].shape[0])  # type: ignore[union-attr]
    asked = np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else np.asarray(rows, dtype=np.int64)
    if asked.size and (asked.min() < 0 or asked.max() >= num_archs):
        raise ValueError(f"rows must be in 0..{num_archs - 1}, got {asked.min()}..{asked.max()}")
    to_run = np.zeros(num_archs, dtype=bool)
    to_run[asked] = True
    to_run &= ~_rows_done(group, location, estimators, shard=None, retry_failed=retry_failed)
    return rows_by_shard(to_run, size)


def replan_shard(
    location: Location, name: str, shard: Shard, *, estimators: Sequence[str] = (), retry_failed: bool = False
) -> Shard:
    """The shard without the rows that were done since it was planned; arguments as in `plan_shards`."""
    return shard.without(
        _rows_done(_group(location, name), location, estimators, shard=shard, retry_failed=retry_failed)
    )


def count_rows(location: Location, name: str) -> dict[str, int]:
    """Architectures of a profile with each word of `STATUS`."""
    status = read_array(_group(location, name), "status", location)
    return {word: int((status == code).sum()) for word, code in STATUS.items()}


def _rows_done(
    group: zarr.Group, location: Location, estimators: Sequence[str], *, shard: Shard | None, retry_failed: bool
) -> NDArray[np.bool_]:
    """Whether each row of a shard, or of the whole profile, is measured and scored."""
    status = read_array(group, "status", location, shard=shard)
    done = is_done(status, retry_failed=retry_failed)
    for estimator in estimators:
        scored = read_array(group, f"estimators/{estimator}/status", location, shard=shard)
        # A network that failed has no scores, and will not get any before it is run again.
        done &= is_done(scored, retry_failed=retry_failed) | (status == STATUS["failed"])
    return done


def read_shard(location: Location, name: str, shard: Shard, *, variables: Collection[str] | None = None) -> xr.Dataset:
    """Read row variables of a shard into memory; None: all of them.

    Raises
    ------
    CorruptShardError
        If one of its files cannot be decoded; the variable and the rows are named.
    """
    group = _group(location, name)
    chosen = [v for v in row_variables() if variables is None or v.name in variables]
    data = {v.name: (v.dims, read_array(group, v.name, location, shard=shard)) for v in chosen}
    return xr.Dataset(data, coords={"arch": read_array(group, "arch", location, shard=shard)})


def write_shard(location: Location, name: str, shard: Shard, rows: xr.Dataset, *, lock: Lock | None = None) -> None:
    """Merge ``rows`` into their shard and write the shard whole, ``status`` last.

    One writer writes one shard at a time: two processes in one shard lose updates (`lock_shard` keeps them apart). A crash
    before the last write leaves the old status, so the new rows count as not run; rows that were there before are rewritten with
    the same content.

    Parameters
    ----------
    location, name, shard
        Where to write.
    rows
        Measured rows as from `empty_rows`; ``arch_index`` says which. ``digest`` is filled in here.
    lock
        Lock of the shard, checked before every write, ``status`` above all; None: the caller knows that nobody else writes.

    Raises
    ------
    FencedError
        If the lock was taken over by another attempt; the shard is left to it.
    ValueError
        If a row lies outside the shard or its architecture string is not the one stored there.
    CorruptShardError
        If the shard on disk cannot be decoded, so that merging would lose rows; see `reset_shard`.
    """
    group = _group(location, name, writable=True)
    position = _positions(group, shard, rows, location)
    values = {v.name: rows[v.name].values for v in row_variables()} | {"digest": row_digests(rows)}
    write_rows(group, row_variables(), shard, values, position=position, location=location, lock=lock)


def write_estimators(
    location: Location, name: str, shard: Shard, scores: xr.Dataset, *, lock: Lock | None = None
) -> None:
    """Merge estimator scores into a shard, the counts untouched; each estimator's ``status`` last.

    Parameters
    ----------
    location, name, shard
        Where to write; the arrays are there already (`create_estimators`).
    scores
        ``score``, ``seconds``, ``message``, ``status``, dims (arch, estimator), with ``arch_index``. Where ``status`` is 0, what
        is stored stays. For the estimators ``moments`` and ``activations`` their arrays as well; ``digest`` is filled in here.
    lock
        As in `write_shard`.
    """
    group = _group(location, name, writable=True)
    position = _positions(group, shard, scores, location)

    def write(estimator: str) -> None:
        its_own = scores.sel(estimator=estimator)
        run = its_own["status"].values != STATUS["not run"]
        if not run.any():
            return
        variables = list(estimator_variables(estimator).values())
        values = {v.name: its_own[v.name].values[run] for v in variables if v.name != "digest"}
        values["digest"] = digests_of(its_own["arch"].values[run], variables, values)
        child: Any = group[f"estimators/{estimator}"]
        write_rows(child, variables, shard, values, position=position[run], location=location, lock=lock)

    for _ in map_in_threads(write, map(str, scores["estimator"].values)):
        pass


def read_estimator_status(
    location: Location, name: str, shard: Shard, estimators: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """Status of every row of a shard, by estimator; the estimators are there already (`create_estimators`)."""
    group = _group(location, name)
    return {each: read_array(group, f"estimators/{each}/status", location, shard=shard) for each in estimators}


def reset_shard(location: Location, name: str, shard: Shard, *, lock: Lock | None = None) -> None:
    """Forget a shard: its rows count as not run, ``status`` first, so that the next run makes them again.

    Arguments as in `write_shard`.
    """
    clear_rows(_group(location, name, writable=True), row_variables(), shard, lock=lock)


def recover_shard(location: Location, name: str, shard: Shard, *, lock: Lock | None = None) -> Shard:
    """Make sure that a shard can be merged into: if it is damaged, reset it and ask for its rows again.

    Arguments as in `write_shard`.

    Returns
    -------
    The shard as it came; or, if it was reset, with every row to run that it held before.
    """
    group = _group(location, name)
    try:
        block = read_shard(location, name, shard)
        run = block["status"].values != STATUS["not run"]
        if not run.any():
            return shard
        # Of a store of format 1, a file that is absent may be taken for fill values, which only the digests tell from content.
        if not (run & (row_digests(block) != block["digest"].values)).any():
            return shard
    except CorruptShardError:
        pass
    held = _held_rows(group, shard, location)
    reset_shard(location, name, shard, lock=lock)
    return replace(shard, rows=tuple(sorted({*shard.rows, *held})))


def _held_rows(group: zarr.Group, shard: Shard, location: Location) -> list[int]:
    """Rows of a damaged shard that were run: by their status or, if that is what is damaged, by their digest."""
    for variable in ("status", "digest"):
        try:
            return (np.flatnonzero(read_array(group, variable, location, shard=shard)) + shard.start).tolist()
        except CorruptShardError:
            continue
    return []


def _group(location: Location, name: str, *, writable: bool = False) -> zarr.Group:
    return profile_group(open_root(location, mode="r+" if writable else "r"), name, location)


def _positions(group: zarr.Group, shard: Shard, rows: xr.Dataset, location: Location) -> NDArray[np.int64]:
    index = rows["arch_index"].values.astype(np.int64)
    if index.size and (index.min() < shard.start or index.max() >= shard.stop):
        raise ValueError(
            f"rows {index.min()} to {index.max()} are not all in shard {shard.index} ({shard.start} to {shard.stop - 1})"
        )
    stored = read_array(group, "arch", location, shard=shard)[index - shard.start]
    for i, (there, here) in enumerate(zip(stored, rows["arch"].values, strict=True)):
        if str(there) != str(here):
            raise ValueError(f"row {index[i]} of {group.path} is architecture {there}, got {here}")
    return index - shard.start
