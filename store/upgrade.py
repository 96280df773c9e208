"""Upgrade a store of an older format in place, when it is opened for writing.

New in format 2: a digest for each row of every estimator, accuracy table and training; a file for every variable in every shard
that has a row; the bounds of bins as the float64 nearest to their exact edges.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sweetgrad.store.access import Location, child_groups, command_line, ignore_leftovers
from sweetgrad.store.errors import CorruptShardError, StoreError
from sweetgrad.store.format.arrays import create_array, write_array, write_bounds
from sweetgrad.store.format.blocks import ACTIVATIONS, COUNTS, DIGEST, MESSAGE, Block
from sweetgrad.store.format.digests import row_digests
from sweetgrad.store.format.schema import FORMAT_VERSION, STATUS
from sweetgrad.store.groups import Store, profile_names
from sweetgrad.store.locks import list_locks
from sweetgrad.store.shards import Shard, Table, has_file, read_array

_logger = logging.getLogger(__name__)


def upgrade(store: Store) -> None:
    """Upgrade a store to `FORMAT_VERSION`; the caller holds its lock. An interrupted upgrade is repeated from the start.

    Raises
    ------
    StoreError
        If a run, which must be of the older version, is writing to the store.
    CorruptShardError
        If something is damaged, since a new digest would hide the damage.
    """
    profiles = [Table(store, name) for name in profile_names(store.root)]
    tables = [*profiles, *(Table(store, group.path) for group in _trainings(store.root))]
    for table in tables:
        for holder in list_locks(store.location, table.name).values():
            if not holder.is_dead:
                raise StoreError(
                    f"{store.location} has format {store.version} and must be upgraded to format {FORMAT_VERSION} before it is "
                    f"written to, but {holder} is writing to {table.name}. Wait until it has ended, then run the command again."
                )
    for profile in profiles:
        write_bounds(profile.group)
    for table in tables:
        for block in table.blocks():
            _upgrade_block(table, block)
    for group in _accuracy_tables(store.root):
        _digest_table(group, store.location)
    store.root.attrs["schema_version"] = FORMAT_VERSION
    _logger.warning("%s: upgraded from an older format to format %d", store.location, FORMAT_VERSION)


def _trainings(group: zarr.Group) -> Iterator[zarr.Group]:
    """Groups of trainings, which have a status and settings."""
    for _, child in child_groups(group):
        if "settings" in child.attrs and "status" in child:
            yield child
        elif "spec" not in child.attrs:
            yield from _trainings(child)


def _accuracy_tables(root: zarr.Group) -> Iterator[zarr.Group]:
    for _, space in child_groups(root):
        yield from (child for name, child in child_groups(space) if name == "accuracy" and "accuracy" in child)


def accepted_digests(
    block: Block, arch: NDArray[np.object_], rows: Any, *, version: int
) -> tuple[NDArray[np.uint64], ...]:
    """The digests that are valid for the rows of a block in a format: in format 1, activations had a digest of their counts."""
    digests = block.digests(arch, rows)
    if version < 2 and block == ACTIVATIONS:
        return digests, row_digests(arch, [np.asarray(rows["activation_count"])])
    return (digests,)


def _upgrade_block(table: Table, block: Block) -> None:
    """Write what is new in format 2: messages, digests, and the files of shards with only fill values."""
    group = table.block_group(block, writable=True)
    for variable in (MESSAGE, DIGEST):
        if variable.name not in group:
            create_array(group, variable, sizes={"arch": table.num_archs}, shard_size=table.shard_size)
    for shard in table.shards():
        status = table.status(block, shard)
        if status.any():
            if block != COUNTS:  # counts already had digests
                _digest_rows(table, block, shard, run=status != STATUS["not run"])
            _write_absent(table, block, shard)
    attributes: dict[str, Any] = dict(group.attrs)
    stamped = attributes.get("num_ok", 0) + attributes.get("num_failed", 0)
    if int((table.status(block) != STATUS["not run"]).sum()) >= stamped:
        table.stamp_block(block)  # otherwise rows were lost, which `verify` detects from the old stamp


def _digest_rows(table: Table, block: Block, shard: Shard, *, run: NDArray[np.bool_]) -> None:
    group = table.block_group(block, writable=True)
    rows = table.read(block, shard, variables=block.measured)
    known = accepted_digests(block, rows["arch"].values, rows, version=1)
    # Activations had digests; of other blocks, an interrupted upgrade has written some.
    wrong = np.zeros_like(run)
    if has_file(group, "digest", shard):
        stored = read_array(group, "digest", table.location, shard=shard, command=block.command)
        wrong = run & ~np.any([stored == digest for digest in known], axis=0)
    if wrong.any():
        positions = ", ".join(map(str, (np.flatnonzero(wrong) + shard.start).tolist()[:5]))
        raise CorruptShardError(
            f"{table.location}: {group.path}, rows {positions}: the content does not match its digest. "
            f"`{command_line('verify', table.location, '--repair')}` clears it."
        )
    write_array(group, "digest", shard.all_rows, np.where(run, known[0], 0).astype(np.uint64))


def _write_absent(table: Table, block: Block, shard: Shard) -> None:
    """Write the files of a shard that format 1 omitted because they have only fill values; a lost file raises."""
    group = table.block_group(block, writable=True)
    for variable in block.variables:
        if variable.name not in ("digest", "status") and not has_file(group, variable.name, shard):
            values = read_array(group, variable.name, table.location, shard=shard, command=block.command)
            write_array(group, variable.name, shard.all_rows, values)


def _digest_table(group: zarr.Group, location: Location) -> None:
    """Add digests to an accuracy table, and write the files that format 1 omitted."""
    arch = read_array(group, "arch", location)
    with ignore_leftovers():
        names = sorted(name for name, array in group.arrays() if len(array.shape) > 1)
    columns = {name: read_array(group, name, location) for name in names}
    for name, values in columns.items():
        write_array(group, name, slice(None), values)
    if "digest" not in group:
        create_array(group, DIGEST, sizes={"arch": len(arch)}, shard_size=max(1, len(arch)))
    write_array(group, "digest", slice(None), row_digests(arch, columns.values()))
