"""Picture of searches: the best so far against simulated time."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.figures.style import CYCLE, FAINT, INK, RUNNER_UP, WINNER, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_trajectories"]

_TITLES = {"rea": "REA", "reinforce": "REINFORCE", "bohb": "BOHB", "random": "random search"}
_ALONE, _RANDOM = INK, FAINT
_COLOURS = (RUNNER_UP, WINNER, *CYCLE[2:])
"""A colour for each assisted form, which is drawn through, and dotted where its scores are paid for."""


def plot_trajectories(table: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the accuracy of what would be reported at each simulated time: the median over runs, and the quartiles around it.

    An algorithm and its assisted forms have a panel of their own, with random search in each.

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
    # The first trainings are far below all that follows, and would press it together.
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
