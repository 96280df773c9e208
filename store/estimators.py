"""Scores of training-free estimators beside the histogram: ``<profile>/estimators/<name>/{score, seconds, message, status}``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import ZarrStore

from sweetgrad.store._reading import read_array
from sweetgrad.store.access import Location, command_line, ignore_leftovers, open_root, with_options
from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.format.arrays import create_array
from sweetgrad.store.format.schema import DIGEST, MESSAGE, STATUS, Variable
from sweetgrad.store.groups import estimator_groups, profile_group, put_group, stage_group
from sweetgrad.store.profiles import open_profile
from sweetgrad.store.redaction import redacted_facts
from sweetgrad.store.root import editing

ESTIMATOR_VARIABLES: dict[str, Variable] = {
    "score": Variable("score", ("arch",), "float64", "1", "Score of the estimator; NaN where it was not run.", np.nan),
    "seconds": Variable("seconds", ("arch",), "float32", "s", "Wall time of the estimator alone.", np.nan),
    "message": MESSAGE,
    "digest": DIGEST,
    "status": Variable("status", ("arch",), "uint8", "1", f"{STATUS}; failed: the score is not finite. Written last."),
}
"""The arrays of one estimator, in the order in which they are written."""

MOMENTS = "moments"
"""Name of the estimator that keeps sums of gradients in every bin."""

ACTIVATIONS = "activations"
"""Name of the estimator that keeps histograms of what the cells put out."""

_DIMS = ("arch", "layer", "kind", "bin")
_OVER = "over the parameters of a bin, rounded to single precision; NaN where it was not run."
MOMENT_VARIABLES: dict[str, Variable] = {
    "grad_abs_bin_sum": Variable("grad_abs_bin_sum", _DIMS, "float32", "1", f"Sum of abs(dJ/dtheta) {_OVER}", np.nan),
    "grad_sq_bin_sum": Variable("grad_sq_bin_sum", _DIMS, "float32", "1", f"Sum of (dJ/dtheta)^2 {_OVER}", np.nan),
    "weight_grad_bin_sum": Variable(
        "weight_grad_bin_sum", _DIMS, "float32", "1", f"Sum of abs(theta * dJ/dtheta) {_OVER}", np.nan
    ),
}
"""The arrays that `MOMENTS` has besides."""

ACTIVATION_VARIABLES: dict[str, Variable] = {
    "activation_count": Variable(
        "activation_count",
        ("arch", "layer", "bin"),
        "uint32",
        "activations",
        "Values with abs(value) in [bin_lower, bin_upper) among all that the layer puts out for the batch in the forward pass; "
        "layers of the types cell and reduction only, 0 in all others and where it was not run.",
    ),
}
"""The arrays that `ACTIVATIONS` has besides."""

DETAILS: dict[str, dict[str, Variable]] = {MOMENTS: MOMENT_VARIABLES, ACTIVATIONS: ACTIVATION_VARIABLES}
"""Estimators whose arrays matter, and whose score says nothing about an architecture."""


def estimator_variables(estimator: str) -> dict[str, Variable]:
    """The arrays of an estimator, ``status`` last."""
    return {**DETAILS.get(estimator, {}), **ESTIMATOR_VARIABLES}


def create_estimators(location: Location, name: str, estimators: Sequence[str]) -> None:
    """Make the empty arrays of estimators that a profile does not have yet; those that are there stay as they are.

    An estimator that was written before there were messages is given an empty array of them.
    """
    if not estimators:
        return
    with editing(location) as root:
        group = profile_group(root, name, location)
        shape: Any = group["grad_count"].shape  # type: ignore[union-attr]
        sizes = dict(zip(_DIMS, map(int, shape), strict=True))
        for estimator in estimators:
            path = f"estimators/{estimator}"
            # `status` is made last: a group without it is a creation that was cut off.
            is_there = f"{path}/status" in group
            child = group[path] if is_there else stage_group({})
            assert isinstance(child, zarr.Group)
            for variable in estimator_variables(estimator).values():
                if not is_there or (variable.name == "message" and "message" not in child):
                    create_array(child, variable, sizes=sizes, shard_size=int(group.attrs["shard_size"]))  # type: ignore[arg-type]
            if not is_there:
                put_group(root, f"{name}/{path}", child, last="status/zarr.json")


def record_training(location: Location, name: str, estimator: str, training: Mapping[str, Any]) -> None:
    """Say of an estimator of a profile that its scores come from a training, and what that was; JSON-ready.

    Parameters
    ----------
    location, name
        Store and profile.
    estimator
        Estimator, made if it is not there.
    training
        What was trained, how, and for how long. An estimator without this is training-free.
    """
    create_estimators(location, name, [estimator])
    with editing(location) as root:
        group = profile_group(root, name, location)
        group[f"estimators/{estimator}"].attrs["training"] = redacted_facts(dict(training))


def open_trainings(location: Location, name: str) -> dict[str, dict[str, Any]]:
    """What `record_training` said, by estimator; training-free ones are not among them."""
    group = profile_group(open_root(location), name, location)
    return {name: dict(child.attrs["training"]) for name, child in estimator_groups(group) if "training" in child.attrs}  # type: ignore[arg-type]


def list_estimators(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Names of the estimators that a profile holds, sorted; arguments as in `open_profile`."""
    location = with_options(location, storage_options)
    return [each for each, _ in estimator_groups(profile_group(open_root(location), name, location))]


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
        If a file of an estimator is lost or cannot be decoded.
    """
    location = with_options(location, storage_options)
    group = profile_group(open_root(location), name, location)
    names = [each for each, _ in estimator_groups(group)]
    arch = read_array(group, "arch", location)
    data = {}
    for key, variable in ESTIMATOR_VARIABLES.items():
        if key == "digest":
            continue
        dtype = object if variable.dtype == "str" else variable.dtype
        values = np.full((len(arch), len(names)), variable.fill, dtype=dtype)
        for column, estimator in enumerate(names):
            if key == "message" and key not in group[f"estimators/{estimator}"]:  # type: ignore[operator]
                continue  # written before there were messages
            values[:, column] = read_array(group, f"estimators/{estimator}/{key}", location)
        data[key] = (("arch", "estimator"), values)
    return xr.Dataset(data, coords={"arch": arch, "estimator": np.array(names, dtype=object)})


def open_moments(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Sums of gradients in every bin, lazily (xarray's own lazy arrays).

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.

    Returns
    -------
    `MOMENT_VARIABLES`, dims (arch, layer, kind, bin); NaN where ``moments`` was not run.

    Raises
    ------
    NotAStoreError
        If there is no such profile, or it was measured without moments.
    """
    return _open_details(with_options(location, storage_options), name, MOMENTS)[list(MOMENT_VARIABLES)]


def open_activations(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Histograms of what the cells of every network put out, lazily (xarray's own lazy arrays).

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.

    Returns
    -------
    ``activation_count``, dims (arch, layer, bin), and ``status``, dims (arch,): 1 where they were counted. The bins are those of
    the gradients; each layer's counts add up to the number of values that it puts out for the batch.

    Raises
    ------
    NotAStoreError
        If there is no such profile, or it was measured without activations.
    """
    found = _open_details(with_options(location, storage_options), name, ACTIVATIONS)
    return found[["activation_count", "status"]]


def _open_details(location: Location, name: str, estimator: str) -> xr.Dataset:
    profile = open_profile(location, name, chunks=None)
    if estimator not in list_estimators(location, name):
        raise NotAStoreError(
            f"profile {name} in {location} has no {estimator}: "
            f"`{command_line('estimate', location, name, f'--{estimator}')}` adds them."
        )
    group = open_root(location)[f"{name}/estimators/{estimator}"]
    with ignore_leftovers():
        found: xr.Dataset = xr.open_dataset(ZarrStore(group, mode="r"), chunks=None, mask_and_scale=False)
    return found.assign_coords(profile.coords)
