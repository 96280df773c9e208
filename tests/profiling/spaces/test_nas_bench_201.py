"""NAS-Bench-201: strings, order, parameter counts, and the fast network against the literal one, bit for bit.

Gradients of the two are compared at equal memory format. Channels-last makes the convolutions sum in another order than the
contiguous format. That alone moves the last bits of nearly every gradient, and between one gradient in 900 and one in 5,000
into a neighbouring bin (four networks, 16 images of 16x16). A profile is always channels-last, and its spec says so.
"""

import itertools
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sweetgrad.profiling import load_batch, make_spec
from sweetgrad.profiling.measure import Measurement, measure_network
from sweetgrad.profiling.registry import load_space
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201, num_params
from sweetgrad.profiling.spaces.nas_bench_201_network import (
    OPERATIONS,
    DisconnectedNetwork,
    _nodes_that_are_not_zero,
    _nodes_that_reach_output,
)
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.store.spaces.cells import EDGES, parse_arch

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
TABLE = CHECKOUT.parent / "shared" / "data" / "benchmarks" / "nas-bench-201.csv.gz"
NONE, SKIP, CONV1, CONV3, POOL = OPERATIONS
Ops = tuple[str, ...]


def arch_string(ops: Ops) -> str:
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


EVERY = [tuple(ops) for ops in itertools.product(OPERATIONS, repeat=6)]
ALL_3X3 = arch_string((CONV3,) * 6)
ARCH_0 = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
"""Number 0 of the benchmark."""


# Small tensors on many threads are slow on a busy machine, too.
pytestmark = pytest.mark.usefixtures("one_thread")

FAST, LITERAL = NasBench201(), NasBench201(skip_dead=False)  # 15,625 strings each, made once


@pytest.fixture
def space() -> NasBench201:
    return FAST


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    if not TABLE.exists():
        pytest.skip(f"needs {TABLE}")
    return pd.read_csv(TABLE)


# --- strings and order ----------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(EVERY))
def test_parse_arch__inverts_the_string(ops: Ops) -> None:
    assert parse_arch(arch_string(ops)) == ops


@pytest.mark.parametrize(
    "arch_id",
    [
        "",
        "|",
        "nor_conv_3x3",
        "|none~0|+|none~0|none~1|",  # a node too few
        ALL_3X3 + "+|none~0|none~1|none~2|none~3|",  # a node too many
        ALL_3X3.replace("~2", "~1"),  # an edge from another node
        ALL_3X3[1:],
        ALL_3X3 + "|",
        ALL_3X3 + "\n",
        " " + ALL_3X3,
        ALL_3X3.replace("+", ""),
        ALL_3X3.replace("~0|+", "|+"),
        ALL_3X3.replace("|+|", "+"),
    ],
)
def test_parse_arch__refuses_what_is_not_exactly_an_architecture(arch_id: str) -> None:
    with pytest.raises(ValueError, match=r"not a NAS-Bench-201 architecture: .*expected \|op~0\|\+\|op~0\|op~1\|\+"):
        parse_arch(arch_id)


@pytest.mark.parametrize("op", ["nor_conv_5x5", "NONE", "", "conv3x3 "])
def test_parse_arch__names_an_unknown_operation(op: str) -> None:
    with pytest.raises(ValueError, match=f"unknown operation '{op}' in .*one of none, skip_connect, nor_conv_1x1"):
        parse_arch(arch_string((NONE, op, NONE, NONE, NONE, NONE)))


def test_space__is_a_search_space(space: NasBench201) -> None:
    assert isinstance(space, SearchSpace)
    assert len(space) == 5**6 == len({space.arch_id(i) for i in range(len(space))})
    assert pickle.loads(pickle.dumps(space)).arch_id(77) == space.arch_id(77)  # noqa: S301 - made one line before


def test_space__is_in_lexicographic_order_without_a_table(space: NasBench201) -> None:
    archs = [space.arch_id(i) for i in range(len(space))]
    assert archs == sorted(map(arch_string, EVERY))
    assert space.order == "lexicographic"


