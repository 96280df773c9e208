"""The network of a genotype: a stem, normal and reduction cells, a linear layer; and its costs, by arithmetic alone.

Without auxiliary head and drop path, which are only used for training. Every convolution is defined once, in `CONVOLUTIONS`, from
which modules are built and parameters and multiply-adds are counted.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweetgrad.profiling.spaces.protocol import Layer, Network
from sweetgrad.store import Genotype
from sweetgrad.store.spaces.genotypes import CellEdges


class Conv(NamedTuple):
    """A convolution without bias that keeps the number of channels and, with stride 1, the size of the image."""

    kernel: tuple[int, int]
    depthwise: bool = False
    dilation: int = 1


Block = tuple[Conv, ...]
"""ReLU, a sequence of convolutions, BatchNorm."""


def _separable(kernel: int, dilation: int = 1) -> Block:
    return (Conv((kernel, kernel), depthwise=True, dilation=dilation), Conv((1, 1)))


CONVOLUTIONS: dict[str, tuple[Block, ...]] = {
    "conv_1x1": ((Conv((1, 1)),),),
    "conv_3x3": ((Conv((3, 3)),),),
    "conv_3x1_1x3": ((Conv((1, 3)), Conv((3, 1))),),
    "conv_7x1_1x7": ((Conv((1, 7)), Conv((7, 1))),),
    "sep_conv_3x3": (_separable(3), _separable(3)),
    "sep_conv_5x5": (_separable(5), _separable(5)),
    "sep_conv_7x7": (_separable(7), _separable(7)),
    "dil_conv_3x3": (_separable(3, dilation=2),),
    "dil_conv_5x5": (_separable(5, dilation=2),),
    "dil_sep_conv_3x3": (_separable(3, dilation=2), _separable(3, dilation=2)),
}
"""Blocks of each operation; the stride applies to the first block."""

_POOLS = (
    "avg_pool_2x2",
    "avg_pool_3x3",
    "avg_pool_5x5",
    "max_pool_2x2",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
)

OPERATIONS = frozenset({"none", "skip_connect", *_POOLS, *CONVOLUTIONS})
"""All operations."""

NARROW = 16
"""Number of input channels below which a strided 1x1 convolution is replaced by subsampling and an unstrided one.

