import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from sweetgrad.profiling import Batch, make_spec, profile_architectures
from sweetgrad.profiling.registry import load_batch
from sweetgrad.profiling.spaces._cell_network import OPERATIONS, build_cell_network, count_costs, operation
from sweetgrad.profiling.spaces.darts import Darts, DartsImageNet, NasBench301, genotype_at, sample_genotype
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store import Genotype, read_accuracy_file

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
SMALL: dict[str, Any] = {"channels": 4, "cells": 5}


def uniform(name: str) -> str:
    """Every edge the same operation, each node fed by the two before it."""
    edges = tuple((name, source) for node in range(2, 6) for source in (node - 2, node - 1))
    return str(Genotype(edges, (2, 3, 4, 5), edges, (2, 3, 4, 5)))


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    """One to five nodes, any operation, any nodes joined."""
    nodes = draw(st.integers(1, 5))
    cells = []
    for _ in range(2):
        places = range(2 * nodes)
        edges = tuple((draw(st.sampled_from(sorted(OPERATIONS))), draw(st.integers(0, p // 2 + 1))) for p in places)
        cells.append((edges, tuple(sorted(draw(st.sets(st.integers(2, nodes + 1), min_size=1))))))
    return Genotype(*cells[0], *cells[1])


@pytest.fixture(scope="module")
def batch() -> Batch:
    return load_batch("digits", batch_size=8)


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "num_classes", "params"),
    [
        (Darts(), 10, 3_349_342),  # published: 3.3 M
        (DartsImageNet(), 1000, 4_718_752),  # published: 4.7 M
    ],
)
def test_build__has_the_published_number_of_parameters(space: Darts, num_classes: int, params: int) -> None:
    network = space.build(DARTS_V2, in_channels=3, num_classes=num_classes)
    assert sum(p.numel() for p in network.module.parameters()) == params == space.costs(DARTS_V2).params


def test_build__skips_alone_have_the_parameters_that_a_hand_counts() -> None:
    # 8 channels, 3 cells, of which the second and the third reduce; a skip is free but with stride 2.
    network = Darts(channels=8, cells=3).build(uniform("skip_connect"), num_classes=10)
    stem = 27 * 24 + 2 * 24
    cell0 = 2 * (24 * 8 + 2 * 8)
    # Inputs of 24 and 32 channels; of its 8 edges, 0 -> 2, 1 -> 2 and 1 -> 3 have stride 2, each 16 x 16 weights and BatchNorm.
    cell1 = (24 * 16 + 32) + (32 * 16 + 32) + 3 * (16 * 16 + 32)
    cell2 = (32 * 32 + 64) + (64 * 32 + 64) + 3 * (32 * 32 + 64)
    found = [sum(p.numel() for p in layer.parameters()) for layer in network.layers]
    assert found == [stem, cell0, cell1, cell2, 128 * 10 + 10]


def test_build__layers_are_stem_cells_and_head_with_reductions_at_the_thirds() -> None:
    space = Darts(channels=4, cells=8)
    network = space.build(DARTS_V2)
    assert [layer.name for layer in network.layers] == list(space.layer_names)
    types = ["reduction" if place in (2, 5) else "cell" for place in range(8)]
    assert [layer.type for layer in network.layers] == ["stem", *types, "head"]


@pytest.mark.parametrize(
    ("space", "size", "shapes"),
    [
        (Darts(channels=4, cells=6), 32, [(16, 32), (16, 32), (32, 16), (32, 16), (64, 8), (64, 8)]),
        (DartsImageNet(channels=4, cells=3), 64, [(16, 8), (32, 4), (64, 2)]),
    ],
)
def test_build__halves_the_resolution_and_doubles_the_channels(
    space: Darts, size: int, shapes: list[tuple[int, int]]
) -> None:
    network = space.build(DARTS_V2)
    found = []
    for cell in network.module.get_submodule("cells").children():
        cell.register_forward_hook(lambda module, given, out: found.append((out.shape[1], out.shape[2])))
    assert network.module(torch.zeros(2, 3, size, size)).shape == (2, 10)
    assert found == shapes


def test_cell__computes_what_the_definition_says() -> None:
    torch.manual_seed(0)
    genotype = Darts(**SMALL).arch_id(3)
    module = Darts(**SMALL).build(genotype).module.double()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(module(x), literal_forward(module, sample_genotype(3), x), atol=1e-12)


def literal_forward(module: nn.Module, genotype: Genotype, x: Tensor) -> Tensor:
    """The network in functional form, from the parameters in the order of their construction."""
    weights = iter(module.parameters())

    def bn(x: Tensor) -> Tensor:
        scale, shift = next(weights), next(weights)
        return F.batch_norm(x, None, None, scale, shift, training=True)

    def dense(x: Tensor) -> Tensor:
        return bn(F.conv2d(F.relu(x), next(weights)))

    def factorised(x: Tensor) -> Tensor:
        x = F.relu(x)
        halves = F.conv2d(x[:, :, ::2, ::2], next(weights)), F.conv2d(x[:, :, 1::2, 1::2], next(weights))
        return bn(torch.cat(halves, 1))

    def depthwise(x: Tensor, stride: int, dilation: int) -> Tensor:
        weight = next(weights)
        padding = dilation * (weight.shape[-1] // 2)
        x = F.conv2d(F.relu(x), weight, None, stride, padding, dilation, groups=x.shape[1])
        return bn(F.conv2d(x, next(weights)))

    def op(name: str, x: Tensor, stride: int) -> Tensor:
        if name == "skip_connect":
            return x if stride == 1 else factorised(x)
        if name == "max_pool_3x3":
            return F.max_pool2d(x, 3, stride, 1)
        if name == "avg_pool_3x3":
            ones = F.avg_pool2d(torch.ones_like(x), 3, stride, 1)
            return F.avg_pool2d(x, 3, stride, 1) / ones
        if name.startswith("dil"):
            return depthwise(x, stride, 2)
        return depthwise(depthwise(x, stride, 1), 1, 1)

    before = last = bn(F.conv2d(x, next(weights), None, 1, 1))
    follows = False
    for place in range(SMALL["cells"]):
        reduces = place in (SMALL["cells"] // 3, 2 * SMALL["cells"] // 3)
        edges = genotype.reduce if reduces else genotype.normal
        states = [factorised(before) if follows else dense(before), dense(last)]
        for node in range(4):
            (first, a), (second, b) = edges[2 * node : 2 * node + 2]
            one = op(first, states[a], 2 if reduces and a < 2 else 1)
            states.append(one + op(second, states[b], 2 if reduces and b < 2 else 1))
        before, last, follows = last, torch.cat(states[2:], 1), reduces
    logits = F.linear(last.mean((2, 3)), next(weights), next(weights))
    assert next(weights, None) is None
    return logits


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize(("stride", "size"), [(1, 8), (2, 8), (1, 7), (2, 7)])
def test_operation__keeps_channels_and_divides_the_size(name: str, stride: int, size: int) -> None:
    out = operation(name, 4, stride)(torch.rand(2, 4, size, size))
    assert out.shape == (2, 4, -(-size // stride), -(-size // stride))


def test_operation__pools_count_no_padding() -> None:
    ones = torch.ones(1, 1, 6, 6)
    for name in (name for name in OPERATIONS if "pool" in name):
        assert torch.equal(operation(name, 1, 1)(ones), ones), name
        # Not what lies outside either: of negative pixels, the largest is negative.
        assert torch.allclose(operation(name, 1, 1)(-ones), -ones), name


def test_operation__none_stays_in_the_graph() -> None:
    x = torch.rand(1, 2, 4, 4, requires_grad=True)
    operation("none", 2, 2)(x).sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


@settings(max_examples=25, deadline=None)
@given(genotypes(), st.sampled_from([2, 4, 6]), st.integers(1, 6), st.sampled_from(["cifar", "imagenet"]))
def test_count_costs__agree_with_modules_and_with_torchs_counter(
    genotype: Genotype, channels: int, num_cells: int, form: str
) -> None:
    setting: dict[str, Any] = {
        "form": form,
        "channels": channels,
        "num_cells": num_cells,
        "in_channels": 3,
        "num_classes": 7,
    }
    names = ("stem", *map(str, range(num_cells)), "head")
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():  # shapes are enough
        module = build_cell_network(genotype, **setting, names=names).module
        with counter:
            module(torch.zeros(2, 3, 32, 32))
    costs = count_costs(genotype, **setting, size=32)
    assert costs.params == sum(p.numel() for p in module.parameters())
    assert costs.multiply_adds * 2 * 2 == counter.get_total_flops()


@pytest.mark.parametrize("space", [Darts(**SMALL), NasBench301(**SMALL), DartsImageNet(**SMALL)])
def test_build__depends_on_the_seed_alone(space: Darts) -> None:
    def weights() -> list[Tensor]:
        torch.manual_seed(7)
        return list(space.build(space.arch_id(0)).module.parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (DARTS_V2.replace("dil_conv_3x3", "dil_conv_7x7"), "unknown operation 'dil_conv_7x7'"),
        (DARTS_V2.replace("dil_conv_3x3', 2", "dil_conv_3x3', 5"), "node 5 takes node 5"),
        (DARTS_V2.replace(", ('dil_conv_3x3', 2)", ""), "7 edges"),
        (uniform("sep_conv_7x7"), "unknown operation"),  # NDS has it, this space has not
        ("|none~0|", "not a genotype"),
    ],
)
def test_build__refuses_what_is_not_in_the_space(arch: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Darts().build(arch)


# --- the space ------------------------------------------------------------------------------------------------------


def test_arch_id__is_the_draw_of_its_place_whatever_the_number_of_rows() -> None:
    few, many = Darts(num_archs=3), Darts(num_archs=50)
    assert [few.arch_id(i) for i in range(3)] == [many.arch_id(i) for i in range(3)]
    assert (len(few), len(many), len(Darts())) == (3, 50, 10_000)
    with pytest.raises(IndexError, match=r"0\.\.2, got 3"):
        few.arch_id(3)


def test_space__is_one_and_travels_by_pickle_in_a_few_bytes() -> None:
    space = Darts(**SMALL)
    assert isinstance(space, SearchSpace)
    packed = pickle.dumps(space)
    assert len(packed) < 2000
    assert pickle.loads(packed).arch_id(17) == space.arch_id(17)  # noqa: S301


def test_variant__is_empty_for_the_papers_network_and_says_what_differs() -> None:
    assert (Darts().variant, Darts(channels=36, cells=20).variant) == ("", "")
    assert Darts(channels=16).variant == "c16-n20"
    assert Darts(**SMALL).options == {"channels": 4, "cells": 5}
    assert Darts(**SMALL, num_archs=5, max_multiply_adds=5e6).variant == "c4-n5-max5M"


def test_max_multiply_adds__leaves_out_what_is_larger_and_keeps_the_order() -> None:
    whole = Darts(**SMALL, num_archs=40)
    costs = [whole.costs(whole.arch_id(i)).multiply_adds for i in range(40)]
    limit = sorted(costs)[20]
    small = Darts(**SMALL, num_archs=12, max_multiply_adds=limit)
    expected = [whole.arch_id(i) for i in range(40) if costs[i] <= limit]
    assert [small.arch_id(i) for i in range(12)] == expected[:12]


def test_mutate__keeps_to_max_multiply_adds() -> None:
    limited = Darts(channels=16, cells=8, num_archs=1, max_multiply_adds=30e6)
    free, random = Darts(channels=16, cells=8), np.random.RandomState(0)
    arch = limited.arch_id(0)
    for _ in range(30):
        arch = limited.mutate(arch, random)
        assert limited.costs(arch).multiply_adds <= 30e6
    assert any(free.costs(free.mutate(arch, random)).multiply_adds > 30e6 for _ in range(30))


def test_max_multiply_adds__that_nothing_meets_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweetgrad.profiling.spaces.darts._MAX_REJECTED", 100)
    with pytest.raises(ValueError, match=r"none of 100 consecutive samples.*raise max_multiply_adds"):
        Darts(max_multiply_adds=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be an integer in 1..4096, got 0"),
        ({"cells": "8"}, "cells must be an integer"),
        ({"channels": 16.0}, "channels must be an integer"),
        ({"num_archs": 0}, "num_archs must be"),
        ({"max_multiply_adds": "600M"}, "max_multiply_adds must be a positive number"),
        ({"max_multiply_adds": -1}, "max_multiply_adds must be"),
    ],
)
def test_space__refuses_parameters_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Darts(**options)


def test_imagenet__needs_even_channels() -> None:
    with pytest.raises(ValueError, match="channels must be even"):
        DartsImageNet(channels=5)


# --- tables ---------------------------------------------------------------------------------------------------------


def write_table(path: Path, *genotypes: str, column: str = "genotype") -> Path:
    frame = pd.DataFrame({column: genotypes, "valid_acc_e200": 90.0})
    frame.to_csv(path, index=False)
    return path


def test_table__gives_the_rows_in_its_order(tmp_path: Path) -> None:
    none = uniform("none").replace("('none', 1)", "('none', 0)")  # tables have `none`, and one input twice
    path = write_table(
        tmp_path / "table.csv", DARTS_V2, none, DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)", 1)[:-1] + ")"
    )
    with pytest.raises(ValueError, match=r"row 2 .*the same genotype as row 0"):
        Darts(path)
    write_table(path, none, DARTS_V2)
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for table in (path, packed):
        space = Darts(table, **SMALL)
        assert [space.arch_id(i) for i in range(len(space))] == [none, DARTS_V2]
        assert (space.order, space.open_ended) == ("file", False)
    assert Darts(path, channels=16, cells=8, max_multiply_adds=3.5e7).arch_id(0) == none


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "cannot be read"),
        ("arch\nx\n", r"lacks the column\(s\) genotype; it has arch; expected a csv .* column genotype"),
        ("genotype\n", "has no rows"),
        (f'genotype\n"{DARTS_V2}"\n"{DARTS_V2.replace("skip_connect", "skip")}"\n', "row 1 .*unknown operation 'skip'"),
    ],
)
def test_table__errors_name_file_and_row(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=rf"table\.csv.*{message}|{message}.*table\.csv"):
        Darts(path)


