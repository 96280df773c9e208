"""Bring a store of an older format to this one, in place, when it is opened to be written to.

Format 2 has, and format 1 had not: a digest for each row of every estimator, accuracy table and training; a file for every shard
that holds a row, of every variable; the bounds of bins as the float64 nearest to their exact edge.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sweetgrad.store._blocks import all_shards, columns_of, has_file, stamp
from sweetgrad.store._planning import Shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.access import Location, child_groups, command_line
from sweetgrad.store.errors import CorruptShardError, StoreError
from sweetgrad.store.format.arrays import create_array, write_array, write_bounds
from sweetgrad.store.format.digests import accepted_digests, column_digests
from sweetgrad.store.format.schema import DIGEST, FORMAT_VERSION, MESSAGE, STATUS
from sweetgrad.store.groups import estimator_groups, profile_names
from sweetgrad.store.locks import list_locks

_logger = logging.getLogger(__name__)


def format_of(root: zarr.Group) -> int:
    """Version of the format of a store that was opened."""
    return int(root.attrs["schema_version"])  # type: ignore[arg-type]


def upgrade(root: zarr.Group, location: Location) -> None:
    """Bring a store to `FORMAT_VERSION`; the caller is alone with it. Cut off at any moment, it is done again from the start.

    Raises
    ------
    StoreError
        If a run is writing to the store, which must be one of the older version.
    CorruptShardError
        If something is damaged: a digest of it would say that it is not.
    """
    profiles, trainings = list(profile_names(root)), list(_trainings(root))
    for name in (*profiles, *(group.path for group in trainings)):
        for holder in list_locks(location, name).values():
            if not holder.is_dead:
                raise StoreError(
                    f"{location} has format {format_of(root)} and must be brought to format {FORMAT_VERSION} before it is "
                    f"written to, but {holder} is writing to {name}. Wait until that has ended, then do the same again."
                )
    for name in profiles:
        _upgrade_profile(root[name], location)  # type: ignore[arg-type]
    for group in trainings:
        _upgrade_rows(group, group, location)
    for table in _tables(root):
        _digest_table(table, location)
    root.attrs["schema_version"] = FORMAT_VERSION
    _logger.warning("%s: brought from an older format to format %d", location, FORMAT_VERSION)


def _trainings(group: zarr.Group) -> Iterator[zarr.Group]:
    """Groups of trainings: those with a status and settings."""
    for _, child in child_groups(group):
        if "settings" in child.attrs and "status" in child:
            yield child
        elif "spec" not in child.attrs:
            yield from _trainings(child)


def _tables(root: zarr.Group) -> Iterator[zarr.Group]:
    for _, space in child_groups(root):
        yield from (child for name, child in child_groups(space) if name == "accuracy" and "accuracy" in child)


def _upgrade_profile(group: zarr.Group, location: Location) -> None:
    write_bounds(group)
    _upgrade_rows(group, group, location)
    for _, estimator in estimator_groups(group):
        _upgrade_rows(estimator, group, location)


def _upgrade_rows(group: zarr.Group, owner: zarr.Group, location: Location) -> None:
    """Write what format 2 has in a group with a status; ``owner`` is the group that has its architectures."""
    status_array: zarr.Array = group["status"]  # type: ignore[assignment, type-arg]
    num_archs, shard_size = status_array.shape[0], status_array.chunks[0]
    for variable in (MESSAGE, DIGEST):
        if variable.name not in group:
            create_array(group, variable, sizes={"arch": num_archs}, shard_size=shard_size)
    for shard in all_shards(num_archs, shard_size):
        status = read_array(group, "status", location, shard=shard)
        if not status.any():
            continue
        if group is not owner or "spec" not in group.attrs:  # rows of a profile had their digests already
            arch = read_array(owner, "arch", location, shard=shard)
            _digest_rows(group, location, shard, arch, run=status != STATUS["not run"])
        _write_absent(group, location, shard)
    stamp_before: dict[str, Any] = dict(group.attrs)
    stamped = stamp_before.get("num_ok", 0) + stamp_before.get("num_failed", 0)
    if int((read_array(group, "status", location) != STATUS["not run"]).sum()) >= stamped:
        stamp(group, location, shard_size=shard_size)  # else rows were lost, which `verify` tells by the old stamp


def _digest_rows(
    group: zarr.Group, location: Location, shard: Shard, arch: NDArray[np.object_], *, run: NDArray[np.bool_]
) -> None:
    columns = columns_of(group, location, shard=shard)
    known = accepted_digests(arch, columns, version=1)
    # Activations had a digest; of others, an upgrade that was cut off has written some.
    if has_file(group, "digest", shard):
        stored = read_array(group, "digest", location, shard=shard)
        wrong = run & ~np.any([stored == each for each in known], axis=0)
    else:
        wrong = np.zeros_like(run)
    if wrong.any():
        rows = ", ".join(map(str, (np.flatnonzero(wrong) + shard.start).tolist()[:5]))
        raise CorruptShardError(
            f"{location}: {group.path}, rows {rows}: the content is not what was written with its digest. "
            f"`{command_line('verify', location, '--repair')}` clears it."
        )
    write_array(group, "digest", slice(shard.start, shard.stop), np.where(run, known[0], 0).astype(np.uint64))


def _write_absent(group: zarr.Group, location: Location, shard: Shard) -> None:
    """Write the files of a shard that format 1 left out, since they hold fill values only; one that is lost raises."""
    for name, values in columns_of(group, location, shard=shard, only_absent=True).items():
        write_array(group, name, slice(shard.start, shard.stop), values)


def _digest_table(group: zarr.Group, location: Location) -> None:
    arch = read_array(group, "arch", location)
    columns = columns_of(group, location)
    for name, values in columns.items():
        write_array(group, name, slice(None), values)
    if "digest" not in group:
        create_array(group, DIGEST, sizes={"arch": len(arch)}, shard_size=max(1, len(arch)))
    write_array(group, "digest", slice(None), column_digests(arch, columns))