Both are the same function. But with fewer channels than its vectors have elements, oneDNN's gradient of the strided convolution
in channels-last format writes outside of its workspace (oneDNN issue 6035): the process crashes, or other numbers are wrong.
"""


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """Build one of `OPERATIONS`; with stride 2, height and width are halved, rounded up."""
    if name in CONVOLUTIONS:
        modules: list[nn.Module] = []
        for index, block in enumerate(CONVOLUTIONS[name]):
            modules += _block(block, channels, stride if index == 0 else 1)
        return nn.Sequential(*modules)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)
    if name == "none":
        return _Zero(stride)
    kind, size = name.split("_")[0], int(name[-1])
    if size % 2 == 0:
        return _EvenPool(kind, size, stride)
    if kind == "avg":
        return nn.AvgPool2d(size, stride=stride, padding=size // 2, count_include_pad=False)
    return nn.MaxPool2d(size, stride=stride, padding=size // 2)


def relu_conv_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    """ReLU, 1x1 convolution without bias, BatchNorm."""
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out_channels))


def _block(block: Block, channels: int, stride: int) -> list[nn.Module]:
    convs: list[nn.Module] = []
    for index, (kernel, depthwise, dilation) in enumerate(block):
        # In a pair such as 1x7 and 7x1, each strides along its own kernel; otherwise the first one does.
        rows, columns = (
            stride if (size > 1 or kernel == (1, 1)) and (index == 0 or kernel[0] != kernel[1]) else 1
            for size in kernel
        )
        padding = (dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2)
        groups = channels if depthwise else 1
        if kernel == (1, 1) and max(rows, columns) > 1 and channels < NARROW:
            convs.append(_Subsample(stride))
            rows = columns = 1
        convs.append(
            nn.Conv2d(channels, channels, kernel, (rows, columns), padding, dilation, groups=groups, bias=False)
        )
    return [nn.ReLU(), *convs, nn.BatchNorm2d(channels)]


class _Subsample(nn.Module):
    """Keep every ``stride``-th pixel of every ``stride``-th row."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class _Zero(nn.Module):
    """Zeros that are part of the graph, so that the gradient of the input is exactly 0."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]).mul(0.0)


class _EvenPool(nn.Module):
    """Pooling over a window of even size, padded by one pixel more on the right and at the bottom; padding is not counted."""

    def __init__(self, kind: str, size: int, stride: int) -> None:
        super().__init__()
        self.kind, self.size, self.stride = kind, size, stride

    def forward(self, x: Tensor) -> Tensor:
        before, after = (self.size - 1) // 2, self.size // 2
        pad = (before, after, before, after)
        if self.kind == "max":
            return functional.max_pool2d(functional.pad(x, pad, value=float("-inf")), self.size, self.stride)
        sums = functional.avg_pool2d(functional.pad(x, pad), self.size, self.stride)
        fractions = functional.avg_pool2d(functional.pad(torch.ones_like(x[:1, :1]), pad), self.size, self.stride)
        return sums / fractions


class FactorizedReduction(nn.Module):
    """Halve the resolution: ReLU, two 1x1 convolutions with stride 2, one of them shifted by a pixel; BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if out_channels % 2:
            raise ValueError(f"a factorised reduction needs an even number of channels, got {out_channels}")
        self.relu = nn.ReLU()
        is_narrow = in_channels < NARROW
        self.pixels: nn.Module = _Subsample(2) if is_narrow else nn.Identity()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels // 2, 1, stride=1 if is_narrow else 2, bias=False) for _ in range(2)
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, out_channels, H / 2, W / 2), rounded up."""
        x = self.relu(x)
        height, width = x.shape[2:]
        # An odd size is padded with zeros.
        shifted = (
            functional.pad(x, (0, width % 2, 0, height % 2))[:, :, 1:, 1:]
            if height % 2 or width % 2
            else x[:, :, 1:, 1:]
        )
        output: Tensor = self.norm(
            torch.cat([self.convs[0](self.pixels(x)), self.convs[1](self.pixels(shifted))], dim=1)
        )
        return output


Form = Literal["cifar", "imagenet"]
"""``cifar``: a 3x3 convolution before the cells; ``imagenet``: three with stride 2."""

STEM_CHANNELS = 3
"""Channels of the ``cifar`` stem, as a multiple of those of the first cell."""


@dataclass(frozen=True)
class CellPlan:
    """Dimensions of one cell.

    Attributes
    ----------
    before, last
        Channels of its two inputs: the outputs of the cell before the previous one, and of the previous one.
    channels
        Channels of its nodes.
    reduces, follows_reduction
        Whether it halves the resolution, and whether the previous cell did.
    """

    before: int
    last: int
    channels: int
    reduces: bool
    follows_reduction: bool


def plan_cells(genotype: Genotype, *, form: Form, channels: int, num_cells: int) -> list[CellPlan]:
    """Widths of all cells: a reduction cell at one third and at two thirds of the depth doubles them."""
    before = last = STEM_CHANNELS * channels if form == "cifar" else channels
    follows = form == "imagenet"
    plans = []
    for index in range(num_cells):
        reduces = index in (num_cells // 3, 2 * num_cells // 3)
        channels *= 2 if reduces else 1
        plans.append(CellPlan(before, last, channels, reduces, follows))
        before, last, follows = last, channels * len(_cell(genotype, reduces=reduces)[1]), reduces
    return plans


def build_cell_network(
    genotype: Genotype,
    *,
    form: Form,
    channels: int,
    num_cells: int,
    in_channels: int,
    num_classes: int,
    names: tuple[str, ...],
) -> Network:
    """Build the network with PyTorch's default initialisation; ``names`` are those of its layers, starting with the stem."""
    plans = plan_cells(genotype, form=form, channels=channels, num_cells=num_cells)
    module = _CellNetwork(
        genotype, plans, form=form, channels=channels, in_channels=in_channels, num_classes=num_classes
    )
    layers = (
        Layer(names[0], "stem", (module.stem,)),
        *(
            Layer(name, "reduction" if plan.reduces else "cell", (cell,))
            for name, plan, cell in zip(names[1:], plans, module.cells, strict=False)
        ),
        Layer(names[num_cells + 1], "head", (module.classifier,)),
    )
    return Network(module, layers)


