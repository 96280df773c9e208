"""Run networks: draw a batch, build an architecture, run one backward pass, count exactly. The only package that needs torch."""

from sweetgrad.profiling.any_network import profile_network
from sweetgrad.profiling.architectures import make_spec, profile_architectures, profile_shard
from sweetgrad.profiling.batches import Batch, Examples, draw_batch, random_batch
from sweetgrad.profiling.counting import count_gradients
from sweetgrad.profiling.estimators import Estimator, EstimatorError, Probe, estimator, measures
from sweetgrad.profiling.measure import Measurement, measure_network
from sweetgrad.profiling.models import load_model
from sweetgrad.profiling.registry import load_batch, load_examples, load_space
from sweetgrad.profiling.registry import names as registered
from sweetgrad.profiling.spaces import Layer, Network, SearchSpace, unite_names

__all__ = [
    "Batch",
    "Estimator",
    "EstimatorError",
    "Examples",
    "Layer",
    "Measurement",
    "Network",
    "Probe",
    "SearchSpace",
    "count_gradients",
    "draw_batch",
    "estimator",
    "load_batch",
    "load_examples",
    "load_model",
    "load_space",
    "make_spec",
    "measure_network",
    "measures",
    "profile_architectures",
    "profile_network",
    "profile_shard",
    "random_batch",
    "registered",
    "unite_names",
]
