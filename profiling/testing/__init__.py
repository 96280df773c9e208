"""Test kits: one line in a test tells whether a space, a data set or an estimator of your own keeps the rules, and what to do."""

from sweetgrad.profiling.testing.data_sets import DataCheckError, check_examples
from sweetgrad.profiling.testing.estimators import EstimatorCheckError, check_estimator
from sweetgrad.profiling.testing.spaces import SpaceCheckError, check_space

__all__ = [
    "DataCheckError",
    "EstimatorCheckError",
    "SpaceCheckError",
    "check_estimator",
    "check_examples",
    "check_space",
]