class _Cell(nn.Module):
    """Two inputs, converted to one shape; nodes that are sums of two operations each; the output concatenates some of them."""

    def __init__(self, genotype: Genotype, plan: CellPlan) -> None:
        super().__init__()
        edges, self.concat = _cell(genotype, reduces=plan.reduces)
        self.sources = tuple(source for _, source in edges)
        first = FactorizedReduction if plan.follows_reduction else relu_conv_bn
        self.inputs = nn.ModuleList([first(plan.before, plan.channels), relu_conv_bn(plan.last, plan.channels)])
        self.edges = nn.ModuleList(
            operation(name, plan.channels, 2 if plan.reduces and source < 2 else 1) for name, source in edges
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        values = [self.inputs[0](before), self.inputs[1](last)]
        for index in range(0, len(self.sources), 2):
            first, second = (self.edges[edge](values[self.sources[edge]]) for edge in (index, index + 1))
            values.append(first + second)
        return torch.cat([values[node] for node in self.concat], dim=1)


class _CellNetwork(nn.Module):
    def __init__(
        self,
        genotype: Genotype,
        plans: list[CellPlan],
        *,
        form: Form,
        channels: int,
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.stem = _cifar_stem(in_channels, channels) if form == "cifar" else _imagenet_stem(in_channels, channels)
        self.cells = nn.ModuleList(_Cell(genotype, plan) for plan in plans)
        width = plans[-1].channels * len(_cell(genotype, reduces=plans[-1].reduces)[1])
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, num_classes)."""
        before = x
        for stage in self.stem:
            before, x = x, stage(x)
        before = x if len(self.stem) == 1 else before
        for cell in self.cells:
            before, x = x, cell(before, x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def _cifar_stem(in_channels: int, channels: int) -> nn.ModuleList:
    width = STEM_CHANNELS * channels
    return nn.ModuleList([nn.Sequential(_conv(in_channels, width), nn.BatchNorm2d(width))])


def _imagenet_stem(in_channels: int, channels: int) -> nn.ModuleList:
    """Two stages, which are the two inputs of the first cell."""
    if channels % 2:
        raise ValueError(f"the stem for ImageNet needs an even number of channels, got {channels}")
    half = channels // 2
    first = (
        _conv(in_channels, half, 2),
        nn.BatchNorm2d(half),
        nn.ReLU(),
        _conv(half, channels, 2),
        nn.BatchNorm2d(channels),
    )
    second = (nn.ReLU(), _conv(channels, channels, 2), nn.BatchNorm2d(channels))
    return nn.ModuleList([nn.Sequential(*first), nn.Sequential(*second)])


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def _cell(genotype: Genotype, *, reduces: bool) -> tuple[CellEdges, tuple[int, ...]]:
    return (genotype.reduce, genotype.reduce_concat) if reduces else (genotype.normal, genotype.normal_concat)


@dataclass(frozen=True)
class Costs:
    """Costs of a network.

    Attributes
    ----------
    params
        Trainable parameters.
    multiply_adds
        Multiply-adds of the convolutions and the linear layer, for one image.
    """

    params: int = 0
    multiply_adds: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        """Sum of both."""
        return Costs(self.params + other.params, self.multiply_adds + other.multiply_adds)


def count_costs(
    genotype: Genotype, *, form: Form, channels: int, num_cells: int, in_channels: int, num_classes: int, size: int
) -> Costs:
    """Count for images of ``size`` x ``size`` pixels; other arguments as in `build_cell_network`."""
    if form == "cifar":
        total = _conv_costs(9 * in_channels, STEM_CHANNELS * channels, size)
        before = last = size
    else:
        half = channels // 2
        size = _halved(size)
        total = _conv_costs(9 * in_channels, half, size)
        before = _halved(size)
        total += _conv_costs(9 * half, channels, before)
        last = _halved(before)
        total += _conv_costs(9 * channels, channels, last)
    plans = plan_cells(genotype, form=form, channels=channels, num_cells=num_cells)
    concat = 0
    for plan in plans:
        edges, joined = (
            (genotype.reduce, genotype.reduce_concat) if plan.reduces else (genotype.normal, genotype.normal_concat)
        )
        total += _input_costs(plan, last)
        inner = _halved(last) if plan.reduces else last
        for name, source in edges:
            total += _operation_costs(name, plan.channels, 2 if plan.reduces and source < 2 else 1, inner)
        before, last, concat = last, inner, plan.channels * len(joined)
    return total + Costs((concat + 1) * num_classes, concat * num_classes)


def _input_costs(plan: CellPlan, size: int) -> Costs:
    # A factorised reduction has two convolutions with half of the channels each: together as many weights as one.
    return _conv_costs(plan.before, plan.channels, size) + _conv_costs(plan.last, plan.channels, size)


def _operation_costs(name: str, channels: int, stride: int, size: int) -> Costs:
    if name == "skip_connect" and stride == 2:
        return _conv_costs(channels, channels, size)
    total = Costs()
    for position, block in enumerate(CONVOLUTIONS.get(name, ())):
        for number, (kernel, depthwise, _) in enumerate(block):
            weights = kernel[0] * kernel[1] * channels * (1 if depthwise else channels)
            # The first of a pair such as 1x7 and 7x1 only strides along its own kernel, so its output has twice the rows.
            rows = stride if position == 0 and number == 0 and kernel[0] != kernel[1] else 1
            total += Costs(weights, weights * size * size * rows)
        total += Costs(2 * channels)
    return total


def _conv_costs(inputs: int, outputs: int, size: int) -> Costs:
    """A convolution with ``inputs`` weights for each output channel, and its BatchNorm."""
    return Costs(inputs * outputs + 2 * outputs, inputs * outputs * size * size)


def _halved(size: int) -> int:
    return (size + 1) // 2
