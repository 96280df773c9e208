"""How magnitudes are spread over decades, from counts in bins: what the two halves of Fig. 11 have in common."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.figures.style import CYCLE, INK, literal
from sweetgrad.analysis.figures.ticks import share_label
from sweetgrad.analysis.intervals import SMALLEST_GRADIENT, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PIECES", "density_of", "draw_density"]

# Ten edges a decade that every store has, 0.08 to 0.13 decades apart.
_PARTS = tuple(Fraction(part) for part in ("1/8", "1/6", "1/5", "1/4", "1/3", "2/5", "1/2", "5/8", "4/5", "1"))
_DECADES = range(-9, 2)
_EDGES = [Fraction(1, 10**10), *(Fraction(10) ** decade * part for decade in _DECADES for part in _PARTS)]

PIECES = [
    Interval(0, SMALLEST_GRADIENT),
    Interval(SMALLEST_GRADIENT, _EDGES[0]),
    *map(Interval, _EDGES[:-1], _EDGES[1:]),
    Interval(_EDGES[-1]),
]
"""Intervals that magnitudes are counted in: exact zeros, what is smaller than the edges, ten a decade, what is greater."""

_LAYER_COLOURS = (CYCLE[4], CYCLE[0], CYCLE[2])
_LAYER_DASHES: tuple[Any, ...] = ((0, (1, 1)), (0, (4, 1.5)), "solid")


def density_of(shares: Mapping[str, NDArray[np.float64]], *, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Mean and spread over architectures of the share per decade.

    Parameters
    ----------
    shares
        For each group, the share in each of `PIECES`; shape (architectures, pieces).
    attrs
        Attributes of the result.
    """
    width = np.diff([np.log10(float(edge)) for edge in _EDGES])
    densities = [share[:, 2:-1] / width for share in shares.values()]
    quantiles = np.array([np.quantile(each, (0.1, 0.9), axis=0) for each in densities])
    dims = ("group", "magnitude")
    data = {
        "density": (dims, np.array([each.mean(axis=0) for each in densities])),
        "low": (dims, quantiles[:, 0]),
        "high": (dims, quantiles[:, 1]),
        **{
            name: ("group", np.array([share[:, column].mean() for share in shares.values()]))
            for name, column in (("zero", 0), ("below", 1), ("above", -1))
        },
    }
    values = np.array([float(edge) for edge in _EDGES])
    coords = {
        "group": np.array(list(shares), dtype=object),
        "lower": ("magnitude", values[:-1]),
        "upper": ("magnitude", values[1:]),
    }
    return xr.Dataset(data, coords, attrs=dict(attrs))


def draw_density(axes: "Axes", density: xr.Dataset, groups: Sequence[str]) -> None:
    """Draw a density: the first group with its spread, and up to three more as lines."""
    edges = np.append(density["lower"].values, density["upper"].values[-1])
    shown = density.sel(group=list(groups))
    whole = shown.isel(group=0)
    axes.stairs(whole["high"], edges, baseline=whole["low"].values, fill=True, color=INK, alpha=0.12)
    for number, name in enumerate(groups):
        each = shown.isel(group=number)
        zero = f"{float(each['zero']):.1%} exactly 0"
        above = f", {float(each['above']):.0%} from {edges[-1]:g} on" if each["above"] >= 0.005 else ""
        colour, style = (INK, "solid") if number == 0 else (_LAYER_COLOURS[number - 1], _LAYER_DASHES[number - 1])
        axes.stairs(
            each["density"],
            edges,
            color=colour,
            linestyle=style,
            linewidth=2 if number == 0 else 1.4,
            label=f"{literal(name)} ({zero}{above})",
        )
    axes.set_xscale("log")
    seen = np.flatnonzero((shown["high"].max("group") > 5e-3).values)
    if seen.size:
        axes.set_xlim(edges[seen[0]], edges[seen[-1] + 1])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(share_label)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
