"""Pictures from the store: each a pure function that computes what is shown, and one that draws it.

`figure` draws any of them by name from a store; matplotlib is imported only when something is drawn.
"""

from sweetgrad.analysis.figures.activations import activation_density
from sweetgrad.analysis.figures.catalogue import FIGURES, FigureKind, figure
from sweetgrad.analysis.figures.cells import plot_cells
from sweetgrad.analysis.figures.comparison import plot_comparison
from sweetgrad.analysis.figures.depth import plot_depth, proportion_by_depth
from sweetgrad.analysis.figures.gradients import gradient_density, plot_gradients
from sweetgrad.analysis.figures.heatmap import plot_heatmap
from sweetgrad.analysis.figures.layers import plot_layers
from sweetgrad.analysis.figures.sampling import choice_by_num_archs, plot_num_archs
from sweetgrad.analysis.figures.scatter import plot_scatter, score_and_accuracy
from sweetgrad.analysis.figures.settings import choice_by_setting, plot_settings
from sweetgrad.analysis.figures.source import Source, open_source
from sweetgrad.analysis.figures.sweetness import plot_sweetness

__all__ = [
    "FIGURES",
    "FigureKind",
    "Source",
    "activation_density",
    "choice_by_num_archs",
    "choice_by_setting",
    "figure",
    "gradient_density",
    "open_source",
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
    "proportion_by_depth",
    "score_and_accuracy",
]
