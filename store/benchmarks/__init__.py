"""Read accuracies in the formats of their publishers: one module per format, and one that detects the format."""

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
