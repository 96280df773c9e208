"""NAS-Bench-201 (Dong & Yang, ICLR 2020): 15,625 cells of 4 nodes and 6 edges, stacked 15 times.

The network is that of training-free estimators: 16 channels, 5 cells a stage (see "NAS-Bench-201" in docs/spaces.md).
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sweetgrad.profiling.spaces._space_table import read_space_table
from sweetgrad.profiling.spaces.nas_bench_201_network import (
    CELLS_PER_STAGE,
    CHANNELS,
    OPERATIONS,
    NasBench201Network,
    ReachingCell,
    block_names,
    build_live_network,
)
from sweetgrad.profiling.spaces.protocol import Network, check_index, unite_names
from sweetgrad.store.spaces.cells import EDGES, arch_string, parse_arch


class NasBench201:
    """The search space, in the benchmark's order if a table is given, else in lexicographic order of the operations.

    Parameters
    ----------
    table
        CSV (also ``.gz``) with the columns ``index`` and ``arch_str``, one row for each of the 15,625 architectures; or
        ``"nas-bench-201"``, the one that comes with the package.
    skip_dead
        Whether networks skip operations that cannot reach the output. Counts are exactly the same (there is a test); False
        builds the literal network.

    Raises
    ------
    ValueError
        If the table cannot be read, lacks a column, or does not have every index and every architecture once.

    Examples
    --------
    >>> space = NasBench201()
    >>> len(space), space.order
    (15625, 'lexicographic')
    >>> space.arch_id(0)
    '|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|'
    >>> network = space.build(space.arch_id(0), in_channels=3, num_classes=10)
    >>> sum(p.numel() for p in network.module.parameters())
    73306
    """

    name = "nas-bench-201"
    variant = ""
    init = "pytorch-default"
    input_size = 32
    version = 2  # version 1 did not start sums at 0, which changed last bits of gradients if skip_connect is on the first edge

    def __init__(self, table: str | Path | None = None, *, skip_dead: bool = True) -> None:
        self.order = "lexicographic" if table is None else "benchmark"
        self.skip_dead = skip_dead
        all_archs = sorted(arch_string(ops) for ops in itertools.product(OPERATIONS, repeat=len(EDGES)))
        self._archs = all_archs if table is None else _read_order(Path(table), all_archs)
        self.layer_names = ("stem", *block_names(), "head")

    def __len__(self) -> int:
        """15,625."""
        return len(self._archs)

    def arch_id(self, index: int) -> str:
        """Architecture string, e.g. ``|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|``.

        Raises
        ------
        IndexError
            If there is no such architecture.
        """
        check_index(index, len(self))
        return self._archs[index]

    def build(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> Network:
        """Build the network of an architecture string; raises as `parse_arch` does."""
        operations = parse_arch(arch_id)
        build = build_live_network if self.skip_dead else NasBench201Network
        module = build(operations, in_channels=in_channels, num_classes=num_classes)
        return Network(module, module.layers())

    def parameter_axes(self) -> dict[str, dict[str, str]]:
        """Names of the parameters of all networks: an edge has the same module whatever its convolution."""
        largest = arch_string(("nor_conv_3x3",) * len(EDGES))
        with torch.device("meta"):
            return unite_names([self.build(largest)])

    def mutate(self, arch_id: str, random: np.random.RandomState) -> str:
        """Replace the operation of a random edge by another one, both uniform, as in the benchmark's own evolution."""
        operations = list(parse_arch(arch_id))
        edge = random.randint(len(EDGES))
        others = [operation for operation in OPERATIONS if operation != operations[edge]]
        operations[edge] = others[random.randint(len(others))]
        return arch_string(tuple(operations))

    def build_literal(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> Network:
        """Build the network with every operation, for estimators that include operations on dead paths."""
        module = NasBench201Network(parse_arch(arch_id), in_channels=in_channels, num_classes=num_classes)
        return Network(module, module.layers())

    def build_trainable(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> Network:
        """Build a network that trains like the literal one, without the edges that cannot reach the output."""
        operations = parse_arch(arch_id)
        module = NasBench201Network(operations, in_channels=in_channels, num_classes=num_classes, cell=ReachingCell)
        return Network(module, module.layers())

    def build_thin(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> nn.Module:
        """Build a network with 1, 2 and 4 channels and one cell per stage, for the linear regions of TE-NAS."""
        operations = parse_arch(arch_id)
        return NasBench201Network(
            operations, in_channels=in_channels, num_classes=num_classes, widths=(1, 2, 4), depth=1
        )


def num_params(arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> int:
    """Number of parameters of the whole network, from the architecture string alone.

    Parameters
    ----------
    arch_id
        Architecture string, as in `parse_arch`.
    in_channels, num_classes
        Channels of the images; number of classes.

    Returns
    -------
    Number of trainable parameters: weights, BatchNorm scales and shifts, the bias of the classifier. Operations on dead
    paths are included, as in the benchmark's table.

    Examples
    --------
    >>> num_params("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")
    1531546
    """
    operations = parse_arch(arch_id)
    total = 9 * in_channels * CHANNELS[0] + 2 * CHANNELS[0]  # stem: convolution, BatchNorm
    for channels in CHANNELS:
        for operation, kernel in (("nor_conv_1x1", 1), ("nor_conv_3x3", 3)):
            total += CELLS_PER_STAGE * operations.count(operation) * (kernel**2 * channels**2 + 2 * channels)
    for narrow, wide in itertools.pairwise(CHANNELS):
        # Residual block: two 3x3 convolutions with BatchNorm, 1x1 shortcut.
        total += (9 * narrow * wide + 2 * wide) + (9 * wide * wide + 2 * wide) + narrow * wide
    return total + 2 * CHANNELS[-1] + (CHANNELS[-1] + 1) * num_classes  # BatchNorm, classifier


def _read_order(table: Path, all_archs: list[str]) -> list[str]:
    expected = f"a csv (also .gz) with the columns index (0 to {len(all_archs) - 1}) and arch_str"
    frame = read_space_table(table, ["index", "arch_str"], expected=expected)
    archs = frame.sort_values("index")["arch_str"].fillna("").tolist()
    if sorted(archs) != all_archs:
        extra = sorted(set(archs) - set(all_archs))[:1]
        raise ValueError(
            f"{table} must list each of the {len(all_archs)} architectures once; "
            f"it has {len(archs)} rows, {len(set(archs))} distinct"
            + (f", and {extra[0]!r} is not in this space" if extra else "")
        )
    if sorted(frame["index"].tolist()) != list(range(len(all_archs))):
        raise ValueError(f"the column index of {table} must have every number from 0 to {len(all_archs) - 1} once")
    return archs
