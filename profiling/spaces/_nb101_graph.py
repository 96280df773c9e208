"""NAS-Bench-101 cells as graphs: dead vertices, channels, parameter counts. No torch; strings are `sweetgrad.store.spaces`'s."""

from dataclasses import dataclass

from sweetgrad.store.spaces.graphs import Edges, read_parts

__all__ = [
    "CELLS_PER_STACK",
    "KERNEL_SIZES",
    "STEM_CHANNELS",
    "Graph",
    "cell_widths",
    "num_params",
    "read_graph",
]

STEM_CHANNELS = 128
NUM_STACKS = 3
CELLS_PER_STACK = 3

KERNEL_SIZES: dict[str, int | None] = {"conv1x1": 1, "conv3x3": 3, "maxpool3x3": None}
"""Operations and the kernel size of their convolution (followed by BatchNorm and ReLU); the pool has no parameters."""


@dataclass(frozen=True)
class Graph:
    """A cell without dead vertices: every vertex lies on a path from the input to the output.

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
        """Inner vertices with an edge to ``vertex``, ascending; the input, whose edges are projections, is not among them."""
        return tuple(source for source, target in self.edges if target == vertex and source != 0)

    def from_input(self, vertex: int) -> bool:
        """Whether the input has an edge to ``vertex``."""
        return (0, vertex) in self.edges

    def channels(self, width: int) -> tuple[int, ...]:
        """Channels that each inner vertex works with in a cell with ``width`` output channels.

        Examples
        --------
        Vertices 1, 2 and 3 share the 128 channels of the output:

        >>> read_graph("1110001011:conv1x1;conv1x1;conv1x1").channels(128)
        (43, 43, 42)
        """
        joined = self.sources(self.output)
        channels = dict.fromkeys(joined, 0)
        for place, vertex in enumerate(joined):
            channels[vertex] = width // len(joined) + (place < width % len(joined))
        # Going backwards: every successor of an inner vertex has its channels before the vertex asks for them.
        for vertex in reversed(range(1, self.output)):
            if vertex not in channels:
                channels[vertex] = max(channels[target] for source, target in self.edges if source == vertex)
        return tuple(channels[vertex] for vertex in range(1, self.output))


def read_graph(arch_id: str) -> Graph:
    """Read ``upper triangle:op;op;...`` and prune the dead vertices; raises ``ValueError`` as `read_parts` does.

    Examples
    --------
    The linear chain, and a graph whose vertex 2 leads nowhere:

    >>> read_graph("100101:conv3x3;maxpool3x3")
    Graph(ops=('conv3x3', 'maxpool3x3'), edges=((0, 1), (1, 2), (2, 3)))
    >>> read_graph("110010:conv3x3;maxpool3x3")
    Graph(ops=('conv3x3',), edges=((0, 1), (1, 2)))
    """
    ops, edges = read_parts(arch_id)
    live = sorted({vertex for edge in edges for vertex in edge})
    number = {vertex: place for place, vertex in enumerate(live)}
    return Graph(
        ops=tuple(ops[vertex - 1] for vertex in live[1:-1]),
        edges=tuple((number[source], number[target]) for source, target in edges),
    )


def cell_widths() -> tuple[tuple[int, int], ...]:
    """Input and output channels of the nine cells; they double at the beginning of stacks 2 and 3."""
    outputs = [STEM_CHANNELS << stack for stack in range(NUM_STACKS) for _ in range(CELLS_PER_STACK)]
    return tuple(zip([STEM_CHANNELS, *outputs], outputs, strict=False))


def num_params(arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> int:
    """Parameters of the whole network, from the graph alone.

    Parameters
    ----------
    arch_id
        Architecture string, as `read_graph` takes it.
    in_channels, num_classes
        Channels of the images; classes.

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
