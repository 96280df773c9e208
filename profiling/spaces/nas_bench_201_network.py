"""The network of NAS-Bench-201: a stem, three stages of equal cells, a residual block between two stages, a classifier."""

from collections.abc import Callable

from torch import Tensor, nn

from sweetgrad.profiling.spaces.protocol import Layer
from sweetgrad.store.spaces.cells import EDGES, NUM_NODES

__all__ = [
    "CELLS_PER_STAGE",
    "CHANNELS",
    "EDGES",
    "NUM_NODES",
    "OPERATIONS",
    "Cell",
    "NasBench201Network",
    "ResidualBlock",
    "block_names",
]

CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5


class Zero(nn.Module):
    """The operation ``none``: zeros that stay in the graph, so that what feeds it gets a gradient of exactly 0."""

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
"""Operation name to module, for a number of channels."""


class Cell(nn.Module):
    """Four nodes; each but the first is the sum of its edges, and the last is the output.

    The sum starts from 0, as in the benchmark's code: with ``skip_connect`` alone a node is then not its source itself but a node
    of its own in the graph, where the gradients of its users are added up before they reach the source.
    """

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.operations = operations
        self.edges = nn.ModuleList(OPERATIONS[operation](channels) for operation in operations)

    def forward(self, x: Tensor) -> Tensor:
        """Compute every edge, also those that cannot matter; shape unchanged."""
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
        """Two convolutions beside an average-pooled 1x1 shortcut."""
        return self.shortcut(x) + self.conv_b(self.conv_a(x))  # type: ignore[no-any-return]


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
        return self.classifier(features.mean((2, 3)))  # type: ignore[no-any-return]

    def layers(self) -> tuple[Layer, ...]:
        """Stem, cells and residual blocks in depth order, head."""
        types = ["cell" if isinstance(block, Cell) else "reduction" for block in self.blocks]
        blocks = (
            Layer(name, type_, (block,)) for name, type_, block in zip(block_names(), types, self.blocks, strict=True)
        )
        return (
            Layer("stem", "stem", (self.stem,)),
            *blocks,
            Layer("head", "head", (self.norm, self.classifier)),
        )


def block_names() -> tuple[str, ...]:
    """Names of the cells, numbered through, and of the residual blocks, in depth order."""
    names: list[str] = []
    for stage in range(len(CHANNELS)):
        names += [f"reduction{stage - 1}"] if stage else []
        names += [f"cell{stage * CELLS_PER_STAGE + i}" for i in range(CELLS_PER_STAGE)]
    return tuple(names)
