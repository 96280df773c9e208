"""All figures by name, with title, corresponding figure of the paper, and the function that draws it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweetgrad.analysis.figures.choice import choice_by_num_archs, plot_num_archs, plot_settings, plot_sweetness
from sweetgrad.analysis.figures.correlation import plot_comparison, plot_heatmap, plot_scatter, score_and_accuracy
from sweetgrad.analysis.figures.depth import plot_depth, proportion_by_depth
from sweetgrad.analysis.figures.magnitudes import activation_density, gradient_density, plot_gradients
from sweetgrad.analysis.figures.profile_analysis import ProfileAnalysis
from sweetgrad.analysis.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure.

    Attributes
    ----------
    name, paper, title
        Name, corresponding figure of the paper (empty if none), and title.
    draw
        Function that draws it from a `ProfileAnalysis`.
    """

    name: str
    paper: str
    title: str
    draw: Callable[[ProfileAnalysis], "Figure"]


def figure(name: str, analysis: ProfileAnalysis, *, path: str | Path | None = None) -> "Figure":
    """Draw one of `FIGURES`.

    Parameters
    ----------
    name
        A name of `FIGURES`.
    analysis
        As returned by `open_analysis`.
    path
        File to save the figure to, optional; its suffix determines the format: .png, .svg, .pdf.

    Returns
    -------
    The matplotlib figure.

    Raises
    ------
    ValueError
        If there is no such figure, or the store lacks the data for it; the message says what to add.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> analysis = open_analysis("nb201.zarr", "nas-bench-201/cifar10/bs64-seed42")  # doctest: +SKIP
    >>> figure("heatmap", analysis, path="heatmap.svg")                           # doctest: +SKIP
    """
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}; available: {', '.join(FIGURES)}")
    drawn = FIGURES[name].draw(analysis)
    if path is not None:
        from sweetgrad.analysis.figures.style import save

        save(drawn, path)
    return drawn


def _shown_intervals(analysis: ProfileAnalysis) -> list[Interval]:
    """The chosen interval, the runner-up, and the interval whose proportion decreases most with depth."""
    table = analysis.best.table
    falling = analysis.grid.intervals[int(table["sweetness"].values.argmin())]
    intervals = [analysis.chosen, analysis.best.runner_up, falling]
    return list(dict.fromkeys(intervals))


def _depth(analysis: ProfileAnalysis) -> "Figure":
    return plot_depth(proportion_by_depth(analysis.profile, _shown_intervals(analysis)))


def _num_archs(analysis: ProfileAnalysis) -> "Figure":
    accuracy = analysis.accuracy if analysis.accuracy_name is not None else None
    return plot_num_archs(choice_by_num_archs(analysis.profile, analysis.grid, accuracy=accuracy))


def _scatter(analysis: ProfileAnalysis) -> "Figure":
    points = score_and_accuracy(analysis.score, analysis.accuracy, bootstrap=analysis.bootstrap)
    return plot_scatter(points, names=(f"score in {analysis.chosen}", f"accuracy, {analysis.accuracy_name}"))


def _gradients(analysis: ProfileAnalysis) -> "Figure":
    activations = None if analysis.activations is None else activation_density(analysis.activations)
    return plot_gradients(gradient_density(analysis.profile), activations=activations, interval=analysis.chosen_or_none)


_KINDS = (
    FigureKind(
        "estimators",
        "1",
        "Rank correlation of every estimator with trained accuracy",
        lambda analysis: plot_comparison(analysis.comparison),
    ),
    FigureKind(
        "heatmap",
        "2, 4, 5",
        "Rank correlation for every pair of thresholds",
        lambda analysis: plot_heatmap(analysis.heatmap, chosen=analysis.chosen_or_none),
    ),
    FigureKind("depth", "3, 9, 10", "Share of the weights inside an interval, layer by layer", _depth),
    FigureKind("num-archs", "6", "Chosen interval by number of architectures", _num_archs),
    FigureKind(
        "batch-size",
        "7",
        "Chosen interval by batch size",
        lambda analysis: plot_settings(analysis.by_setting("batch_size"), name="batch size"),
    ),
    FigureKind(
        "seed",
        "8",
        "Chosen interval by seed",
        lambda analysis: plot_settings(analysis.by_setting("seed"), name="seed"),
    ),
    FigureKind(
        "gradients",
        "11",
        "Magnitudes of gradients, and of activations if the store has them, at initialisation",
        _gradients,
    ),
    FigureKind("scatter", "12", "Score against trained accuracy", _scatter),
    FigureKind(
        "sweetness",
        "",
        "Sweetness of every interval, and the win rate of the chosen one",
        lambda analysis: plot_sweetness(analysis.best),
    ),
)

FIGURES: dict[str, FigureKind] = {kind.name: kind for kind in _KINDS}
"""Kinds of figures by name, in the order of the paper."""
