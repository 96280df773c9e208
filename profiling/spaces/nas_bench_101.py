"""NAS-Bench-101 (Ying et al. 2019): cells of at most 7 vertices and 9 edges in a network of 3 stacks of 3 cells."""

import math
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweetgrad.profiling.spaces._space_table import read_space_table
from sweetgrad.profiling.spaces.protocol import Layer, Network, check_index, unite_names
from sweetgrad.store.benchmarks.nas_bench_101_whole import is_whole, read_graphs
from sweetgrad.store.spaces.graphs import MAX_VERTICES, Edges, find_graph, read_edges, read_ops, read_parts

STEM_CHANNELS = 128
NUM_STACKS = 3
CELLS_PER_STACK = 3

KERNEL_SIZES: dict[str, int | None] = {"conv1x1": 1, "conv3x3": 3, "maxpool3x3": None}
"""Kernel size of the convolution of each operation (followed by BatchNorm and ReLU); pooling has no parameters."""


@dataclass(frozen=True)
class Graph:
    """A cell without dead vertices: every vertex is on a path from the input to the output.

    Attributes
    ----------
    ops
        Operation of each inner vertex: ``ops[v - 1]`` belongs to vertex ``v``.
    edges
        Pairs (source, destination), source < destination, sorted.
    """

    ops: tuple[str, ...]
    edges: Edges

    @property
    def output(self) -> int:
        """Number of the output vertex."""
        return len(self.ops) + 1

    def sources(self, vertex: int) -> tuple[int, ...]:
        """Inner vertices with an edge to ``vertex``, ascending; without the input, whose edges are projections."""
        return tuple(source for source, target in self.edges if target == vertex and source != 0)

    def from_input(self, vertex: int) -> bool:
        """Whether the input has an edge to ``vertex``."""
        return (0, vertex) in self.edges

    def channels(self, width: int) -> tuple[int, ...]:
        """Number of channels of each inner vertex in a cell with ``width`` output channels.

        Examples
        --------
        Vertices 1, 2 and 3 share the 128 channels of the output:

        >>> read_graph("1110001011:conv1x1;conv1x1;conv1x1").channels(128)
        (43, 43, 42)
        """
        joined = self.sources(self.output)
        channels = dict.fromkeys(joined, 0)
        for index, vertex in enumerate(joined):
            channels[vertex] = width // len(joined) + (index < width % len(joined))
        # Backwards, so that the channels of all successors of a vertex are known before its own.
        for vertex in reversed(range(1, self.output)):
            if vertex not in channels:
                channels[vertex] = max(channels[target] for source, target in self.edges if source == vertex)
        return tuple(channels[vertex] for vertex in range(1, self.output))


def read_graph(arch_id: str) -> Graph:
    """Read ``upper triangle:op;op;...`` and prune the dead vertices; raises ``ValueError`` as `read_parts` does.

    Examples
    --------
    A linear chain, and a graph with the dead vertex 2:

    >>> read_graph("100101:conv3x3;maxpool3x3")
    Graph(ops=('conv3x3', 'maxpool3x3'), edges=((0, 1), (1, 2), (2, 3)))
    >>> read_graph("110010:conv3x3;maxpool3x3")
    Graph(ops=('conv3x3',), edges=((0, 1), (1, 2)))
    """
    ops, edges = read_parts(arch_id)
    live = sorted({vertex for edge in edges for vertex in edge})
    number = {vertex: index for index, vertex in enumerate(live)}
    return Graph(
        ops=tuple(ops[vertex - 1] for vertex in live[1:-1]),
        edges=tuple((number[source], number[target]) for source, target in edges),
    )


def cell_widths() -> tuple[tuple[int, int], ...]:
    """Input and output channels of the nine cells; they double at the start of stacks 2 and 3."""
    outputs = [STEM_CHANNELS << stack for stack in range(NUM_STACKS) for _ in range(CELLS_PER_STACK)]
    return tuple(zip([STEM_CHANNELS, *outputs], outputs, strict=False))


