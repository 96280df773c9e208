"""Axes of parameters: they name everything that any network has, in its order, and nothing that none has."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sweetgrad.profiling.spaces.darts import Darts, DartsImageNet, NasBench301, sample_genotype
from sweetgrad.profiling.spaces.nas_bench_101 import NasBench101
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.profiling.spaces.nds import Nds, NdsAmoeba, NdsDarts, NdsEnas, NdsNasnet, NdsPnas
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store.spaces.genotypes import NDS_OPERATIONS
from sweetgrad.store.spaces.graphs import GRAPH_OPERATIONS, read_edges

Axes = dict[str, dict[str, str]]


def check_names(space: Any, archs: Iterator[str]) -> Axes:
    """Check the names of networks against the axes of their space; returns those that some network has."""
    axes = space.parameter_axes()
    seen: Axes = {axis: {} for axis in axes}
    for arch in archs:
        with torch.device("meta"):
            network = space.build(arch, in_channels=3, num_classes=10)
        for axis, found in network.named_parameters().items():
            layers = {name: layer for name, (layer, _) in found.items()}
            assert {name: axes[axis].get(name) for name in layers} == layers, arch
            assert [name for name in axes[axis] if name in layers] == list(layers), arch
            seen[axis] |= layers
    return seen


def sizes(space: Any) -> tuple[int, int]:
    axes = space.parameter_axes()
    return len(axes["tensor"]), len(axes["vector"])


def graphs(count: int) -> Iterator[str]:
    """Random graphs of NAS-Bench-101 with 2 to 7 vertices."""
    generator = random.Random(0)
    while count:
        vertices = generator.randint(2, 7)
        adjacency = "".join(generator.choice("001") for _ in range(vertices * (vertices - 1) // 2))
        try:
            read_edges(adjacency)
        except ValueError:
            continue
        count -= 1
        yield f"{adjacency}:{';'.join(generator.choice(GRAPH_OPERATIONS) for _ in range(vertices - 2))}"


_ANY_GRAPH = NasBench101.__new__(NasBench101)
"""The space without a file: `build` accepts every graph."""


def nds_file(path: Path, *, widths: Sequence[int], depths: Sequence[int], each: int, nodes: Sequence[int]) -> Path:
    """A file with random cells, ``each`` networks for each width and depth."""
    generator = random.Random(0)
    operations = sorted(NDS_OPERATIONS)
    entries = []
    for width, depth, _ in itertools.product(widths, depths, range(each)):
        num_nodes = generator.choice(nodes)
        normal, reduce = (
            [[generator.choice(operations), generator.randint(0, place // 2 + 1)] for place in range(2 * num_nodes)]
            for _ in range(2)
        )
        joined = {"normal_concat": list(range(2, num_nodes + 2)), "reduce_concat": [num_nodes + 1]}
        genotype = {"normal": normal, "reduce": reduce, **joined}
        entry = {"net": {"genotype": genotype, "width": width, "depth": depth}}
        if entry not in entries:
            entries.append(entry)
    path.write_text(json.dumps(entries))
    return path


def without_order(axes: Axes) -> dict[str, set[str]]:
    return {axis: set(names) for axis, names in axes.items()}


def listed(space: SearchSpace) -> Iterator[str]:
    return (space.arch_id(index) for index in range(len(space)))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        # A normal cell has 2 + 8 * 4 convolutions, a reduction cell 2 + 8 * (4 + 2); the cell after it, and the stem, have more.
        (Darts(), (1 + 18 * 34 + 2 * 50 + 2 + 1, 755)),
        (DartsImageNet(), (3 + 12 * 34 + 2 * 50 + 2 + 1 + 1, 543)),
        (NasBench301(), (1 + 6 * 34 + 2 * 50 + 2 + 1, 323)),
        (NasBench201(), (1 + 15 * 6 + 2 * 3 + 1, 2 * (1 + 15 * 6 + 2 * 2 + 1) + 1)),
        # A cell has a projection to each vertex but the input, and a convolution at each inner vertex.
        (_ANY_GRAPH, (1 + 9 * (6 + 5) + 1, 2 * (1 + 9 * (6 + 5)) + 1)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_parameter_axes__have_the_sizes_that_a_hand_counts(space: Any, expected: tuple[int, int]) -> None:
    assert sizes(space) == expected


@pytest.mark.parametrize(
    "space",
    [Darts(channels=4, cells=2), DartsImageNet(channels=8, cells=1)],
    ids=lambda space: f"{space.name}-{space.variant}",
)
def test_parameter_axes__of_darts_name_what_random_genotypes_have_and_nothing_else(space: Darts) -> None:
    # So many networks have everything together.
    seen = check_names(space, (str(sample_genotype(index)) for index in range(150)))
    assert without_order(seen) == without_order(space.parameter_axes())


@pytest.mark.parametrize("space", [Darts(), DartsImageNet(), NasBench301()], ids=lambda space: space.name)
def test_parameter_axes__name_what_networks_of_the_papers_size_have(space: Darts) -> None:
    check_names(space, (str(sample_genotype(index)) for index in range(2)))


def test_parameter_axes__of_nas_bench_101_name_what_graphs_have_and_nothing_else() -> None:
    def chain(vertices: int) -> str:
        upper = "".join(
            str(int(b == a + 1 or (a, b) == (0, vertices - 1))) for a, b in itertools.combinations(range(vertices), 2)
        )
        return f"{upper}:{';'.join(['conv1x1'] * (vertices - 2))}"

    seen = check_names(_ANY_GRAPH, itertools.chain(graphs(60), map(chain, range(2, 8))))
    assert without_order(seen) == without_order(_ANY_GRAPH.parameter_axes())


def test_parameter_axes__of_nas_bench_201_name_what_random_cells_have() -> None:
    space = NasBench201()
    check_names(space, (space.arch_id(index) for index in range(0, len(space), 1013)))


@pytest.mark.parametrize("space", [NdsAmoeba, NdsDarts, NdsEnas, NdsNasnet, NdsPnas])
def test_parameter_axes__of_nds_name_what_the_networks_of_a_file_have(space: type[Nds], tmp_path: Path) -> None:
    # Narrow and wide ones, whose modules differ; depths of which the larger has cells where the smaller has its head.
    path = nds_file(tmp_path / space.tables[1], widths=(4, 10, 32), depths=(3, 5), each=2, nodes=(3, 4, 5))
    made = space(path)
    check_names(made, listed(made))


@pytest.mark.parametrize("name", ["DARTS.json", "DARTS_in.json"])
def test_parameter_axes__of_nds_name_nothing_that_no_such_network_has(name: str, tmp_path: Path) -> None:
    made = NdsDarts(nds_file(tmp_path / name, widths=(4,), depths=(1, 2), each=200, nodes=(1,)))
    assert without_order(check_names(made, listed(made))) == without_order(made.parameter_axes())


def test_parameter_axes__of_nds_only_have_the_operations_and_nodes_of_the_file(tmp_path: Path) -> None:
    def entry(operation: str, nodes: int, depth: int) -> dict[str, Any]:
        edges = [[operation, 0]] * (2 * nodes)
        cells = {"normal": edges, "normal_concat": [2], "reduce": edges, "reduce_concat": [2]}
        return {"net": {"genotype": cells, "width": 16, "depth": depth}}

    path = tmp_path / "ENAS.json"
    path.write_text(json.dumps([entry("conv_3x3", 1, 2), entry("max_pool_5x5", 3, 3)]))
    axes = NdsEnas(path).parameter_axes()
    # The file has convolutions and three nodes, so each of six edges may have a convolution, and nothing else.
    assert [name for name in axes["tensor"] if name.startswith("layer1.edges")] == [
        f"layer1.edges.{edge}.1" for edge in range(6)
    ]
    # The third layer is the head of the shallow network and a cell of the deep one.
    assert [name for name in axes["tensor"] if name.startswith("layer3")][:2] == ["layer3", "layer3.inputs.0.convs.0"]
    assert axes["vector"]["layer3.bias"] == axes["vector"]["layer3.inputs.0.norm.bias"] == "layer3"
    assert list(axes["tensor"])[-1] == "layer4"
