"""Analysis of stored profiles: scores, sweetness, the best interval, rank correlation. Needs neither torch nor Prefect."""

from sweetgrad.analysis.aggregation import aggregate
from sweetgrad.analysis.best_interval import BestInterval, best_interval
from sweetgrad.analysis.comparison import compare_estimators, compare_selections, estimator_scores
from sweetgrad.analysis.correlation import RankCorrelation, correlation_by_interval, heatmap, rank_correlation
from sweetgrad.analysis.counts import interval_bounds, interval_counts
from sweetgrad.analysis.estimators import (
    DerivedEstimator,
    Figure,
    LossSummary,
    derived,
    derived_estimators,
    loss_summary,
    open_statistics,
    params,
    params_live,
    params_weights,
    sweet_grad_abs,
    sweet_grad_norm,
    sweet_grad_sq,
    sweet_gradsign,
    sweet_snip,
    sweet_zico,
    te_nas,
    te_nas_nobn,
)
from sweetgrad.analysis.intervals import Interval, IntervalGrid, sliding_windows
from sweetgrad.analysis.layers import layer_profile
from sweetgrad.analysis.proportion import proportion
from sweetgrad.analysis.ranking import rank_architectures
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.selection import SelectionQuality, ndcg, precision_at, regret_at
from sweetgrad.analysis.sweetness import sweetness
from sweetgrad.analysis.verdict import verdict

__all__ = [
    "BestInterval",
    "DerivedEstimator",
    "Figure",
    "Interval",
    "IntervalGrid",
    "LossSummary",
    "RankCorrelation",
    "SelectionQuality",
    "aggregate",
    "best_interval",
    "compare_estimators",
    "compare_selections",
    "correlation_by_interval",
    "derived",
    "derived_estimators",
    "estimator_scores",
    "heatmap",
    "interval_bounds",
    "interval_counts",
    "layer_profile",
    "loss_summary",
    "ndcg",
    "open_statistics",
    "params",
    "params_live",
    "params_weights",
    "precision_at",
    "proportion",
    "rank_architectures",
    "rank_correlation",
    "regret_at",
    "score",
    "sliding_windows",
    "sweet_grad_abs",
    "sweet_grad_norm",
    "sweet_grad_sq",
    "sweet_gradsign",
    "sweet_snip",
    "sweet_zico",
    "sweetness",
    "te_nas",
    "te_nas_nobn",
    "verdict",
]
