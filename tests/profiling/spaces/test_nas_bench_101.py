import gzip
import math
import pickle
from itertools import combinations, pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sweetgrad.profiling.spaces.nas_bench_101 import Graph, NasBench101, cell_widths, num_params, read_graph
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
TABLE = CHECKOUT.parent / "shared" / "data" / "benchmarks" / "nas-bench-101.csv.gz"
OPS = ("conv1x1", "conv3x3", "maxpool3x3")

CHAIN = "100101:conv3x3;maxpool3x3"
INPUT_OUTPUT = "1:"
INPUT_ADDED = "101101:conv1x1;conv3x3"  # a chain of two, and the input projected into the output
THREE_WAY = "1110001011:conv1x1;maxpool3x3;conv3x3"  # 128 channels shared by three vertices
# Vertices 2, 3, 4 feed the output (43, 43, 42 channels), so 1, which does not, has 43; 1 -> 4 and 2 -> 4 drop a channel.
TRUNCATED = "10101" + "1010" + "011" + "01" + "1" + ":conv1x1;conv3x3;conv3x3;maxpool3x3"
TRUNCATED_ALONE = "10101" + "1010" + "001" + "01" + "1" + ":conv3x3;maxpool3x3;conv1x1;conv3x3"
DEAD = "110010:conv3x3;maxpool3x3"  # vertex 2 leads nowhere
ALL_DEAD = "001100:conv3x3;conv1x1"  # the only path is input -> output
PAPER = "100000100101100101101:conv1x1;maxpool3x3;conv1x1;maxpool3x3;conv3x3"
EVERY_SHAPE = [CHAIN, INPUT_OUTPUT, INPUT_ADDED, THREE_WAY, TRUNCATED, TRUNCATED_ALONE, DEAD, ALL_DEAD, PAPER]


def write_table(path: Path, *rows: str, header: str = "hash,n_vertices,adj_upper,ops") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def space(tmp_path: Path) -> NasBench101:
    return NasBench101(write_table(tmp_path / "graphs.csv", "a,4,100101,conv3x3;maxpool3x3", "b,2,1,"))


@pytest.fixture(scope="module")
def shared_table() -> pd.DataFrame:
    if not TABLE.exists():
        pytest.skip(f"needs {TABLE}")
    return pd.read_csv(TABLE, dtype={"adj_upper": str})


# --- graphs ---------------------------------------------------------------------------------------------------------


def num_digits(num_vertices: int) -> int:
    return num_vertices * (num_vertices - 1) // 2


@st.composite
def arch_ids(draw: st.DrawFn) -> str:
    num_vertices = draw(st.integers(2, 7))
    digits = draw(st.lists(st.sampled_from("01"), min_size=num_digits(num_vertices), max_size=num_digits(num_vertices)))
    ops = draw(st.lists(st.sampled_from(OPS), min_size=num_vertices - 2, max_size=num_vertices - 2))
    return "".join(digits) + ":" + ";".join(ops)


