"""How the choice of the interval depends on the number of architectures that it rests on (Fig. 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sweetgrad.analysis.correlation import correlation_by_interval
from sweetgrad.analysis.figures.style import CYCLE, INK, OTHER, WIDTH, WINNER, finish, new_figure
from sweetgrad.analysis.figures.ticks import share_label
from sweetgrad.analysis.intervals import IntervalGrid, Intervals
from sweetgrad.analysis.sweetness import sweetest, sweetness_by_arch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["choice_by_num_archs", "plot_num_archs"]

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
    """Choose the interval again and again from so many architectures, drawn without repetition from all that were measured.

    Parameters
    ----------
    profile
        A profile as from `open_profile`.
    grid
        Intervals to choose from.
    accuracy
        Dims ``(arch,)``: what the score in the chosen interval is correlated with, over all architectures.
    sizes
        Numbers of architectures; those above the number measured are left out.
    draws, seed
        Number of draws for every size, and the seed of the draws.

    Returns
    -------
    Dims ``(num_archs, interval)``: ``share`` of the draws that chose an interval, in [0, 1]. ``first`` (num_archs,): the
    interval that the first so many architectures choose, as in `best_interval`. With ``accuracy``, Spearman correlations in
    [-1, 1]: ``correlation`` (interval,), over the draws ``mean``, ``low`` and ``high`` (5 % and 95 %), and ``first_correlation``.

    Raises
    ------
    ValueError
        If fewer architectures were measured than the smallest size, or as in `correlation_by_interval`.
    """
    by_arch = sweetness_by_arch(profile, grid)
    kept = [size for size in sizes if size <= by_arch.sizes["arch"]]
    if not kept:
        raise ValueError(
            f"{by_arch.sizes['arch']} architectures were measured, none of the sizes is so small: {list(sizes)}"
        )
    values, random = by_arch.values, np.random.RandomState(seed)
    chosen = np.empty((len(kept), draws), dtype=np.int64)
    first = np.empty(len(kept), dtype=np.int64)
    for row, size in enumerate(kept):
        first[row] = sweetest(values[:size].mean(axis=0))
        for draw in range(draws):
            chosen[row, draw] = sweetest(values[random.choice(len(values), size, replace=False)].mean(axis=0))
    num_intervals = by_arch.sizes["interval"]
    share = np.array([np.bincount(row, minlength=num_intervals) / draws for row in chosen])
    labels = by_arch["interval"].values
    found = xr.Dataset(
        {"share": (("num_archs", "interval"), share), "first": ("num_archs", labels[first])},
        {"num_archs": kept, "interval": labels},
        attrs={"draws": draws, "num_measured": by_arch.sizes["arch"]},
    )
    if accuracy is not None:
        correlation = correlation_by_interval(profile, accuracy, grid).values
        drawn = correlation[chosen]
        low, high = np.nanquantile(drawn, (0.05, 0.95), axis=1)
        found = found.assign(
            correlation=("interval", correlation),
            mean=("num_archs", np.nanmean(drawn, axis=1)),
            low=("num_archs", low),
            high=("num_archs", high),
            first_correlation=("num_archs", correlation[first]),
        )
    return found


def plot_num_archs(choice: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Draw which intervals are chosen, and what rank correlation that gives, against the number of architectures.

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
    """Bars of the share of draws that chose an interval: the most frequent by name, the others together."""
    share = choice["share"].values
    order = np.argsort(-share.mean(axis=0), kind="stable")
    named = [i for i in order[:_NAMED] if share[:, i].any()]
    bottom = np.zeros(len(place))
    hatches = ("", "///", "...", "xxx")
    for number, i in enumerate(named):
        axes.bar(
            place,
            share[:, i],
            bottom=bottom,
            width=0.8,
            color=CYCLE[number],
            hatch=hatches[number],
            edgecolor="white",
            linewidth=0.4,
            label=str(choice["interval"].values[i]),
        )
        bottom += share[:, i]
    if (bottom < 1 - 1e-9).any():
        axes.bar(place, 1 - bottom, bottom=bottom, width=0.8, color=OTHER, label="others")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(share_label)
    axes.set_ylabel(f"share of {choice.attrs['draws']} draws")
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), labelcolor=INK)
