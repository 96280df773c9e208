"""What the DARTS recipes add to a network of cells while it trains; the network itself, as it is profiled, stays as it is."""

from typing import Any

import torch
from torch import Tensor, nn

from sweetgrad.profiling.spaces._cell_network import Form
from sweetgrad.profiling.spaces.protocol import Network

__all__ = ["DropPath", "WithAuxiliary"]


class DropPath:
    """Leave the output of an operation out, for each image by itself, and scale what is kept, so that the mean stays.

    It is hooked to every operation of every cell but identities, whose absence would cut the cell in two; in evaluation mode it
    does nothing.

    Parameters
    ----------
    module
        Network of cells: its ``cells`` have ``edges``.
    random
        Generator of the training.

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


class WithAuxiliary(nn.Module):
    """A network of cells, and a second classifier on the output of its second reduction cell, in training mode only.

    Parameters
    ----------
    network
        Network of a DARTS space.
    form
        ``cifar`` or ``imagenet``: the head is that of the published code, which takes features of at least 8x8 or 7x7 pixels.
    num_classes
        Classes.
    """

    def __init__(self, network: Network, *, form: Form, num_classes: int) -> None:
        super().__init__()
        self.network = network.module
        cells = _cells(network.module)
        self._seen: list[Tensor] = []
        self._least = 8 if form == "cifar" else 7
        cell = cells[2 * len(cells) // 3]
        cell.register_forward_hook(self._keep)
        self.head = _auxiliary_head(_width(cell), form=form)
        self.classifier = nn.Linear(768, num_classes)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if self.training:
            self._seen.append(output)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, and in training mode those of the auxiliary head as well."""
        logits: Tensor = self.network(x)
        if not self.training:
            return logits
        seen = self._seen.pop()
        if min(seen.shape[2:]) < self._least:
            raise ValueError(
                f"an auxiliary head needs {self._least}x{self._least} pixels after the second reduction cell, and images of "
                f"{x.shape[2]}x{x.shape[3]} leave {seen.shape[2]}x{seen.shape[3]}: take larger images or another recipe"
            )
        return logits, self.classifier(self.head(seen).mean((2, 3)))


def _auxiliary_head(width: int, *, form: Form) -> nn.Sequential:
    stride = 3 if form == "cifar" else 2
    last = [nn.BatchNorm2d(768)] if form == "cifar" else []  # the published code for ImageNet leaves it out
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


def _width(cell: nn.Module) -> int:
    """Channels of a cell's output: those of the nodes that it joins."""
    convolution: nn.Conv2d = cell.inputs[1][1]  # type: ignore[index,assignment]
    return convolution.out_channels * len(cell.concat)  # type: ignore[arg-type]


def _cells(module: nn.Module) -> list[nn.Module]:
    cells = list(getattr(module, "cells", ()))
    if not cells or not all(hasattr(cell, "edges") for cell in cells):
        raise ValueError(
            "drop path and an auxiliary head are for networks of cells with edges, such as those of the space darts; this is a "
            f"{type(module).__name__}: take another recipe"
        )
    return cells


def _edges(module: nn.Module) -> list[nn.Module]:
    return [edge for cell in _cells(module) for edge in cell.edges]  # type: ignore[union-attr]
