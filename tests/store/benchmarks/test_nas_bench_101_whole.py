"""All graphs of NAS-Bench-101 from one file: order, strings and hashes both ways, accuracies; damaged files are refused."""

import csv
import gzip
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweetgrad.profiling.spaces.nas_bench_101 import NasBench101, num_params
from sweetgrad.store.benchmarks import detect_format, read_accuracy_file
from sweetgrad.store.benchmarks.nas_bench_101_whole import read_graphs
from sweetgrad.store.spaces.graphs import find_graph, graph_hash

CODES = {"conv3x3": 0, "conv1x1": 1, "maxpool3x3": 2}
GRAPHS = ["1:", "101:conv1x1", "111010:conv3x3;maxpool3x3", "100101:conv3x3;maxpool3x3"]

MakeFile = Callable[..., Path]


def packed(archs: list[str]) -> dict[str, Any]:
    """The arrays of these graphs, packed by the rule in the docstring."""
    sizes, bits, ops = [], [], []
    for arch in archs:
        upper, _, names = arch.partition(":")
        inner = [CODES[name] for name in names.split(";")] if names else []
        size = len(inner) + 2
        sizes.append(size)
        edges = [pair for pair, digit in zip(combinations(range(size), 2), upper, strict=True) if digit == "1"]
        bits.append(sum(1 << (x + y * (y - 1) // 2) for x, y in edges))
        ops.append(inner + [9] * (5 - len(inner)))
    return {
        "n_vertices": np.array(sizes, np.uint8),
        "adj_bits": np.array(bits, np.uint32),
        "ops": np.array(ops, np.uint8),
        "test_acc_mean3": np.linspace(0.5, 0.95, len(archs), dtype=np.float32),
        "valid_acc_1run_e4_first2": np.array([0.25, 0.5], np.float32),
    }


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    def make(**changes: Any) -> Path:
        path = tmp_path / "whole.npz"
        np.savez(path, **(packed(GRAPHS) | changes))
        return path

    return make


def test_read_graphs__gives_strings_in_the_order_of_the_file(make_file: MakeFile) -> None:
    path = make_file()
    assert read_graphs(path) == GRAPHS
    space = NasBench101(path)
    assert [space.arch_id(index) for index in range(len(space))] == GRAPHS
    for index, graph in enumerate(GRAPHS):
        assert space.find(graph) == space.find(graph_hash(graph)) == index


def test_graph_hash__is_equal_for_isomorphic_graphs_alone() -> None:
    one, other = "1101000110:conv3x3;conv1x1;maxpool3x3", "1101001010:conv1x1;conv3x3;maxpool3x3"
    swapped = "1100100110:conv1x1;conv3x3;maxpool3x3"
    assert graph_hash(one) != graph_hash(other)
    a, b = "110011:conv3x3;conv1x1", "110011:conv1x1;conv3x3"
    assert graph_hash(a) == graph_hash(b)
    assert find_graph([swapped, a], b) == 1


def test_read_accuracies__are_per_cent_with_single_runs_apart(make_file: MakeFile) -> None:
    path = make_file()
    assert detect_format(path) == "nas-bench-101-whole"
    table = read_accuracy_file(path, space="nas-bench-101")
    test = table[table["split"] == "test"]
    assert test["arch"].tolist() == GRAPHS
    np.testing.assert_allclose(test["accuracy"], [50, 65, 80, 95])
    assert set(test["epochs"]) == {108}
    single = table[table["split"] == "valid-1run"]
    assert single[["arch", "epochs", "accuracy"]].values.tolist() == [[GRAPHS[0], 4, 25.0], [GRAPHS[1], 4, 50.0]]
    with pytest.raises(ValueError, match="is a table of nas-bench-101-whole, but was to be read for darts"):
        read_accuracy_file(path, space="darts")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_vertices": np.array([2, 3, 4, 8], np.uint8)}, "row 3: n_vertices must be 2 to 7, got 8"),
        ({"n_vertices": np.array([2, 3, 4], np.uint8)}, "of one length"),
        ({"adj_bits": np.array([1, 0, 3, 3], np.uint32)}, "row 1, adj_bits: no path leads from the input"),
        ({"adj_bits": np.array([1, 13, 7, 9], np.uint32)}, "row 1, adj_bits: 3 vertices have 3 pairs"),
        (
            {"ops": np.array([[9] * 5, [7, *[9] * 4], *[[0, 0, 9, 9, 9]] * 2], np.uint8)},
            r"row 1, ops: expected 0 to 2 .*got \[7",
        ),
        (
            {"ops": np.array([[0, *[9] * 4], [1, *[9] * 4], *[[0, 2, 9, 9, 9]] * 2], np.uint8)},
            "row 0, ops: .* 9 after them",
        ),
        ({"adj_bits": np.array([1.5, 2, 3, 3])}, "expected whole numbers"),
        ({"test_acc_mean3": np.zeros(3, np.float32)}, "test_acc_mean3 must have a fraction for each graph"),
        ({"valid_acc_1run_e4_first2": np.zeros(9, np.float32)}, "valid_acc_1run_e4_first2 must have a fraction"),
        ({"test_acc_mean3": np.array(["x"], dtype=object)}, "without objects"),
    ],
)
def test_read_accuracies__names_what_is_wrong(changes: dict[str, Any], message: str, make_file: MakeFile) -> None:
    path = make_file(**changes)
    with pytest.raises(ValueError, match=message):
        read_accuracy_file(path, space="nas-bench-101", format="nas-bench-101-whole")


def test_read_graphs__refuses_a_graph_that_is_there_twice(make_file: MakeFile) -> None:
    path = make_file(**packed([*GRAPHS[:3], GRAPHS[1]]))
    with pytest.raises(ValueError, match="rows 1 and 3 have the same graph, 101:conv1x1"):
        read_graphs(path)


@pytest.mark.shared_data
def test_whole__is_the_benchmark(shared_data: Path) -> None:
    """All graphs in the order of their hashes, which are the published ones, with the published numbers of parameters."""
    path = shared_data / "benchmarks" / "nas-bench-101-full.npz"
    archs = read_graphs(path)
    assert len(archs) == 423_624
    rows = sorted(np.random.RandomState(0).permutation(len(archs))[:300].tolist())
    assert all(a < b for a, b in pairwise(graph_hash(archs[row]) for row in rows))
    params = np.load(path)["params"]
    assert all(num_params(archs[row]) == params[row] for row in rows[:50])
    with gzip.open(shared_data / "benchmarks" / "nas-bench-101.csv.gz", "rt") as file:
        published = [row for row, _ in zip(csv.DictReader(file), range(200), strict=False)]
    assert all(graph_hash(archs[int(row["nb101_index"])]) == row["hash"] for row in published)
    assert find_graph(archs, published[100]["hash"]) == int(published[100]["nb101_index"])
