"""How the magnitudes of activations are distributed at initialisation (Fig. 11, Appendix D)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.cuts import bins_of
from sweetgrad.analysis.figures.density import PIECES, density_of, draw_density
from sweetgrad.analysis.rows import as_slice, measured_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["activation_density", "draw_activations"]

_ALL = "all cells"
_BLOCK = 625
"""Architectures whose histograms are in memory at once."""


def activation_density(activations: xr.Dataset) -> xr.Dataset:
    """Share of the activations per decade of their magnitude, over all cells together and in each, by its depth.

    Parameters
    ----------
    activations
        As from `open_activations`: all architectures, or some (``isel(arch=...)``).

    Returns
    -------
    Dims ``(group, magnitude)``: ``density``, the mean over the architectures of the share of activations by the width of the
    interval in decades, and its 10 % and 90 % quantiles ``low`` and ``high``; dims ``(group,)``: ``zero``, the mean share that is
    exactly 0, and ``below`` and ``above``, the mean shares outside the magnitudes shown, which end at 10. The integral of the
    density and these three add up to 1 where all activations are finite. ``group`` is ``all cells`` and then every cell and
    reduction that any architecture has, from input to output. ``lower`` and ``upper`` are edges. The attribute ``shown`` names
    what `plot_gradients` draws: all cells and, where all architectures have the same ones, the first, middle and last.

    Raises
    ------
    ValueError
        If the activations of no architecture were counted.

    Examples
    --------
    >>> counts = np.zeros((1, 3, 345), "uint32")
    >>> counts[0, 1, [0, 343]] = 30, 10  # of the 40 values that the one cell puts out: exactly 0, and 10 or more
    >>> names = {"arch": ["a"], "layer": ["stem", "cell0", "head"]}
    >>> histograms = xr.Dataset({"activation_count": (("arch", "layer", "bin"), counts), "status": ("arch", [1])}, names)
    >>> found = activation_density(histograms)
    >>> found.group.values.tolist(), found.zero.values.tolist(), found.above.values.tolist()
    (['all cells', 'cell0'], [0.75, 0.75], [0.25, 0.25])
    """
    measured = measured_rows(activations)
    if not measured.size:
        raise ValueError(
            f"of none of the {activations.sizes['arch']} architectures the activations were counted: "
            "`sweetgrad estimate STORE PROFILE --activations` adds them"
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
    """Histograms of so many architectures at a time, shape (architectures, layer, bin)."""
    for start in range(0, measured.size, _BLOCK):
        rows = measured[start : start + _BLOCK]
        yield activations["activation_count"].isel(arch=as_slice(rows)).transpose("arch", "layer", "bin").values


def _in_pieces(counts: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Counts in `PIECES` and in all, shapes (architectures, layer, piece) and (architectures, layer)."""
    parts = [counts[..., bins_of(piece)].sum(axis=-1, dtype=np.uint64) for piece in PIECES]
    return np.stack(parts, axis=-1), counts.sum(axis=-1, dtype=np.uint64)


def _shown(groups: list[str], has: NDArray[np.bool_]) -> list[str]:
    layers = groups[1:]
    if not layers or (has != has[0]).any():
        return groups[:1]
    return list(dict.fromkeys([groups[0], layers[0], layers[len(layers) // 2], layers[-1]]))


def draw_activations(axes: "Axes", density: xr.Dataset) -> None:
    """Draw the result of `activation_density` into axes of a picture."""
    draw_density(axes, density, density.attrs["shown"])
    axes.set_xlabel("magnitude of what the cells put out at initialisation")
    axes.set_ylabel("share of the activations per decade")
