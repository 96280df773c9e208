"""Estimators derived from the histogram and its moments: parameters, sums of gradients in an interval; and the initial loss."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import Kind, bins_of, interval_coords, measured_rows, total_counts
from sweetgrad.analysis.intervals import Interval, Intervals, as_intervals, is_single
from sweetgrad.analysis.scores import score
from sweetgrad.store.format.schema import KINDS, STATUS


def params(profile: xr.Dataset) -> xr.DataArray:
    """Parameters of every kind; dims ``(arch,)``, float64, NaN where ``status`` is not 1. Lazy when the profile is lazy."""
    return _measured(profile, total_counts(profile, kind="all").sum("layer")).rename("params")


def params_weights(profile: xr.Dataset) -> xr.DataArray:
    """Conv and linear weights; dims ``(arch,)``, float64, NaN where ``status`` is not 1. Lazy when the profile is lazy."""
    return _measured(profile, total_counts(profile, kind="weight").sum("layer")).rename("params_weights")


def params_live(profile: xr.Dataset) -> xr.DataArray:
    """Conv and linear weights with a gradient that is finite and not exactly zero: the `score` of `Interval.live`.

    Returns
    -------
    Dims ``(arch,)``, float64, NaN where ``status`` is not 1. Lazy when the profile is lazy.
    """
    return (
        score(profile, Interval.live(), kind="weight")
        .drop_vars(["interval", "lower", "upper", "estimated"])
        .rename("params_live")
    )


@dataclass(frozen=True)
class LossSummary:
    """Mean and sample standard deviation (n - 1) of the initial loss in nats, over ``num_archs`` architectures."""

    mean: float
    sd: float
    num_archs: int


def loss_summary(profile: xr.Dataset) -> LossSummary:
    """Summarise the loss at initialisation over the measured architectures whose loss is finite.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`; ``loss`` and ``status`` are read.

    Returns
    -------
    `LossSummary`; NaN where there are too few architectures.

    Examples
    --------
    >>> from sweetgrad.store import empty_rows
    >>> rows = empty_rows(["a", "b", "c"], [0, 1, 2], layers=["stem"])
    >>> rows.loss[:2], rows.status[:2] = [2.0, 3.0], 1
    >>> loss_summary(rows)
    LossSummary(mean=2.5, sd=0.7071067811865476, num_archs=2)
    """
    loss = profile["loss"].values[measured_rows(profile)].astype(np.float64)
    loss = loss[np.isfinite(loss)]
    mean = float(loss.mean()) if loss.size else np.nan
    return LossSummary(mean, float(loss.std(ddof=1)) if loss.size > 1 else np.nan, int(loss.size))


def _measured(profile: xr.Dataset, counts: xr.DataArray) -> xr.DataArray:
    return counts.astype(np.float64).where(profile["status"] == STATUS["ok"]).assign_attrs(units="parameters")


def sweet_grad_norm(moments: xr.Dataset, interval: Intervals, *, kind: Kind = "weight") -> xr.DataArray:
    """Sum over layers of the L2 norm of the gradient of those weights whose gradient lies in the interval.

    A layer is one of the profile's: a cell with all its convolutions. Over all gradients it is therefore the `grad_norm` of a
    network in which each layer holds one weight, and otherwise less.

    Parameters
    ----------
    moments
        As returned by `open_moments`.
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

    It uses the gradient of the batch; the trace of a tangent kernel would sum over the gradients of single images.
    Parameters, result and errors as in `sweet_grad_norm`.
    """
    return _between(moments["grad_sq_bin_sum"], interval, kind).sum("layer", skipna=False).rename("sweet_grad_sq")


def sweet_zico(bins: xr.Dataset, interval: Intervals) -> xr.DataArray:
    """`zico` of those weights whose gradient of the first batch lies in the interval: ``effective_zico`` of the released code.

    The logarithm is taken of each weight tensor; one without such a weight is left out. Gradients are set to zero between the two
    batches.

    Parameters
    ----------
    bins
        The block ``sweet_bins`` (`open_block`).
    interval
        As in `sweet_grad_norm`.

    Returns
    -------
    Dims ``(arch,)`` for one interval, else ``(arch, interval)``; float64, NaN where the block was not measured.

    Raises
    ------
    ValueError
        As in `sweet_grad_norm`.
    """
    total = _over_bins(bins["snr_bin_sum"], interval, dims=("arch", "tensor"))
    return _where_measured(xr.ufuncs.log(total.where(total > 0)).sum("tensor"), bins).rename("sweet_zico")


def sweet_gradsign(bins: xr.Dataset, interval: Intervals, *, signed: bool = True) -> xr.DataArray:
    """`gradsign` of those weights whose gradient of the batch lies in the interval: ``effective_gradsign`` of the released code.

    Parameters
    ----------
    bins, interval
        As in `sweet_zico`.
    signed
        Whether the gradient itself lies in the interval, as in the released code, so that no negative one does; otherwise its
        absolute value.

    Returns
    -------
    As `sweet_zico`.
    """
    sums = bins["sign_bin_sum"].isel(sign=0, drop=True) if signed else bins["sign_bin_sum"].sum("sign")
    total = _over_bins(sums, interval, dims=("arch", "layer")).sum("layer")
    return _where_measured(total, bins).rename("sweet_gradsign")


def _where_measured(scores: xr.DataArray, bins: xr.Dataset) -> xr.DataArray:
    measured: xr.DataArray = scores.where(bins["status"].reset_coords(drop=True) == STATUS["ok"])
    return measured


def _between(sums: xr.DataArray, interval: Intervals, kind: Kind) -> xr.DataArray:
    """Sums over the bins of each interval; dims (arch, layer) and, unless it is a single one, interval."""
    if kind not in (*KINDS, "all"):
        raise ValueError(f"kind must be one of {', '.join(KINDS)} or all, got {kind!r}")
    chosen = sums.sum("kind", skipna=False) if kind == "all" else sums.isel(kind=KINDS.index(kind), drop=True)
    return _over_bins(chosen, interval, dims=("arch", "layer"), skipna=False)


def _over_bins(
    chosen: xr.DataArray, interval: Intervals, *, dims: tuple[str, str], skipna: bool = True
) -> xr.DataArray:
    """Sums over the bins of each interval; dims as given and, unless it is a single one, interval."""
    pieces = as_intervals(interval)
    bins = [bins_of(piece) for piece in pieces]
    chosen = chosen.drop_vars(["bin_lower", "bin_upper"], errors="ignore").load()
    # Converted only while summing: a copy in float64 would be twice as large as the stored array.
    parts = [chosen.isel(bin=columns).sum("bin", skipna=skipna, dtype=np.float64) for columns in bins]
    coords = interval_coords(pieces)
    together = xr.concat(parts, xr.Variable("interval", coords.pop("interval"))).assign_coords(coords)
    together = together.transpose(*dims, "interval")
    return together.isel(interval=0) if is_single(interval) else together
