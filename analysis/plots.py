"""Pictures of the two main results; matplotlib is imported only when one is drawn."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.intervals import as_threshold, format_threshold
from sweetgrad.analysis.sweetness import BestInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_comparison", "plot_heatmap", "plot_sweetness"]

# Okabe and Ito's palette, which colour-blind readers tell apart; grey for what is not in question.
_WINNER, _RUNNER_UP, _OTHER, _INK, _FAINT = "#D55E00", "#0072B2", "#C9CED6", "#2B2F36", "#8A909A"


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
    figure = _figure(9.0, 4.4)
    axes = figure.subplots()
    values = best.table["sweetness"].values
    labels = [str(label) for label in best.table["interval"].values]
    winner, runner_up = labels.index(str(best.interval)), labels.index(str(best.runner_up))
    colours = [_WINNER if i == winner else _RUNNER_UP if i == runner_up else _OTHER for i in range(len(values))]
    axes.bar(range(len(values)), values, color=colours, width=0.82)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.axhline(0, color=_INK, linewidth=0.8)
    _name_bar(
        axes,
        winner,
        best.sweetness,
        f"{best.interval}: {best.sweetness:.3f}\nbest in {best.confidence:.0%} of resamples",
        _WINNER,
    )
    _note_runner_up(axes, best)
    _tick_intervals(axes, best.table)
    low, high = min(0.0, values.min()), max(0.0, values.max())
    room = max(high - low, 0.05)  # above the bars for the label of the winner and the note
    axes.set_ylim(low - 0.08 * room, high + 0.3 * room)
    axes.set_ylabel("sweetness")
    axes.set_xlabel(r"lower edge of the interval of gradient magnitude $|\partial J/\partial\theta|$ at initialisation")
    axes.set_title(
        f"Where the share of gradients grows with depth ({best.num_archs} architectures)",
        loc="left",
        color=_INK,
        pad=12,
    )
    return _finish(figure, axes, path)


def plot_heatmap(heatmap: xr.DataArray, *, path: str | Path | None = None) -> "Figure":
    """Draw the rank correlation with accuracy for every pair of thresholds (Fig. 2), the best pair outlined.

    Parameters
    ----------
    heatmap
        Result of `heatmap`.
    path
        As in `plot_sweetness`.
    """
    figure = _figure(7.4, 6.2)
    axes = figure.subplots()
    values = heatmap.transpose("lower", "upper").values
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="equal")
    if np.isfinite(values).any():
        row, column = np.unravel_index(np.nanargmax(values), values.shape)
        lower, upper = (
            format_threshold(as_threshold(float(heatmap[dim][i]))) for dim, i in (("lower", row), ("upper", column))
        )
        axes.plot(
            column, row, marker="s", markersize=9, markerfacecolor="none", markeredgecolor="white", markeredgewidth=1.6
        )
        axes.text(
            0.04,
            0.94,
            f"best: [{lower}, {upper})\n{values[row, column]:.3f}",
            transform=axes.transAxes,
            va="top",
            color=_INK,
            fontsize=11,
        )
    for axis, dim in ((axes.xaxis, "upper"), (axes.yaxis, "lower")):
        ticks, names = _power_ticks(heatmap[dim].values)
        axis.set_ticks(ticks, names)
    axes.set_xlabel("upper threshold $t_2$")
    axes.set_ylabel("lower threshold $t_1$")
    axes.set_title("Rank correlation of the score with accuracy", loc="left", color=_INK, pad=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, label=str(heatmap.attrs.get("method", "correlation")))
    bar.outline.set_visible(False)
    return _finish(figure, axes, path)


def plot_comparison(table: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw the correlation of every estimator with accuracy, with its interval, and a line at that of Parameters (Fig. 1).

    Parameters
    ----------
    table
        Result of `compare_estimators`.
    path
        As in `plot_sweetness`.
    """
    table = table.isel(estimator=np.isfinite(table["spearman"].values))
    names = [str(name) for name in table["estimator"].values]
    figure = _figure(8.2, 1.4 + 0.3 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    value, low, high = (table[key].values for key in ("spearman", "spearman_low", "spearman_high"))
    colours = [_WINNER if name == "sweetimator" else _RUNNER_UP if name == "params" else _OTHER for name in names]
    axes.barh(places, value, color=colours, height=0.72)
    # A bootstrap interval can lie beside the value; a length below 0 cannot be drawn.
    ends = np.clip(np.nan_to_num(np.array([value - low, high - value])), 0, None)
    axes.errorbar(value, places, xerr=ends, fmt="none", ecolor=_INK, elinewidth=1, capsize=2)
    axes.plot(
        table["published"].values, places, linestyle="none", marker="D", markersize=4, color=_INK, label="published"
    )
    if "params" in names:
        axes.axvline(value[names.index("params")], color=_RUNNER_UP, linewidth=1, linestyle="--")
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_yticks(places, names)
    axes.set_xlabel("Spearman correlation with trained accuracy (95 % interval)")
    if np.isfinite(table["published"].values).any():
        axes.legend(frameon=False, loc="lower right")
    axes.set_title(
        f"Estimators at initialisation ({int(table['num_archs'].max()):,} architectures)", loc="left", color=_INK
    )
    return _finish(figure, axes, path)


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
        fontsize=10.5,
        linespacing=1.3,
    )


def _note_runner_up(axes: "Axes", best: BestInterval) -> None:
    text = f"■ next {best.runner_up}: {best.runner_up_sweetness:.3f}, best in {best.runner_up_confidence:.0%}"
    axes.text(0.01, 0.97, text, transform=axes.transAxes, va="top", color=_RUNNER_UP, fontsize=10)


def _tick_intervals(axes: "Axes", table: xr.Dataset) -> None:
    ticks, names = _power_ticks(table["lower"].values)
    if len(table["interval"]) > 30:
        ticks, names = ticks[1:], names[1:]  # bars so narrow that 0 and the smallest threshold would overlap
    # A tick at the left side of the bar: that is where its interval starts.
    axes.set_xticks(ticks - 0.5, names)


def _power_ticks(thresholds: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Positions and labels of zero and the powers of ten among ascending thresholds."""
    with np.errstate(divide="ignore"):
        exponent = np.log10(thresholds)
    is_power = np.isclose(exponent, np.round(exponent)) | (thresholds == 0)
    positions = np.flatnonzero(is_power) if is_power.sum() > 2 else np.arange(len(thresholds))
    return positions, [_power_label(thresholds[i]) for i in positions]


def _power_label(threshold: float) -> str:
    exponent = np.log10(threshold) if threshold > 0 else 0.5
    if threshold > 0 and np.isclose(exponent, round(exponent)) and not 0.05 < threshold < 50:
        return f"$10^{{{round(exponent)}}}$"
    return format_threshold(as_threshold(float(threshold)))


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'sweetgrad[plot]'") from error
    # Not through pyplot: no window, no global state, nothing to close.
    return Figure(figsize=(width, height), layout="constrained", dpi=160)


def _finish(figure: "Figure", axes: "Axes", path: str | Path | None) -> "Figure":
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(color=_FAINT, labelcolor=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    if path is not None:
        figure.savefig(path)
    return figure
