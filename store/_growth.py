"""Rows at the end of a profile, for a space that is an endless list."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr

from sweetgrad.store.format.arrays import write_archs
from sweetgrad.store.format.schema import VARIABLES
from sweetgrad.store.format.spec import ProfileSpec


def named_archs(group: zarr.Group) -> list[str]:
    """Architecture strings of a profile; a growth that was cut off left rows without one."""
    names = [str(name) for name in np.asarray(group["arch"][:])] if "arch" in group else []  # type: ignore[index]
    while names and not names[-1]:
        names.pop()
    return names


def longest(group: zarr.Group) -> int:
    """Rows of the longest array: more than are named, where a growth was cut off."""
    return max(group[v.name].shape[0] for v in VARIABLES.values() if v.dims[0] == "arch" and v.name in group)  # type: ignore[union-attr]


def grow(group: zarr.Group, spec: ProfileSpec, arch: Sequence[str]) -> None:
    """Add empty rows. Names and spec come last: a growth that was cut off is one that the next run does again."""
    num_archs = len(arch)
    for variable in VARIABLES.values():
        # Lengthened, not made anew: the names are nowhere else where a search has found them.
        if variable.dims[0] == "arch":
            _lengthen(group[variable.name], num_archs)  # type: ignore[arg-type]
    if "estimators" in group:
        for _, estimator in sorted(group["estimators"].groups()):  # type: ignore[union-attr]
            for _, array in sorted(estimator.arrays()):
                _lengthen(array, num_archs)
    write_archs(group, arch)
    group.attrs.update({"complete": False, "spec": spec.to_attrs()})


def _lengthen(array: zarr.Array[Any], num_archs: int) -> None:
    array.resize((num_archs, *array.shape[1:]))
