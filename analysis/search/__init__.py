"""Simulated architecture search on stored scores and accuracies: nothing is trained, and 500 runs take seconds."""

from sweetgrad.analysis.search.benchmark import (
    Scores,
    SearchBenchmark,
    SearchInputs,
    search_benchmark,
    search_inputs,
    search_scores,
)
from sweetgrad.analysis.search.bohb import bohb
from sweetgrad.analysis.search.evolution import evolution, random_search, regularised_evolution
from sweetgrad.analysis.search.reinforce import reinforce
from sweetgrad.analysis.search.simulation import Draws, OperationGrid, SearchSettings
from sweetgrad.analysis.search.suite import (
    ALGORITHMS,
    join_histories,
    run_searches,
    run_selections,
    search_table,
    select_architectures,
    trajectories,
)

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
