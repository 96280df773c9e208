"""The network of NAS-Bench-201, and a version with bit-identical gradients that skips dead paths, in a fraction of the time.

The latter relies on three facts about a network at initialisation, where the biases of BatchNorm are 0:

* A node that only ``none`` edges reach is exactly 0. The output of a convolution with input 0 is 0, and the gradients of its
  weights are 0, as are those of everything before it (the derivative of ReLU at 0 is 0). But the bias of its BatchNorm has a
  gradient, so the BatchNorm alone still runs, on zeros.
* Everything that only leads to nodes that cannot reach the output has gradient exactly 0 and need not be computed.
* If the output of a cell is 0, the features are 0, and only the bias of the classifier has a gradient.

The remaining additions are in the order of the literal cell, because floating-point sums depend on it. The same holds for sums of
gradients, so each node of a cell is a node of its own in the graph (`_sum_present`).
"""

from collections.abc import Callable
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from sweetgrad.profiling.spaces.protocol import Layer
from sweetgrad.store.spaces.cells import EDGES, NUM_NODES

CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5


class Zero(nn.Module):
    """The operation ``none``: zeros that are part of the graph, so that the gradient of the input is exactly 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by zero; same shape."""
        return x.mul(0.0)


def relu_conv_bn(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, BatchNorm with affine parameters and running statistics."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out_channels))


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: Zero(),
    "skip_connect": lambda channels: nn.Identity(),
    "nor_conv_1x1": lambda channels: relu_conv_bn(channels, channels, kernel=1),
    "nor_conv_3x3": lambda channels: relu_conv_bn(channels, channels, kernel=3),
    "avg_pool_3x3": lambda channels: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}
"""Module of each operation, for a number of channels."""


class Cell(nn.Module):
    """Four nodes; each except the first is the sum of its edges, and the last is the output.

    The sum starts at 0, as in the benchmark's code: a node with a single ``skip_connect`` is then not its source but a node of
    its own in the graph, in which the gradients of its users are summed before they reach the source.
    """

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.operations = operations
        self.edges = nn.ModuleList(OPERATIONS[operation](channels) for operation in operations)

    def forward(self, x: Tensor) -> Tensor:
        """Compute every edge, including those on dead paths; the shape does not change."""
        nodes = [x]
        for node in range(1, NUM_NODES):
            incoming = [edge for edge, (_, target) in enumerate(EDGES) if target == node]
            nodes.append(sum(self.edges[edge](nodes[EDGES[edge][0]]) for edge in incoming))
        return nodes[-1]


class ResidualBlock(nn.Module):
    """Halve the resolution and double the channels between two stages."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_a = relu_conv_bn(in_channels, out_channels, kernel=3, stride=2)
        self.conv_b = relu_conv_bn(out_channels, out_channels, kernel=3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Sum of two convolutions and a shortcut: average pooling and a 1x1 convolution."""
        output: Tensor = self.shortcut(x) + self.conv_b(self.conv_a(x))
        return output