def literal_cell(arch_id: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Pruned ops and edges by listing every path from input to output."""
    adjacency, _, listed = arch_id.partition(":")
    ops = listed.split(";") if listed else []
    last = len(ops) + 1
    edges = [pair for pair, digit in zip(combinations(range(last + 1), 2), adjacency, strict=True) if digit == "1"]

    def paths(start: int) -> list[list[int]]:
        if start == last:
            return [[last]]
        return [[start, *rest] for source, target in edges if source == start for rest in paths(target)]

    used = sorted({pair for path in paths(0) for pair in pairwise(path)})
    live = sorted({vertex for edge in used for vertex in edge})
    return [ops[v - 1] for v in live[1:-1]], [(live.index(a), live.index(b)) for a, b in used]


@settings(max_examples=200, deadline=None)
@given(arch_ids())
def test_read_graph__prunes_as_a_list_of_all_paths_does(arch_id: str) -> None:
    ops, edges = literal_cell(arch_id)
    if not edges or len(edges) > 9:
        with pytest.raises(ValueError, match=r"no path leads|at most 9 edges"):
            read_graph(arch_id)
    else:
        assert read_graph(arch_id) == Graph(tuple(ops), tuple(edges))


@pytest.mark.parametrize(
    ("arch_id", "ops", "edges"),
    [
        (DEAD, ("conv3x3",), ((0, 1), (1, 2))),
        (ALL_DEAD, (), ((0, 1),)),
        ("010011:conv3x3;conv1x1", ("conv1x1",), ((0, 1), (1, 2))),  # vertex 1 has no input
        (CHAIN, ("conv3x3", "maxpool3x3"), ((0, 1), (1, 2), (2, 3))),
    ],
)
def test_read_graph__prunes_dead_vertices(
    arch_id: str, ops: tuple[str, ...], edges: tuple[tuple[int, int], ...]
) -> None:
    assert read_graph(arch_id) == Graph(ops, edges)


def test_read_graph__counts_edges_after_pruning() -> None:
    # TRUNCATED has 9 edges; here a tenth leads from the input to a vertex 5 that leads nowhere.
    adjacency = "101011" + "10100" + "0101" + "001" + "01" + "0"
    assert adjacency.count("1") == 10
    assert read_graph(f"{adjacency}:conv1x1;conv3x3;conv3x3;maxpool3x3;conv1x1") == read_graph(TRUNCATED)


@pytest.mark.parametrize(
    ("arch_id", "channels"),
    [
        (CHAIN, (128, 128)),
        (INPUT_OUTPUT, ()),
        (INPUT_ADDED, (128, 128)),  # the input does not count among the predecessors of the output
        (THREE_WAY, (43, 43, 42)),
        (TRUNCATED, (43, 43, 43, 42)),
    ],
)
def test_channels__match_hand_computed(arch_id: str, channels: tuple[int, ...]) -> None:
    assert read_graph(arch_id).channels(128) == channels


@settings(max_examples=200, deadline=None)
@given(arch_ids(), st.sampled_from([128, 256, 512]))
def test_channels__fill_the_output_and_drop_at_most_one(arch_id: str, width: int) -> None:
    try:
        graph = read_graph(arch_id)
    except ValueError:
        return
    channels = dict(enumerate(graph.channels(width), start=1))
    joined = graph.sources(graph.output)
    assert not joined or sum(channels[vertex] for vertex in joined) == width
    for source, target in graph.edges:
        if source != 0 and target != graph.output:
            assert 0 <= channels[source] - channels[target] <= 1


def test_cell_widths__double_with_each_stack() -> None:
    assert cell_widths() == (
        *((128, 128), (128, 128), (128, 128)),
        *((128, 256), (256, 256), (256, 256)),
        *((256, 512), (512, 512), (512, 512)),
    )


MALFORMED = {
    "100101": "there is no colon",
    "": "there is no colon",
    "10010:conv3x3;conv3x3": r"must have 1, 3, 6, 10, 15, 21 digits for 2 to 7 vertices, got 5 digits",
    ":": "got 0 digits",
    "1" * 28 + ":" + ";".join(["conv1x1"] * 6): "got 28 digits",  # eight vertices
    "10a101:conv3x3;conv3x3": "must consist of 0 and 1, got '10a101'",
    "100101:conv3x3": r"4 vertices need 2 operations, got 1 \('conv3x3'\)",
    "100101:conv3x3;conv3x3;conv3x3": "4 vertices need 2 operations, got 3",
    "1:conv3x3": "2 vertices need 0 operations, got 1",
    "100101:conv3x3;conv5x5": "operations must be among conv1x1, conv3x3, maxpool3x3, got 'conv5x5'",
    "100101:conv3x3;": "got ''",
    "100100:conv3x3;conv3x3": "no path leads from the input to the output",
    "0:": "no path leads from the input to the output",
    "1111111111:conv1x1;conv1x1;conv1x1": "at most 9 edges may lie on paths from input to output, got 10",
    "|nor_conv_3x3~0|": "Expected the upper triangle of the adjacency matrix, a colon, and the operations",
}


@pytest.mark.parametrize(("arch_id", "message"), MALFORMED.items())
def test_build__says_what_is_wrong_with_a_string(space: NasBench101, arch_id: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        space.build(arch_id, in_channels=3, num_classes=10)
    assert repr(arch_id) in str(raised.value)
    with pytest.raises(ValueError, match=message):
        num_params(arch_id)


# --- the table ------------------------------------------------------------------------------------------------------


def test_space__lists_the_graphs_of_the_file_in_order(space: NasBench101) -> None:
    assert isinstance(space, SearchSpace)
    assert (space.name, space.variant, space.input_size) == ("nas-bench-101", "", 32)
    assert [space.arch_id(i) for i in range(len(space))] == [CHAIN, INPUT_OUTPUT]
    assert space.layer_names == ("stem", *(f"cell{i}" for i in range(9)), "head")


@pytest.mark.parametrize("index", [-1, 2])
def test_arch_id__refuses_an_index_out_of_range(space: NasBench101, index: int) -> None:
    with pytest.raises(IndexError, match=rf"must be in 0\.\.1, got {index}"):
        space.arch_id(index)


def test_space__reads_gzip_without_a_hash_column(tmp_path: Path) -> None:
    path = tmp_path / "graphs.csv.gz"
    path.write_bytes(gzip.compress(b"ops,adj_upper,n_vertices,params\nconv1x1,101,3,5\n"))
    space = NasBench101(str(path))
    assert [space.arch_id(i) for i in range(len(space))] == ["101:conv1x1"]


def test_space__survives_pickle(space: NasBench101) -> None:
    copy = pickle.loads(pickle.dumps(space))  # noqa: S301
    assert [copy.arch_id(i) for i in range(len(copy))] == [CHAIN, INPUT_OUTPUT]


def test_space__without_a_table_says_where_graphs_come_from() -> None:
    with pytest.raises(ValueError, match="it needs a file") as raised:
        NasBench101()
    for part in (
        "--space-file FILE",
        "benchmarks/nas-bench-101.csv.gz",
        "--data-dir",
        "n_vertices",
        "adj_upper",
        "ops",
    ):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c,4,10010,conv3x3;conv3x3", "column adj_upper: .*got 5 digits"),
        ("c,4,100102,conv3x3;conv3x3", "column adj_upper: .*must consist of 0 and 1"),
        ("c,4,100100,conv3x3;conv3x3", "column adj_upper: no path"),
        ("c,4,,conv3x3;conv3x3", "column adj_upper: .*got 0 digits"),
        ("c,4,100101,conv3x3", "column ops: 4 vertices need 2 operations, got 1"),
        ("c,4,100101,conv3x3;pool", "column ops: .*got 'pool'"),
        ("c,4,100101", "column ops: 4 vertices need 2 operations, got 0"),
        ("c,5,100101,conv3x3;conv3x3", "column n_vertices: expected 4, as adj_upper has 6 digits, got '5'"),
        ("c,four,100101,conv3x3;conv3x3", "column n_vertices: expected 4"),
    ],
)
def test_table__names_file_row_and_column_of_a_bad_row(tmp_path: Path, row: str, message: str) -> None:
    path = write_table(tmp_path / "graphs.csv", "a,2,1,", row)
    with pytest.raises(ValueError, match=rf"graphs\.csv, row 1 \(counted from 0, below the header\), {message}"):
        NasBench101(path)


def test_table__names_missing_columns(tmp_path: Path) -> None:
    path = write_table(tmp_path / "graphs.csv", "a,1", header="hash,adj_upper")
    with pytest.raises(ValueError, match=r"graphs\.csv lacks the column\(s\) n_vertices, ops; it has hash, adj_upper"):
        NasBench101(path)


def test_table__refuses_the_same_graph_twice(tmp_path: Path) -> None:
    path = write_table(tmp_path / "graphs.csv", "a,2,1,", "b,3,101,conv1x1", "c,2,1,")
    with pytest.raises(ValueError, match="rows 0 and 2 have the same graph, 1:; remove one of them"):
        NasBench101(path)


def test_table__says_when_a_file_is_missing_empty_or_cut_off(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file: .*graphs\.csv"):
        NasBench101(tmp_path / "graphs.csv")
    with pytest.raises(ValueError, match="has no rows below its header"):
        NasBench101(write_table(tmp_path / "graphs.csv"))
    (tmp_path / "graphs.csv").write_text("")
    with pytest.raises(ValueError, match="cannot be read as a csv"):
        NasBench101(tmp_path / "graphs.csv")
    whole = gzip.compress(b"n_vertices,adj_upper,ops\n2,1,\n" * 50)
    (tmp_path / "graphs.csv.gz").write_bytes(whole[:40])
    with pytest.raises(ValueError, match="cannot be read as a csv"):
        NasBench101(tmp_path / "graphs.csv.gz")
    (tmp_path / "graphs.csv.gz").write_text("n_vertices,adj_upper,ops\n2,1,\n")
    with pytest.raises(ValueError, match="cannot be read as a csv"):
        NasBench101(tmp_path / "graphs.csv.gz")


# --- parameter counts -----------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_num_params__equal_the_benchmark_for_every_row(shared_table: pd.DataFrame) -> None:
    space = NasBench101(TABLE)
    assert len(space) == len(shared_table) == 17_000
    ours = [num_params(space.arch_id(i)) for i in range(len(space))]
    assert ours == shared_table["params"].tolist()


@pytest.mark.parametrize("arch_id", EVERY_SHAPE)
@pytest.mark.parametrize(("in_channels", "num_classes"), [(3, 10), (1, 120)])
def test_num_params__equal_the_built_network(
    space: NasBench101, arch_id: str, in_channels: int, num_classes: int
) -> None:
    with torch.device("meta"):
        network = space.build(arch_id, in_channels=in_channels, num_classes=num_classes)
    built = sum(parameter.numel() for parameter in network.module.parameters())
    assert num_params(arch_id, in_channels=in_channels, num_classes=num_classes) == built


def test_num_params__match_a_hand_computed_chain() -> None:
    def cell(i: int, o: int) -> int:  # projection, conv3x3, pool
        return (i * o + 2 * o) + (9 * o * o + 2 * o)

    by_hand = 3 * 9 * 128 + 2 * 128 + 512 * 10 + 10
    by_hand += 3 * cell(128, 128) + cell(128, 256) + 2 * cell(256, 256) + cell(256, 512) + 2 * cell(512, 512)
    assert num_params(CHAIN) == by_hand


# --- networks -------------------------------------------------------------------------------------------------------


def build(arch_id: str, *, seed: int = 0, in_channels: int = 3, num_classes: int = 10) -> Network:
    torch.manual_seed(seed)
    # build() needs no table.
    return NasBench101.__new__(NasBench101).build(arch_id, in_channels=in_channels, num_classes=num_classes)


def literal_forward(arch_id: str, module: nn.Module, x: Tensor) -> Tensor:
    """Follow the reference vertex by vertex with the weights of ``module``, in train mode."""
    weights = {name: value.detach() for name, value in module.named_parameters()}
    ops, edges = literal_cell(arch_id)
    last = len(ops) + 1

    def conv_bn_relu(name: str, value: Tensor) -> Tensor:
        kernel = weights[f"{name}.0.weight"]
        value = F.conv2d(value, kernel, padding=(kernel.shape[-1] - 1) // 2)
        mean, var = value.mean((0, 2, 3), keepdim=True), value.var((0, 2, 3), correction=0, keepdim=True)
        scale, shift = weights[f"{name}.1.weight"], weights[f"{name}.1.bias"]
        return ((value - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    def vertex_channels(width: int) -> dict[int, int]:
        feeding = [v for v in range(1, last) if (v, last) in edges]
        channels = {}
        for vertex in range(last - 1, 0, -1):
            if vertex in feeding:
                channels[vertex] = width // len(feeding)
                if feeding.index(vertex) < width - len(feeding) * (width // len(feeding)):
                    channels[vertex] += 1
            else:
                channels[vertex] = max(channels[t] for t in range(vertex + 1, last) if (vertex, t) in edges)
        return channels

    def cell(name: str, value: Tensor, width: int) -> Tensor:
        channels = vertex_channels(width)
        values: dict[int, Tensor] = {}
        for vertex in range(1, last):
            total = torch.zeros(())
            for source in range(1, vertex):
                if (source, vertex) in edges:
                    total = total + values[source][:, torch.arange(channels[vertex])]
            if (0, vertex) in edges:
                projected = conv_bn_relu(f"{name}.projections.{vertex}", value)
                assert projected.shape[1] == channels[vertex]
                total = total + projected
            if ops[vertex - 1] == "maxpool3x3":
                padded = F.pad(total, (1, 1, 1, 1), value=-math.inf)
                values[vertex] = padded.unfold(2, 3, 1).unfold(3, 3, 1).amax((4, 5))
            else:
                values[vertex] = conv_bn_relu(f"{name}.ops.{vertex}", total)
                kernel = weights[f"{name}.ops.{vertex}.0.weight"]
                assert f"conv{kernel.shape[2]}x{kernel.shape[3]}" == ops[vertex - 1]
        joined = [values[v] for v in range(1, last) if (v, last) in edges]
        output = torch.cat(joined, dim=1) if joined else torch.zeros(())
        if (0, last) in edges:
            output = output + conv_bn_relu(f"{name}.projections.{last}", value)
        return output

    x = conv_bn_relu("stem", x)
    for stack, width in enumerate([128, 256, 512]):
        if stack > 0:
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
        for place in range(3):
            x = cell(f"cells.{3 * stack + place}", x, width)
            assert x.shape[1] == width
    return x.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("arch_id", EVERY_SHAPE)
def test_build__computes_what_the_literal_network_computes(arch_id: str) -> None:
    module = build(arch_id, num_classes=7).module.double()
    for name, parameter in module.named_parameters():  # else scales of 1 and shifts of 0 could stand in for each other
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
    x = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(module(x), literal_forward(arch_id, module, x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("arch_id", [THREE_WAY, TRUNCATED, TRUNCATED_ALONE, PAPER])
def test_build__gives_every_weight_a_gradient(arch_id: str) -> None:
    # Also proof that no operation in place destroys what the backward pass needs.
    module = build(arch_id).module
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format
    F.cross_entropy(module(torch.randn(4, 3, 16, 16)), torch.arange(4)).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0, name


def test_build__puts_layers_in_depth_order(space: NasBench101) -> None:
    network = build(PAPER)
    assert tuple(layer.name for layer in network.layers) == space.layer_names
    assert [layer.type for layer in network.layers] == ["stem", *["cell"] * 9, "head"]
    first_convs = [next(layer.parameters()).shape[:2] for layer in network.layers]
    # Two vertices feed the output.
    assert first_convs == [(128, 3), *((o // 2, i) for i, o in cell_widths()), (10, 512)]


def test_build__prunes_before_building() -> None:
    shapes = [[p.shape for p in build(arch_id).module.parameters()] for arch_id in (ALL_DEAD, INPUT_OUTPUT)]
    assert shapes[0] == shapes[1]


def test_build__initialises_as_the_benchmark() -> None:
    module = build(CHAIN).module
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            kernel, out = part.kernel_size[0], part.out_channels
            num = part.weight.numel()
            std = math.sqrt(2 / (kernel * kernel * out))
            assert part.bias is None
            assert part.weight.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * num)), name
            assert abs(part.weight.mean().item()) < 4 * std / math.sqrt(num), name
        elif isinstance(part, nn.BatchNorm2d):
            assert (part.weight == 1).all()
            assert (part.bias == 0).all()
        elif isinstance(part, nn.Linear):
            assert part.weight.std().item() == pytest.approx(0.01, rel=4 / math.sqrt(2 * 5120))
            assert (part.bias == 0).all()


def test_build__draws_each_weight_once_in_construction_order() -> None:
    module = build(CHAIN, seed=3).module  # in a chain the order of the parameters is the order of construction
    torch.manual_seed(3)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            std = math.sqrt(2 / (parameter.shape[0] * parameter[0, 0].numel()))
            assert torch.equal(parameter, torch.empty_like(parameter).normal_(0, std))
        elif parameter.ndim == 2:
            assert torch.equal(parameter, torch.empty_like(parameter).normal_(0, 0.01))


def test_build__repeats_with_the_seed() -> None:
    first, again, other = (build(PAPER, seed=seed).module.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])
