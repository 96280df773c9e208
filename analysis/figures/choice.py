"""The choice of the interval: by sweetness (Algorithm 1), number of architectures (Fig. 6), batch size or seed (Figs. 7, 8)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.best_interval import BestInterval, best_interval, sweetest
from sweetgrad.analysis.correlation import correlation_by_interval, rank_correlation
from sweetgrad.analysis.figures.style import (
    CYCLE,
    FAINT,
    INK,
    OTHER,
    RUNNER_UP,
    WIDTH,
    WINNER,
    error_lengths,
    finish,
    literal,
    new_figure,
    power_ticks,
    share_label,
)
from sweetgrad.analysis.intervals import IntervalGrid, Intervals
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.sweetness import sweetness_by_arch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_sweetness(best: BestInterval, *, path: str | Path | None = None) -> "Figure":
    """Draw the sweetness of every interval as bars, with labels for the chosen one and the runner-up.

    Parameters
    ----------
    best
        Result of `best_interval`.
    path
        File to save the figure to, optional; its suffix determines the format.

    Returns
    -------
    The matplotlib figure. Raises ``ImportError`` if matplotlib is missing.
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
        f"{best.interval}: {best.sweetness:.3f}\nwin rate {best.win_rate:.0%}",
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
    side = (
        "left" if place < 0.15 else "right" if place > 0.85 else "center"
    )  # so that the label stays inside the figure
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
    text = f"■ runner-up {best.runner_up}: {best.runner_up_sweetness:.3f}, win rate {best.runner_up_win_rate:.0%}"
    axes.text(0, 1.025, text, transform=axes.transAxes, va="bottom", color=RUNNER_UP, fontsize=9.5)


def _tick_intervals(axes: "Axes", table: xr.Dataset) -> None:
    ticks, names = power_ticks(table["lower"].values)
    if len(table["interval"]) > 20:
        ticks, names = ticks[1:], names[1:]  # bars so narrow that 0 and the smallest threshold would overlap
    # The tick is at the left side of the bar, where its interval starts.
    axes.set_xticks(ticks - 0.5, names)


_SIZES = (10, 25, 50, 100, 150, 200, 300, 500, 1000)
_NAMED = 4


