"""Bars of rank correlation, an estimator each (Fig. 1)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.figures.style import (
    INK,
    OTHER,
    RUNNER_UP,
    WIDTH,
    WINNER,
    error_lengths,
    finish,
    literal,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_comparison"]


def plot_comparison(table: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the correlation of every estimator with accuracy, with its interval, and a line at that of Parameters (Fig. 1).

    Parameters
    ----------
    table
        Result of `compare_estimators`.
    path
        As in `plot_sweetness`.
    """
    table = table.isel(estimator=np.isfinite(table["spearman"].values))
    names = [str(name) for name in table["estimator"].values]
    figure = new_figure(WIDTH, 1.2 + 0.235 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    value, low, high = (table[key].values for key in ("spearman", "spearman_low", "spearman_high"))
    colours = [WINNER if name == "sweetimator" else RUNNER_UP if name == "params" else OTHER for name in names]
    axes.barh(places, value, color=colours, height=0.72)
    axes.errorbar(value, places, xerr=error_lengths(value, low, high), fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axes.plot(
        table["published"].values, places, linestyle="none", marker="D", markersize=4, color=INK, label="published"
    )
    if "params" in names:
        axes.axvline(value[names.index("params")], color=RUNNER_UP, linewidth=1, linestyle="--")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [literal(name) for name in names])
    axes.set_xlabel("Spearman with trained accuracy (95 % interval)")
    if np.isfinite(table["published"].values).any():
        # Outside: with few bars there is no room beside them.
        figure.legend(frameon=False, loc="outside lower right", fontsize=9, labelcolor=INK)
    axes.set_title(
        f"Estimators at initialisation ({int(table['num_archs'].max()):,} architectures)",
        loc="left",
        color=INK,
        fontsize=11,
    )
    return finish(figure, axes, path=path)
