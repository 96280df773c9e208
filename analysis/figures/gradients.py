"""How the magnitudes of gradients are distributed at initialisation (Fig. 11, its gradient half)."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, interval_counts, total_counts
from sweetgrad.analysis.figures.style import CYCLE, INK, RUNNER_UP, WIDTH, finish, literal, new_figure
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.scores import DEPTH_LAYERS, chosen_layers
from sweetgrad.store.schema import STATUS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_density", "plot_gradients"]

# Ten edges a decade that every store has, 0.08 to 0.13 decades apart.
_PARTS = tuple(Fraction(part) for part in ("1/8", "1/6", "1/5", "1/4", "1/3", "2/5", "1/2", "5/8", "4/5", "1"))
_DECADES = range(-9, 2)
_LAYER_COLOURS = (CYCLE[4], CYCLE[0], CYCLE[2])


def gradient_density(profile: xr.Dataset, *, kind: Kind = "weight") -> xr.Dataset:
    """Share of the parameters per decade of gradient magnitude, over the network and in its first, middle and last layer.

    Parameters
    ----------
    profile
        A profile as from `open_profile`.
    kind
        As in `interval_counts`.

    Returns
    -------
    Dims ``(group, magnitude)``: ``density``, the mean over the architectures of the share of parameters by the width of the
    interval in decades, and its 10 % and 90 % quantiles ``low`` and ``high``; dims ``(group,)``: ``zero``, the mean share with
    gradient exactly 0, and ``below`` and ``above``, the mean shares outside the magnitudes shown. The integral of the density and
    these three add up to 1 where all gradients are finite. ``group`` is ``network`` and, where all architectures have the same
    layers, the first, middle and last of those whose proportion the released method follows. ``lower`` and ``upper`` are edges.

    Raises
    ------
    ValueError
        If no architecture was measured.
    """
    measured = (profile["status"] == STATUS["ok"]).values
    if not measured.any():
        raise ValueError(
            f"none of the {measured.size} architectures was measured (status 1): profile some of them first"
        )
    edges = _edges()
    tiny = Interval.live().lower
    pieces = [Interval(0, tiny), Interval(tiny, edges[0]), *map(Interval, edges[:-1], edges[1:]), Interval(edges[-1])]
    total = total_counts(profile, kind=kind)
    groups = {"network": (interval_counts(profile, pieces, kind=kind, level="network"), total.sum("layer"))}
    layers = profile.isel(layer=_shown_layers(profile))
    if layers.sizes["layer"]:
        counts = interval_counts(layers, pieces, kind=kind)
        for number, name in enumerate(layers["layer"].values):
            here = total.isel(layer=_shown_layers(profile)[number])
            groups[str(name)] = (counts.isel(layer=number), here)
    shares = [_shares(count, whole, measured) for count, whole in groups.values()]
    width = np.diff([np.log10(float(edge)) for edge in edges])
    densities = [share[:, 2:-1] / width for share in shares]
    quantiles = np.array([np.quantile(each, (0.1, 0.9), axis=0) for each in densities])
    dims = ("group", "magnitude")
    data = {
        "density": (dims, np.array([each.mean(axis=0) for each in densities])),
        "low": (dims, quantiles[:, 0]),
        "high": (dims, quantiles[:, 1]),
        **{
            name: ("group", np.array([share[:, column].mean() for share in shares]))
            for name, column in (("zero", 0), ("below", 1), ("above", -1))
        },
    }
    values = np.array([float(edge) for edge in edges])
    coords = {
        "group": np.array(list(groups), dtype=object),
        "lower": ("magnitude", values[:-1]),
        "upper": ("magnitude", values[1:]),
    }
    return xr.Dataset(data, coords, attrs={"num_archs": int(measured.sum()), "kind": kind})


def plot_gradients(
    density: xr.Dataset, *, interval: Interval | None = None, path: str | Path | None = None
) -> "Figure":
    """Draw the distribution of gradient magnitudes, with the chosen interval shaded.

    Parameters
    ----------
    density
        Result of `gradient_density`.
    interval
        Interval to shade.
    path
        As in `plot_sweetness`.
    """
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    edges = np.append(density["lower"].values, density["upper"].values[-1])
    if interval is not None:
        span = max(float(interval.lower), edges[0]), min(float(interval.upper), edges[-1])
        axes.axvspan(*span, color=RUNNER_UP, alpha=0.13, linewidth=0, label=f"interval {interval}")
    network = density.isel(group=0)
    axes.stairs(network["high"], edges, baseline=network["low"].values, fill=True, color=INK, alpha=0.12)
    styles = ((0, (1, 1)), (0, (4, 1.5)), "solid")
    for number, name in enumerate(density["group"].values):
        each = density.isel(group=number)
        zero = f" ({float(each['zero']):.1%} exactly 0)"
        colour, style = (INK, "solid") if number == 0 else (_LAYER_COLOURS[number - 1], styles[number - 1])
        axes.stairs(
            each["density"],
            edges,
            color=colour,
            linestyle=style,
            linewidth=2 if number == 0 else 1.4,
            label=literal(name) + zero,
        )
    axes.set_xscale("log")
    shown = np.flatnonzero((density["high"].max("group") > 5e-3).values)
    if shown.size:
        axes.set_xlim(edges[shown[0]], edges[shown[-1] + 1])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel(r"gradient magnitude $|\partial J/\partial\theta|$ at initialisation")
    axes.set_ylabel("share of the weights per decade" if density.attrs["kind"] == "weight" else "share per decade")
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return finish(figure, axes, path=path)


def _edges() -> list[Fraction]:
    return [Fraction(1, 10**10), *(Fraction(10) ** decade * part for decade in _DECADES for part in _PARTS)]


def _shown_layers(profile: xr.Dataset) -> list[int]:
    """First, middle and last of the layers whose proportion is followed; none where architectures differ in them."""
    try:
        chosen, measured = chosen_layers(profile, DEPTH_LAYERS)
    except ValueError:  # a network of other layers: it is shown as a whole
        return []
    rows = chosen.values[measured.values]
    if (rows != rows[0]).any():
        return []
    places = np.flatnonzero(rows[0])
    return sorted({int(places[0]), int(places[len(places) // 2]), int(places[-1])})


def _shares(counts: xr.DataArray, total: xr.DataArray, measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the parameters in each interval; shape (arch, interval), measured architectures that have parameters only."""
    whole = total.values[measured]
    some = whole > 0
    values = counts.transpose("arch", "interval").values[measured][some] / whole[some, None]
    return values if len(values) else np.full((1, counts.sizes["interval"]), np.nan)
