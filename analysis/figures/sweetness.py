"""Bars of sweetness: the chosen interval, its runner-up, and how sure the choice is (Algorithm 1)."""

from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from sweetgrad.analysis.figures.style import INK, OTHER, RUNNER_UP, WIDTH, WINNER, finish, new_figure
from sweetgrad.analysis.figures.ticks import power_ticks
from sweetgrad.analysis.sweetness import BestInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_sweetness"]


def plot_sweetness(best: BestInterval, *, path: str | Path | None = None) -> "Figure":
    """Draw the sweetness of every interval as bars, with the chosen one and its runner-up named.

    Parameters
    ----------
    best
        Result of `best_interval`.
    path
        Where to save the picture, if anywhere; the suffix says the format.

    Returns
    -------
    The matplotlib figure. Raises ``ImportError`` that says what to install if matplotlib is missing.
    """
    figure = new_figure(WIDTH, 3.5)
    axes = figure.subplots()
    values = best.table["sweetness"].values
    labels = [str(label) for label in best.table["interval"].values]
    winner, runner_up = labels.index(str(best.interval)), labels.index(str(best.runner_up))
    colours = [WINNER if i == winner else RUNNER_UP if i == runner_up else OTHER for i in range(len(values))]
    axes.bar(range(len(values)), values, color=colours, width=0.82)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.axhline(0, color=INK, linewidth=0.8)
    _name_bar(
        axes,
        winner,
        best.sweetness,
        f"{best.interval}: {best.sweetness:.3f}\nbest in {best.confidence:.0%} of resamples",
        WINNER,
    )
    _note_runner_up(axes, best)
    _tick_intervals(axes, best.table)
    low, high = min(0.0, values.min()), max(0.0, values.max())
    room = max(high - low, 0.05)  # above the bars for the label of the winner and the note
    axes.set_ylim(low - 0.08 * room, high + 0.3 * room)
    axes.set_ylabel("sweetness")
    axes.set_xlabel(r"lower edge of the interval of $|\partial J/\partial\theta|$ at initialisation")
    axes.set_title(
        f"Sweetness of every interval (first {best.num_archs} architectures)",
        loc="left",
        color=INK,
        fontsize=11,
        pad=24,
    )
    return finish(figure, axes, path=path)


def _name_bar(axes: "Axes", position: int, height: float, text: str, colour: str) -> None:
    left, right = axes.get_xlim()
    place = (position - left) / (right - left)
    side = "left" if place < 0.15 else "right" if place > 0.85 else "center"  # never out of the picture
    axes.annotate(
        text,
        (position, max(height, 0)),
        xytext=(0, 6),
        textcoords="offset points",
        ha=side,
        va="bottom",
        color=colour,
        fontweight="bold",
        fontsize=9.5,
        linespacing=1.3,
    )


def _note_runner_up(axes: "Axes", best: BestInterval) -> None:
    text = f"■ next {best.runner_up}: {best.runner_up_sweetness:.3f}, best in {best.runner_up_confidence:.0%}"
    axes.text(0, 1.025, text, transform=axes.transAxes, va="bottom", color=RUNNER_UP, fontsize=9.5)


def _tick_intervals(axes: "Axes", table: xr.Dataset) -> None:
    ticks, names = power_ticks(table["lower"].values)
    if len(table["interval"]) > 20:
        ticks, names = ticks[1:], names[1:]  # bars so narrow that 0 and the smallest threshold would overlap
    # A tick at the left side of the bar: that is where its interval starts.
    axes.set_xticks(ticks - 0.5, names)
