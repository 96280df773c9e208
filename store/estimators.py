"""Scores of training-free estimators beside the histogram: ``<profile>/estimators/<name>/{score, seconds, message, status}``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr

from sweetgrad.store._location import Location, child_groups, open_root, with_options
from sweetgrad.store.errors import CorruptShardError
from sweetgrad.store.profiles import _profile_group, create_array, editing
from sweetgrad.store.schema import STATUS, Variable

__all__ = ["ESTIMATOR_VARIABLES", "create_estimators", "list_estimators", "open_estimators"]

ESTIMATOR_VARIABLES: dict[str, Variable] = {
    "score": Variable("score", ("arch",), "float64", "1", "Score of the estimator; NaN where it was not run.", np.nan),
    "seconds": Variable("seconds", ("arch",), "float32", "s", "Wall time of the estimator alone.", np.nan),
    "message": Variable("message", ("arch",), "str", "", "Why there is no finite score; empty unless status is 2.", ""),
    "status": Variable("status", ("arch",), "uint8", "1", f"{STATUS}; failed: the score is not finite. Written last."),
}
"""The arrays of one estimator, in the order in which they are written."""


def create_estimators(location: Location, name: str, estimators: Sequence[str]) -> None:
    """Make the empty arrays of estimators that a profile does not have yet; those that are there stay as they are.

    An estimator that was written before there were messages is given an empty array of them.
    """
    if not estimators:
        return
    with editing(location) as root:
        group = _profile_group(root, name, location)
        sizes = {"arch": int(group["arch"].shape[0])}  # type: ignore[union-attr]
        for estimator in estimators:
            path = f"estimators/{estimator}"
            # `status` is made last: a group without it is a creation that was cut off.
            is_there = f"{path}/status" in group
            child = group.require_group(path) if is_there else group.create_group(path, overwrite=path in group)
            for variable in ESTIMATOR_VARIABLES.values():
                if not is_there or (variable.name == "message" and "message" not in child):
                    create_array(child, variable, sizes=sizes, shard_size=int(group.attrs["shard_size"]))  # type: ignore[arg-type]


def list_estimators(location: Location, name: str) -> list[str]:
    """Names of the estimators that a profile holds, sorted."""
    return _names(_profile_group(open_root(location), name, location))


def open_estimators(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Scores of all estimators of a profile, in memory.

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.

    Returns
    -------
    ``score``, ``seconds``, ``message`` and ``status``, dims (arch, estimator); NaN where an estimator was not run.

    Raises
    ------
    NotAStoreError
        If there is no such store or profile.
    CorruptShardError
        If a file of an estimator cannot be decoded.
    """
    location = with_options(location, storage_options)
    group = _profile_group(open_root(location), name, location)
    names = _names(group)
    arch = np.asarray(group["arch"][:])  # type: ignore[index]
    data = {}
    for key, variable in ESTIMATOR_VARIABLES.items():
        dtype = object if variable.dtype == "str" else variable.dtype
        values = np.full((len(arch), len(names)), variable.fill, dtype=dtype)
        for column, estimator in enumerate(names):
            if key not in group[f"estimators/{estimator}"]:  # type: ignore[operator]
                continue  # written before there were messages
            try:
                values[:, column] = group[f"estimators/{estimator}/{key}"][:]  # type: ignore[index]
            except (ValueError, RuntimeError) as error:  # what codecs raise on bytes that they cannot decode
                raise CorruptShardError(
                    f"{location}: {group.path}/estimators/{estimator}/{key} cannot be decoded ({error}). "
                    f"`sweetgrad verify {location} --repair` deletes the estimator; run it again."
                ) from error
        data[key] = (("arch", "estimator"), values)
    return xr.Dataset(data, coords={"arch": arch, "estimator": np.array(names, dtype=object)})


def _names(group: zarr.Group) -> list[str]:
    estimators = group.get("estimators")
    if not isinstance(estimators, zarr.Group):
        return []
    return sorted(name for name, child in child_groups(estimators) if "status" in child)