@pytest.mark.shared_data
def test_space__is_in_the_benchmarks_order_with_a_table(table: pd.DataFrame) -> None:
    space = load_space("nas-bench-201", table=TABLE)
    assert isinstance(space, NasBench201)
    assert space.order == "benchmark"
    assert [space.arch_id(i) for i in table["index"]] == table["arch_str"].tolist()
    assert space.arch_id(0) == ARCH_0


def test_space__is_in_the_order_of_the_table_that_comes_with_the_package_only_if_asked() -> None:
    space = load_space("nas-bench-201", table="nas-bench-201")
    assert isinstance(space, NasBench201)
    assert space.order == "benchmark"
    # Numbers 0 and 6111 of the benchmark.
    assert space.arch_id(0) == ARCH_0
    assert (
        space.arch_id(6111)
        == "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    )
    assert NasBench201().order == "lexicographic"


def write_table(path: Path, archs: list[str], index: list[float] | None = None) -> Path:
    pd.DataFrame({"index": index or range(len(archs)), "arch_str": archs}).to_csv(path, index=False)
    return path


def test_space__takes_its_order_from_the_index_column(tmp_path: Path, space: NasBench201) -> None:
    archs = [space.arch_id(i) for i in range(len(space))]
    shuffled = np.random.default_rng(0).permutation(len(archs)).tolist()
    path = write_table(tmp_path / "t.csv", [archs[i] for i in shuffled], index=shuffled)
    again = NasBench201(path)
    assert [again.arch_id(i) for i in range(len(again))] == archs


def test_space__explains_a_bad_table(tmp_path: Path, space: NasBench201) -> None:
    archs = [space.arch_id(i) for i in range(len(space))]
    path = tmp_path / "t.csv"
    with pytest.raises(ValueError, match=r"no such file: .*t\.csv; expected a csv .*index \(0 to 15624\) and arch_str"):
        NasBench201(path)
    path.write_text("arch,acc\n1,2\n")
    with pytest.raises(ValueError, match=r"t\.csv lacks the column\(s\) index, arch_str; it has arch, acc"):
        NasBench201(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"t\.csv cannot be read"):
        NasBench201(path)
    zipped = tmp_path / "t.csv.gz"
    zipped.write_bytes(b"not gzip")
    with pytest.raises(ValueError, match=r"t\.csv\.gz cannot be read"):
        NasBench201(zipped)
    with pytest.raises(ValueError, match=r"each of the 15625 architectures once; it has 15624 rows, 15624 distinct$"):
        NasBench201(write_table(path, archs[1:]))
    with pytest.raises(ValueError, match=r"it has 15625 rows, 15624 distinct$"):
        NasBench201(write_table(path, [archs[1], *archs[1:]]))
    with pytest.raises(ValueError, match=r"15625 distinct, and '\|what\|' is not in this space"):
        NasBench201(write_table(path, ["|what|", *archs[1:]]))
    with pytest.raises(ValueError, match=r"it has 15625 rows, .*'' is not in this space"):
        NasBench201(write_table(path, ["", *archs[1:]]))
    for index in ([0.0, *range(len(archs) - 1)], [*range(1, len(archs) + 1)], [np.nan, *range(1, len(archs))]):
        with pytest.raises(ValueError, match=r"column index of .*t\.csv must have every number from 0 to 15624 once"):
            NasBench201(write_table(path, archs, index=index))


@pytest.mark.parametrize("index", [-1, 15625])
def test_arch_id__refuses_an_index_outside(space: NasBench201, index: int) -> None:
    with pytest.raises(IndexError, match=rf"must be in 0\.\.15624, got {index}"):
        space.arch_id(index)


def test_build__refuses_an_architecture_of_another_space(space: NasBench201) -> None:
    with pytest.raises(ValueError, match="not a NAS-Bench-201 architecture: '1:'"):
        space.build("1:")


# --- parameters and layers ------------------------------------------------------------------------------------------


def test_mutate__gives_each_edge_each_other_operation(space: NasBench201) -> None:
    random, parent = np.random.RandomState(0), parse_arch(space.arch_id(7800))
    mutants = {parse_arch(space.mutate(space.arch_id(7800), random)) for _ in range(500)}
    assert len(mutants) == 6 * 4
    assert all(sum(a != b for a, b in zip(parent, mutant, strict=True)) == 1 for mutant in mutants)


def test_num_params__of_the_all_3x3_network(space: NasBench201) -> None:
    """REFERENCE.md: 1,531,546 parameters with 10 classes, of which 1,524,272 are weights of convolutions and the linear layer."""
    assert num_params(ALL_3X3) == 1_531_546
    module = space.build(ALL_3X3).module
    assert sum(p.numel() for p in module.parameters()) == 1_531_546
    assert sum(p.numel() for p in module.parameters() if p.ndim >= 2) == 1_524_272


@pytest.mark.shared_data
def test_num_params__equals_the_benchmarks_table_in_every_row(table: pd.DataFrame) -> None:
    assert len(table) == 15_625
    assert [num_params(arch) for arch in table["arch_str"]] == table["params_c10"].tolist()


@pytest.mark.parametrize("space", [FAST, LITERAL], ids=["fast", "literal"])
@pytest.mark.parametrize(("in_channels", "num_classes"), [(3, 10), (1, 120)])
def test_num_params__equals_the_built_network(space: NasBench201, in_channels: int, num_classes: int) -> None:
    chosen = np.random.default_rng(1).permutation(len(space))[:6].tolist()
    for arch in [arch_string((op,) * 6) for op in OPERATIONS] + [space.arch_id(i) for i in chosen]:
        with torch.device("meta"):
            module = space.build(arch, in_channels=in_channels, num_classes=num_classes).module
        expected = num_params(arch, in_channels=in_channels, num_classes=num_classes)
        assert sum(p.numel() for p in module.parameters()) == expected


def test_layers__are_stem_15_cells_2_reductions_head_in_depth_order(space: NasBench201) -> None:
    network = space.build(ALL_3X3)
    assert tuple(layer.name for layer in network.layers) == space.layer_names
    types = [layer.type for layer in network.layers]
    five = ["cell"] * 5
    assert types == ["stem", *five, "reduction", *five, "reduction", *five, "head"]
    cell = 6 * (9 * 16 * 16 + 2 * 16)
    by_layer = [sum(p.numel() for p in layer.parameters()) for layer in network.layers]
    assert by_layer[:2] == [9 * 3 * 16 + 32, cell]
    assert by_layer[-1] == 2 * 64 + 64 * 10 + 10


# --- an independent network -----------------------------------------------------------------------------------------


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))  # derivative 0 at 0, which clamp has not


