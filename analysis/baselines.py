"""What else one profile says about an architecture: its parameters, those that are live, its loss."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import total_counts
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.rows import measured_rows
from sweetgrad.analysis.scores import score
from sweetgrad.store.format.schema import STATUS

__all__ = ["LossSummary", "loss_summary", "params", "params_live", "params_weights"]


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
        A profile as from `open_profile`; ``loss`` and ``status`` are read.

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
