"""Regularisation of training: drop path, an auxiliary head, and augmentation by crops, flips and cutout."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.spaces._cell_network import Form
from sweetgrad.profiling.spaces.protocol import Network


class DropPath:
    """Drop the output of operations, independently for each image, and scale the rest, so that the mean is unchanged.

    It adds a hook to every operation of every cell except identities, without which the cell would be disconnected. In evaluation
    mode it does nothing.

    Parameters
    ----------
    module
        Network whose ``cells`` have ``edges``.
    random
        Generator of the masks.

    Raises
    ------
    ValueError
        If the network has no cells with edges.
    """

    def __init__(self, module: nn.Module, random: torch.Generator) -> None:
        self.probability = 0.0
        self._random = random
        for edge in _edges(module):
            if not isinstance(edge, nn.Identity):
                edge.register_forward_hook(self._drop)

    def _drop(self, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if not (module.training and self.probability):
            return output
        keep = 1 - self.probability
        mask = (torch.rand(len(output), 1, 1, 1, generator=self._random) < keep) / keep
        return output * mask.to(output.device, output.dtype)


class WithAuxiliaryHead(nn.Module):
    """A network of cells with an auxiliary classifier on the output of its second reduction cell, in training mode only.

    Parameters
    ----------
    network
        Network of a DARTS space.
    form
        ``cifar`` or ``imagenet``: the head is that of the published code, which needs features of at least 8x8 or 7x7 pixels.
    num_classes
        Number of classes.
    """

    def __init__(self, network: Network, *, form: Form, num_classes: int) -> None:
        super().__init__()
        self.network = network.module
        cells = _cells(network.module)
        self._features: list[Tensor] = []
        self._min_size = 8 if form == "cifar" else 7
        cell = cells[2 * len(cells) // 3]
        cell.register_forward_hook(self._keep)
        self.head = _auxiliary_head(_width(cell), form=form)
        self.classifier = nn.Linear(768, num_classes)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if self.training:
            self._features.append(output)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, and in training mode those of the auxiliary head as well."""
        logits: Tensor = self.network(x)
        if not self.training:
            return logits
        features = self._features.pop()
        if min(features.shape[2:]) < self._min_size:
            raise ValueError(
                f"an auxiliary head needs {self._min_size}x{self._min_size} pixels after the second reduction cell, but images "
                f"of {x.shape[2]}x{x.shape[3]} leave {features.shape[2]}x{features.shape[3]}: use larger images or another recipe"
            )
        return logits, self.classifier(self.head(features).mean((2, 3)))


def _auxiliary_head(width: int, *, form: Form) -> nn.Sequential:
    stride = 3 if form == "cifar" else 2
    last = [nn.BatchNorm2d(768)] if form == "cifar" else []  # the published code for ImageNet omits it
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=stride, count_include_pad=False),
        nn.Conv2d(width, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        *last,
        nn.ReLU(),
    )


def _width(cell: Any) -> int:
    """Number of channels of a cell's output: of all nodes that it concatenates."""
    convolution: nn.Conv2d = cell.inputs[1][1]
    return convolution.out_channels * len(cell.concat)


def _cells(module: nn.Module) -> list[Any]:
    """Cells of a network, of whatever class, that have ``edges``."""
    cells = list(getattr(module, "cells", ()))
    if not cells or not all(hasattr(cell, "edges") for cell in cells):
        raise ValueError(
            "drop path and auxiliary heads need a network of cells with edges, such as those of the space darts, got a "
            f"{type(module).__name__}: use another recipe"
        )
    return cells


def _edges(module: nn.Module) -> list[nn.Module]:
    return [edge for cell in _cells(module) for edge in cell.edges]


class LazyImages:
    """Images of a split that do not fit in memory: read when they are indexed, as if they were a tensor.

    Parameters
    ----------
    x
        Returns images, float32, at an array of positions (`sweetgrad.profiling.Images`).
    positions
        Positions of the images of the split.
    device
        Device to which indexed images are moved.
    """

    def __init__(self, x: Any, positions: NDArray[np.int64], device: str) -> None:
        self._x, self._positions = x, positions
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        positions = self._positions[index if isinstance(index, slice) else index.numpy(force=True)]
        return torch.from_numpy(self._x[positions]).to(self.device)


class Augmentation:
    """Random crops of the zero-padded image, horizontal flips, and cutout.

    Parameters
    ----------
    padding
        Padding on each side, in pixels; 0: no crops.
    flip
        Whether images are flipped horizontally with probability 1/2.
    cutout
        Side of a square of zeros with its centre anywhere in the image; 0: no cutout.
    """

    def __init__(self, *, padding: int = 0, flip: bool = False, cutout: int = 0) -> None:
        self.padding, self.flip, self.cutout = padding, flip, cutout

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Augment images (N, C, H, W); ``random`` is a generator on the CPU, whatever the device of the images."""
        num, _, height, width = x.shape
        rows, columns = torch.arange(height).expand(num, -1), torch.arange(width).expand(num, -1)
        if self.padding:
            top, left = torch.randint(0, 2 * self.padding + 1, (2, num, 1), generator=random)
            rows, columns = rows + top, columns + left
            x = F.pad(x, (self.padding,) * 4)
        if self.flip:
            flipped = torch.rand(num, 1, generator=random) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        if self.padding or self.flip:
            image = torch.arange(num)[:, None, None]
            rows, columns = rows[:, :, None].to(x.device), columns[:, None, :].to(x.device)
            x = x.permute(0, 2, 3, 1)[image.to(x.device), rows, columns].permute(0, 3, 1, 2)
        if self.cutout:
            x = x * (~self._holes(num, height, width, random)).to(x.device, x.dtype)
        return x

    def _holes(self, num: int, height: int, width: int, random: torch.Generator) -> Tensor:
        """Mask of the squares, which may extend beyond the image; shape (N, 1, H, W)."""
        inside = []
        for size in (height, width):
            start = torch.randint(0, size, (num, 1), generator=random) - self.cutout // 2
            position = torch.arange(size)
            inside.append((position >= start) & (position < start + self.cutout))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
