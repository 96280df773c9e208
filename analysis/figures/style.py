"""Common style of all figures (palette, size, ticks, labels), and saving them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.analysis.intervals import as_threshold, format_threshold
from sweetgrad.store.errors import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

# Okabe and Ito's palette, which colour-blind readers can distinguish; grey for everything that is not emphasised.
WINNER, RUNNER_UP, OTHER, INK, FAINT = "#D55E00", "#0072B2", "#C9CED6", "#2B2F36", "#8A909A"
CYCLE = (WINNER, RUNNER_UP, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours for equally important series; line styles or markers differ too, for print without colour."""

DENSITY = ("#bdd7ec", "#a0cbe2", "#7cb7da", "#5ba3d0", "#3e8ec4", "#2676b8", "#135fa7", "#08488e", "#08306b")
"""Colours of a density from low to high; none is nearly white. Reports in dark mode have a scale of their own."""

WIDTH = 5.4
"""Width in inches: wide enough for a column of a page, narrow enough to be readable on a phone."""

_DPI = 200


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, with its size in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib: {how_to_install('plot')}") from error
    # Not through pyplot: no window, no global state, nothing to close.
    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI)


def finish(figure: "Figure", *axes: "Axes", path: str | Path | None) -> "Figure":
    """Apply the common style to all axes, and save the figure if a path is given."""
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(FAINT)
        panel.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
        panel.xaxis.label.set_color(INK)
        panel.yaxis.label.set_color(INK)
        plain_labels(panel)
    if path is not None:
        save(figure, path)
    return figure


def quiet_bar(bar: "Colorbar", label: str) -> None:
    """Set the label of a colour bar, and apply the style of the axes."""
    bar.set_label(label, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", labelsize=9, labelcolor=INK, color=FAINT)


def save(figure: "Figure", target: Any, *, format: str | None = None) -> None:  # noqa: A002  (matplotlib's name)
    """Save a figure reproducibly, with equal bytes for equal data: without a date, and without random ids in an SVG."""
    import matplotlib as mpl

    suffix = format or Path(str(target)).suffix.lstrip(".").lower()
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix, {})
    with mpl.rc_context({"svg.hashsalt": "sweetgrad", "svg.fonttype": "path"}):
        figure.savefig(target, format=format, metadata=undated or None)


def error_lengths(
    value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lengths of error bars below and above each value, in matplotlib's form; shape (2, value)."""
    # A bootstrap interval may not contain the value, but negative lengths cannot be drawn.
    lengths = np.stack([value - low, high - value])
    return np.where(lengths > 0, lengths, 0.0)


def literal(text: object) -> str:
    r"""Escape external text so that matplotlib does not interpret it as mathematics.

    Examples
    --------
    >>> literal("cost in $")
    'cost in \\$'
    """
    return str(text).replace("$", r"\$")


_DIGITS = 6
"""Significant digits of labels: enough to distinguish neighbouring ticks, without floating-point noise."""

_FEW_DECADES = 2


def share_label(share: float, _: object = None) -> str:
    """Format a share in [0, 1] as a percentage, with as many digits as needed.

    Examples
    --------
    >>> [share_label(share) for share in (0, 0.015, 0.3, 1)]
    ['0%', '1.5%', '30%', '100%']
    """
    return f"{_plain(100 * share)}%"


def count_label(count: float, _: object = None) -> str:
    """Format a count, with the prefixes k, M and G if it is large.

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
    """Ticks of a logarithmic axis of counts from 1: powers of ten, and also 2 and 5 times these if there are few of them."""
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1.0, 2.0, 5.0) if most < 10**_FEW_DECADES else (1.0,))


def few_ticks(*, integer: bool = False) -> "Locator":
    """About four ticks, for a panel beside others."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=integer)


def plain_labels(axes: "Axes") -> None:
    """Show whole values as labels of linear axes, without an offset or a factor at the end of the axis."""
    from matplotlib.ticker import ScalarFormatter

    for axis in (axes.xaxis, axes.yaxis):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, ScalarFormatter) and axis.get_scale() == "linear":
            formatter.set_useOffset(False)
            formatter.set_scientific(False)


def power_ticks(thresholds: NDArray[np.float64]) -> tuple[NDArray[Any], list[str]]:
    """Positions and labels of zero and the powers of ten among ascending thresholds, or of all thresholds if these are too few.

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
    return f"{number + 0.0:.{_DIGITS}g}"  # + 0.0: avoids a minus sign before zero