def num_params(arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> int:
    """Number of parameters of the whole network, from the graph alone.

    Parameters
    ----------
    arch_id
        Architecture string, as in `read_graph`.
    in_channels, num_classes
        Channels of the images; number of classes.

    Returns
    -------
    Number of trainable parameters: weights, BatchNorm scales and shifts, the bias of the head.

    Examples
    --------
    >>> num_params("1:")  # input -> output: nine projections
    882570
    """
    graph = read_graph(arch_id)
    widths = cell_widths()
    cells = {pair: _num_cell_params(graph, *pair) for pair in set(widths)}
    last = widths[-1][1]
    return (
        _num_conv_bn(in_channels, STEM_CHANNELS, 3)
        + sum(cells[pair] for pair in widths)
        + last * num_classes
        + num_classes
    )


def _num_cell_params(graph: Graph, in_channels: int, width: int) -> int:
    total = _num_conv_bn(in_channels, width, 1) if graph.from_input(graph.output) else 0
    for vertex, (op, channels) in enumerate(zip(graph.ops, graph.channels(width), strict=True), start=1):
        if graph.from_input(vertex):
            total += _num_conv_bn(in_channels, channels, 1)
        kernel_size = KERNEL_SIZES[op]
        if kernel_size is not None:
            total += _num_conv_bn(channels, channels, kernel_size)
    return total


def _num_conv_bn(in_channels: int, out_channels: int, kernel_size: int) -> int:
    return kernel_size**2 * in_channels * out_channels + 2 * out_channels


_COLUMNS = ("n_vertices", "adj_upper", "ops")
_COLUMNS_HELP = (
    "n_vertices (2 to 7, input and output included), adj_upper (upper triangle of the adjacency matrix, row by row, such as "
    f"100101) and ops (operations of the inner vertices, separated by ';': {', '.join(KERNEL_SIZES)})"
)


class NasBench101:
    """The graphs of a file, in its order.

    An architecture string is the graph itself, ``upper triangle:op;op;...``, so `build` also accepts graphs that are not in the
    file.

    Parameters
    ----------
    table
        An .npz file with all 423,624 graphs in the benchmark's order (`sweetgrad.store.benchmarks.nas_bench_101_whole`), or a csv
        file (also .csv.gz) with the columns n_vertices, adj_upper and ops, whose other columns are ignored.

    Raises
    ------
    ValueError
        Without a table, or if it cannot be read; the message names file, row and column.

    Examples
    --------
    >>> NasBench101()
    Traceback (most recent call last):
    ValueError: NAS-Bench-101 has no built-in list of graphs: it needs a file. ...
    """

    name = "nas-bench-101"
    variant = ""
    init = "nas-bench-101"
    # The max-pools between the stacks have no parameters: there is no reduction layer.
    layer_names = ("stem", *(f"cell{i}" for i in range(len(cell_widths()))), "head")
    input_size = 32
    tables = ("benchmarks/nas-bench-101-full.npz", "benchmarks/nas-bench-101.csv.gz")

    def __init__(self, table: Path | str | None = None) -> None:
        if table is None:
            raise ValueError(
                "NAS-Bench-101 has no built-in list of graphs: it needs a file. Specify it with --space-file FILE "
                f"({' or '.join(self.tables)} under --data-dir is found automatically). "
                f"It must be an .npz file with all graphs, or a csv or csv.gz file with the columns {_COLUMNS_HELP}"
            )
        path = Path(table)
        self._arch_ids = read_graphs(path) if is_whole(path) else _read_table(path)

    def __len__(self) -> int:
        """Number of graphs in the file."""
        return len(self._arch_ids)

    def arch_id(self, index: int) -> str:
        """Architecture string of the graph in row ``index`` of the file, counted from 0.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        check_index(index, len(self))
        return self._arch_ids[index]

    def find(self, arch: str) -> int:
        """Position of a graph in the file, by its string, by that of an isomorphic graph, or by its `graph_hash`.

        Raises
        ------
        ValueError
            If the graph is not in the file, or ``arch`` is neither a graph of the space nor a hash.

        Examples
        --------
        >>> NasBench101("benchmarks/nas-bench-101-full.npz").find("00005c142e6f48ac74fdcf73e3439874")  # doctest: +SKIP
        0
        """
        return find_graph(self._arch_ids, arch)

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build the network of any graph of the space, listed or not, initialised as in the PyTorch ports.

        Parameters
        ----------
        arch_id
            Upper triangle of the adjacency matrix, row by row; a colon; the operations of the inner vertices separated by ``;``.
            The number of vertices follows from the lengths. Dead vertices are pruned.
        in_channels, num_classes
            Channels of the images; number of classes.

        Raises
        ------
        ValueError
            If the string is malformed or the graph is outside the space.
        """
        module = _Net(read_graph(arch_id), in_channels, num_classes)
        parts = (module.stem, *module.cells, module.head)
        types = ("stem", *("cell" for _ in module.cells), "head")
        return Network(
            module, tuple(Layer(n, t, (part,)) for n, t, part in zip(self.layer_names, types, parts, strict=True))
        )

    def parameter_axes(self) -> dict[str, dict[str, str]]:
        """Names of the parameters that the network of any graph of the space may have.

        Two graphs have all of them: chains of all vertices, in which all edges that are left lead from the input to others.
        """
        vertices = range(MAX_VERTICES)
        ops = ";".join(["conv3x3"] * (MAX_VERTICES - 2))
        chain = set(pairwise(vertices))
        with torch.device("meta"):
            networks = []
            for targets in (vertices[2:5], vertices[4:]):
                edges = chain | {(0, target) for target in targets}
                upper = "".join("01"[pair in edges] for pair in combinations(vertices, 2))
                networks.append(self.build(f"{upper}:{ops}", in_channels=3, num_classes=10))
            return unite_names(networks)


def _read_table(path: Path) -> tuple[str, ...]:
    """Read and validate the architecture strings of a table."""
    # As strings, because adj_upper has leading zeros; no NA filter, because a graph of two vertices has no operations.
    expected = f"the columns {_COLUMNS_HELP}"
    frame = read_space_table(path, _COLUMNS, expected=expected, dtype=str, na_filter=False)
    rows = zip(*(frame[column].tolist() for column in _COLUMNS), strict=True)
    first_row: dict[str, int] = {}
    for row, (n_vertices, adjacency, ops) in enumerate(rows):
        arch_id = _check_row(n_vertices, adjacency, ops, where=f"{path}, row {row} (counted from 0, below the header)")
        if first_row.setdefault(arch_id, row) != row:
            raise ValueError(
                f"{path}: rows {first_row[arch_id]} and {row} have the same graph, {arch_id}; remove one of them"
            )
    if not first_row:
        raise ValueError(f"{path} has no rows below its header; expected one graph per row")
    return tuple(first_row)


def _check_row(n_vertices: str, adjacency: str, ops: str, *, where: str) -> str:
    """Validate one row and return its architecture string; errors name the column."""
    column = "adj_upper"
    try:
        num_vertices, _ = read_edges(adjacency)
        column = "ops"
        read_ops(ops, num_ops=num_vertices - 2)
        column = "n_vertices"
        if n_vertices != str(num_vertices):
            raise ValueError(f"expected {num_vertices}, as adj_upper has {len(adjacency)} digits, got {n_vertices!r}")
    except ValueError as error:
        raise ValueError(f"{where}, column {column}: {error}") from None
    return f"{adjacency}:{ops}"


def _draw_normal(weight: Tensor, std: float) -> None:
    # A tensor of the meta device has no values, and drawing them would import torch's compiler, which takes a second.
    if not weight.is_meta:
        nn.init.normal_(weight, 0, std)


class _Conv(nn.Conv2d):
    """Convolution without bias that keeps the size of the image, initialised N(0, sqrt(2 / (k * k * out))).

    As in the PyTorch ports of the benchmark; its TensorFlow code scales by the input channels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)

    def reset_parameters(self) -> None:
        # Instead of the default initialisation, not after it, which would draw every weight twice.
        _draw_normal(self.weight, math.sqrt(2 / (self.kernel_size[0] * self.kernel_size[1] * self.out_channels)))


class _Linear(nn.Linear):
    """Linear layer initialised N(0, 0.01), biases 0."""

    def reset_parameters(self) -> None:
        _draw_normal(self.weight, 0.01)
        nn.init.zeros_(self.bias)


def _conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    # PyTorch's default eps, 1e-5, is also the benchmark's. Its momentum, 0.997 in TensorFlow's convention, only
    # affects running statistics, which train mode does not use. In-place ReLU is safe: BatchNorm saves its input, not its output.
    conv = _Conv(in_channels, out_channels, kernel_size)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class _Cell(nn.Module):
    """One cell; `projections` and `ops` are keyed by the number of the vertex."""

    def __init__(self, graph: Graph, in_channels: int, width: int) -> None:
        super().__init__()
        self._channels = graph.channels(width)
        self._sources = tuple(graph.sources(vertex) for vertex in range(1, graph.output + 1))
        self.projections = nn.ModuleDict()
        self.ops = nn.ModuleDict()
        for vertex, (op, channels) in enumerate(zip(graph.ops, self._channels, strict=True), start=1):
            if graph.from_input(vertex):
                self.projections[str(vertex)] = _conv_bn_relu(in_channels, channels, 1)
            kernel_size = KERNEL_SIZES[op]
            self.ops[str(vertex)] = (
                nn.MaxPool2d(3, stride=1, padding=1)
                if kernel_size is None
                else _conv_bn_relu(channels, channels, kernel_size)
            )
        if graph.from_input(graph.output):
            self.projections[str(graph.output)] = _conv_bn_relu(in_channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for vertex, channels in enumerate(self._channels, start=1):
            terms = [_truncate(values[source], channels) for source in self._sources[vertex - 1]]
            values.append(self.ops[str(vertex)](self._add_projection(terms, vertex, x)))
        joined = [values[source] for source in self._sources[-1]]
        if len(joined) > 1:
            joined = [torch.cat(joined, dim=1)]
        return self._add_projection(joined, len(values), x)

    def _add_projection(self, terms: list[Tensor], vertex: int, x: Tensor) -> Tensor:
        """Sum of the terms, and of the projected input if it has an edge to ``vertex``."""
        if str(vertex) in self.projections:
            terms = [*terms, self.projections[str(vertex)](x)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


def _truncate(value: Tensor, channels: int) -> Tensor:
    # A full slice would still be differentiated: its backward pass fills zeros and copies.
    return value if value.shape[1] == channels else value[:, :channels]


class _Net(nn.Module):
    """Stem, nine cells with a 2x2 max-pool before the fourth and the seventh, global mean, linear head."""

    def __init__(self, graph: Graph, in_channels: int, num_classes: int) -> None:
        super().__init__()
        widths = cell_widths()
        self.stem = _conv_bn_relu(in_channels, STEM_CHANNELS, 3)
        self.cells = nn.ModuleList(_Cell(graph, *pair) for pair in widths)
        self.head = _Linear(widths[-1][1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index, cell in enumerate(self.cells):
            if index and index % CELLS_PER_STACK == 0:
                x = functional.max_pool2d(x, 2)
            x = cell(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits
