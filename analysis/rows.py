"""Positions along a dimension, and those of the architectures that were measured."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.store.format.schema import STATUS

__all__ = ["as_slice", "measured_rows"]


def measured_rows(profile: xr.Dataset) -> NDArray[np.int64]:
    """Positions of the architectures that were measured (status 1), ascending; ``status`` is read at once."""
    return np.flatnonzero(profile["status"].values == STATUS["ok"])


def as_slice(positions: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The positions as a slice where each follows the one before: a view of an array, and a much quicker read of a store.

    Examples
    --------
    >>> as_slice(np.array([3, 4, 5])), as_slice(np.array([3, 5]))
    (slice(3, 6, None), array([3, 5]))
    """
    follow = positions.size > 0 and (np.diff(positions) == 1).all()
    return slice(int(positions[0]), int(positions[-1]) + 1) if follow else positions