def test_table__takes_no_number_of_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_archs cannot be combined with a table"):
        Darts(write_table(tmp_path / "table.csv", DARTS_V2), num_archs=3)


def test_table__names_architectures_as_the_importer_does(tmp_path: Path) -> None:
    spelt = (DARTS_V2.replace(" ", ""), uniform("none").replace("[2, 3, 4, 5]", "range(2, 6)"))
    path = write_table(tmp_path / "table.csv", *spelt)
    space = Darts(path)
    assert [space.arch_id(i) for i in range(2)] == read_accuracy_file(path, space="darts")["arch"].tolist()
    assert [space.arch_id(i) for i in range(2)] == [DARTS_V2, uniform("none")]


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "num_rows"), [("darts-1000", 1000), ("nas-bench-301-sample", 2000)])
def test_table__published_ones_name_architectures_as_we_do(shared_data: Path, name: str, num_rows: int) -> None:
    path = shared_data / "benchmarks" / f"{name}.csv.gz"
    space = NasBench301(path, **SMALL)
    assert [space.arch_id(i) for i in range(len(space))] == pd.read_csv(path).genotype.tolist()
    assert len(space) == num_rows


# --- profiling ------------------------------------------------------------------------------------------------------


def test_profile__counts_every_parameter_in_its_layer(batch: Batch) -> None:
    space = Darts(**SMALL)
    rows = profile_architectures(space, [0, 1, 2], batch, make_spec(space, batch), estimators=["params", "flops"])
    assert rows.status.values.tolist() == [1, 1, 1]
    for row in range(3):
        counted = rows.grad_count[row].sum("bin").values
        network = space.build(space.arch_id(row))
        assert (counted.sum(axis=1) == [sum(p.numel() for p in layer.parameters()) for layer in network.layers]).all()
    scores = rows.score.values
    assert scores[:, 0].tolist() == [space.costs(space.arch_id(i)).params for i in range(3)]


def test_profile__nodes_of_none_alone_leave_zeros(batch: Batch, tmp_path: Path) -> None:
    space = Darts(write_table(tmp_path / "table.csv", uniform("none")), **SMALL)
    rows = profile_architectures(space, [0], batch, make_spec(space, batch))
    weights = rows.grad_count.sel(kind="weight")[0]
    assert rows.status.item() == 1
    # The last cell puts out zeros: only the bias of the classifier has a gradient.
    assert (weights[..., 0] == weights.sum("bin")).all()


def test_spec__records_channels_and_cells_and_not_the_number_of_rows(batch: Batch) -> None:
    spec = make_spec(Darts(**SMALL, num_archs=5), batch)
    assert spec.space_options == {"channels": 4, "cells": 5}
    assert spec.profile_name == "darts/digits/bs8-seed42-c4-n5"


def test_genotype_at__is_exported_with_the_space() -> None:
    assert str(genotype_at(0)).startswith("Genotype(normal=[('max_pool_3x3', 0), ('max_pool_3x3', 1)")
