"""Picture of searches: the best so far against simulated time."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.plots import _INK, _figure, _finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_trajectories"]

# An algorithm and its assisted forms share a colour of Okabe and Ito's palette; assisted ones are drawn through, others dashed.
_COLOURS = {"random": "#8A909A", "rea": "#0072B2", "reinforce": "#009E73", "bohb": "#D55E00"}
_STYLES = {"s-": "-", "-model": "-.", "+cost": ":"}
_NAMES = {"random": "random search", "rea": "REA", "reinforce": "REINFORCE", "bohb": "BOHB"}


def plot_trajectories(table: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the accuracy of what would be reported at each simulated time: the median over runs, and the quartiles around it.

    Parameters
    ----------
    table
        Result of `trajectories`.
    path
        As in `plot_sweetness`.
    """
    figure = _figure(8.6, 5.2)
    axes = figure.subplots()
    hours = table["time"].values / 3600
    for name in map(str, table["algorithm"].values):
        one = table.sel(algorithm=name)
        colour, style = _look(name)
        axes.fill_between(hours, one["lower"].values, one["upper"].values, color=colour, alpha=0.08, linewidth=0)
        axes.plot(hours, one["median"].values, color=colour, linestyle=style, linewidth=1.6, label=_title(name))
    # The first trainings are far below all that follows, and would press it together.
    settled = table["lower"].isel(time=slice(len(hours) // 10, None))
    low, high = float(settled.min()), float(table["upper"].max())
    if np.isfinite([low, high]).all() and high > low:
        axes.set_ylim(low, high + 0.05 * (high - low))
    axes.set_xlim(0, hours[-1])
    axes.set_xlabel("simulated hours of training")
    axes.set_ylabel(f"{table.attrs['dataset']} {table.attrs['split']} accuracy after the whole training, %")
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    title = f"Best so far: median and quartiles of {table.attrs['num_runs']} runs"
    axes.set_title(title, loc="left", color=_INK)
    return _finish(figure, axes, path)


def _look(method: str) -> tuple[str, str]:
    algorithm, _, estimator = method.partition("/")
    base = algorithm.removeprefix("s-").removesuffix("-model")
    forms = {"+cost": estimator.endswith("+cost"), "-model": algorithm.endswith("-model"), "s-": bool(estimator)}
    return _COLOURS.get(base, _INK), next((_STYLES[form] for form, is_so in forms.items() if is_so), "--")


def _title(method: str) -> str:
    algorithm, _, estimator = method.partition("/")
    base = algorithm.removeprefix("s-").removesuffix("-model")
    name = (
        ("S-" if estimator else "") + _NAMES.get(base, base) + (" of the model" if algorithm.endswith("-model") else "")
    )
    return f"{name}, {estimator.replace('+cost', ' with its cost')}" if estimator else name
