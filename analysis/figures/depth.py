"""The proportion of an interval from layer to layer, with its spread over architectures (Figs. 3, 9 and 10)."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import Kind
from sweetgrad.analysis.cuts import interval_coords
from sweetgrad.analysis.figures.style import CYCLE, FAINT, INK, WIDTH, finish, new_figure
from sweetgrad.analysis.figures.ticks import few_ticks, share_label
from sweetgrad.analysis.intervals import Intervals, as_intervals
from sweetgrad.analysis.scores import DEPTH_LAYERS, proportion
from sweetgrad.analysis.sweetness import sweetness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_depth", "proportion_by_depth"]

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def proportion_by_depth(
    profile: xr.Dataset,
    intervals: Intervals,
    *,
    kind: Kind = "weight",
    layer_types: Collection[str] = DEPTH_LAYERS,
    quantiles: Sequence[float] = _QUANTILES,
) -> xr.Dataset:
    """Summarise the `proportion` (Eq. 2) of every layer over the architectures.

    Parameters
    ----------
    profile
        A profile as from `open_profile`.
    intervals, kind, layer_types
        As in `proportion`.
    quantiles
        Quantiles over architectures, ascending, in [0, 1].

    Returns
    -------
    ``mean`` (interval, layer) and ``proportion`` (quantile, interval, layer), dimensionless in [0, 1]; ``sweetness``
    (interval,) of the same architectures; ``num_archs`` (layer,) that have so many layers. ``layer`` counts from 1.

    Raises
    ------
    ValueError
        As in `proportion`.

    Examples
    --------
    >>> from sweetgrad.store import empty_rows
    >>> rows = empty_rows(["a", "b"], [0, 1], layers=["c1", "c2"])
    >>> rows.status[:], rows.layer_type[:], rows.num_params[:, :, 0] = 1, 2, 10
    >>> rows.grad_count[:, 1, 0, 0] = [4, 8]  # of the ten weights of the second layer, those with gradient 0
    >>> proportion_by_depth(rows, [(0, 1)])["mean"].values
    array([[0. , 0.6]])
    """
    pieces = as_intervals(intervals)
    shares = proportion(profile, pieces, kind=kind, layer_types=layer_types)
    values = shares.transpose("interval", "arch", "layer").values
    here = ~np.isnan(values[0])
    depth, some = values.shape[2], here.any(axis=1)
    values = values[:, some]
    data = {
        "mean": (("interval", "layer"), np.nanmean(values, axis=1)),
        # Without NaN ten times as quick.
        "proportion": (
            ("quantile", "interval", "layer"),
            (np.quantile if here.all() else np.nanquantile)(values, quantiles, axis=1),
        ),
        "num_archs": ("layer", here.sum(axis=0)),
    }
    found = xr.Dataset(data, {**interval_coords(pieces), "layer": np.arange(1, depth + 1), "quantile": list(quantiles)})
    if depth > 1:
        found["sweetness"] = sweetness(shares)
    return found


def plot_depth(depth: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the proportion against the layer, a panel for each interval: the median, and bands over the architectures.

    Parameters
    ----------
    depth
        Result of `proportion_by_depth`.
    path
        As in `plot_sweetness`.
    """
    num = depth.sizes["interval"]
    columns = min(num, 3)
    rows = -(-num // columns)
    figure = new_figure(WIDTH if columns > 1 else 3.6, 0.5 + 2.0 * rows)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, squeeze=False)).ravel()
    layer = depth["layer"].values
    quantile = depth["proportion"].transpose("interval", "quantile", "layer").values
    levels = depth.sizes["quantile"]
    for number, axes in enumerate(grid[:num]):
        colour, each = CYCLE[number % len(CYCLE)], depth.isel(interval=number)
        for low in range(levels // 2):
            axes.fill_between(
                layer, quantile[number, low], quantile[number, levels - 1 - low], color=colour, alpha=0.18, linewidth=0
            )
        axes.plot(layer, quantile[number, levels // 2], color=colour, marker="o", markersize=3, linewidth=1.6)
        told = f"\nsweetness {float(each['sweetness']):+.2f}" if "sweetness" in depth else ""
        axes.set_title(f"{each['interval'].item()}{told}", loc="left", color=INK, fontsize=9)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(share_label)
        axes.yaxis.set_major_locator(few_ticks())
        axes.xaxis.set_major_locator(few_ticks(integer=True))
        axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    for axes in grid[num:]:
        axes.set_visible(False)
    figure.suptitle(_population(depth), x=0.01, ha="left", color=INK, fontsize=9)
    figure.supxlabel("layer, from input to output", color=INK, fontsize=10)
    figure.supylabel("share of the layer's weights", color=INK, fontsize=10)
    return finish(figure, *grid, path=path)


def _population(depth: xr.Dataset) -> str:
    """What the curves and the sweetness are of: not of the few architectures that choose an interval."""
    quantile = depth["quantile"].values
    spread = quantile[::-1] - quantile
    bands = " and ".join(f"{share:.3g}%" for share in sorted(100 * spread[spread > 1e-9]))
    parts = ["sweetness"] * ("sweetness" in depth) + ["median"] + [f"middle {bands}"] * bool(bands)
    return f"Of all {int(depth['num_archs'].max()):,} architectures measured: {', '.join(parts)}"
