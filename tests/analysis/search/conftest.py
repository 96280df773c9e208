"""A small benchmark of which everything is known, and the table of NAS-Bench-201 where it is there."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis.search import Scores, SearchBenchmark, search_benchmark
from sweetgrad.store import read_accuracy_file


def make_table(num_ops: int = 3, num_edges: int = 3, seed: int = 0) -> xr.Dataset:
    """Accuracies of every cell of a few operations, all random."""
    names = "abcdefg"[:num_ops]
    archs = ["".join(f"|{op}~0|" for op in cell) for cell in itertools.product(names, repeat=num_edges)]
    random = np.random.RandomState(seed)
    dims = ("arch", "dataset", "split", "epochs")
    coords: dict[str, list[Any]] = {
        "arch": archs,
        "dataset": ["cifar10", "cifar100"],
        "split": ["test", "valid"],
        "epochs": [12, 200],
    }
    shape = tuple(len(coords[dim]) for dim in dims)
    accuracy, seconds = 50 + 40 * random.random_sample(shape), 5 + 10 * random.random_sample(shape)
    return xr.Dataset({"accuracy": (dims, accuracy), "train_seconds": (dims, seconds)}, coords)


def make_scores(benchmark: SearchBenchmark, *, seconds: float = 0.0, setup: float = 0.0, seed: int = 1) -> Scores:
    """Random scores at the same cost for all."""
    values = np.random.RandomState(seed).random_sample(len(benchmark))
    return Scores("made-up", values, np.full(len(benchmark), seconds), setup)


@pytest.fixture
def table() -> xr.Dataset:
    return make_table()


@pytest.fixture
def benchmark() -> SearchBenchmark:
    return search_benchmark(make_table())


@pytest.fixture(name="make_table")
def make_table_fixture() -> Callable[..., xr.Dataset]:
    return make_table


@pytest.fixture(name="make_scores")
def make_scores_fixture() -> Callable[..., Scores]:
    return make_scores


@pytest.fixture
def trained() -> Callable[[xr.Dataset, SearchBenchmark, int], list[tuple[str, Any]]]:
    """Architecture and simulated time of every training of a run; times are equal to those that are nearly the same."""

    def of_run(history: xr.Dataset, benchmark: SearchBenchmark, run: int) -> list[tuple[str, Any]]:
        one = history.isel(run=run)
        pairs = zip(one.arch_index.values, one.seconds.values, strict=True)
        return [(benchmark.arch[row], pytest.approx(seconds)) for row, seconds in pairs if row >= 0]

    return of_run


@pytest.fixture(scope="session")
def nas_bench_201(shared_data: Path) -> SearchBenchmark:
    """The real table, on which the paper searched."""
    rows = read_accuracy_file(shared_data / "benchmarks" / "nas-bench-201.csv.gz", space="nas-bench-201")
    keyed = rows.set_index(["arch", "dataset", "split", "epochs"])[["accuracy", "seconds"]].to_xarray()
    return search_benchmark(keyed.rename(seconds="train_seconds"))
