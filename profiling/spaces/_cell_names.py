"""Names of all parameters that networks of genotypes may have, from a few networks that take no memory."""

from collections.abc import Callable, Collection, Iterable

import torch

from sweetgrad.profiling.spaces._cell_network import NARROW, operation
from sweetgrad.profiling.spaces.protocol import Network, kind_of, unite_names
from sweetgrad.store import Genotype
from sweetgrad.store.spaces.genotypes import NUM_INPUTS


def name_parameters(
    build: Callable[[Genotype, int, int], Network],
    *,
    operations: Collection[str],
    num_nodes: int,
    sizes: Iterable[tuple[int, int]],
) -> dict[str, dict[str, str]]:
    """Axes of the parameters of all networks with cells of these operations, for ``parameter_axes`` of their space.

    Parameters
    ----------
    build
        Builds the network of a genotype, for a number of channels and of cells.
    operations
        Operations of the cells.
    num_nodes
        Largest number of nodes of a cell.
    sizes
        Channels and cells of the networks.
    """
    # A name depends on the width only where a strided convolution is replaced since the layer is narrow.
    different = sorted({(min(channels, NARROW), cells) for channels, cells in sizes})
    with torch.device("meta"):
        genotypes = [_with_one_operation(*variant, num_nodes) for variant in _variants(operations)]
        return unite_names(build(genotype, *size) for size in different for genotype in genotypes)


def _variants(operations: Collection[str]) -> list[tuple[str, int]]:
    """Operations, each with a stride (`_with_one_operation`), that together have every parameter that any of them has at an edge.

    They are chosen greedily, so they are few: one of several operations with the same modules.
    """
    strides = {"normal": (1, 1), "first node of a reduction": (2, 2), "later node of a reduction": (1, 2)}
    variants = {
        (name, stride): {
            (place, channels, path, kind_of(parameter))
            for place, possible in strides.items()
            for channels in (NARROW, NARROW // 2)
            for path, parameter in operation(name, channels, possible[stride - 1]).named_parameters()
        }
        for name in sorted(operations)
        for stride in (2, 1)
    }
    chosen: list[tuple[str, int]] = []
    left = set().union(*variants.values())
    while left or not chosen:
        chosen.append(max(variants, key=lambda variant: len(variants[variant] & left)))
        left -= variants[chosen[-1]]
    return chosen


def _with_one_operation(name: str, stride: int, num_nodes: int) -> Genotype:
    """A genotype with one operation on every edge; in a reduction cell with this stride, wherever an edge may have it."""
    nodes = tuple(range(2, num_nodes + 2))
    edges = tuple((name, 0 if stride == 2 else node - 1) for node in nodes for _ in range(NUM_INPUTS))
    return Genotype(edges, nodes, edges, nodes)
