"""Score against trained accuracy, as density where there are many architectures (Fig. 12)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.figures.style import DENSITY, INK, RUNNER_UP, WIDTH, finish, literal, new_figure, quiet_bar
from sweetgrad.analysis.figures.ticks import count_label, count_locator, share_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_scatter", "score_and_accuracy"]

_FEW = 2000
"""So many points are drawn one by one; of more, the density."""


def score_and_accuracy(score: xr.DataArray, accuracy: xr.DataArray, *, bootstrap: int = 1000) -> xr.Dataset:
    """Both values, and both ranks, of every architecture that has them.

    Parameters
    ----------
    score, accuracy
        Dims ``(arch,)`` with architecture strings as coordinate.
    bootstrap
        As in `rank_correlation`.

    Returns
    -------
    Dims ``(arch,)``: ``score`` and ``accuracy`` as given, ``score_rank`` and ``accuracy_rank`` in (0, 1], 1 for the greatest;
    equal values share the mean rank. Attributes: ``spearman``, ``spearman_low``, ``spearman_high``.

    Raises
    ------
    ValueError
        As in `rank_correlation`.

    Examples
    --------
    >>> s = xr.DataArray([7.0, 1.0, 9.0], {"arch": ["p", "q", "r"]}, "arch")
    >>> score_and_accuracy(s, s.isel(arch=[2, 0]) * 10, bootstrap=0)["score_rank"].values
    array([0.5, 1. ])
    """
    found = rank_correlation(score, accuracy, bootstrap=bootstrap)
    columns = [
        pd.Series(each.values.astype(np.float64), index=pd.Index(each["arch"].values.astype(object)), name=name)
        for each, name in ((score, "score"), (accuracy, "accuracy"))
    ]
    table = pd.concat(columns, axis=1, join="inner").dropna()
    ranks = table.rank(pct=True).add_suffix("_rank")
    data = {name: ("arch", values.to_numpy()) for name, values in pd.concat([table, ranks], axis=1).items()}
    attrs = {"spearman": found.correlation, "spearman_low": found.low, "spearman_high": found.high}
    return xr.Dataset(data, {"arch": table.index.to_numpy(dtype=object)}, attrs)


def plot_scatter(
    points: xr.Dataset, *, names: tuple[str, str] = ("score", "accuracy"), path: str | Path | None = None
) -> "Figure":
    """Draw score against accuracy: the values themselves, and their ranks, which are what Spearman's correlation compares.

    Parameters
    ----------
    points
        Result of `score_and_accuracy`.
    names
        What score and accuracy are called on the axes.
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
    # The logarithm keeps single architectures visible beside the crowd.
    hexagons.set_norm(LogNorm(1, most))
    bar = figure.colorbar(hexagons, ax=axes, location="bottom", aspect=30, pad=0.03, format=count_label)
    bar.set_ticks(count_locator(most))
    quiet_bar(bar, "architectures")