class NasBench201Network(nn.Module):
    """Stem, three stages of five cells with a residual block before the second and third, classifier."""

    def __init__(
        self,
        operations: tuple[str, ...],
        *,
        in_channels: int,
        num_classes: int,
        cell: Callable[[tuple[str, ...], int], Cell] = Cell,
        widths: tuple[int, ...] = CHANNELS,
        depth: int = CELLS_PER_STAGE,
    ) -> None:
        super().__init__()
        first, last = widths[0], widths[-1]
        self.stem = nn.Sequential(nn.Conv2d(in_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first))
        blocks: list[nn.Module] = []
        for stage, channels in enumerate(widths):
            if stage:
                blocks.append(ResidualBlock(widths[stage - 1], channels))
            blocks.extend(cell(operations, channels) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU())
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, num_classes)."""
        features = self.norm(self.blocks(self.stem(x)))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits

    def layers(self) -> tuple[Layer, ...]:
        """Stem, cells and residual blocks in depth order, head."""
        types = ["cell" if isinstance(block, Cell) else "reduction" for block in self.blocks]
        names = block_names(types.count("cell") // (types.count("reduction") + 1))
        blocks = (Layer(name, type_, (block,)) for name, type_, block in zip(names, types, self.blocks, strict=True))
        return (
            Layer("stem", "stem", (self.stem,)),
            *blocks,
            Layer("head", "head", (self.norm, self.classifier)),
        )


def block_names(depth: int = CELLS_PER_STAGE) -> tuple[str, ...]:
    """Names of the cells, ``depth`` a stage, and of the residual blocks, in depth order; cells are numbered consecutively."""
    names: list[str] = []
    for stage in range(len(CHANNELS)):
        names += [f"reduction{stage - 1}"] if stage else []
        names += [f"cell{stage * depth + i}" for i in range(depth)]
    return tuple(names)


class LiveCell(Cell):
    """A `Cell` that only computes the edges that can affect gradients.

    With ``run_every_relu`` it also calls the ReLUs of skipped convolutions, on the input that they have in the literal cell, for
    estimators that observe ReLUs (`naswot`); they do not affect the output. Without ``skips_dead`` it is the literal cell.
    """

    run_every_relu = False
    skips_dead = True

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__(operations, channels)
        self.useful = _nodes_that_reach_output(operations)
        self.nonzero = _nodes_that_are_not_zero(operations)

    def forward(self, x: Tensor) -> Tensor:
        """As `Cell.forward`; a node that is exactly 0 and depends on no parameter is None."""
        if not self.skips_dead:
            return super().forward(x)
        nodes: list[Tensor | None] = [x]
        for node in range(1, NUM_NODES):
            terms = [self._edge(edge, nodes, like=x) for edge, (_, target) in enumerate(EDGES) if target == node]
            nodes.append(_sum_present(terms))
        if self.run_every_relu:
            self._run_skipped_relus(nodes)
        output = nodes[-1]
        assert output is not None  # otherwise the network would be a DisconnectedNetwork
        return output

    def _edge(self, edge: int, nodes: list[Tensor | None], *, like: Tensor) -> Tensor | None:
        source, target = EDGES[edge]
        operation, value = self.operations[edge], nodes[source]
        if operation == "none" or target not in self.useful:
            return None
        module = self.edges[edge]
        if isinstance(module, nn.Sequential) and source not in self.nonzero:
            output: Tensor = module[-1](torch.zeros_like(like))  # BatchNorm alone, for its bias
            return output
        return None if value is None else module(value)

    def _run_skipped_relus(self, nodes: list[Tensor | None]) -> None:
        x = nodes[0]
        assert x is not None
        values = {node: value for node, value in enumerate(nodes) if value is not None}
        outputs: dict[int, Tensor] = {}
        with torch.no_grad():
            # Edges are in the order of their targets, so the value of a source only depends on edges that were run before.
            for edge, (source, target) in enumerate(EDGES):
                module = self.edges[edge]
                if isinstance(module, nn.Sequential) and not (target in self.useful and source in self.nonzero):
                    outputs[edge] = module[0](self._literal_value(source, values, outputs, x))

    def _literal_value(self, node: int, values: dict[int, Tensor], relus: dict[int, Tensor], x: Tensor) -> Tensor:
        """Value of a node in the literal cell; computed here if the output does not need it, from ``relus`` that have run."""
        if node not in values and node not in self.nonzero:
            values[node] = torch.zeros_like(x)
        elif node not in values:
            terms = []
            for edge, (source, target) in enumerate(EDGES):
                if target == node:
                    module = self.edges[edge]
                    if isinstance(module, nn.Sequential):
                        terms.append(module[1:](relus[edge]))
                    else:
                        terms.append(module(self._literal_value(source, values, relus, x)))
            values[node] = reduce(add, terms)
        return values[node]


class ReachingCell(Cell):
    """A `Cell` without the edges that cannot reach the output, for training.

    `LiveCell` relies on BatchNorm biases of 0, which holds until the first step of training. This cell only skips what has no
    effect for any weights: ``none``, and edges to nodes from which only ``none`` edges lead on. Their weights have no gradient.
    """

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__(operations, channels)
        self.useful = _nodes_that_reach_output(operations)

    def forward(self, x: Tensor) -> Tensor:
        """As `Cell.forward`; a node that is exactly 0 for any weights is None."""
        nodes: list[Tensor | None] = [x]
        for node in range(1, NUM_NODES):
            terms = [self._edge(edge, nodes, like=x) for edge, (_, target) in enumerate(EDGES) if target == node]
            nodes.append(_sum_present(terms))
        output = nodes[-1]
        return torch.zeros_like(x) if output is None else output

    def _edge(self, edge: int, nodes: list[Tensor | None], *, like: Tensor) -> Tensor | None:
        source, target = EDGES[edge]
        if self.operations[edge] == "none" or target not in self.useful:
            return None
        module, value = self.edges[edge], nodes[source]
        if value is not None:
            output: Tensor = module(value)
            return output
        # The output of a convolution of zeros is 0, but that of its BatchNorm is the bias.
        return module(torch.zeros_like(like)) if isinstance(module, nn.Sequential) else None


def _sum_present(terms: list[Tensor | None]) -> Tensor | None:
    """Sum of the terms that are not None, with the graph of the literal cell's sum; None if there are none."""
    present = [term for term in terms if term is not None]
    if not present:
        return None
    if len(present) == 1:
        # A skip returns its input itself. The literal cell adds it to 0, which creates a node in the graph, in which the
        # gradients of the node's users are summed first; a view is such a node without the addition.
        return present[0].view_as(present[0])
    return reduce(add, present)


class DisconnectedNetwork(NasBench201Network):
    """A network whose cells return exactly 0: the features are zeros, and only the bias of the classifier has a gradient.

    Without ``skips_dead`` it is the literal network.
    """

    skips_dead = True

    def forward(self, x: Tensor) -> Tensor:
        """Logits of zero features."""
        if not self.skips_dead:
            return super().forward(x)
        logits: Tensor = self.classifier(x.new_zeros(len(x), self.classifier.in_features))
        return logits


def build_live_network(
    operations: tuple[str, ...],
    *,
    in_channels: int,
    num_classes: int,
    widths: tuple[int, ...] = CHANNELS,
    depth: int = CELLS_PER_STAGE,
) -> NasBench201Network:
    """Build a network with the parameters of the literal one that skips dead paths."""
    connected = NUM_NODES - 1 in _nodes_that_are_not_zero(operations)
    network, cell = (NasBench201Network, LiveCell) if connected else (DisconnectedNetwork, Cell)
    return network(operations, in_channels=in_channels, num_classes=num_classes, cell=cell, widths=widths, depth=depth)


def _nodes_that_reach_output(operations: tuple[str, ...]) -> frozenset[int]:
    useful = {NUM_NODES - 1}
    for (source, target), operation in reversed(list(zip(EDGES, operations, strict=True))):
        if operation != "none" and target in useful:
            useful.add(source)
    return frozenset(useful)


def _nodes_that_are_not_zero(operations: tuple[str, ...]) -> frozenset[int]:
    nonzero = {0}
    for (source, target), operation in zip(EDGES, operations, strict=True):
        if operation != "none" and source in nonzero:
            nonzero.add(target)
    return frozenset(nonzero)
