"""Rank correlation with accuracy of every estimator (Fig. 1), every pair of thresholds (Figs. 2, 4, 5), one score (Fig. 12)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.figures.style import (
    DENSITY,
    INK,
    OTHER,
    RUNNER_UP,
    WIDTH,
    WINNER,
    count_label,
    count_locator,
    error_lengths,
    finish,
    literal,
    new_figure,
    power_ticks,
    quiet_bar,
    share_label,
)
from sweetgrad.analysis.intervals import Interval, as_threshold, format_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_comparison(table: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the correlation of every estimator with accuracy, with confidence intervals and a line for Parameters (Fig. 1).

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
        # Outside, since there is no room beside a few bars.
        figure.legend(frameon=False, loc="outside lower right", fontsize=9, labelcolor=INK)
    axes.set_title(
        f"Estimators at initialisation ({int(table['num_archs'].max()):,} architectures)",
        loc="left",
        color=INK,
        fontsize=11,
    )
    return finish(figure, axes, path=path)


def plot_heatmap(heatmap: xr.DataArray, *, chosen: Interval | None = None, path: str | Path | None = None) -> "Figure":
    """Draw the rank correlation with accuracy for every pair of thresholds (Fig. 2), with the best pair outlined.

    Parameters
    ----------
    heatmap
        Result of `heatmap`.
    chosen
        An interval to mark with a circle, if its thresholds are in the grid.
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
        # Horizontally there is room only for every second label.
        step = 2 if dim == "upper" and len(names) > 9 else 1
        axis.set_ticks(ticks[::step], names[::step])
    axes.set_xlabel("upper threshold $t_2$")
    axes.set_ylabel("lower threshold $t_1$")
    axes.set_title("Rank correlation of the score with accuracy", loc="left", color=INK, fontsize=11, pad=10)
    quiet_bar(figure.colorbar(image, ax=axes, shrink=0.85), str(heatmap.attrs.get("method", "correlation")))
    return finish(figure, axes, path=path)


def _ring(axes: "Axes", column: int, row: int) -> None:
    """Draw a square in two tones, one of which is visible on any colour of the map."""
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


_FEW = 2000
"""Largest number of points that are drawn individually; the density of more points is drawn instead."""


def score_and_accuracy(score: xr.DataArray, accuracy: xr.DataArray, *, bootstrap: int = 1000) -> xr.Dataset:
    """Score and accuracy, and their ranks, of every architecture that has both.

    Parameters
    ----------
    score, accuracy
        Dims ``(arch,)``, with architecture strings as coordinate.
    bootstrap
        As in `rank_correlation`.

    Returns
    -------
    Dims ``(arch,)``: ``score`` and ``accuracy`` as given, ``score_rank`` and ``accuracy_rank`` in (0, 1], 1 for the largest;
    equal values have their mean rank. Attributes: ``spearman``, ``spearman_low``, ``spearman_high``.

    Raises
    ------
    ValueError
        As for `rank_correlation`.

    Examples
    --------
    >>> s = xr.DataArray([7.0, 1.0, 9.0], {"arch": ["p", "q", "r"]}, "arch")
    >>> score_and_accuracy(s, s.isel(arch=[2, 0]) * 10, bootstrap=0)["score_rank"].values
    array([0.5, 1. ])
    """
    correlation = rank_correlation(score, accuracy, bootstrap=bootstrap)
    columns = [
        pd.Series(values.values.astype(np.float64), index=pd.Index(values["arch"].values.astype(object)), name=name)
        for values, name in ((score, "score"), (accuracy, "accuracy"))
    ]
    table = pd.concat(columns, axis=1, join="inner").dropna()
    ranks = table.rank(pct=True).add_suffix("_rank")
    data = {name: ("arch", values.to_numpy()) for name, values in pd.concat([table, ranks], axis=1).items()}
    attrs = {"spearman": correlation.correlation, "spearman_low": correlation.low, "spearman_high": correlation.high}
    return xr.Dataset(data, {"arch": table.index.to_numpy(dtype=object)}, attrs)


def plot_scatter(
    points: xr.Dataset, *, names: tuple[str, str] = ("score", "accuracy"), path: str | Path | None = None
) -> "Figure":
    """Draw accuracy against score: the values and their ranks, which Spearman's correlation compares.

    Parameters
    ----------
    points
        Result of `score_and_accuracy`.
    names
        Labels of the axes for score and accuracy.
    path
        As in `plot_sweetness`.
    """
    figure = new_figure(WIDTH, 2.9 if points.sizes["arch"] <= _FEW else 3.6)
    left, right = figure.subplots(1, 2)
    _points_or_density(figure, left, points["score"].values, points["accuracy"].values)
    _points_or_density(figure, right, points["score_rank"].values, points["accuracy_rank"].values)
    left.set_xlabel(literal(names[0]))
    left.set_ylabel(f"{literal(names[1])} (%)")
    left.xaxis.set_major_formatter(count_label)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter(share_label)
        axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
    right.set_xlabel("rank of the score")
    right.set_ylabel("rank of the accuracy")
    told = "Spearman {spearman:.3f}".format(**points.attrs)
    if np.isfinite(points.attrs["spearman_low"]):
        told += " [{spearman_low:.3f}, {spearman_high:.3f}]".format(**points.attrs)
    left.set_title(f"{points.sizes['arch']:,} architectures", loc="left", color=INK, fontsize=9)
    right.set_title(told, loc="left", color=INK, fontsize=9)
    return finish(figure, left, right, path=path)


def _points_or_density(figure: "Figure", axes: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    if len(x) <= _FEW:
        axes.scatter(x, y, s=11, color=RUNNER_UP, alpha=0.55, linewidth=0)
        return
    from matplotlib.colors import ListedColormap, LogNorm

    hexagons = axes.hexbin(x, y, gridsize=38, cmap=ListedColormap(DENSITY), mincnt=1, linewidths=0.2)
    most = max(2.0, float(np.asarray(hexagons.get_array()).max()))
    # A logarithmic scale keeps single architectures visible beside dense regions.
    hexagons.set_norm(LogNorm(1, most))
    bar = figure.colorbar(hexagons, ax=axes, location="bottom", aspect=30, pad=0.03, format=count_label)
    bar.set_ticks(count_locator(most))
    quiet_bar(bar, "architectures")
