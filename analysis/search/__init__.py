"""Architecture search from stored scores and a table of accuracies: nothing is trained, and 500 runs take seconds."""

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark, search_benchmark, search_scores
from sweetgrad.analysis.search.bohb import bohb
from sweetgrad.analysis.search.draws import Draws
from sweetgrad.analysis.search.evolution import evolution, random_search, regularised_evolution
from sweetgrad.analysis.search.grid import OperationGrid
from sweetgrad.analysis.search.inputs import SearchInputs, search_inputs
from sweetgrad.analysis.search.plots import plot_trajectories
from sweetgrad.analysis.search.reinforce import reinforce
from sweetgrad.analysis.search.results import join_histories, search_table, trajectories
from sweetgrad.analysis.search.runs import SearchSettings
from sweetgrad.analysis.search.selection import select_architectures
from sweetgrad.analysis.search.suite import ALGORITHMS, run_searches, run_selections

__all__ = [
    "ALGORITHMS",
    "Draws",
    "OperationGrid",
    "Scores",
    "SearchBenchmark",
    "SearchInputs",
    "SearchSettings",
    "bohb",
    "evolution",
    "join_histories",
    "plot_trajectories",
    "random_search",
    "regularised_evolution",
    "reinforce",
    "run_searches",
    "run_selections",
    "search_benchmark",
    "search_inputs",
    "search_scores",
    "search_table",
    "select_architectures",
    "trajectories",
]
