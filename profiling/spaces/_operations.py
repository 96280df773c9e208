"""Operations of the cells of DARTS, NASNet and related spaces, for a number of channels and a stride.

Every convolution is defined once, in `CONVOLUTIONS`, from which modules are built and parameters and multiply-adds are counted.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


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

_NARROW = 16
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
        if kernel == (1, 1) and max(rows, columns) > 1 and channels < _NARROW:
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
        is_narrow = in_channels < _NARROW
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
