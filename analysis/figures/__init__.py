"""Figures: for each one, a function that computes the data, and one that draws it.

`figure` draws any of them by name from a store; matplotlib is imported when the first figure is drawn.
"""

from sweetgrad.analysis.figures.catalogue import FIGURES, FigureKind, figure
from sweetgrad.analysis.figures.choice import (
    choice_by_num_archs,
    choice_by_setting,
    plot_num_archs,
    plot_settings,
    plot_sweetness,
)
from sweetgrad.analysis.figures.correlation import plot_comparison, plot_heatmap, plot_scatter, score_and_accuracy
from sweetgrad.analysis.figures.depth import plot_depth, plot_layers, proportion_by_depth
from sweetgrad.analysis.figures.magnitudes import activation_density, gradient_density, plot_gradients
from sweetgrad.analysis.figures.profile_analysis import ProfileAnalysis, open_analysis
from sweetgrad.analysis.figures.search import plot_cells, plot_trajectories

__all__ = [
    "FIGURES",
    "FigureKind",
    "ProfileAnalysis",
    "activation_density",
    "choice_by_num_archs",
    "choice_by_setting",
    "figure",
    "gradient_density",
    "open_analysis",
    "plot_cells",
    "plot_comparison",
    "plot_depth",
    "plot_gradients",
    "plot_heatmap",
    "plot_layers",
    "plot_num_archs",
    "plot_scatter",
    "plot_settings",
    "plot_sweetness",
    "plot_trajectories",
    "proportion_by_depth",
    "score_and_accuracy",
]
