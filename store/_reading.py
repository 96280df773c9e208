"""Read one array of a group; one that cannot be decoded is named, with what to do."""

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sweetgrad.store._planning import Shard
from sweetgrad.store.access import Location, RefusedChunkError, command_line
from sweetgrad.store.errors import CorruptShardError


def read_array(
    group: zarr.Group, variable: str, location: Location, *, shard: Shard | None = None, advice: str = ""
) -> NDArray[Any]:
    """Read an array into memory, writable.

    Parameters
    ----------
    group, variable
        Where it lies: the array's path in the group.
    location
        Of the store, for the error.
    shard
        Whose rows to read; None: the whole array.
    advice
        What to do if it cannot be decoded; by default, what helps with a profile.

    Raises
    ------
    CorruptShardError
        If it is lost or cannot be decoded; the array and the rows are named.
    """
    rows = slice(None) if shard is None else slice(shard.start, shard.stop)
    repair = f"`{command_line('verify', location, '--repair')}` clears it; the next `sweetgrad profile` makes it again."
    if variable not in group:
        raise CorruptShardError(f"{location}: {group.path}/{variable} is missing. {advice or repair}")
    try:
        return np.asarray(group[variable][rows]).copy()  # type: ignore[index]
    except (ValueError, RuntimeError) as error:  # what codecs raise on bytes that they cannot decode
        part = "" if shard is None else f", rows {shard.start} to {shard.stop - 1} (shard {shard.index})"
        what = error.what if isinstance(error, RefusedChunkError) else str(error).rstrip(".")
        raise CorruptShardError(
            f"{location}: {group.path}/{variable}{part} cannot be decoded ({what}). {advice or repair}"
        ) from error
