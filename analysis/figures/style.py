"""How every picture looks (palette, size) and how it is saved."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.analysis.figures.ticks import plain_labels
from sweetgrad.store.packages import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

__all__ = [
    "CYCLE",
    "DENSITY",
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
    "quiet_bar",
    "save",
]

# Okabe and Ito's palette, which colour-blind readers tell apart; grey for what is not in question.
WINNER, RUNNER_UP, OTHER, INK, FAINT = "#D55E00", "#0072B2", "#C9CED6", "#2B2F36", "#8A909A"
CYCLE = (WINNER, RUNNER_UP, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours for series that are equals; line styles or markers differ, too, for print without colour."""

DENSITY = ("#bdd7ec", "#a0cbe2", "#7cb7da", "#5ba3d0", "#3e8ec4", "#2676b8", "#135fa7", "#08488e", "#08306b")
"""From one to many in a place; none is nearly white. A report in dark mode has a scale of its own for them."""

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
        plain_labels(each)
    if path is not None:
        save(figure, path)
    return figure


def quiet_bar(bar: "Colorbar", label: str) -> None:
    """Give a colour bar its label and the look of the axes."""
    bar.set_label(label, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", labelsize=9, labelcolor=INK, color=FAINT)


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
