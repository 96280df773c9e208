"""Results of a search: the cells of a genotype (Fig. 13), and the best accuracy so far against simulated time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.figures.style import CYCLE, FAINT, INK, RUNNER_UP, WINNER, finish, literal, new_figure, save
from sweetgrad.store import Genotype, parse_genotype
from sweetgrad.store.spaces.genotypes import CellEdges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMN, _OPERATION, _TRUNK = 3.0, 1.5, 0.5
"""Horizontal distances: between two nodes, from a node to its operations, and from a node to the vertical line of its value."""

_INCHES = (0.55, 0.3)
"""Width and height of a unit of length."""


def plot_cells(genotype: Genotype | str | Mapping[str, Any], *, path: str | Path | None = None) -> "Figure":
    """Draw the two cells of a genotype: inputs on the left, each node after its two operations, the output on the right.

    The value of a node is a vertical line in its own colour, from which lines lead to the operations that use it. Each operation
    has its own row, so labels never overlap.

    Parameters
    ----------
    genotype
        A `Genotype`, or any form of `parse_genotype`.
    path
        File to save the figure to: ``.png``, ``.svg``, ``.pdf``. None: it is only returned.

    Raises
    ------
    ValueError
        If it is not a genotype.
    """
    read = genotype if isinstance(genotype, Genotype) else parse_genotype(genotype)
    num_nodes = max(len(read.normal), len(read.reduce)) // 2
    width, height = _COLUMN * num_nodes + 4.2, 2 * num_nodes + 4
    figure = new_figure(width * _INCHES[0], 2 * height * _INCHES[1])
    panels = figure.subplots(2, 1)
    for axes, title, edges, concat in (
        (panels[0], "Normal cell", read.normal, read.normal_concat),
        (panels[1], "Reduction cell", read.reduce, read.reduce_concat),
    ):
        _draw_cell(axes, edges, concat)
        axes.set_title(title, loc="left", color=INK, fontsize=11)
    if path is not None:
        save(figure, path)
    return figure


def _draw_cell(axes: "Axes", edges: CellEdges, concat: tuple[int, ...]) -> None:
    num_nodes = len(edges) // 2
    right = _COLUMN * num_nodes + 2.4
    # Positions of the nodes: the inputs are above the rows of the operations; each of the others takes two rows.
    places = [(0.0, -2.0), (0.0, -1.0), *((_COLUMN * (i + 1) + 0.6, 2.0 * i + 0.5) for i in range(num_nodes))]
    names = ["$c_{k-2}$", "$c_{k-1}$", *(str(i) for i in range(num_nodes))]
    for row, (operation, source) in enumerate(edges):
        x, y = places[row // 2 + 2]
        start, colour = x - _OPERATION, CYCLE[source % len(CYCLE)]
        trunk = _trunk(source, places)
        axes.plot([places[source][0], trunk, trunk, start], [places[source][1]] * 2 + [row, row], color=colour, lw=1.4)
        axes.plot([start, x - 0.55, x], [row, row, y], color=colour, lw=1.4)
        _name(axes, start, row, literal(operation), face="white", edge=colour, size=7.5)
    for node in concat:
        axes.plot([places[node][0], right], [places[node][1]] * 2, color=FAINT, lw=1.0, linestyle=(0, (4, 2)), zorder=1)
    for (x, y), name in zip(places, names, strict=True):
        _name(axes, x, y, name)
    middle = sum(places[node][1] for node in concat) / len(concat)
    axes.plot([right, right], [min(places[n][1] for n in concat), max(places[n][1] for n in concat)], color=FAINT, lw=3)
    _name(axes, right, middle, "$c_k$")
    axes.set(xlim=(-0.8, right + 0.8), ylim=(2 * num_nodes - 0.4, -2.7))
    axes.set_axis_off()


def _trunk(node: int, places: list[tuple[float, float]]) -> float:
    """Position of the vertical line of a node; the lines of the two inputs, which are above each other, are side by side."""
    return places[node][0] + (1.05 if node == 0 else 0.75 if node == 1 else _TRUNK)


def _name(
    axes: "Axes", x: float, y: float, text: str, *, face: str = "#EEF1F5", edge: str = INK, size: float = 9
) -> None:
    box = {"boxstyle": "round,pad=0.3", "facecolor": face, "edgecolor": edge, "linewidth": 0.9}
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=INK, bbox=box, zorder=3)


_TITLES = {"rea": "REA", "reinforce": "REINFORCE", "bohb": "BOHB", "random": "random search"}
_ALONE, _RANDOM = INK, FAINT
_COLOURS = (RUNNER_UP, WINNER, *CYCLE[2:])
"""A colour for each assisted form, whose line is solid, or dotted if its scores are charged."""


def plot_trajectories(table: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the accuracy that would be reported at each simulated time: median and quartiles over runs.

    Each algorithm has a panel with its assisted forms and random search.

    Parameters
    ----------
    table
        Result of `trajectories`.
    path
        As in `plot_sweetness`.
    """
    names = [str(name) for name in table["algorithm"].values]
    families = list(dict.fromkeys(_family(name) for name in names if _family(name) != "random")) or ["random"]
    figure = new_figure(1.4 + 4.2 * len(families), 4.6)
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    for axes, family in zip(panels, families, strict=True):
        _draw(axes, table, [name for name in names if _family(name) in (family, "random")])
        axes.set_title(_TITLES.get(family, family), loc="left", color=INK)
        axes.set_xlabel("simulated hours of training")
    # The first trainings are far below the later ones, and would compress the scale.
    settled = table["lower"].isel(time=slice(table.sizes["time"] // 10, None))
    low, high = float(settled.min()), float(table["upper"].max())
    if np.isfinite([low, high]).all() and high > low:
        panels[0].set_ylim(low, high + 0.05 * (high - low))
    panels[0].set_ylabel(f"{table.attrs['dataset']} {table.attrs['split']} accuracy after the whole training, %")
    figure.suptitle(f"Best so far: median and quartiles of {table.attrs['num_runs']} runs", color=INK, fontsize=11)
    return finish(figure, *panels, path=path)


def _draw(axes: "Axes", table: xr.Dataset, names: list[str]) -> None:
    hours = table["time"].values / 3600
    forms = list(dict.fromkeys(name.removesuffix("+cost") for name in names if "/" in name))
    for name in names:
        one, is_paid = table.sel(algorithm=name), name.endswith("+cost")
        plain = _RANDOM if name == "random" else _ALONE
        colour = _COLOURS[forms.index(name.removesuffix("+cost")) % len(_COLOURS)] if "/" in name else plain
        style = ":" if is_paid else "-" if "/" in name else "--"
        if not is_paid:
            axes.fill_between(hours, one["lower"].values, one["upper"].values, color=colour, alpha=0.12, linewidth=0)
        axes.plot(hours, one["median"].values, color=colour, linestyle=style, linewidth=1.6, label=_label(name))
    axes.set_xlim(0, hours[-1])
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")


def _family(name: str) -> str:
    """The algorithm without its assistance, e.g. ``bohb`` of ``s-bohb-model/params+cost``."""
    return name.partition("/")[0].removeprefix("s-").removesuffix("-model")


def _label(name: str) -> str:
    algorithm, _, estimator = name.partition("/")
    title = _TITLES.get(_family(name), _family(name))
    if not estimator:
        return title
    of_model = " of the model" if algorithm.endswith("-model") else ""
    return f"S-{title}{of_model}, {estimator.replace('+cost', ' at its cost')}"
