"""The DARTS space (Liu et al., ICLR 2019): uniform samples of its 10^18 genotypes, or those of a table, and their networks."""

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sweetgrad.profiling.spaces._cell_names import name_parameters
from sweetgrad.profiling.spaces._cell_network import Costs, Form, build_cell_network, count_costs
from sweetgrad.profiling.spaces._space_table import read_space_table
from sweetgrad.profiling.spaces.protocol import Network, check_index
from sweetgrad.store import Genotype, parse_genotype
from sweetgrad.store.spaces.genotypes import DARTS_OPERATIONS, NODES, NUM_INPUTS, CellEdges
from sweetgrad.store.spaces.grammar import read_darts

_COLUMN = "genotype"
_DEFAULT_NUM_ARCHS = 10_000
_MAX_CHANNELS, _MAX_CELLS, _MAX_NUM_ARCHS = 4096, 1000, 10_000_000
_MAX_REJECTED = 100_000


class Darts:
    """Cells of four nodes with two inputs each, in the network that DARTS trains on CIFAR-10.

    Without a table, row ``i`` is the ``i``-th of an endless list of uniform samples, which is the same everywhere, so a profile
    can grow. With a table, the rows are those of the table, in its order.

    Parameters
    ----------
    table
        csv (also ``.gz``) with a column ``genotype``: in any form that `parse_genotype` accepts. The operation ``none`` and a
        node with the same input twice are accepted, since published tables have them, but never sampled.
    channels, cells
        Channels of the nodes of the first cell; number of cells.
    num_archs
        Number of rows, if there is no table.
    max_multiply_adds
        Exclude networks with more multiply-adds for an image of `input_size`, such as 600e6, the limit for ImageNet.

    Raises
    ------
    ValueError
        If a parameter is invalid, or the table cannot be read; the message names file, row and edge.

    Examples
    --------
    >>> space = Darts(channels=16, cells=8)
    >>> len(space), space.variant
    (10000, 'c16-n8')
    >>> network = space.build(space.arch_id(0), in_channels=3, num_classes=10)
    >>> sum(p.numel() for p in network.module.parameters()) == space.costs(space.arch_id(0)).params
    True
    """

    name = "darts"
    init = "pytorch-default"
    input_size = 32
    tables: tuple[str, ...] = ()
    open_ended = True
    form: Form = "cifar"
    num_classes = 10
    default_channels = 36
    default_cells = 20

    def __init__(
        self,
        table: Path | str | None = None,
        *,
        channels: int | None = None,
        cells: int | None = None,
        num_archs: int | None = None,
        max_multiply_adds: float | None = None,
    ) -> None:
        self.channels = _check_integer("channels", channels, default=self.default_channels, most=_MAX_CHANNELS)
        self.cells = _check_integer("cells", cells, default=self.default_cells, most=_MAX_CELLS)
        if self.form == "imagenet" and self.channels % 2:
            raise ValueError(f"channels must be even, because the stem starts with half of them, got {self.channels}")
        if max_multiply_adds is not None and not (
            isinstance(max_multiply_adds, int | float) and 0 < max_multiply_adds < math.inf
        ):
            raise ValueError(f"max_multiply_adds must be a positive number, such as 600e6, got {max_multiply_adds!r}")
        if table is not None and num_archs is not None:
            raise ValueError(f"num_archs cannot be combined with a table, whose rows are all used: {table}")
        self.max_multiply_adds = max_multiply_adds
        self.layer_names = ("stem", *(f"cell{index}" for index in range(self.cells)), "head")
        self.open_ended = table is None
        self._num_archs = _check_integer("num_archs", num_archs, default=_DEFAULT_NUM_ARCHS, most=_MAX_NUM_ARCHS)
        self._sampled: list[int] | None = None
        self._listed: tuple[str, ...] | None = None
        if table is not None:
            self._listed = tuple(arch for arch in _read_table(Path(table)) if self._fits(parse_genotype(arch)))
            if not self._listed:
                raise ValueError(f"{table}: no network has at most {max_multiply_adds:g} multiply-adds")
        elif max_multiply_adds is not None:
            self._sampled = self._first_within_limit()

    @property
    def order(self) -> str:
        """Description of the order of the rows."""
        return "uniform draws" if self._listed is None else "file"

    @property
    def options(self) -> dict[str, Any]:
        """Parameters of the network and of the choice of architectures, which the spec of a profile records."""
        limit = {} if self.max_multiply_adds is None else {"max_multiply_adds": self.max_multiply_adds}
        return {"channels": self.channels, "cells": self.cells, **limit}

    @property
    def variant(self) -> str:
        """Empty for the network of the paper, else for example ``c16-n8``."""
        standard = (self.channels, self.cells) == (self.default_channels, self.default_cells)
        size = [] if standard else [f"c{self.channels}", f"n{self.cells}"]
        limit = [] if self.max_multiply_adds is None else [f"max{self.max_multiply_adds / 1e6:g}M"]
        return "-".join([*size, *limit])

    def __len__(self) -> int:
        """Number of rows."""
        return self._num_archs if self._listed is None else len(self._listed)

    def arch_id(self, index: int) -> str:
        """Genotype in row ``index``, as a string.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        check_index(index, len(self))
        if self._listed is not None:
            return self._listed[index]
        return str(sample_genotype(index if self._sampled is None else self._sampled[index]))

    def build(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> Network:
        """Build the network of any genotype of the space, listed or not.

        Raises
        ------
        ValueError
            As in `parse_genotype`; and if the genotype has an unknown operation, an edge from a later node, or not two inputs for
            each of four nodes.
        """
        return self._build(arch_id, self.channels, self.cells, in_channels, num_classes)

    def mutate(self, arch_id: str, random: np.random.RandomState) -> str:
        """A genotype with one other operation or input (`mutate_genotype`), within `max_multiply_adds` if that is set.

        Raises
        ------
        ValueError
            As in `build`; and if no mutant is within the limit.
        """
        genotype = read_darts(arch_id)
        for _ in range(_MAX_REJECTED):
            mutant = mutate_genotype(genotype, random)
            if self._fits(mutant):
                return str(mutant)
        raise ValueError(
            f"none of {_MAX_REJECTED:,} mutants of {arch_id} has at most {self.max_multiply_adds:g} multiply-adds"
        )

    def build_thin(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> nn.Module:
        """Build a network with 4 channels and 3 cells, for the linear regions of TE-NAS."""
        return self._build(arch_id, 4, 3, in_channels, num_classes).module

    def parameter_axes(self) -> dict[str, dict[str, str]]:
        """Names of the parameters that a network of any genotype of the space may have."""

        def build(genotype: Genotype, channels: int, cells: int) -> Network:
            return self._build(str(genotype), channels, cells, 3, 10)

        sizes = [(self.channels, self.cells)]
        return name_parameters(build, operations=DARTS_OPERATIONS, num_nodes=len(NODES), sizes=sizes)

    def costs(self, arch_id: str, *, in_channels: int = 3, num_classes: int | None = None) -> Costs:
        """Parameters and multiply-adds of the network for an image of `input_size`, without building it."""
        classes = self.num_classes if num_classes is None else num_classes
        return self._costs(read_darts(arch_id), in_channels, classes)

    def _build(self, arch_id: str, channels: int, cells: int, in_channels: int, num_classes: int) -> Network:
        return build_cell_network(
            read_darts(arch_id),
            form=self.form,
            channels=channels,
            num_cells=cells,
            in_channels=in_channels,
            num_classes=num_classes,
            names=self.layer_names if cells == self.cells else ("stem", *map(str, range(cells)), "head"),
        )

    def _costs(self, genotype: Genotype, in_channels: int, num_classes: int) -> Costs:
        return count_costs(
            genotype,
            form=self.form,
            channels=self.channels,
            num_cells=self.cells,
            in_channels=in_channels,
            num_classes=num_classes,
            size=self.input_size,
        )

    def _fits(self, genotype: Genotype) -> bool:
        limit = self.max_multiply_adds
        return limit is None or self._costs(genotype, 3, self.num_classes).multiply_adds <= limit

    def _first_within_limit(self) -> list[int]:
        indices: list[int] = []
        rejected = 0
        for index in itertools.count():
            if self._fits(sample_genotype(index)):
                indices.append(index)
                if len(indices) == self._num_archs:
                    return indices
                rejected = 0
            elif (rejected := rejected + 1) == _MAX_REJECTED:
                raise ValueError(
                    f"none of {_MAX_REJECTED:,} consecutive samples has at most {self.max_multiply_adds:g} multiply-adds with "
                    f"{self.channels} channels and {self.cells} cells; raise max_multiply_adds"
                )
        raise AssertionError("the list of samples is endless")


class DartsImageNet(Darts):
    """The DARTS space in the network for ImageNet: three convolutions with stride 2, then 14 cells, starting with 48 channels."""

    name = "darts-imagenet"
    input_size = 224
    form: Form = "imagenet"
    num_classes = 1000
    default_channels = 48
    default_cells = 14


class NasBench301(Darts):
    """The DARTS space in the network that NAS-Bench-301 trains on CIFAR-10: 8 cells, starting with 32 channels."""

    name = "nas-bench-301"
    default_channels = 32
    default_cells = 8


def _check_integer(name: str, value: int | None, *, default: int, most: int) -> int:
    """Return the default for None, and check that other values are integers in 1..most."""
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} must be an integer in 1..{most}, got {value!r}")
    return value


def _read_table(path: Path) -> list[str]:
    expected = f"a csv (also .gz) with a column {_COLUMN}, one genotype per row"
    frame = read_space_table(path, [_COLUMN], expected=expected, dtype=str, na_filter=False)
    first_row: dict[str, int] = {}
    for row, text in enumerate(frame[_COLUMN].tolist()):
        where = f"{path}, row {row} (counted from 0, below the header)"
        try:
            arch = str(read_darts(text))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if first_row.setdefault(arch, row) != row:
            raise ValueError(f"{where}: the same genotype as row {first_row[arch]}; remove one of them")
    if not first_row:
        raise ValueError(f"{path} has no rows; expected {expected}")
    return list(first_row)


_PAIRS = [list(itertools.combinations(range(node), 2)) for node in NODES]
_PER_NODE = [len(pairs) * len(DARTS_OPERATIONS) ** 2 for pairs in _PAIRS]
NUM_GENOTYPES = (_PER_NODE[0] * _PER_NODE[1] * _PER_NODE[2] * _PER_NODE[3]) ** 2
"""Genotypes of the DARTS space, 1.08e18: two different inputs for each of four nodes, one of seven operations on each."""


def genotype_at(index: int) -> Genotype:
    """The genotype with an index in 0..`NUM_GENOTYPES` - 1; every genotype has one index.

    Raises
    ------
    IndexError
        If the index is out of range.
    """
    if not 0 <= index < NUM_GENOTYPES:
        raise IndexError(f"genotype index must be in 0..{NUM_GENOTYPES - 1}, got {index}")
    cells: list[CellEdges] = []
    for _ in range(2):
        edges: list[tuple[str, int]] = []
        for pairs in _PAIRS:
            index, pair = divmod(index, len(pairs))
            for source in pairs[pair]:
                index, op = divmod(index, len(DARTS_OPERATIONS))
                edges.append((DARTS_OPERATIONS[op], source))
        cells.append(tuple(edges))
    return Genotype(cells[0], NODES, cells[1], NODES)


def sample_genotype(index: int) -> Genotype:
    """Genotype at an index of an endless list of uniform samples.

    It only depends on the index, on any machine and with any version: SHA-256 is the generator.
    """
    digest = hashlib.sha256(f"sweetgrad darts {index}".encode()).digest()
    return genotype_at(int.from_bytes(digest, "big") % NUM_GENOTYPES)


def mutate_genotype(genotype: Genotype, random: np.random.RandomState) -> Genotype:
    """Change one operation or one input of a genotype: the mutations of regularised evolution.

    As in Real et al. (AAAI 2019, "Regularized Evolution for Image Classifier Architecture Search", section 3.2): one of
    the two cells is chosen, and whether its operations or its hidden states mutate, each with probability 1/2; then a random edge
    gets another operation, or another earlier node as its input. Unlike there, every mutant differs from its parent, and a node
    never has the same input twice, as everywhere in the space of `genotype_at`. The inputs of a node stay in ascending order, so
    that a cell has only one genotype.

    Parameters
    ----------
    genotype
        As returned by `check_genotype`.
    random
        Generator of the choices.
    """
    cell = ("normal", "reduce")[random.randint(2)]
    edges = list(getattr(genotype, cell))
    of_operation = random.randint(2) == 0
    alternatives = {
        edge: [op for op in DARTS_OPERATIONS if op != name] if of_operation else _other_inputs(edges, edge)
        for edge, (name, _) in enumerate(edges)
    }
    mutable = [edge for edge in alternatives if alternatives[edge]]
    edge = mutable[random.randint(len(mutable))]
    name, source = edges[edge]
    chosen = alternatives[edge][random.randint(len(alternatives[edge]))]
    edges[edge] = (chosen, source) if of_operation else (name, chosen)
    first = edge - edge % NUM_INPUTS
    edges[first : first + NUM_INPUTS] = sorted(edges[first : first + NUM_INPUTS], key=lambda edge: edge[1])
    return replace(genotype, **{cell: tuple(edges)})


def _other_inputs(edges: Sequence[tuple[str, int]], edge: int) -> list[int]:
    """Nodes that could replace the source of an edge."""
    first = edge - edge % NUM_INPUTS
    taken = {source for _, source in edges[first : first + NUM_INPUTS]}
    return [node for node in range(edge // NUM_INPUTS + 2) if node not in taken]
