"""Accuracies as their publishers give them away: one module a format, and one that tells which it is."""

from sweetgrad.store.benchmarks.reading import Format, read_accuracy_file
from sweetgrad.store.benchmarks.tidy import tidy

__all__ = ["Format", "read_accuracy_file", "tidy"]
