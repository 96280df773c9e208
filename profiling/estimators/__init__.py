"""Training-free estimators: scores of one network at initialisation, beside its histogram.

An estimator is a function of a `Probe` that returns one number, registered in the entry-point group ``sweetgrad.estimators``.
Estimators share the forward and backward pass of the histogram if they can.
"""

from sweetgrad.profiling.estimators.baselines import flops, params, params_live, params_weights
from sweetgrad.profiling.estimators.hessian import grasp
from sweetgrad.profiling.estimators.histograms import activations, moments
from sweetgrad.profiling.estimators.jacobian import jacob_cov, naswot
from sweetgrad.profiling.estimators.per_sample import gradsign
from sweetgrad.profiling.estimators.protocol import Detailed, Estimator, EstimatorError, Probe, estimator, measures
from sweetgrad.profiling.estimators.pruning import fisher, grad_norm, snip, synflow
from sweetgrad.profiling.estimators.te_nas import (
    te_nas_condition,
    te_nas_condition_nobn,
    te_nas_regions,
    te_nas_regions_nobn,
)
from sweetgrad.profiling.estimators.zen import zen_score, zen_score_nobn

__all__ = [
    "Detailed",
    "Estimator",
    "EstimatorError",
    "Probe",
    "activations",
    "estimator",
    "fisher",
    "flops",
    "grad_norm",
    "gradsign",
    "grasp",
    "jacob_cov",
    "measures",
    "moments",
    "naswot",
    "params",
    "params_live",
    "params_weights",
    "snip",
    "synflow",
    "te_nas_condition",
    "te_nas_condition_nobn",
    "te_nas_regions",
    "te_nas_regions_nobn",
    "zen_score",
    "zen_score_nobn",
]
