"""The rank correlation for every pair of thresholds (Figs. 2, 4 and 5)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.figures.style import INK, WIDTH, finish, new_figure, quiet_bar
from sweetgrad.analysis.figures.ticks import power_ticks
from sweetgrad.analysis.intervals import Interval, as_threshold, format_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_heatmap"]


def plot_heatmap(heatmap: xr.DataArray, *, chosen: Interval | None = None, path: str | Path | None = None) -> "Figure":
    """Draw the rank correlation with accuracy for every pair of thresholds (Fig. 2), the best pair outlined.

    Parameters
    ----------
    heatmap
        Result of `heatmap`.
    chosen
        An interval to mark with a circle, where its thresholds are among those of the grid.
    path
        As in `plot_sweetness`.
    """
    figure = new_figure(WIDTH, 4.6)
    axes = figure.subplots()
    values = heatmap.transpose("lower", "upper").values
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="equal")
    if np.isfinite(values).any():
        row, column = (int(place) for place in np.unravel_index(np.nanargmax(values), values.shape))
        lower, upper = (
            format_threshold(as_threshold(float(heatmap[dim][i]))) for dim, i in (("lower", row), ("upper", column))
        )
        _ring(axes, column, row)
        axes.text(
            0.04,
            0.94,
            f"□ best: [{lower}, {upper})\n{values[row, column]:.3f}",
            transform=axes.transAxes,
            va="top",
            color=INK,
            fontsize=10,
        )
    if chosen is not None:
        _mark(axes, heatmap, chosen)
    for axis, dim in ((axes.xaxis, "upper"), (axes.yaxis, "lower")):
        ticks, names = power_ticks(heatmap[dim].values)
        # Side by side there is room for every second name.
        step = 2 if dim == "upper" and len(names) > 9 else 1
        axis.set_ticks(ticks[::step], names[::step])
    axes.set_xlabel("upper threshold $t_2$")
    axes.set_ylabel("lower threshold $t_1$")
    axes.set_title("Rank correlation of the score with accuracy", loc="left", color=INK, fontsize=11, pad=10)
    quiet_bar(figure.colorbar(image, ax=axes, shrink=0.85), str(heatmap.attrs.get("method", "correlation")))
    return finish(figure, axes, path=path)


def _ring(axes: "Axes", column: int, row: int) -> None:
    """A square in two tones, one of which shows on any colour of the map."""
    for colour, width in ((INK, 3.6), ("white", 1.6)):
        axes.plot(
            column,
            row,
            marker="s",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=width,
        )


def _mark(axes: "Axes", heatmap: xr.DataArray, chosen: Interval) -> None:
    places = [
        np.flatnonzero(heatmap[dim].values == float(threshold))
        for dim, threshold in (("lower", chosen.lower), ("upper", chosen.upper))
    ]
    if all(place.size for place in places):
        row, column = (int(place[0]) for place in places)
        axes.plot(column, row, "o", markersize=4, markerfacecolor="black", markeredgecolor="white")
        told = f"● sweetest: {chosen}\n{heatmap.values[row, column]:.3f}"
        axes.text(0.04, 0.8, told, transform=axes.transAxes, va="top", color=INK, fontsize=10)
