"""Verdicts and cells: how a difference that was measured many times is told."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from sweetgrad.analysis.markdown import with_interval

__all__ = ["Verdict", "estimate_cell", "gain_cell", "interval_of", "mean_cell", "overall", "verdict"]

Verdict: TypeAlias = Literal["better", "worse", "open"]


def interval_of(values: xr.DataArray) -> tuple[float, float, float]:
    """Mean, and 95 % percentile interval over replicates that are not NaN; NaN if all are."""
    kept = values.values[~np.isnan(values.values)]
    if not kept.size:
        return np.nan, np.nan, np.nan
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(kept.mean()), float(low), float(high)


def verdict(gain: xr.DataArray) -> Verdict:
    """Whether the 95 % interval of a gain lies above zero, below it, or around it.

    Examples
    --------
    >>> verdict(xr.DataArray([0.1, 0.2])), verdict(xr.DataArray([-0.1, 0.2]))
    ('better', 'open')
    """
    _, low, high = interval_of(gain)
    return "better" if low > 0 else "worse" if high < 0 else "open"


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Better: nowhere worse, and better in more than half; worse: the same the other way round; else open.

    Examples
    --------
    >>> overall(["better", "better", "open"]), overall(["better", "better", "worse"]), overall(["open", "open", "better"])
    ('better', 'open', 'open')
    """
    better, worse = verdicts.count("better"), verdicts.count("worse")
    if worse == 0 and 2 * better > len(verdicts):
        return "better"
    return "worse" if better == 0 and 2 * worse > len(verdicts) else "open"


def gain_cell(gain: xr.DataArray) -> str:
    """A gain with its interval, bold where zero lies outside."""
    mean, low, high = interval_of(gain)
    text = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
    return text if verdict(gain) == "open" else f"**{text}**"


def estimate_cell(values: xr.DataArray) -> str:
    """An estimate, which is the first of the values, and the interval of the resamples, which are the others; empty for NaN.

    Examples
    --------
    >>> estimate_cell(xr.DataArray([0.3, 0.1, 0.2]))
    '0.300 (0.103 to 0.198)'
    """
    _, low, high = interval_of(values[1:])
    return with_interval(float(values[0]), low, high)


def mean_cell(values: xr.DataArray) -> str:
    """Mean and interval over replicates; empty for NaN."""
    return with_interval(*interval_of(values))
