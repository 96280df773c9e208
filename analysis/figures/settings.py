"""One search space measured with several batch sizes or seeds, side by side (Figs. 7 and 8)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.figures.style import (
    CYCLE,
    FAINT,
    INK,
    WIDTH,
    error_lengths,
    finish,
    literal,
    new_figure,
)
from sweetgrad.analysis.figures.ticks import power_ticks
from sweetgrad.analysis.intervals import IntervalGrid, Intervals
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.sweetness import best_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["choice_by_setting", "plot_settings"]

_MARKERS, _LINES = "osD^vP", ("solid", "dashed", "dashdot", (0, (1, 1)))


def choice_by_setting(
    profiles: Mapping[str, xr.Dataset],
    grid: Intervals = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    accuracy: xr.DataArray | None = None,
    num_archs: int = 100,
    bootstrap: int = 1000,
) -> xr.Dataset:
    """Sweetness, the interval chosen and its rank correlation, for every setting by itself.

    Parameters
    ----------
    profiles
        Profiles as from `open_profile`, by what they are called, such as their batch size.
    grid, num_archs, bootstrap
        As in `best_interval` and `rank_correlation`.
    accuracy
        Dims ``(arch,)``, per cent.

    Returns
    -------
    ``sweetness`` (setting, interval), ``interval_chosen`` and ``confidence`` (setting,), and with ``accuracy`` the Spearman
    correlation (setting,) over the architectures that a setting has: ``correlation``, ``low``, ``high`` and ``num_archs``.

    Raises
    ------
    ValueError
        If there are no profiles, or as in `best_interval` and `rank_correlation`.
    """
    if not profiles:
        raise ValueError("no profiles to compare: pass at least one")
    chosen = {
        name: best_interval(each, grid, num_archs=num_archs, bootstrap=bootstrap) for name, each in profiles.items()
    }
    found = xr.Dataset(
        {
            "sweetness": (("setting", "interval"), np.array([best.table["sweetness"] for best in chosen.values()])),
            "interval_chosen": ("setting", np.array([str(best.interval) for best in chosen.values()], dtype=object)),
            "confidence": ("setting", np.array([best.confidence for best in chosen.values()])),
        },
        {**next(iter(chosen.values())).table.coords, "setting": np.array(list(profiles), dtype=object)},
    )
    if accuracy is None:
        return found
    judged = [
        rank_correlation(score(profiles[name], best), accuracy, bootstrap=bootstrap) for name, best in chosen.items()
    ]
    return found.assign(
        correlation=("setting", np.array([each.correlation for each in judged])),
        low=("setting", np.array([each.low for each in judged])),
        high=("setting", np.array([each.high for each in judged])),
        num_archs=("setting", np.array([each.num_archs for each in judged])),
    )


def plot_settings(settings: xr.Dataset, *, name: str = "setting", path: str | Path | None = None) -> "Figure":
    """Draw the sweetness of every interval for each setting, and the rank correlation of what each chose.

    Parameters
    ----------
    settings
        Result of `choice_by_setting`.
    name
        What the settings are: ``batch size``, ``seed``.
    path
        As in `plot_sweetness`.
    """
    judged = "correlation" in settings
    figure = new_figure(WIDTH, 5.6 if judged else 3.4)
    panels = figure.subplots(2 if judged else 1, 1, squeeze=False)[:, 0]
    axes, labels = panels[0], [str(label) for label in settings["interval"].values]
    for number, setting in enumerate(settings["setting"].values):
        values = settings["sweetness"].isel(setting=number).values
        colour = CYCLE[number % len(CYCLE)]
        style = _LINES[number % len(_LINES)]
        axes.plot(np.arange(len(values)), values, color=colour, linestyle=style, linewidth=1.4, label=literal(setting))
        at = labels.index(str(settings["interval_chosen"].values[number]))
        axes.plot(at, values[at], _MARKERS[number % len(_MARKERS)], color=colour, markersize=6)
    axes.axhline(0, color=INK, linewidth=0.8)
    ticks, names = power_ticks(settings["lower"].values)
    axes.set_xticks(ticks[1:], names[1:])
    axes.set_xlabel("lower edge of the interval")
    axes.set_ylabel("sweetness")
    axes.legend(frameon=False, fontsize=9, title=name, title_fontsize=9, labelcolor=INK, loc="upper left")
    if judged:
        _judge(panels[1], settings, name)
    return finish(figure, *panels, path=path)


def _judge(axes: "Axes", settings: xr.Dataset, name: str) -> None:
    """A point with its interval for every setting, and which interval of gradients it chose."""
    value, low, high = (settings[key].values for key in ("correlation", "low", "high"))
    lengths = error_lengths(value, low, high)
    for number in range(len(value)):
        colour = CYCLE[number % len(CYCLE)]
        marker = _MARKERS[number % len(_MARKERS)]
        axes.errorbar(
            number, value[number], yerr=lengths[:, [number]], fmt=marker, color=colour, capsize=3, markersize=6
        )
        axes.annotate(
            str(settings["interval_chosen"].values[number]),
            (number, high[number] if np.isfinite(high[number]) else value[number]),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=8,
            rotation=90 if len(value) > 3 else 0,
        )
    axes.set_xticks(range(len(value)), [literal(setting) for setting in settings["setting"].values])
    axes.set_xlim(-0.6, len(value) - 0.4)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + (0.45 if len(value) > 3 else 0.12) * (top - bottom))
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_xlabel(name)
    axes.set_ylabel("Spearman with accuracy")
