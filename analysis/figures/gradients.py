"""How the magnitudes of gradients are distributed at initialisation (Fig. 11), and the picture with those of activations."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, interval_counts, total_counts
from sweetgrad.analysis.figures.activations import draw_activations
from sweetgrad.analysis.figures.density import PIECES, density_of, draw_density
from sweetgrad.analysis.figures.style import INK, RUNNER_UP, WIDTH, finish, new_figure
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.rows import measured_rows
from sweetgrad.analysis.scores import DEPTH_LAYERS, chosen_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_density", "plot_gradients"]


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
        Result of `activation_density`; None: the gradients alone.
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


def _shares(counts: xr.DataArray, total: xr.DataArray, measured: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the parameters in each interval; shape (arch, interval), measured architectures that have parameters only."""
    whole = total.values[measured]
    some = whole > 0
    values = counts.transpose("arch", "interval").values[measured][some] / whole[some, None]
    return values if len(values) else np.full((1, counts.sizes["interval"]), np.nan)
