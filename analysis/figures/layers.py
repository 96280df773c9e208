"""A picture of one network: where the gradients of every layer lie, and the share of them in the interval."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.figures.style import INK, OTHER, WINNER, finish, literal, new_figure, quiet_bar
from sweetgrad.analysis.figures.ticks import power_ticks, share_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_layers"]

_MAX_NAMES = 64
_MAX_NAME = 28
_VISIBLE = 0.002


def plot_layers(layers: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the share of every layer in the interval as bars, and below them the whole distribution, darker for a larger share.

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
    # Magnitudes that no layer has are left out, and a row is kept on either side.
    filled = np.flatnonzero(shares.max(axis=1) > _VISIBLE)
    low, high = (filled[0], filled[-1]) if filled.size else (0, len(edges) - 2)
    axes.set_ylim(max(min(low - 1, heights[0]) - 0.5, -0.5), min(max(high + 1, heights[1]) + 0.5, len(edges) - 1.5))
    axes.set_ylabel(r"gradient magnitude $|\partial J/\partial\theta|$")
    quiet_bar(figure.colorbar(image, ax=axes, shrink=0.9, format=share_label, pad=0.01), "share of the layer")


def _height(threshold: float, edges: np.ndarray) -> float:
    """Where a threshold lies among the rows of the grid, which begin at -0.5: logarithmic inside a row."""
    # The first row begins at zero, which has no logarithm: a decade stands for it.
    known = np.log10(np.maximum(edges, edges[1] / 10))
    asked = np.log10(np.clip(threshold, edges[1] / 10, edges[-1]))
    return float(np.interp(asked, known, np.arange(len(edges)))) - 0.5


def _shortened(name: str) -> str:
    # Of a long path the end tells layers apart.
    return literal(name if len(name) <= _MAX_NAME else "…" + name[-_MAX_NAME + 1 :])
