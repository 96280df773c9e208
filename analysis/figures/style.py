"""How every picture looks (palette, size, ticks at powers of ten) and how it is saved."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.analysis.intervals import as_threshold, format_threshold
from sweetgrad.store.packages import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CYCLE",
    "FAINT",
    "INK",
    "OTHER",
    "RUNNER_UP",
    "WIDTH",
    "WINNER",
    "error_lengths",
    "finish",
    "literal",
    "new_figure",
    "power_ticks",
    "save",
]

# Okabe and Ito's palette, which colour-blind readers tell apart; grey for what is not in question.
WINNER, RUNNER_UP, OTHER, INK, FAINT = "#D55E00", "#0072B2", "#C9CED6", "#2B2F36", "#8A909A"
CYCLE = (WINNER, RUNNER_UP, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours for series that are equals; line styles or markers differ, too, for print without colour."""

WIDTH = 5.4
"""Inches: wide enough for a column of a page, narrow enough that print stays readable on a phone."""

_DPI = 200


def new_figure(width: float, height: float) -> "Figure":
    """An empty picture, in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib: {how_to_install('plot')}") from error
    # Not through pyplot: no window, no global state, nothing to close.
    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI)


def finish(figure: "Figure", *axes: "Axes", path: str | Path | None) -> "Figure":
    """Give all axes the same quiet frame, and save the picture where a path is given."""
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(FAINT)
        each.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
        each.xaxis.label.set_color(INK)
        each.yaxis.label.set_color(INK)
    if path is not None:
        save(figure, path)
    return figure


def save(figure: "Figure", target: Any, *, format: str | None = None) -> None:  # noqa: A002  (matplotlib's name)
    """Write a picture so that equal data give equal bytes: no date, no random ids in an SVG."""
    import matplotlib as mpl

    suffix = format or Path(str(target)).suffix.lstrip(".").lower()
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix, {})
    with mpl.rc_context({"svg.hashsalt": "sweetgrad", "svg.fonttype": "path"}):
        figure.savefig(target, format=format, metadata=undated or None)


def error_lengths(
    value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far a bar reaches below and above each value, as matplotlib wants it; shape (2, value)."""
    # A bootstrap interval can lie beside the value; a length below 0 cannot be drawn.
    lengths = np.stack([value - low, high - value])
    return np.where(lengths > 0, lengths, 0.0)


def literal(text: object) -> str:
    r"""Text that was not written here, such that matplotlib takes no part of it for mathematics.

    Examples
    --------
    >>> literal("cost in $")
    'cost in \\$'
    """
    return str(text).replace("$", r"\$")


def power_ticks(thresholds: NDArray[np.float64]) -> tuple[NDArray[Any], list[str]]:
    """Positions and labels of zero and the powers of ten among ascending thresholds."""
    with np.errstate(divide="ignore"):
        exponent = np.log10(thresholds)
    is_power = np.isclose(exponent, np.round(exponent)) | (thresholds == 0)
    positions = np.flatnonzero(is_power) if is_power.sum() > 2 else np.arange(len(thresholds))
    return positions, [_power_label(thresholds[i]) for i in positions]


def _power_label(threshold: float) -> str:
    exponent = np.log10(threshold) if threshold > 0 else 0.5
    if threshold > 0 and np.isclose(exponent, round(exponent)) and not 0.05 < threshold < 50:
        return f"$10^{{{round(exponent)}}}$"
    return format_threshold(as_threshold(float(threshold)))
