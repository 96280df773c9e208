"""Accuracies as their publishers give them away: one module a format, and one that tells which it is."""

from sweetgrad.store.benchmarks.reading import Format, detect_format, read_accuracy_file
from sweetgrad.store.benchmarks.surrogates import OnnxSurrogate, Surrogate, predict_accuracies
from sweetgrad.store.benchmarks.tidy import tidy

__all__ = [
    "Format",
    "OnnxSurrogate",
    "Surrogate",
    "detect_format",
    "predict_accuracies",
    "read_accuracy_file",
    "tidy",
]
