"""Every picture by name: what it shows, which figure of the paper it is, and how it is drawn from a store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweetgrad.analysis.figures.choice import choice_by_num_archs, plot_num_archs, plot_settings, plot_sweetness
from sweetgrad.analysis.figures.correlation import plot_comparison, plot_heatmap, plot_scatter, score_and_accuracy
from sweetgrad.analysis.figures.depth import plot_depth, proportion_by_depth
from sweetgrad.analysis.figures.magnitudes import activation_density, gradient_density, plot_gradients
from sweetgrad.analysis.figures.source import Source
from sweetgrad.analysis.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureKind:
    """A picture that can be asked for.

    Attributes
    ----------
    name, paper, title
        What to ask for, the figure of the paper that it answers (empty: none), and what it shows.
    draw
        Draws it from a `Source`.
    """

    name: str
    paper: str
    title: str
    draw: Callable[[Source], "Figure"]


def figure(name: str, source: Source, *, path: str | Path | None = None) -> "Figure":
    """Draw one of `FIGURES`.

    Parameters
    ----------
    name
        A name of `FIGURES`.
    source
        As from `open_source`.
    path
        Where to save the picture, if anywhere; the suffix says the format: .png, .svg, .pdf.

    Returns
    -------
    The matplotlib figure.

    Raises
    ------
    ValueError
        If there is no such picture, or the store lacks what it shows; what to add is said.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> source = open_source("nb201.zarr", "nas-bench-201/cifar10/bs64-seed42")  # doctest: +SKIP
    >>> figure("heatmap", source, path="heatmap.svg")                           # doctest: +SKIP
    """
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")
    drawn = FIGURES[name].draw(source)
    if path is not None:
        from sweetgrad.analysis.figures.style import save

        save(drawn, path)
    return drawn


def _shown_intervals(source: Source) -> list[Interval]:
    """The chosen interval, the runner-up, and the one whose share falls most with depth: three kinds of curves."""
    table = source.best.table
    falling = source.grid.intervals[int(table["sweetness"].values.argmin())]
    intervals = [source.chosen, source.best.runner_up, falling]
    return list(dict.fromkeys(intervals))


def _depth(source: Source) -> "Figure":
    return plot_depth(proportion_by_depth(source.profile, _shown_intervals(source)))


def _num_archs(source: Source) -> "Figure":
    accuracy = source.accuracy if source.accuracy_name is not None else None
    return plot_num_archs(choice_by_num_archs(source.profile, source.grid, accuracy=accuracy))


def _scatter(source: Source) -> "Figure":
    points = score_and_accuracy(source.score, source.accuracy, bootstrap=source.bootstrap)
    return plot_scatter(points, names=(f"score in {source.chosen}", f"accuracy, {source.accuracy_name}"))


def _gradients(source: Source) -> "Figure":
    activations = None if source.activations is None else activation_density(source.activations)
    return plot_gradients(gradient_density(source.profile), activations=activations, interval=source.chosen_or_none)


_KINDS = (
    FigureKind(
        "estimators",
        "1",
        "Rank correlation of every estimator with trained accuracy",
        lambda source: plot_comparison(source.comparison),
    ),
    FigureKind(
        "heatmap",
        "2, 4, 5",
        "Rank correlation for every pair of thresholds",
        lambda source: plot_heatmap(source.heatmap, chosen=source.chosen_or_none),
    ),
    FigureKind("depth", "3, 9, 10", "Share of the weights inside an interval, layer by layer", _depth),
    FigureKind("num-archs", "6", "The interval chosen, by the number of architectures", _num_archs),
    FigureKind(
        "batch-size",
        "7",
        "The interval chosen, by batch size",
        lambda source: plot_settings(source.by_setting("batch_size"), name="batch size"),
    ),
    FigureKind(
        "seed",
        "8",
        "The interval chosen, by seed",
        lambda source: plot_settings(source.by_setting("seed"), name="seed"),
    ),
    FigureKind(
        "gradients",
        "11",
        "Magnitudes of gradients, and of activations where the store has them, at initialisation",
        _gradients,
    ),
    FigureKind("scatter", "12", "Score against trained accuracy", _scatter),
    FigureKind(
        "sweetness",
        "",
        "Sweetness of every interval, and how sure the choice is",
        lambda source: plot_sweetness(source.best),
    ),
)

FIGURES: dict[str, FigureKind] = {kind.name: kind for kind in _KINDS}
"""Name to `FigureKind`, in the order of the paper's figures."""
