"""Distribution of the magnitudes of gradients and activations at initialisation (Fig. 11)."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, as_slice, bins_of, interval_counts, measured_rows, total_counts
from sweetgrad.analysis.figures.style import CYCLE, INK, RUNNER_UP, WIDTH, finish, literal, new_figure, share_label
from sweetgrad.analysis.intervals import SMALLEST_GRADIENT, Interval
from sweetgrad.analysis.proportion import DEPTH_LAYERS, chosen_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Ten edges per decade that every store has, 0.08 to 0.13 decades apart.
_PARTS = tuple(Fraction(part) for part in ("1/8", "1/6", "1/5", "1/4", "1/3", "2/5", "1/2", "5/8", "4/5", "1"))
_DECADES = range(-9, 2)
_EDGES = [Fraction(1, 10**10), *(Fraction(10) ** decade * part for decade in _DECADES for part in _PARTS)]

PIECES = [
    Interval(0, SMALLEST_GRADIENT),
    Interval(SMALLEST_GRADIENT, _EDGES[0]),
    *map(Interval, _EDGES[:-1], _EDGES[1:]),
    Interval(_EDGES[-1]),
]
"""Intervals in which magnitudes are counted: exact zeros, values below the edges, ten per decade, and values above."""

_LAYER_COLOURS = (CYCLE[4], CYCLE[0], CYCLE[2])
_LAYER_DASHES: tuple[Any, ...] = ((0, (1, 1)), (0, (4, 1.5)), "solid")


def density_of(shares: Mapping[str, NDArray[np.float64]], *, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Mean and quantiles, over the architectures, of the share per decade.

    Parameters
    ----------
    shares
        Share in each of `PIECES`, by group; shape (architectures, pieces).
    attrs
        Attributes of the result.
    """
    width = np.diff([np.log10(float(edge)) for edge in _EDGES])
    densities = [share[:, 2:-1] / width for share in shares.values()]
    quantiles = np.array([np.quantile(density, (0.1, 0.9), axis=0) for density in densities])
    dims = ("group", "magnitude")
    data = {
        "density": (dims, np.array([density.mean(axis=0) for density in densities])),
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
    """Draw a density: the first group with its quantile band, and up to three more groups as lines."""
    edges = np.append(density["lower"].values, density["upper"].values[-1])
    shown = density.sel(group=list(groups))
    whole = shown.isel(group=0)
    axes.stairs(whole["high"], edges, baseline=whole["low"].values, fill=True, color=INK, alpha=0.12)
    for number, name in enumerate(groups):
        group = shown.isel(group=number)
        zero = f"{float(group['zero']):.1%} exactly 0"
        above = f", {float(group['above']):.0%} from {edges[-1]:g} on" if group["above"] >= 0.005 else ""
        colour, style = (INK, "solid") if number == 0 else (_LAYER_COLOURS[number - 1], _LAYER_DASHES[number - 1])
        axes.stairs(
            group["density"],
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


def gradient_density(profile: xr.Dataset, *, kind: Kind = "weight") -> xr.Dataset:
    """Share of the parameters per decade of gradient magnitude, in the network and in its first, middle and last layer.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`.
    kind
        As in `interval_counts`.

    Returns
    -------
    Dims ``(group, magnitude)``: ``density``, the share of parameters divided by the width of the interval in decades, averaged
    over the architectures, and its 10 % and 90 % quantiles ``low`` and ``high``; dims ``(group,)``: ``zero``, the mean share with
    gradient exactly 0, and ``below`` and ``above``, the mean shares outside the shown magnitudes. The integral of the density and
    these three add up to 1 if all gradients are finite. ``group`` is ``network`` and, if all architectures have the same layers,
    the first, middle and last of those in the sweetness of the released method. ``lower`` and ``upper`` are edges.

    Raises
    ------
    ValueError
        If no architecture was measured.
    """
    measured = measured_rows(profile)
    if not measured.size:
        raise ValueError(
            f"none of the {profile.sizes['arch']} architectures was measured (status 1): profile some of them first"
        )
    total = total_counts(profile, kind=kind)
    groups = {"network": (interval_counts(profile, PIECES, kind=kind, level="network"), total.sum("layer"))}
    shown = _shown_layers(profile)
    if shown:
        layers, totals = profile.isel(layer=shown), total.isel(layer=shown)
        counts = interval_counts(layers, PIECES, kind=kind)
        for number, name in enumerate(layers["layer"].values):
            groups[str(name)] = (counts.isel(layer=number), totals.isel(layer=number))
    shares = {name: _shares(count, whole, measured) for name, (count, whole) in groups.items()}
    return density_of(shares, attrs={"num_archs": int(measured.size), "kind": kind})


def plot_gradients(
    density: xr.Dataset,
    *,
    activations: xr.Dataset | None = None,
    interval: Interval | None = None,
    path: str | Path | None = None,
) -> "Figure":
    """Draw the distribution of gradient magnitudes, with the chosen interval shaded, and that of activations below it.

    Parameters
    ----------
    density
        Result of `gradient_density`.
    activations
        Result of `activation_density`; None: only gradients are drawn.
    interval
        Interval of gradients to shade.
    path
        As in `plot_sweetness`.
    """
    figure = new_figure(WIDTH, 3.6 if activations is None else 6.8)
    axes, *more = figure.subplots(1 if activations is None else 2, squeeze=False)[:, 0]
    draw_density(axes, density, [str(name) for name in density["group"].values])
    if interval is not None:
        edges = float(density["lower"][0]), float(density["upper"][-1])
        span = max(float(interval.lower), edges[0]), min(float(interval.upper), edges[1])
        axes.axvspan(*span, color=RUNNER_UP, alpha=0.13, linewidth=0, zorder=0, label=f"interval {interval}")
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    axes.set_xlabel(r"gradient magnitude $|\partial J/\partial\theta|$ at initialisation")
    axes.set_ylabel("share of the weights per decade" if density.attrs["kind"] == "weight" else "share per decade")
    for below in more:
        assert activations is not None
        draw_activations(below, activations)
    return finish(figure, axes, *more, path=path)


def _shown_layers(profile: xr.Dataset) -> list[int]:
    """First, middle and last of the layers in the sweetness; empty if the architectures differ in them."""
    try:
        chosen, measured = chosen_layers(profile, DEPTH_LAYERS)
    except ValueError:  # a network with other layers, which is shown only as a whole
        return []
    rows = chosen.values[measured.values]
    if (rows != rows[0]).any():
        return []
    places = np.flatnonzero(rows[0])
    return sorted({int(places[0]), int(places[len(places) // 2]), int(places[-1])})


def _shares(counts: xr.DataArray, total: xr.DataArray, measured: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the parameters in each interval, of measured architectures with parameters; shape (arch, interval)."""
    whole = total.values[measured]
    some = whole > 0
    values = counts.transpose("arch", "interval").values[measured][some] / whole[some, None]
    return values if len(values) else np.full((1, counts.sizes["interval"]), np.nan)


_ALL = "all cells"
_BLOCK = 625
"""Number of architectures whose histograms are in memory at once."""


def activation_density(activations: xr.Dataset) -> xr.Dataset:
    """Share of the activations per decade of their magnitude, in all cells together and in each cell.

    Parameters
    ----------
    activations
        As returned by `open_activations`, with all architectures or some (``isel(arch=...)``).

    Returns
    -------
    Dims ``(group, magnitude)``: ``density``, the share of activations divided by the width of the interval in decades, averaged
    over the architectures, and its 10 % and 90 % quantiles ``low`` and ``high``; dims ``(group,)``: ``zero``, the mean share that
    is exactly 0, and ``below`` and ``above``, the mean shares outside the shown magnitudes, which end at 10. The integral of the
    density and these three add up to 1 if all activations are finite. ``group`` is ``all cells`` and then every cell and
    reduction of any architecture, from input to output. ``lower`` and ``upper`` are edges. The attribute ``shown`` lists the
    groups that `plot_gradients` draws: all cells and, if all architectures have the same cells, the first, middle and last.

    Raises
    ------
    ValueError
        If activations were not counted for any architecture.

    Examples
    --------
    >>> counts = np.zeros((1, 3, 345), "uint32")
    >>> counts[0, 1, [0, 343]] = 30, 10  # of the 40 outputs of the only cell: exactly 0, and 10 or more
    >>> names = {"arch": ["a"], "layer": ["stem", "cell0", "head"]}
    >>> histograms = xr.Dataset({"activation_count": (("arch", "layer", "bin"), counts), "status": ("arch", [1])}, names)
    >>> density = activation_density(histograms)
    >>> density.group.values.tolist(), density.zero.values.tolist(), density.above.values.tolist()
    (['all cells', 'cell0'], [0.75, 0.75], [0.25, 0.25])
    """
    measured = measured_rows(activations)
    if not measured.size:
        raise ValueError(
            f"activations were not counted for any of the {activations.sizes['arch']} architectures: "
            "`sweetgrad estimate STORE PROFILE --blocks activations` adds them"
        )
    blocks = [_in_pieces(block) for block in _blocks(activations, measured)]
    counts, whole = (np.concatenate(part) for part in zip(*blocks, strict=True))
    shares = {_ALL: counts.sum(axis=1) / whole.sum(axis=1)[:, None]}
    has = whole > 0
    for place in np.flatnonzero(has.any(axis=0)):
        name = str(activations["layer"].values[place])
        shares[name] = counts[has[:, place], place] / whole[has[:, place], place, None]
    return density_of(shares, attrs={"num_archs": int(measured.size), "shown": _shown(list(shares), has)})


def _blocks(activations: xr.Dataset, measured: NDArray[np.int64]) -> Iterator[NDArray[np.uint32]]:
    """Histograms of `_BLOCK` architectures at a time, shape (architectures, layer, bin)."""
    for start in range(0, measured.size, _BLOCK):
        rows = measured[start : start + _BLOCK]
        yield activations["activation_count"].isel(arch=as_slice(rows)).transpose("arch", "layer", "bin").values


def _in_pieces(counts: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Counts in `PIECES` and in total, shapes (architectures, layer, piece) and (architectures, layer)."""
    parts = [counts[..., bins_of(piece)].sum(axis=-1, dtype=np.uint64) for piece in PIECES]
    return np.stack(parts, axis=-1), counts.sum(axis=-1, dtype=np.uint64)


def _shown(groups: list[str], has: NDArray[np.bool_]) -> list[str]:
    layers = groups[1:]
    if not layers or (has != has[0]).any():
        return groups[:1]
    return list(dict.fromkeys([groups[0], layers[0], layers[len(layers) // 2], layers[-1]]))


def draw_activations(axes: "Axes", density: xr.Dataset) -> None:
    """Draw the result of `activation_density` into axes of a figure."""
    draw_density(axes, density, density.attrs["shown"])
    axes.set_xlabel("magnitude of the cells' outputs at initialisation")
    axes.set_ylabel("share of the activations per decade")
