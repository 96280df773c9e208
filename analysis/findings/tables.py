"""Verdicts and cells: how a difference that was measured many times is told."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

__all__ = ["Verdict", "gain_cell", "interval_of", "overall", "verdict", "with_interval"]

Verdict: TypeAlias = Literal["better", "worse", "open"]


def interval_of(values: xr.DataArray) -> tuple[float, float, float]:
    """Mean, and 95 % percentile interval over replicates."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(np.nanmean(values)), float(low), float(high)


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
    for sign, other in (("better", "worse"), ("worse", "better")):
        if other not in verdicts and 2 * verdicts.count(sign) > len(verdicts):
            return sign
    return "open"


def gain_cell(gain: xr.DataArray) -> str:
    """A gain with its interval, bold where zero lies outside."""
    mean, low, high = interval_of(gain)
    text = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
    return text if verdict(gain) == "open" else f"**{text}**"


def with_interval(values: xr.DataArray) -> str:
    """Mean and interval over replicates."""
    return "{:.3f} ({:.3f} to {:.3f})".format(*interval_of(values))
