"""Rows of architectures whose columns come in blocks: planned, read, written, resumed and stamped, one shard at a time.

Nothing here depends on what a block measures. A *shard* is some consecutive rows: the unit of work, of writing, and of what a
crash can lose. Each array of a block has one file for each shard.
"""

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
from sweetgrad.store.format.blocks import COUNTS, TRAINING, Block, profile_block
from sweetgrad.store.format.digests import content_digest
from sweetgrad.store.format.schema import STATUS, Variable, count_status, full
from sweetgrad.store.groups import Store, estimator_groups
from sweetgrad.store.locks import Lock, lock_shard


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of a table, of which ``rows`` (positions in the table, ascending) are to be run.

    ``rows`` is a `range` if it has no gap, else a tuple: the plan of a whole space takes no memory to speak of.
    """

    index: int
    start: int
    stop: int
    rows: Sequence[int]

    def __post_init__(self) -> None:
        """Bring ``rows`` into its one form."""
        rows = self.rows
        without_gap = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        object.__setattr__(self, "rows", range(rows[0], rows[-1] + 1) if without_gap else tuple(rows))

    @property
    def all_rows(self) -> slice:
        """All rows of the shard, to be run or not."""
        return slice(self.start, self.stop)

    def without(self, done: NDArray[np.bool_]) -> Self:
        """The shard without the rows to run that are done; ``done`` says so of each row of the shard, shape (stop - start,)."""
        return replace(self, rows=tuple(row for row in self.rows if not done[row - self.start]))


class Table:
    """A table of a store, open; it can be pickled, and opens itself again elsewhere.

    Parameters
    ----------
    store
        Which it is in. If that was opened to be read, the first write opens it again, to be written to.
    name
        Path in the store.

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
    def open(cls, location: Location, name: str) -> Self:
        """Open a store and a table of it; `NotAStoreError` if there is none."""
        return cls(Store.open(location), name)

    @staticmethod
    def _find(store: Store, name: str) -> zarr.Group:
        group = store.root[name]
        assert isinstance(group, zarr.Group)
        return group

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels to another process."""
        return type(self).open, (self.location, self.name)

    @property
    def location(self) -> Location:
        """Location of the store."""
        return self.store.location

    @property
    def name(self) -> str:
        """Path in the store."""
        return self.group.path

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group, as it was opened."""
        return dict(self.group.attrs)

    @property
    def num_archs(self) -> int:
        """Rows."""
        return int(_array(self.group, "status").shape[0])

    @property
    def shard_size(self) -> int:
        """Rows in a shard; the last one may have fewer."""
        return int(_array(self.group, "status").chunks[0])

    def shards(self) -> list[Shard]:
        """Every shard, with no rows to run."""
        return all_shards(self.num_archs, self.shard_size)

    def shards_of(self, rows: Sequence[int]) -> list[Shard]:
        """Rows to run, ascending, by their shards."""
        size, num_archs = self.shard_size, self.num_archs
        return [
            Shard(index, index * size, min((index + 1) * size, num_archs), list(inside))
            for index, inside in groupby(rows, key=lambda row: row // size)
        ]

    @property
    def main(self) -> Block:
        """The block that every row needs first: a row whose main block failed gets no other."""
        return COUNTS if "spec" in self.group.attrs else TRAINING

    def blocks(self) -> list[Block]:
        """Blocks that the table has, the main one first."""
        return [self.main, *(profile_block(name) for name, _ in estimator_groups(self.group))]

    def arch(self, shard: Shard | None = None) -> NDArray[np.object_]:
        """Architecture string of each row of a shard; None: of every row."""
        return read_array(self.group, "arch", self.location, shard=shard, command=self.main.command)

    def status(self, block: Block | None = None, shard: Shard | None = None) -> NDArray[np.uint8]:
        """Status (`STATUS`) of each row of a shard in a block; None: the main block, every row."""
        return self.column(block or self.main, "status", shard)

    def lock(
        self, index: int, *, run: str, expired: frozenset[str] = frozenset(), watch: bool = False
    ) -> AbstractContextManager[Lock]:
        """Hold the lock of a shard; arguments and errors as in `lock_shard`."""
        return lock_shard(self.location, self.name, index, run=run, expired=expired, watch=watch)

    # Planning: the store is the only truth about what is done.

    def plan(self, rows: Sequence[int], blocks: Sequence[Block] = (), *, retry_failed: bool = False) -> list[Shard]:
        """Group the rows that still have to run by shard.

        Parameters
        ----------
        rows
            Positions of the architectures asked for.
        blocks
            Blocks that a row must have besides the main one to count as done; the table has them already.
        retry_failed
            Whether rows with status failed run again.

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
        """The shard without the rows that were done since it was planned; arguments as in `plan`."""
        return shard.without(self._is_done(blocks, shard, retry_failed=retry_failed))

    def _is_done(self, blocks: Sequence[Block], shard: Shard | None = None, *, retry_failed: bool) -> NDArray[np.bool_]:
        """Whether nothing is left to run, row by row; a failed row is left only if it is to be tried again."""
        finished = [STATUS["ok"]] if retry_failed else [STATUS["ok"], STATUS["failed"]]
        status = self.status(shard=shard)
        done = np.isin(status, finished)
        for block in blocks:
            # A row that failed in the main block has no other, and will not get one before it is run again.
            done &= np.isin(self.status(block, shard), finished) | (status == STATUS["failed"])
        return done

    # Reading and writing.

    def read(self, block: Block, shard: Shard | None = None, *, variables: Collection[str] | None = None) -> xr.Dataset:
        """Read rows of a block into memory.

        Parameters
        ----------
        block
            Which the table has.
        shard
            Whose rows; None: all rows.
        variables
            Those of the block to read; None: all of them.

        Returns
        -------
        Variables as declared, dims with ``arch``, and the coordinate ``arch``.

        Raises
        ------
        CorruptShardError
            If a file is lost or cannot be decoded; the variable and the rows are named.
        """
        chosen = [v for v in block.variables if variables is None or v.name in variables]
        data = {v.name: (v.dims, self.column(block, v.name, shard)) for v in chosen}
        return xr.Dataset(data, coords={"arch": self.arch(shard)})

    def write(self, shard: Shard, rows: Mapping[Block, xr.Dataset], *, lock: Lock | None = None) -> None:
        """Merge rows of one or more blocks into a shard; of each block, the shard is written whole, ``status`` last.

        One writer writes one shard at a time: two processes in one shard lose updates (`lock_shard` keeps them apart). A crash
        before the last write leaves the old status, so the new rows count as not run; rows that were there before are rewritten
        with the same content.

        Parameters
        ----------
        shard
            Where to write.
        rows
            Measured rows by block, along ``arch``, with the coordinates ``arch`` and ``arch_index``. A row with status 0 leaves
            what is stored. ``digest`` is filled in here.
        lock
            Of the shard, checked before every write, ``status`` above all; None: the caller knows that nobody else writes.

        Raises
        ------
        FencedError
            If the lock was taken over by another attempt; the shard is left to it.
        ValueError
            If a row lies outside the shard or its architecture string is not the one stored there.
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
        if status[position].any():  # a row that is run again must not count while half of it is new
            status[position] = STATUS["not run"]
            _require(lock)
            write_array(group, "status", shard.all_rows, status)
        keeps_rows = np.delete(status, position).any()

        def write(variable: Variable) -> None:
            # Where no other row of the shard counts, there is nothing to keep, and so nothing to read.
            old = self.column(block, variable.name, shard) if keeps_rows else _unwritten(group, variable, shard)
            old[position] = values[variable.name]
            _require(lock)
            write_array(group, variable.name, shard.all_rows, old)

        *others, last = block.variables
        list(map_in_threads(write, others))  # a disk forces several files at once in the time of two or three
        write(last)

    def clear(self, block: Block, shard: Shard, *, lock: Lock | None = None) -> None:
        """Forget a shard of a block: ``status`` first, which is 0 from then on, then the files of everything else."""
        group = self.block_group(block, writable=True)
        _require(lock)
        write_array(group, "status", shard.all_rows, np.zeros(shard.stop - shard.start, np.uint8))
        for variable in block.variables:
            if variable.name != "status" and variable.name in group:
                array = _array(group, variable.name)
                _require(lock)
                sync((array.store_path / first_file(array, shard)).delete())

    def recover(self, shard: Shard, *, lock: Lock | None = None) -> Shard:
        """Make sure that a shard can be merged into: if its main block is damaged, clear it and ask for its rows again.

        Returns
        -------
        The shard as it came; or, if it was cleared, with every row to run that it held before.
        """
        try:
            rows = self.read(self.main, shard)
            run = rows["status"].values != STATUS["not run"]
            # In a store of format 1, an absent file may be taken for fill values, which only the digests tell from content.
            if not (run & (self.main.digests(rows["arch"].values, rows) != rows["digest"].values)).any():
                return shard
        except CorruptShardError:
            pass
        held = self._rows_held(shard)
        self.clear(self.main, shard, lock=lock)
        return replace(shard, rows=tuple(sorted({*shard.rows, *held})))

    def _rows_held(self, shard: Shard) -> list[int]:
        """Rows of a damaged shard that were run: by their status or, if that is what is damaged, by their digest."""
        for variable in ("status", "digest"):
            try:
                return (np.flatnonzero(self.column(self.main, variable, shard)) + shard.start).tolist()
            except CorruptShardError:
                continue
        return []

    def stamp(self) -> None:
        """Record of every block how many rows it has, their digest, and whether and where rows are missing."""
        for block in self.blocks():
            self.stamp_block(block)

    def stamp_block(self, block: Block) -> None:
        """As `stamp`, of one block."""
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
        if variable == "message" and path not in self.group:  # of format 1, where estimators had none
            return np.full(self.num_archs if shard is None else shard.stop - shard.start, "", dtype=object)
        return read_array(self.group, path, self.location, shard=shard, command=block.command)

    def block_group(self, block: Block, *, writable: bool = False) -> zarr.Group:
        """Where a block lies."""
        if writable and self._writable is None:
            self._writable = self._find(Store.open(self.location, mode="r+"), self.name)
        group = self._writable if writable else self.group
        assert group is not None
        child = group[block.path] if block.path else group
        assert isinstance(child, zarr.Group)
        return child

    def _positions(self, shard: Shard, rows: xr.Dataset, arch: NDArray[np.object_]) -> NDArray[np.int64]:
        """Position in the shard of each row, which is that of the architecture stored there (``arch``)."""
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
    """Every shard of a table, with no rows to run."""
    return [
        Shard(index, start, min(start + shard_size, num_archs), ())
        for index, start in enumerate(range(0, num_archs, shard_size))
    ]


def _ranges_run(status: NDArray[np.uint8], shard_size: int) -> list[list[int]]:
    """Shards that hold a row, as ranges from the first to after the last.

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
        Where it lies: a group, and the array's path in it.
    location
        Of the store, for the error.
    shard
        Whose rows to read; None: the whole array.
    command
        The subcommand that makes a cleared shard again.

    Raises
    ------
    CorruptShardError
        If it is lost or cannot be decoded; the array and the rows are named.
    """
    rows = slice(None) if shard is None else shard.all_rows
    repair = command_line("verify", location, "--repair")
    advice = f"`{repair}` clears it, and the next `sweetgrad {command}` measures it again."
    if path not in group:
        raise CorruptShardError(f"{location}: {group.path}/{path} is missing. {advice}")
    try:
        return np.asarray(_array(group, path)[rows]).copy()
    except (ValueError, RuntimeError) as error:  # what codecs raise on bytes that they cannot decode
        part = "" if shard is None else f", rows {shard.start} to {shard.stop - 1} (shard {shard.index})"
        what = error.what if isinstance(error, RefusedChunkError) else str(error).rstrip(".")
        raise CorruptShardError(
            f"{location}: {group.path}/{path}{part} cannot be decoded ({what}). {advice}"
        ) from error


def first_file(array: zarr.Array[Any], shard: Shard) -> str:
    """The one file of an array that holds a shard."""
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
    """What a shard holds that was never written."""
    shape = (shard.stop - shard.start, *_array(group, variable.name).shape[1:])
    return full(variable, dict(zip(variable.dims, shape, strict=True)))