def conv_bn(x: Tensor, weights: dict[str, Tensor], conv: str, norm: str, *, stride: int = 1) -> Tensor:
    kernel = weights[f"{conv}.weight"]
    out = F.conv2d(x if conv.startswith("stem") else relu(x), kernel, stride=stride, padding=kernel.shape[-1] // 2)
    mean, variance = out.mean((0, 2, 3), keepdim=True), out.var((0, 2, 3), unbiased=False, keepdim=True)
    scale, shift = (weights[f"{norm}.{key}"].view(1, -1, 1, 1) for key in ("weight", "bias"))
    return (out - mean) / (variance + 1e-5).sqrt() * scale + shift


def pool(x: Tensor) -> Tensor:
    """Mean over the neighbours that are there."""
    ones = torch.ones_like(x[:1, :1])
    window = torch.ones(1, 1, 3, 3, dtype=x.dtype)
    total = F.conv2d(x.flatten(0, 1)[:, None], window, padding=1).view_as(x)
    return total / F.conv2d(ones, window, padding=1)


def literal_forward(ops: Ops, w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network of REFERENCE.md from a dictionary of its weights."""
    x = conv_bn(x, w, "stem.0", "stem.1")
    for block in range(17):
        at = f"blocks.{block}"
        if block in (5, 11):
            inner = conv_bn(x, w, f"{at}.conv_a.1", f"{at}.conv_a.2", stride=2)
            halved = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
            x = conv_bn(inner, w, f"{at}.conv_b.1", f"{at}.conv_b.2") + F.conv2d(halved, w[f"{at}.shortcut.1.weight"])
            continue
        nodes = [x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)]
        for edge, ((source, target), op) in enumerate(zip(EDGES, ops, strict=True)):
            value = nodes[source]
            if op == SKIP:
                nodes[target] = nodes[target] + value
            elif op == POOL:
                nodes[target] = nodes[target] + pool(value)
            elif op in (CONV1, CONV3):
                nodes[target] = nodes[target] + conv_bn(value, w, f"{at}.edges.{edge}.1", f"{at}.edges.{edge}.2")
        x = nodes[3]
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    x = (x - mean) / (variance + 1e-5).sqrt() * w["norm.0.weight"].view(1, -1, 1, 1) + w["norm.0.bias"].view(
        1, -1, 1, 1
    )
    return relu(x).mean((2, 3)) @ w["classifier.weight"].T + w["classifier.bias"]


@pytest.mark.parametrize("space", [FAST, LITERAL], ids=["fast", "literal"])
@pytest.mark.parametrize(
    "ops",
    [
        (CONV3, CONV1, CONV3, SKIP, POOL, CONV1),
        (NONE, CONV3, CONV1, NONE, CONV3, POOL),  # node 1 is zero
        (SKIP, POOL, NONE, NONE, CONV3, NONE),  # node 2 leads nowhere
        (SKIP, SKIP, NONE, NONE, NONE, CONV3),
        (CONV3, NONE, NONE, NONE, NONE, CONV3),  # disconnected
    ],
)
def test_network__equals_a_forward_pass_written_from_the_reference(ops: Ops, space: NasBench201) -> None:
    """In double precision: loss, and the gradient of every parameter. The parameters are random, BatchNorm's as well (its biases
    are 0 only at initialisation, so they stay)."""
    torch.manual_seed(0)
    module = space.build(arch_string(ops)).module.double()
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 1 and (p == 1).all():
                p.uniform_(0.5, 1.5)
    x, y = torch.randn(6, 3, 8, 8).double(), torch.tensor([0, 1, 2, 3, 4, 9])
    weights = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    expected = F.cross_entropy(literal_forward(ops, weights, x), y)
    expected.backward()
    loss = F.cross_entropy(module(x), y)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    for name, p in module.named_parameters():
        here, there = (torch.zeros_like(p) if g is None else g for g in (p.grad, weights[name].grad))
        # A gradient that is 0 by symmetry is noise around 0 in both.
        torch.testing.assert_close(here, there, rtol=1e-6, atol=1e-9, msg=partial("{}: {}".format, name))


def batch(size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(4, 3, size, size, generator=generator).to(memory_format=torch.channels_last)
    return x, torch.randint(10, (4,), generator=generator)


def build(space: NasBench201, arch: str) -> Network:
    torch.manual_seed(42)
    network = space.build(arch, in_channels=3, num_classes=10)
    network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format
    return network


def measure(space: NasBench201, arch: str, size: int = 8) -> tuple[Network, Measurement]:
    network = build(space, arch)
    return network, measure_network(network, *batch(size))


# --- the order in which the original adds gradients ------------------------------------------------------------------


class OriginalCell(torch.nn.Module):
    """The cell as the benchmark's code runs it (``InferCell`` of AutoDL-Projects): Python's `sum`, which begins with 0."""

    def __init__(self, edges: Any) -> None:
        super().__init__()
        self.edges = edges

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for layers in ((0,), (1, 2), (3, 4, 5)):
            nodes.append(sum(self.edges[i](node) for i, node in zip(layers, nodes, strict=True)))
        return nodes[-1]


@pytest.mark.parametrize("second", OPERATIONS)
def test_network__adds_gradients_in_the_order_of_the_original_cell(second: str) -> None:
    """With skip_connect on the first edge node 1 is a sum of its own, and not node 0: in single precision the order shows."""
    random = np.random.RandomState(len(second))
    for rest in random.choice(list(OPERATIONS), size=(3, 4)).tolist():
        arch = arch_string((SKIP, second, *rest))
        original: Any = build(LITERAL, arch).module
        for block in original.blocks:
            if hasattr(block, "edges"):
                block.forward = OriginalCell(block.edges).forward
        expected = measure_network(Network(original, original.layers()), *batch())
        for space in (FAST, LITERAL):
            _, measured = measure(space, arch)
            np.testing.assert_array_equal(measured.grad_count, expected.grad_count, err_msg=arch)
            np.testing.assert_array_equal(measured.grad_abs_sum, expected.grad_abs_sum, err_msg=arch)


def test_build_trainable__adds_gradients_in_the_order_of_the_literal_network() -> None:
    arch = arch_string((SKIP, CONV3, CONV1, POOL, NONE, CONV3))
    measured = []
    for make in (FAST.build_literal, FAST.build_trainable):
        torch.manual_seed(42)
        network = make(arch)
        network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format
        measured.append(measure_network(network, *batch()))
    np.testing.assert_array_equal(measured[0].grad_count, measured[1].grad_count)


def test_space__says_that_its_networks_are_of_another_version_than_those_of_old_profiles() -> None:
    assert make_spec(FAST, load_batch("synthetic", batch_size=2)).space_version == 2


# --- the fast network is the literal one ----------------------------------------------------------------------------


def paths(ops: Ops, start: int, end: int) -> bool:
    """Whether a path of edges that are not none leads from a node to another, by trying all of them."""
    if start == end:
        return True
    return any(op != NONE and a == start and paths(ops, b, end) for (a, b), op in zip(EDGES, ops, strict=True))


def test_liveness__equals_a_search_of_all_paths_for_every_architecture() -> None:
    """Liveness depends on which edges are none alone; all 15,625 are compared all the same."""
    searched: dict[Ops, tuple[frozenset[int], frozenset[int]]] = {}
    for ops in EVERY:
        pattern = tuple(NONE if op == NONE else SKIP for op in ops)
        if pattern not in searched:
            searched[pattern] = (
                frozenset(node for node in range(4) if paths(pattern, node, 3)),
                frozenset(node for node in range(4) if paths(pattern, 0, node)),
            )
        assert (_nodes_that_reach_output(ops), _nodes_that_are_not_zero(ops)) == searched[pattern]
    assert len(searched) == 2**6


def test_build__knows_every_disconnected_network(space: NasBench201) -> None:
    disconnected = [ops for ops in EVERY if not paths(ops, 0, 3)]
    assert len(disconnected) == 1 + sum(1 for ops in EVERY if ops != (NONE,) * 6 and not paths(ops, 0, 3))
    for ops in disconnected[:: len(disconnected) // 12]:
        with torch.device("meta"):
            assert isinstance(space.build(arch_string(ops)).module, DisconnectedNetwork)
    with torch.device("meta"):
        assert not isinstance(
            space.build(arch_string((NONE, NONE, NONE, SKIP, NONE, NONE))).module, DisconnectedNetwork
        )


def assert_bit_identical(ops: Ops, *, size: int = 8) -> None:
    """Loss, magnitude of every gradient and every count are equal; a missing gradient is one of zeros."""
    arch = arch_string(ops)
    (fast, a), (literal, b) = (measure(space, arch, size) for space in (FAST, LITERAL))
    assert a.loss == b.loss, arch
    named = dict(literal.module.named_parameters())
    for name, parameter in fast.module.named_parameters():
        assert torch.equal(parameter, named[name])  # the same initialisation
        here, there = (torch.zeros_like(p) if p.grad is None else p.grad.abs() for p in (parameter, named[name]))
        assert torch.equal(here, there), f"{arch}: {name}"
    for field in ("grad_count", "grad_abs_sum", "grad_sq_sum", "num_params"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=f"{arch}: {field}")
    assert (a.grad_count.sum(axis=-1) == a.num_params).all()


BACKGROUNDS = (
    (CONV3, CONV1, POOL, SKIP, CONV3, CONV1),
    (SKIP, NONE, CONV3, NONE, NONE, CONV3),  # one path, 0 -> 1 -> 2 -> 3
    (NONE, SKIP, CONV1, POOL, CONV3, NONE),  # node 1 is zero, node 2 leads nowhere
    (CONV1, NONE, NONE, SKIP, NONE, SKIP),  # node 1 leads nowhere, node 2 is zero
    # Nodes 0, 1, 2 are equal: three gradients meet, in the literal cell's order.
    (SKIP, SKIP, NONE, CONV3, CONV1, CONV3),
)


CASES = sorted(
    {(*ops[:edge], op, *ops[edge + 1 :]) for ops in BACKGROUNDS for edge in range(len(EDGES)) for op in OPERATIONS}
)


@pytest.mark.parametrize("first", range(0, len(CASES), 10))
def test_skip_dead__is_bit_identical_for_each_operation_on_each_edge(first: int) -> None:
    assert {(edge, ops[edge]) for ops in CASES for edge in range(6)} == set(itertools.product(range(6), OPERATIONS))
    for ops in CASES[first : first + 10]:
        assert_bit_identical(ops)


def test_skip_dead__is_bit_identical_for_disconnected_networks() -> None:
    """Those with two operations (none aside) in every place where they do not connect; some with a convolution fed by zeros."""
    family = [ops for ops in EVERY if set(ops) <= {NONE, CONV3} and not paths(ops, 0, 3)]
    assert len(family) > 12
    for ops in family:
        assert_bit_identical(ops)


def test_skip_dead__gives_the_norm_behind_a_zero_node_the_gradient_of_its_bias() -> None:
    """Node 1 is zero and a convolution leads from it to the output: its weights have gradient 0, its BatchNorm's bias has not."""
    network, _ = measure(FAST, arch_string((NONE, NONE, NONE, SKIP, CONV3, NONE)))
    conv, norm = (
        network.module.get_submodule("blocks.16.edges.4.1"),
        network.module.get_submodule("blocks.16.edges.4.2"),
    )
    assert conv.weight.grad is None
    assert isinstance(norm.bias, Tensor)
    assert norm.bias.grad is not None
    assert (norm.bias.grad != 0).any()


def test_skip_dead__is_bit_identical_for_a_seeded_sample() -> None:
    for index in np.random.default_rng(201).permutation(len(EVERY))[:60]:
        assert_bit_identical(EVERY[index])


def test_skip_dead__computes_no_convolution_that_cannot_matter() -> None:
    """Node 1 is zero, node 2 leads nowhere: of the four convolutions of a cell only the one from 0 to 3 is computed."""
    ops = (NONE, CONV3, CONV1, CONV3, CONV3, NONE)
    calls: dict[bool, int] = {}
    for space in (FAST, LITERAL):
        module = space.build(arch_string(ops)).module
        called: list[int] = []
        for name, conv in module.named_modules():
            if isinstance(conv, torch.nn.Conv2d) and ".edges." in name:
                conv.register_forward_hook(lambda *_, called=called: called.append(1))
        with torch.no_grad():
            module(torch.zeros(2, 3, 8, 8))
        calls[space.skip_dead] = len(called)
    assert calls == {True: 15, False: 15 * 4}


@pytest.mark.parametrize("ops", BACKGROUNDS)
def test_skip_dead__is_bit_identical_for_larger_images(ops: Ops) -> None:
    assert_bit_identical(ops, size=16)


@pytest.mark.parametrize(
    "arch",
    [
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        "|none~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|",  # zeros into a convolution
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|avg_pool_3x3~0|none~1|none~2|",  # dead ends
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",  # no path at all
    ],
)
def test_build_trainable__trains_as_the_literal_network_does(arch):
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=16)
    x, y = torch.from_numpy(batch.x), torch.from_numpy(batch.y)
    outputs = []
    for build in (space.build_literal, space.build_trainable):
        torch.manual_seed(0)
        module = build(arch, in_channels=3, num_classes=10).module.double()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        for _ in range(3):  # after a step, biases of BatchNorm are not 0 any more
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x.double()), y).backward()
            optimizer.step()
        outputs.append([module(x.double()).detach(), module.eval()(x.double()).detach()])
    for literal, trainable in zip(*outputs, strict=True):
        torch.testing.assert_close(trainable, literal, rtol=1e-9, atol=1e-9)
