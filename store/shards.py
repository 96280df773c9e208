"""Tables with a row for each architecture and columns in blocks: planning, reading, writing, resuming and stamping of shards.

Nothing here depends on what a block measures. A *shard* is a range of consecutive rows: the unit of work, of writing, and of loss
in a crash. Each array of a block has one file for each shard.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store.access import Location, RefusedChunkError, command_line, map_in_threads
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.errors import CorruptShardError
from sweetgrad.store.format.arrays import write_array
from sweetgrad.store.format.blocks import COUNTS, TRAINING, Block
from sweetgrad.store.format.digests import content_digest
from sweetgrad.store.format.schema import LEAN, STATUS, Variable, count_status, full
from sweetgrad.store.groups import Store, block_groups, read_block
from sweetgrad.store.locks import Lock, lock_shard

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of a table, of which ``rows`` (positions in the table, ascending) have to be run.

    ``rows`` is a `range` if it has no gaps, otherwise a tuple, so that the plan of a whole space takes little memory.
    """

    index: int
    start: int
    stop: int
    rows: Sequence[int]

    def __post_init__(self) -> None:
        """Normalise ``rows``."""
        rows = self.rows
        without_gap = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        object.__setattr__(self, "rows", range(rows[0], rows[-1] + 1) if without_gap else tuple(rows))

    @property
    def all_rows(self) -> slice:
        """All rows of the shard, whether or not they have to be run."""
        return slice(self.start, self.stop)

    def without(self, done: NDArray[np.bool_]) -> Self:
        """The shard without the rows that are done; ``done`` is a mask over the rows of the shard, shape (stop - start,)."""
        return replace(self, rows=tuple(row for row in self.rows if not done[row - self.start]))