def choice_by_num_archs(
    profile: xr.Dataset,
    grid: Intervals = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    accuracy: xr.DataArray | None = None,
    sizes: Sequence[int] = _SIZES,
    draws: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """Choose the interval repeatedly from random subsets of the measured architectures, drawn without replacement.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`.
    grid
        Intervals to choose from.
    accuracy
        Trained accuracy, dims ``(arch,)``, with which the score in the chosen interval is correlated over all architectures.
    sizes
        Numbers of architectures; those above the number of measured architectures are omitted.
    draws, seed
        Number of draws for every size, and the seed of the draws.

    Returns
    -------
    Dims ``(num_archs, interval)``: ``win_rate``, the share of draws in which an interval was chosen, in [0, 1]. ``first``
    (num_archs,): the interval chosen from the first ``num_archs`` architectures, as in `best_interval`. With ``accuracy``,
    Spearman correlations in [-1, 1]: ``correlation`` (interval,), ``mean``, ``low`` and ``high`` (5 % and 95 %) over the draws,
    and ``first_correlation``.

    Raises
    ------
    ValueError
        If fewer architectures were measured than the smallest size, or as for `correlation_by_interval`.
    """
    by_arch = sweetness_by_arch(profile, grid)
    kept = [size for size in sizes if size <= by_arch.sizes["arch"]]
    if not kept:
        raise ValueError(
            f"only {by_arch.sizes['arch']} architectures were measured, fewer than the smallest of the sizes {list(sizes)}"
        )
    values, random = by_arch.values, np.random.RandomState(seed)
    chosen = np.empty((len(kept), draws), dtype=np.int64)
    first = np.empty(len(kept), dtype=np.int64)
    for row, size in enumerate(kept):
        first[row] = sweetest(values[:size].mean(axis=0))
        for draw in range(draws):
            chosen[row, draw] = sweetest(values[random.choice(len(values), size, replace=False)].mean(axis=0))
    num_intervals = by_arch.sizes["interval"]
    win_rate = np.array([np.bincount(columns, minlength=num_intervals) / draws for columns in chosen])
    labels = by_arch["interval"].values
    choice = xr.Dataset(
        {"win_rate": (("num_archs", "interval"), win_rate), "first": ("num_archs", labels[first])},
        {"num_archs": kept, "interval": labels},
        attrs={"draws": draws, "num_measured": by_arch.sizes["arch"]},
    )
    if accuracy is not None:
        correlation = correlation_by_interval(profile, accuracy, grid).values
        drawn = correlation[chosen]
        low, high = np.nanquantile(drawn, (0.05, 0.95), axis=1)
        choice = choice.assign(
            correlation=("interval", correlation),
            mean=("num_archs", np.nanmean(drawn, axis=1)),
            low=("num_archs", low),
            high=("num_archs", high),
            first_correlation=("num_archs", correlation[first]),
        )
    return choice


def plot_num_archs(choice: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw which intervals are chosen, and their rank correlation with accuracy, against the number of architectures.

    Parameters
    ----------
    choice
        Result of `choice_by_num_archs`.
    path
        As in `plot_sweetness`.
    """
    judged = "mean" in choice
    figure = new_figure(WIDTH, 3.0)
    panels = figure.subplots(1, 2 if judged else 1, squeeze=False)[0]
    place = np.arange(choice.sizes["num_archs"])
    _stack(panels[-1], choice, place)
    if judged:
        axes = panels[0]
        axes.fill_between(place, choice["low"], choice["high"], color=WINNER, alpha=0.18, linewidth=0)
        axes.plot(place, choice["mean"], color=WINNER, linewidth=1.8, label="draws: mean, 5 to 95 %")
        axes.plot(place, choice["first_correlation"], "D", color=INK, markersize=4, label="the first ones")
        axes.set_ylabel("Spearman with accuracy")
        axes.legend(frameon=False, fontsize=8.5, loc="lower right", labelcolor=INK)
        span = np.concatenate([choice["low"], choice["high"], choice["first_correlation"]])
        room = max(0.02, float(np.nanmax(span) - np.nanmin(span)))
        axes.set_ylim(float(np.nanmin(span)) - 0.55 * room, float(np.nanmax(span)) + 0.15 * room)
    for axes in panels:
        axes.set_xticks(
            place, [f"{size:,}" for size in choice["num_archs"].values], rotation=45 if len(place) > 5 else 0
        )
        axes.set_xlabel("architectures")
    return finish(figure, *panels, path=path)


def _stack(axes: "Axes", choice: xr.Dataset, place: np.ndarray) -> None:
    """Stacked bars of the win rate: the most frequent intervals separately, the others combined."""
    win_rate = choice["win_rate"].values
    order = np.argsort(-win_rate.mean(axis=0), kind="stable")
    named = [i for i in order[:_NAMED] if win_rate[:, i].any()]
    bottom = np.zeros(len(place))
    hatches = ("", "///", "...", "xxx")
    for number, i in enumerate(named):
        axes.bar(
            place,
            win_rate[:, i],
            bottom=bottom,
            width=0.8,
            color=CYCLE[number],
            hatch=hatches[number],
            edgecolor="white",
            linewidth=0.4,
            label=str(choice["interval"].values[i]),
        )
        bottom += win_rate[:, i]
    if (bottom < 1 - 1e-9).any():
        axes.bar(place, 1 - bottom, bottom=bottom, width=0.8, color=OTHER, label="others")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(share_label)
    axes.set_ylabel(f"win rate in {choice.attrs['draws']} draws")
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), labelcolor=INK)


_MARKERS, _LINES = "osD^vP", ("solid", "dashed", "dashdot", (0, (1, 1)))


def choice_by_setting(
    profiles: Mapping[str, xr.Dataset],
    grid: Intervals = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    accuracy: xr.DataArray | None = None,
    num_archs: int = 100,
    bootstrap: int = 1000,
) -> xr.Dataset:
    """Sweetness, chosen interval and its rank correlation for each setting.

    Parameters
    ----------
    profiles
        Profiles as returned by `open_profile`, by setting, such as their batch size.
    grid, num_archs, bootstrap
        As in `best_interval` and `rank_correlation`.
    accuracy
        Trained accuracy in %, dims ``(arch,)``.

    Returns
    -------
    ``sweetness`` (setting, interval), ``interval_chosen`` and ``win_rate`` (setting,), and with ``accuracy`` the Spearman
    correlation (setting,) over the architectures of a setting: ``correlation``, ``low``, ``high`` and ``num_archs``.

    Raises
    ------
    ValueError
        If there are no profiles, or as for `best_interval` and `rank_correlation`.
    """
    if not profiles:
        raise ValueError("no profiles to compare: pass at least one")
    chosen = {
        name: best_interval(profile, grid, num_archs=num_archs, bootstrap=bootstrap)
        for name, profile in profiles.items()
    }
    choice = xr.Dataset(
        {
            "sweetness": (("setting", "interval"), np.array([best.table["sweetness"] for best in chosen.values()])),
            "interval_chosen": ("setting", np.array([str(best.interval) for best in chosen.values()], dtype=object)),
            "win_rate": ("setting", np.array([best.win_rate for best in chosen.values()])),
        },
        {**next(iter(chosen.values())).table.coords, "setting": np.array(list(profiles), dtype=object)},
    )
    if accuracy is None:
        return choice
    correlations = [
        rank_correlation(score(profiles[name], best), accuracy, bootstrap=bootstrap) for name, best in chosen.items()
    ]
    return choice.assign(
        correlation=("setting", np.array([correlation.correlation for correlation in correlations])),
        low=("setting", np.array([correlation.low for correlation in correlations])),
        high=("setting", np.array([correlation.high for correlation in correlations])),
        num_archs=("setting", np.array([correlation.num_archs for correlation in correlations])),
    )


def plot_settings(settings: xr.Dataset, *, name: str = "setting", path: str | Path | None = None) -> "Figure":
    """Draw the sweetness of every interval for each setting, and the rank correlation of the interval chosen by each.

    Parameters
    ----------
    settings
        Result of `choice_by_setting`.
    name
        Name of the setting: ``batch size``, ``seed``.
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
    """Rank correlation with its confidence interval for every setting, labelled with the chosen interval of gradients."""
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
