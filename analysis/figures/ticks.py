"""Ticks of every picture: where they lie, and labels that say the value."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.analysis.intervals import as_threshold, format_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

__all__ = ["count_label", "count_locator", "few_ticks", "plain_labels", "power_ticks", "share_label"]

_DIGITS = 6
"""Significant digits: more than neighbouring ticks need to differ, fewer than the noise of floating point."""

_FEW_DECADES = 2


def share_label(share: float, _: object = None) -> str:
    """A share in [0, 1] as a percentage, with as many digits as it needs.

    Examples
    --------
    >>> [share_label(share) for share in (0, 0.015, 0.3, 1)]
    ['0%', '1.5%', '30%', '100%']
    """
    return f"{_plain(100 * share)}%"


def count_label(count: float, _: object = None) -> str:
    """A number of things, in thousands (k) and millions (M) where it is large.

    Examples
    --------
    >>> [count_label(count) for count in (0, 0.5, 250, 1500, 2e6)]
    ['0', '0.5', '250', '1.5k', '2M']
    """
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= unit:
            return f"{_plain(count / unit)}{prefix}"
    return _plain(count)


def count_locator(most: float) -> "Locator":
    """Ticks of a logarithmic axis of counts from 1 on: powers of ten, and 2 and 5 besides where there are few of them."""
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1.0, 2.0, 5.0) if most < 10**_FEW_DECADES else (1.0,))


def few_ticks(*, integer: bool = False) -> "Locator":
    """About four ticks, for a panel that stands beside others."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=integer)


def plain_labels(axes: "Axes") -> None:
    """Labels of linear axes hold the whole value, and not a difference or a factor that stands at the end of the axis."""
    from matplotlib.ticker import ScalarFormatter

    for axis in (axes.xaxis, axes.yaxis):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, ScalarFormatter) and axis.get_scale() == "linear":
            formatter.set_useOffset(False)
            formatter.set_scientific(False)


def power_ticks(thresholds: NDArray[np.float64]) -> tuple[NDArray[Any], list[str]]:
    """Positions and labels of zero and the powers of ten among ascending thresholds; of all where there are too few of these.

    Examples
    --------
    >>> power_ticks(np.array([0, 1e-2, 5e-2, 0.1, 0.5, 1]))[1]
    ['0', '$10^{-2}$', '$10^{-1}$', '$10^{0}$']
    >>> power_ticks(np.array([1e-3, 5e-3, 1e-2]))[1]
    ['1e-3', '5e-3', '0.01']
    """
    with np.errstate(divide="ignore"):
        exponent = np.log10(thresholds)
    is_power = np.isclose(exponent, np.round(exponent)) | (thresholds == 0)
    if is_power.sum() > _FEW_DECADES:
        positions = np.flatnonzero(is_power)
        return positions, ["0" if thresholds[i] == 0 else f"$10^{{{round(exponent[i])}}}$" for i in positions]
    return np.arange(len(thresholds)), [format_threshold(as_threshold(float(threshold))) for threshold in thresholds]


def _plain(number: float) -> str:
    return f"{number + 0.0:.{_DIGITS}g}"  # + 0.0: no minus before zero
