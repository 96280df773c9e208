"""The proportion of the parameters of each layer whose gradient lies in an interval (Eq. 2)."""

from collections.abc import Collection
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, as_slice, interval_counts, total_counts
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.store.format.schema import LAYER_TYPES, STATUS

DEPTH_LAYERS = ("cell", "reduction")
"""Layer types over which the released method follows the proportion through the depth of the network."""


Weightless: TypeAlias = Literal["zero", "skip"]
"""What a layer without parameters of the kind counts as: proportion 0, as in the released method, or nothing at all."""


def proportion(
    profile: xr.Dataset,
    grid: Intervals,
    *,
    kind: Kind = "weight",
    layer_types: Collection[str] = DEPTH_LAYERS,
    weightless: Weightless = "zero",
) -> xr.DataArray:
    r"""Share of each layer's parameters whose gradient lies in each interval (Eq. 2).

    .. math:: p_l = \mathrm{Score}_l(t_1, t_2) / \mathrm{Score}_l(0, \infty)

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`.
    grid
        As in `interval_counts`.
    kind
        As in `interval_counts`.
    layer_types
        Types of the layers to keep, from ``stem``, ``cell``, ``reduction``, ``head``.
    weightless
        ``zero``: a layer without parameters of this kind has proportion 0, as in the released method. ``skip``: it is left out,
        so that the layers before and after it follow each other.

    Returns
    -------
    Dims ``(arch, layer, interval)``, dimensionless in [0, 1]. ``layer`` holds the layers of these types in depth order; where
    they stand at different places in different architectures, each row is closed up and ends in NaN, and ``layer`` has no
    names. The divisor counts gradients that are not finite, too.
    Rows whose ``status`` is not 1 are NaN. Lazy when ``grad_count`` is lazy; ``layer_type`` and ``status``, which decide the
    shape, are read at once.

    Raises
    ------
    ValueError
        If no architecture was measured, if a layer type or ``weightless`` is unknown, or if no layer is of these types.
    """
    chosen, measured = chosen_layers(profile, layer_types, kind=kind, weightless=weightless)
    return proportion_of(profile, chosen, measured, grid, kind=kind)


def proportion_of(
    profile: xr.Dataset, chosen: xr.DataArray, measured: xr.DataArray, grid: Intervals, *, kind: Kind = "weight"
) -> xr.DataArray:
    """`proportion` of the layers that `chosen_layers` gives, of all rows of a profile or of some; there may be none."""
    chosen_rows = chosen.values[measured.values]
    if (chosen_rows == chosen_rows[:1]).all():
        return _shares(profile.isel(layer=as_slice(np.flatnonzero(chosen_rows[0]))), grid, kind=kind).where(measured)
    closed_up: xr.DataArray = xr.apply_ufunc(
        _nan_layers_last,
        _shares(profile, grid, kind=kind).where(chosen).drop_vars("layer", errors="ignore"),
        input_core_dims=[["layer", "interval"]],
        output_core_dims=[["layer", "interval"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"allow_rechunk": True},
        keep_attrs=True,
    )
    return closed_up.isel(layer=slice(int(chosen_rows.sum(axis=1).max())))


def chosen_layers(
    profile: xr.Dataset,
    layer_types: Collection[str],
    *,
    kind: Kind = "weight",
    weightless: Weightless = "zero",
) -> tuple[xr.DataArray, xr.DataArray]:
    """Whether each layer takes part in a measured row, dims (arch, layer), and which rows are measured; both in memory."""
    if weightless not in get_args(Weightless):
        raise ValueError(f"weightless must be one of {', '.join(get_args(Weightless))}, got {weightless!r}")
    # Without the other coordinates, which may be lazy.
    status, layer_type = (profile[name].reset_coords(drop=True).compute() for name in ("status", "layer_type"))
    measured = status == STATUS["ok"]
    chosen = (_of_type(layer_type, layer_types) & measured).transpose("arch", "layer")
    if not measured.any():
        raise ValueError(
            f"none of the {measured.size} architectures was measured (status 1): profile some of them first"
        )
    if not chosen.any():
        raise ValueError(f"no layer is of type {' or '.join(layer_types)} in any measured architecture")
    return (chosen & has_parameters(profile, kind) if weightless == "skip" else chosen), measured


def has_parameters(profile: xr.Dataset, kind: Kind) -> xr.DataArray:
    """Whether each layer has parameters of a kind, dims (arch, layer), in memory."""
    return (total_counts(profile, kind=kind).reset_coords(drop=True) > 0).transpose("arch", "layer").compute()


def _shares(profile: xr.Dataset, grid: Intervals, *, kind: Kind) -> xr.DataArray:
    total = total_counts(profile, kind=kind)
    counts = interval_counts(profile, grid, kind=kind).transpose("arch", "layer", "interval")
    # An empty layer has counts of 0, so any divisor gives the 0 of the released method.
    shares = counts / total.clip(min=1)
    return shares.rename("proportion").assign_attrs(units="1", long_name="share of the layer's parameters")


def _of_type(layer_type: xr.DataArray, names: Collection[str]) -> xr.DataArray:
    known = [name for name in LAYER_TYPES if name != "padding"]
    if isinstance(names, str) or not set(names) <= set(known):
        raise ValueError(f"layer_types must be a tuple of names from {', '.join(known)}; got {names!r}")
    return layer_type.isin([LAYER_TYPES[name] for name in names])


def _nan_layers_last(shares: NDArray[Any]) -> NDArray[Any]:
    """Move NaN layers to the end and keep the order of the others; shape (..., layer, interval)."""
    order = np.argsort(np.isnan(shares[..., :1]), axis=-2, kind="stable")
    return np.take_along_axis(shares, order, axis=-2)
