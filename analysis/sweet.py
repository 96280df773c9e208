"""Estimators of gradients restricted to the weights whose gradient lies in an interval, from the stored sums of every bin."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import Kind
from sweetgrad.analysis.cuts import bins_of, interval_coords
from sweetgrad.analysis.intervals import Intervals, as_intervals, is_single
from sweetgrad.store.format.schema import KINDS

__all__ = ["sweet_grad_abs", "sweet_grad_norm", "sweet_grad_sq", "sweet_snip"]


def sweet_grad_norm(moments: xr.Dataset, interval: Intervals, *, kind: Kind = "weight") -> xr.DataArray:
    """Sum over layers of the L2 norm of the gradient of those weights whose gradient lies in the interval.

    A layer is one of the profile's: a cell with all its convolutions. Over all gradients it is therefore the `grad_norm` of a
    network in which each layer holds one weight, and otherwise less.

    Parameters
    ----------
    moments
        As from `open_moments`.
    interval
        One interval, the result of `best_interval`, a sequence of intervals, or a grid; thresholds must be edges of the bins.
    kind
        As in `interval_counts`.

    Returns
    -------
    Dims ``(arch,)`` for one interval, else ``(arch, interval)``; float64, 0 or more, NaN where there are no moments.

    Raises
    ------
    ValueError
        If ``kind`` is unknown, or a threshold is not an edge: a sum cannot be split inside a bin.
    """
    norms: xr.DataArray = _between(moments["grad_sq_bin_sum"], interval, kind) ** 0.5
    return norms.sum("layer", skipna=False).rename("sweet_grad_norm")


def sweet_snip(moments: xr.Dataset, interval: Intervals, *, kind: Kind = "weight") -> xr.DataArray:
    """Sum of abs(w g) over those weights whose gradient lies in the interval; over all gradients it is `snip`.

    Parameters, result and errors as in `sweet_grad_norm`.
    """
    return _between(moments["weight_grad_bin_sum"], interval, kind).sum("layer", skipna=False).rename("sweet_snip")


def sweet_grad_abs(moments: xr.Dataset, interval: Intervals, *, kind: Kind = "weight") -> xr.DataArray:
    """Sum of abs(g) over those weights whose gradient lies in the interval.

    Parameters, result and errors as in `sweet_grad_norm`.
    """
    return _between(moments["grad_abs_bin_sum"], interval, kind).sum("layer", skipna=False).rename("sweet_grad_abs")


def sweet_grad_sq(moments: xr.Dataset, interval: Intervals, *, kind: Kind = "weight") -> xr.DataArray:
    """Sum of g^2 over those weights whose gradient lies in the interval: ``effective_ntktrace`` of the paper's released code.

    It is of the gradient of the batch, and so no trace of a tangent kernel, which would sum over the gradients of each image.
    Parameters, result and errors as in `sweet_grad_norm`.
    """
    return _between(moments["grad_sq_bin_sum"], interval, kind).sum("layer", skipna=False).rename("sweet_grad_sq")


def _between(sums: xr.DataArray, interval: Intervals, kind: Kind) -> xr.DataArray:
    """Sums over the bins of each interval; dims (arch, layer) and, unless it is a single one, interval."""
    if kind not in (*KINDS, "all"):
        raise ValueError(f"kind must be one of {', '.join(KINDS)} or all, got {kind!r}")
    pieces = as_intervals(interval)
    chosen = sums.sum("kind", skipna=False) if kind == "all" else sums.isel(kind=KINDS.index(kind), drop=True)
    bins = [bins_of(piece) for piece in pieces]
    chosen = chosen.drop_vars(["bin_lower", "bin_upper"], errors="ignore").load()
    # Wider only while they are added up: a copy in float64 would be twice as large as all that is stored.
    parts = [chosen.isel(bin=each).sum("bin", skipna=False, dtype=np.float64) for each in bins]
    coords = interval_coords(pieces)
    together = xr.concat(parts, xr.Variable("interval", coords.pop("interval"))).assign_coords(coords)
    together = together.transpose("arch", "layer", "interval")
    return together.isel(interval=0) if is_single(interval) else together
