"""Gradients by layer: the proportion over all architectures (Figs. 3, 9 and 10), and for one network."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import Kind, interval_coords
from sweetgrad.analysis.figures.style import (
    CYCLE,
    FAINT,
    INK,
    OTHER,
    WIDTH,
    WINNER,
    few_ticks,
    finish,
    literal,
    new_figure,
    power_ticks,
    quiet_bar,
    share_label,
)
from sweetgrad.analysis.intervals import Intervals, as_intervals
from sweetgrad.analysis.proportion import DEPTH_LAYERS, proportion
from sweetgrad.analysis.sweetness import sweetness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        A profile as returned by `open_profile`.
    intervals, kind, layer_types
        As in `proportion`.
    quantiles
        Quantiles over architectures, ascending, in [0, 1].

    Returns
    -------
    ``mean`` (interval, layer) and ``proportion`` (quantile, interval, layer), dimensionless in [0, 1]; ``sweetness``
    (interval,) of the same architectures; ``num_archs`` (layer,), the number of architectures that have this layer. ``layer``
    counts from 1.

    Raises
    ------
    ValueError
        As for `proportion`.

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
        # np.quantile is ten times as fast, but does not ignore NaN.
        "proportion": (
            ("quantile", "interval", "layer"),
            (np.quantile if here.all() else np.nanquantile)(values, quantiles, axis=1),
        ),
        "num_archs": ("layer", here.sum(axis=0)),
    }
    summary = xr.Dataset(
        data, {**interval_coords(pieces), "layer": np.arange(1, depth + 1), "quantile": list(quantiles)}
    )
    if depth > 1:
        summary["sweetness"] = sweetness(shares)
    return summary


def plot_depth(depth: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the proportion against the layer, with a panel for each interval: the median and quantile bands over architectures.

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
        colour, interval = CYCLE[number % len(CYCLE)], depth.isel(interval=number)
        for low in range(levels // 2):
            axes.fill_between(
                layer, quantile[number, low], quantile[number, levels - 1 - low], color=colour, alpha=0.18, linewidth=0
            )
        axes.plot(layer, quantile[number, levels // 2], color=colour, marker="o", markersize=3, linewidth=1.6)
        subtitle = f"\nsweetness {float(interval['sweetness']):+.2f}" if "sweetness" in depth else ""
        axes.set_title(f"{interval['interval'].item()}{subtitle}", loc="left", color=INK, fontsize=9)
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
    """Title that names the architectures of the curves and the sweetness, which are more than those that choose an interval."""
    quantile = depth["quantile"].values
    spread = quantile[::-1] - quantile
    bands = " and ".join(f"{share:.3g}%" for share in sorted(100 * spread[spread > 1e-9]))
    parts = ["sweetness"] * ("sweetness" in depth) + ["median"] + [f"middle {bands}"] * bool(bands)
    return f"Of all {int(depth['num_archs'].max()):,} architectures measured: {', '.join(parts)}"


_MAX_NAMES = 64
_MAX_NAME = 28
_VISIBLE = 0.002


def plot_layers(layers: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the proportion of every layer in the interval as bars, and below them the whole distribution as a heat map.

    Parameters
    ----------
    layers
        Result of `layer_profile`.
    path
        As in `plot_sweetness`.
    """
    num = layers.sizes["layer"]
    figure = new_figure(min(max(7.0, 2.2 + 0.2 * num), 18.0), 6.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    deep = layers["layer_type"].isin(["cell", "reduction"]).values
    shares = layers["proportion"].values
    above.bar(range(num), shares, color=np.where(deep, WINNER, OTHER), width=0.82)
    above.set_ylim(0, max(1.12 * float(shares.max(initial=0)), 0.01))
    above.yaxis.set_major_formatter(share_label)
    above.set_ylabel("share in the interval")
    _draw_distribution(figure, below, layers)
    names = [_shortened(str(name)) for name in layers["layer"].values]
    ticks = range(0, num, -(-num // _MAX_NAMES))
    below.set_xticks(ticks, [names[tick] for tick in ticks], rotation=90, fontsize=7.5)
    below.set_xlabel("layer, from input to output")
    above.set_xlim(-0.6, num - 0.4)
    sweetness = float(layers["sweetness"])
    told = f", sweetness {sweetness:+.2f}" if np.isfinite(sweetness) else ""
    above.set_title(
        f"{literal(layers.attrs['arch'])}: score {float(layers['score']):,.0f} in {layers.attrs['interval']}{told}",
        loc="left",
        color=INK,
        pad=10,
    )
    return finish(figure, above, below, path=path)


def _draw_distribution(figure: "Figure", axes: "Axes", layers: xr.Dataset) -> None:
    shares = layers["grid_proportion"].transpose("interval", "layer").values
    image = axes.imshow(
        shares, cmap="Blues", vmin=0, vmax=max(float(shares.max(initial=0)), 0.01), origin="lower", aspect="auto"
    )
    lower, upper = layers["lower"].values, layers["upper"].values
    edges = np.append(lower, upper[-1])
    ticks, labels = power_ticks(edges)
    axes.set_yticks(ticks - 0.5, labels)
    heights = [_height(layers.attrs[side], edges) for side in ("lower", "upper")]
    for height in heights:
        axes.axhline(height, color=WINNER, linewidth=1.2)
    # Magnitudes that no layer has are omitted, except for one row on each side.
    filled = np.flatnonzero(shares.max(axis=1) > _VISIBLE)
    low, high = (filled[0], filled[-1]) if filled.size else (0, len(edges) - 2)
    axes.set_ylim(max(min(low - 1, heights[0]) - 0.5, -0.5), min(max(high + 1, heights[1]) + 0.5, len(edges) - 1.5))
    axes.set_ylabel(r"gradient magnitude $|\partial J/\partial\theta|$")
    quiet_bar(figure.colorbar(image, ax=axes, shrink=0.9, format=share_label, pad=0.01), "share of the layer")


def _height(threshold: float, edges: np.ndarray) -> float:
    """Vertical position of a threshold on the rows of the grid, which begin at -0.5; logarithmic within a row."""
    # The first row begins at zero, which has no logarithm: it is drawn as one decade.
    known = np.log10(np.maximum(edges, edges[1] / 10))
    asked = np.log10(np.clip(threshold, edges[1] / 10, edges[-1]))
    return float(np.interp(asked, known, np.arange(len(edges)))) - 0.5


def _shortened(name: str) -> str:
    # The end of a long path distinguishes layers.
    return literal(name if len(name) <= _MAX_NAME else "…" + name[-_MAX_NAME + 1 :])