class Table:
    """An opened table of a store. It can be pickled, and is opened again when it is unpickled.

    Parameters
    ----------
    store
        Store of the table. If it was opened for reading, the first write opens it again for writing.
    name
        Path of the table in the store.

    Raises
    ------
    NotAStoreError
        If there is no such table.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.group = self._find(store, name)
        self._writable: zarr.Group | None = None if self.group.store.read_only else self.group

    @classmethod
    def open(cls, location: Location, name: str, *, storage_options: Mapping[str, Any] | None = None) -> Self:
        """Open a store and a table in it; raises `NotAStoreError` if there is none."""
        return cls(Store.open(location, storage_options=storage_options), name)

    @staticmethod
    def _find(store: Store, name: str) -> zarr.Group:
        group = store.root[name]
        assert isinstance(group, zarr.Group)
        return group

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the location and name only."""
        return type(self).open, (self.location, self.name)

    @property
    def location(self) -> Location:
        """Location of the store."""
        return self.store.location

    @property
    def name(self) -> str:
        """Path of the table in the store."""
        return self.group.path

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group at the time of opening."""
        return dict(self.group.attrs)

    @property
    def num_archs(self) -> int:
        """Number of rows."""
        return int(_array(self.group, "status").shape[0])

    @property
    def shard_size(self) -> int:
        """Number of rows in a shard; the last shard may have fewer."""
        return int(_array(self.group, "status").chunks[0])

    def shards(self) -> list[Shard]:
        """All shards, without rows to run."""
        return all_shards(self.num_archs, self.shard_size)

    def shards_of(self, rows: Sequence[int]) -> list[Shard]:
        """Shards of the given rows, which have to be run and are in ascending order."""
        size, num_archs = self.shard_size, self.num_archs
        return [
            Shard(index, index * size, min((index + 1) * size, num_archs), list(inside))
            for index, inside in groupby(rows, key=lambda row: row // size)
        ]

    @property
    def main(self) -> Block:
        """The block that is measured first for every row: if it failed, the row has no other blocks."""
        return COUNTS if "spec" in self.group.attrs else TRAINING

    def blocks(self) -> list[Block]:
        """Blocks of the table, the main one first."""
        return [self.main, *(read_block(path, group) for path, group in block_groups(self.group).items())]

    def arch(self, shard: Shard | None = None) -> NDArray[np.object_]:
        """Architecture string of each row of a shard; None: of all rows."""
        return read_array(self.group, "arch", self.location, shard=shard, command=self.main.command)

    def status(self, block: Block | None = None, shard: Shard | None = None) -> NDArray[np.uint8]:
        """Status (`STATUS`) of each row of a shard in a block; None: the main block, all rows."""
        return self.column(block or self.main, "status", shard)

    def lock(
        self, index: int, *, run: str, expired: frozenset[str] = frozenset(), watch: bool = False
    ) -> AbstractContextManager[Lock]:
        """Context manager that holds the lock of a shard; arguments and errors as in `lock_shard`."""
        return lock_shard(self.location, self.name, index, run=run, expired=expired, watch=watch)

    # Planning: only the store says what is done.

    def plan(self, rows: Sequence[int], blocks: Sequence[Block] = (), *, retry_failed: bool = False) -> list[Shard]:
        """Group the rows that still have to run by shard.

        Parameters
        ----------
        rows
            Positions of the requested architectures.
        blocks
            Blocks of the table that a row must have, besides the main one, to count as done.
        retry_failed
            Whether to run rows with status failed again.

        Returns
        -------
        One `Shard` for every shard that has rows to run, in order.

        Raises
        ------
        ValueError
            If a row is not in the table.
        """
        asked = np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else np.asarray(rows, np.int64)
        if asked.size and (asked.min() < 0 or asked.max() >= self.num_archs):
            raise ValueError(f"rows must be in 0..{self.num_archs - 1}, got {asked.min()}..{asked.max()}")
        to_run = np.zeros(self.num_archs, dtype=bool)
        to_run[asked] = True
        to_run &= ~self._is_done(blocks, retry_failed=retry_failed)
        return self.shards_of(np.flatnonzero(to_run).tolist())

    def replan(self, shard: Shard, blocks: Sequence[Block] = (), *, retry_failed: bool = False) -> Shard:
        """The shard without the rows that are done by now; arguments as in `plan`."""
        return shard.without(self._is_done(blocks, shard, retry_failed=retry_failed))

    def _is_done(self, blocks: Sequence[Block], shard: Shard | None = None, *, retry_failed: bool) -> NDArray[np.bool_]:
        """Whether each row is done; a failed row is done unless failed rows are run again."""
        finished = [STATUS["ok"]] if retry_failed else [STATUS["ok"], STATUS["failed"]]
        status = self.status(shard=shard)
        done = np.isin(status, finished)
        for block in blocks:
            # A row that failed in the main block has no other blocks until it is run again.
            done &= np.isin(self.status(block, shard), finished) | (status == STATUS["failed"])
        return done

    # Reading and writing.

    def read(self, block: Block, shard: Shard | None = None, *, variables: Collection[str] | None = None) -> xr.Dataset:
        """Read rows of a block into memory.

        Parameters
        ----------
        block
            Block of the table.
        shard
            Shard whose rows are read; None: all rows.
        variables
            Variables of the block to read; None: all of them.

        Returns
        -------
        Variables as declared, with the coordinate ``arch``.

        Raises
        ------
        CorruptShardError
            If a file is missing or cannot be decoded; the message names the variable and the rows.
        """
        chosen = [v for v in block.variables if variables is None or v.name in variables]
        data = {v.name: (v.dims, self.column(block, v.name, shard)) for v in chosen}
        return xr.Dataset(data, coords={"arch": self.arch(shard)})

    def write(self, shard: Shard, rows: Mapping[Block, xr.Dataset], *, lock: Lock | None = None) -> None:
        """Merge rows of one or more blocks into a shard; the whole shard of each block is rewritten, ``status`` last.

        A shard must have one writer at a time, since two would overwrite each other's rows (`lock_shard` prevents this). After a
        crash before the last write, the old status is kept, so the new rows count as not run; previous rows are rewritten with
        the same content.

        Parameters
        ----------
        shard
            Shard to write to.
        rows
            Measured rows by block, along ``arch``, with the coordinates ``arch`` and ``arch_index``. A row with status 0 does not
            change the stored one. ``digest`` is computed here.
        lock
            Lock of the shard, which is checked before every write; None: the caller ensures that there is no other writer.

        Raises
        ------
        FencedError
            If the lock was taken over by another attempt, which then writes the shard.
        ValueError
            If a row is outside the shard, or its architecture string differs from the stored one.
        CorruptShardError
            If the shard on disk cannot be decoded, so that merging would lose rows; see `recover`.
        """
        stored = self.arch(shard)

        def write_block(block: Block) -> None:
            data = rows[block]
            position = self._positions(shard, data, stored)
            run = data["status"].values != STATUS["not run"]
            if run.any():
                values = {v.name: data[v.name].values[run] for v in block.variables if v.name != "digest"}
                values["digest"] = block.digests(data["arch"].values[run], values)
                self._merge(block, shard, values, position[run], lock=lock)

        list(map_in_threads(write_block, rows))

    def _merge(
        self,
        block: Block,
        shard: Shard,
        values: Mapping[str, NDArray[Any]],
        position: NDArray[np.int64],
        *,
        lock: Lock | None,
    ) -> None:
        group = self.block_group(block, writable=True)
        status = self.status(block, shard)
        if status[position].any():  # a row that is run again must not count while it is only partly new
            status[position] = STATUS["not run"]
            _require(lock)
            write_array(group, "status", shard.all_rows, status)
        keeps_rows = np.delete(status, position).any()

        def write(variable: Variable) -> None:
            # If no other row of the shard counts, there is nothing to keep, and therefore nothing to read.
            old = self.column(block, variable.name, shard) if keeps_rows else _unwritten(group, variable, shard)
            old[position] = values[variable.name]
            _require(lock)
            write_array(group, variable.name, shard.all_rows, old)

        *others, last = block.variables
        list(map_in_threads(write, others))  # a disk flushes several files concurrently in the time of two or three
        write(last)

    def clear(self, block: Block, shard: Shard, *, lock: Lock | None = None) -> None:
        """Clear a shard of a block: set its ``status`` to 0, then delete the files of its other variables."""
        group = self.block_group(block, writable=True)
        _require(lock)
        write_array(group, "status", shard.all_rows, np.zeros(shard.stop - shard.start, np.uint8))
        for variable in block.variables:
            if variable.name != "status" and variable.name in group:
                array = _array(group, variable.name)
                _require(lock)
                sync((array.store_path / first_file(array, shard)).delete())
        _logger.info("%s: cleared shard %d of %s", self.name, shard.index, block.name)

    @property
    def rows_by_layer(self) -> int:
        """Number of rows, from the first on, of which the counts by layer are stored: all, except in a lean release."""
        until = self.attributes.get(LEAN)
        return until if type(until) is int else self.num_archs

    def recover(self, shard: Shard, *, lock: Lock | None = None) -> Shard:
        """Ensure that rows can be merged into a shard: if its main block is damaged, clear it and mark its rows to be run again.

        Returns
        -------
        The given shard; if it was cleared, with all its previous rows to be run. A shard of a lean release, whose counts by layer
        have been left out, is not damaged.
        """
        if shard.start >= self.rows_by_layer:
            return shard
        try:
            rows = self.read(self.main, shard)
            run = rows["status"].values != STATUS["not run"]
            # In a store of format 1, a missing file may be read as fill values, which only the digests detect.
            if not (run & (self.main.digests(rows["arch"].values, rows) != rows["digest"].values)).any():
                return shard
        except CorruptShardError:
            pass
        held = self._rows_held(shard)
        self.clear(self.main, shard, lock=lock)
        return replace(shard, rows=tuple(sorted({*shard.rows, *held})))

    def _rows_held(self, shard: Shard) -> list[int]:
        """Rows of a damaged shard that were run, according to their status or, if that is damaged, to their digest."""
        for variable in ("status", "digest"):
            try:
                return (np.flatnonzero(self.column(self.main, variable, shard)) + shard.start).tolist()
            except CorruptShardError:
                continue
        return []

    def stamp(self) -> None:
        """Record the number of rows of every block, their digest, and whether and where rows are missing."""
        for block in self.blocks():
            self.stamp_block(block)

    def stamp_block(self, block: Block) -> None:
        """Like `stamp`, for one block."""
        status = self.status(block)
        num = count_status(status)
        stamp = {
            "complete": num["not run"] == 0,
            "num_ok": num["ok"],
            "num_failed": num["failed"],
            "content_digest": content_digest(self.column(block, "digest"), status),
            "shards_run": _ranges_run(status, self.shard_size),
        }
        self.block_group(block, writable=True).update_attributes(stamp)

    def column(self, block: Block, variable: str, shard: Shard | None = None) -> NDArray[Any]:
        """One variable of a block, in memory; arguments and errors as in `read`."""
        path = f"{block.path}/{variable}".lstrip("/")
        if variable == "message" and path not in self.group:  # format 1, in which estimators had no messages
            return np.full(self.num_archs if shard is None else shard.stop - shard.start, "", dtype=object)
        return read_array(self.group, path, self.location, shard=shard, command=block.command)

    def block_group(self, block: Block, *, writable: bool = False) -> zarr.Group:
        """Group of a block."""
        if writable and self._writable is None:
            self._writable = self._find(Store.open(self.location, mode="r+"), self.name)
        group = self._writable if writable else self.group
        assert group is not None
        child = group[block.path] if block.path else group
        assert isinstance(child, zarr.Group)
        return child

    def _positions(self, shard: Shard, rows: xr.Dataset, arch: NDArray[np.object_]) -> NDArray[np.int64]:
        """Position of each row in the shard; raises unless the architectures are those stored there (``arch``)."""
        index = rows["arch_index"].values.astype(np.int64)
        if index.size and (index.min() < shard.start or index.max() >= shard.stop):
            raise ValueError(
                f"rows {index.min()} to {index.max()} are not all in shard {shard.index} ({shard.start} to {shard.stop - 1})"
            )
        stored = arch[index - shard.start]
        for i, (there, here) in enumerate(zip(stored, rows["arch"].values, strict=True)):
            if str(there) != str(here):
                raise ValueError(f"row {index[i]} of {self.name} is architecture {there}, got {here}")
        return index - shard.start


def all_shards(num_archs: int, shard_size: int) -> list[Shard]:
    """All shards of a table, without rows to run."""
    return [
        Shard(index, start, min(start + shard_size, num_archs), ())
        for index, start in enumerate(range(0, num_archs, shard_size))
    ]


def _ranges_run(status: NDArray[np.uint8], shard_size: int) -> list[list[int]]:
    """Shards that have a row, as half-open ranges.

    Examples
    --------
    >>> _ranges_run(np.array([1, 0, 2, 0, 0, 0, 0, 1], "uint8"), 2)
    [[0, 2], [3, 4]]
    """
    started = [bool(status[i : i + shard_size].any()) for i in range(0, len(status), shard_size)]
    edges = [i for i, (a, b) in enumerate(pairwise([False, *started, False])) if a != b]
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


def read_array(
    group: zarr.Group,
    path: str,
    location: Location,
    *,
    shard: Shard | None = None,
    command: str = "profile",
) -> NDArray[Any]:
    """Read an array into memory, writable.

    Parameters
    ----------
    group, path
        A group, and the path of the array in it.
    location
        Location of the store, for the error message.
    shard
        Shard whose rows are read; None: the whole array.
    command
        Subcommand that measures a cleared shard again.

    Raises
    ------
    CorruptShardError
        If it is missing or cannot be decoded; the message names the array and the rows.
    """
    rows = slice(None) if shard is None else shard.all_rows
    repair = command_line("verify", location, "--repair")
    advice = f"`{repair}` clears it, and the next `sweetgrad {command}` measures it again."
    if path not in group:
        raise CorruptShardError(f"{location}: {group.path}/{path} is missing. {advice}")
    try:
        return np.asarray(_array(group, path)[rows]).copy()
    except (ValueError, RuntimeError) as error:  # errors of codecs for data that they cannot decode
        part = "" if shard is None else f", rows {shard.start} to {shard.stop - 1} (shard {shard.index})"
        what = error.what if isinstance(error, RefusedChunkError) else str(error).rstrip(".")
        raise CorruptShardError(
            f"{location}: {group.path}/{path}{part} cannot be decoded ({what}). {advice}"
        ) from error


def first_file(array: zarr.Array[Any], shard: Shard) -> str:
    """Key of the file of a shard in an array."""
    return array.metadata.encode_chunk_key((shard.index, *[0] * (array.ndim - 1)))


def has_file(group: zarr.Group, path: str, shard: Shard) -> bool:
    """Whether an array has a file for a shard."""
    array = _array(group, path)
    return bool(sync((array.store_path / first_file(array, shard)).exists()))


def _array(group: zarr.Group, path: str) -> zarr.Array[Any]:
    array = group[path]
    assert isinstance(array, zarr.Array)
    return array


def _require(lock: Lock | None) -> None:
    if lock is not None:
        lock.require()


def _unwritten(group: zarr.Group, variable: Variable, shard: Shard) -> NDArray[Any]:
    """Content of a shard that was never written."""
    shape = (shard.stop - shard.start, *_array(group, variable.name).shape[1:])
    return full(variable, dict(zip(variable.dims, shape, strict=True)))
