"""A network with all NAS-Bench-201 architectures: five operations on each edge, of which a path selects one."""

import re
from collections.abc import Iterator

from torch import Tensor, nn

from sweetgrad.profiling.spaces.nas_bench_201_network import (
    CELLS_PER_STAGE,
    CHANNELS,
    OPERATIONS,
    Cell,
    NasBench201Network,
)
from sweetgrad.store.spaces.cells import EDGES, parse_arch


class _Choice(nn.ModuleDict):
    """All operations of an edge, of which only the chosen one runs."""

    def __init__(self, channels: int) -> None:
        super().__init__({name: make(channels) for name, make in OPERATIONS.items()})
        self.chosen = next(iter(OPERATIONS))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self[self.chosen](x)
        return output


class _SuperCell(Cell):
    """A `Cell` with a `_Choice` on every edge; it inherits `Cell.forward`, so a path computes the cell of that architecture."""

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        nn.Module.__init__(self)  # not that of Cell, which builds one operation per edge
        self.operations = operations
        self.edges = nn.ModuleList(_Choice(channels) for _ in EDGES)

    def choices(self) -> list[_Choice]:
        return [edge for edge in self.edges if isinstance(edge, _Choice)]


class Supernet(nn.Module):
    """All architectures of NAS-Bench-201 in one network; those with the same operation on an edge share its weights.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the images; number of classes.
    widths, depth
        Channels of the three stages, and cells per stage; those of the benchmark by default.

    Examples
    --------
    >>> import torch
    >>> net = Supernet(in_channels=3, num_classes=10)
    >>> net.choose("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|")
    >>> net(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        widths: tuple[int, ...] = CHANNELS,
        depth: int = CELLS_PER_STAGE,
    ) -> None:
        super().__init__()
        none = ("none",) * len(EDGES)
        self.network = NasBench201Network(
            none, in_channels=in_channels, num_classes=num_classes, cell=_SuperCell, widths=widths, depth=depth
        )

    def choose(self, arch_id: str) -> None:
        """Select an architecture; raises as `parse_arch` does."""
        self.choose_operations(parse_arch(arch_id))

    def choose_operations(self, operations: tuple[str, ...]) -> None:
        """Select the architecture with these operations, in the order of `EDGES`."""
        for cell in self._cells():
            for choice, operation in zip(cell.choices(), operations, strict=True):
                choice.chosen = operation

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, num_classes) of the selected architecture."""
        logits: Tensor = self.network(x)
        return logits

    def inherited(self, arch_id: str) -> dict[str, Tensor]:
        """``state_dict`` that the stand-alone network of an architecture inherits; it shares the tensors of the supernet.

        Examples
        --------
        >>> from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
        >>> space = NasBench201()
        >>> network = space.build_literal(space.arch_id(7))
        >>> network.module.load_state_dict(Supernet(in_channels=3, num_classes=10).inherited(space.arch_id(7)))
        <All keys matched successfully>
        """
        operations = parse_arch(arch_id)
        state = {}
        for key, value in self.network.state_dict().items():
            edge = re.fullmatch(r"(blocks\.\d+\.edges\.(\d+)\.)(\w+)\.(.+)", key)
            if edge is None:
                state[key] = value
            elif edge[3] == operations[int(edge[2])]:
                state[edge[1] + edge[4]] = value
        return state

    def norms(self) -> Iterator[nn.BatchNorm2d]:
        """BatchNorm layers that the selected architecture uses."""
        unused = {
            id(module)
            for cell in self._cells()
            for choice in cell.choices()
            for name, operation in choice.items()
            if name != choice.chosen
            for module in operation.modules()
        }
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d) and id(module) not in unused:
                yield module

    def _cells(self) -> Iterator[_SuperCell]:
        return (block for block in self.network.blocks if isinstance(block, _SuperCell))
