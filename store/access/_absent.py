"""Whether a file of an array may be absent: zarr reads one as fill values, which must not stand for what was measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.schema import FORMAT_VERSION, STATUS

_MAY_HOLD_FILL = ("message", "seconds", "profile_seconds", "train_seconds")
"""What a row that is ok may hold the fill value of. Of these, format 1 wrote no file that would hold nothing else."""

_GROWING = ("arch", "arch_index")
"""Coordinates that are written after their array was lengthened: a growth that was cut off leaves its rows without them."""


def is_row_variable(name: str, first_dim: str | None) -> bool:
    """Whether a group's ``status`` says which rows of an array were written; the other arrays are always written whole."""
    return first_dim == "arch" and name != "status"


def is_lost(name: str, index: int, run: NDArray[np.uint8], *, version: int) -> bool:
    """Whether an absent file of a row variable is damage.

    Parameters
    ----------
    name
        Of the variable.
    index
        Of the file along ``arch``.
    run
        Status of its rows.
    version
        Format of the store. Since 2, all files of a shard are written that has a row.

    Examples
    --------
    >>> ok, failed = np.array([1, 0], "uint8"), np.array([2, 0], "uint8")
    >>> is_lost("loss", 0, ok, version=1), is_lost("loss", 0, failed, version=1), is_lost("loss", 0, failed, version=2)
    (True, False, True)
    """
    if name in _GROWING and index == 0:
        return True
    if version >= FORMAT_VERSION or name in _GROWING:
        return bool((run != STATUS["not run"]).any())
    return name not in _MAY_HOLD_FILL and bool((run == STATUS["ok"]).any())


def is_lost_table(name: str, *, version: int) -> bool:
    """Whether an absent file is damage in a group without a ``status``, or of an array without rows: all of them are written."""
    return version >= FORMAT_VERSION or name not in _MAY_HOLD_FILL


def is_stamped(attributes: Mapping[str, Any], index: int) -> bool:
    """Whether a run that ended has seen rows in a shard, so that its ``status`` was on the disk.

    Examples
    --------
    >>> stamp = {"complete": False, "shards_run": [[0, 2], [5, 6]]}
    >>> [is_stamped(stamp, index) for index in (1, 2, 5)], is_stamped({"complete": True}, 7), is_stamped({}, 7)
    ([True, False, True], True, False)
    """
    ranges = attributes.get("shards_run")
    if not isinstance(ranges, list):
        return attributes.get("complete") is True  # a stamp of format 1 says no more
    return any(_is_range(each) and each[0] <= index < each[1] for each in ranges)


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
