"""NDS (Radosavovic et al., ICCV 2019): networks of five cell-based spaces, as listed in the authors' JSON files, or drawn.

An entry defines a network by genotype, width and depth, so the networks of a space differ in their number of layers.
"""

import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from torch import nn

from sweetgrad.profiling.spaces._cell_names import name_parameters
from sweetgrad.profiling.spaces._cell_network import Costs, Form, build_cell_network, count_costs
from sweetgrad.profiling.spaces.protocol import Network, check_index
from sweetgrad.store import Genotype
from sweetgrad.store.benchmarks.nds import entry_id, load_entries
from sweetgrad.store.spaces.genotypes import NUM_INPUTS
from sweetgrad.store.spaces.grammar import read_nds

URL = "https://dl.fbaipublicfiles.com/nds/data.zip"
"""The official archive; its folder ``nds_data`` has one JSON file for each space."""

Invalid = Literal["refuse", "skip"]

_FOLDER = "nds_data"


WIDTHS = (16, 24, 32)
"""Channels of the first cell of drawn networks."""
DEPTHS = (4, 8, 12, 16, 20)
"""Number of cells of drawn networks."""


class Nds:
    """The networks of one file, in its order, or uniform draws; a network that is listed twice is profiled once.

    An architecture string has genotype, width and depth, ``Genotype(...);width=16;depth=8``, so `build` also accepts networks
    that are not in the file.

    Parameters
    ----------
    table
        JSON (also ``.gz``): a list of entries, or a dictionary with two lists, ``top`` and ``mid``, which are concatenated. Only
        ``net`` (``genotype``, ``width``, ``depth``) and the optional ``params`` of an entry are read; ``aux``, an auxiliary head
        during training, is ignored. Networks are those for ImageNet if the name of the file ends in ``_in``. None: an endless
        list of uniform draws from the space as its authors describe it, of which ``num_archs`` are used; network *i* depends
        on *i* alone.
    invalid
        What to do with an entry for which no network can be built: ``refuse`` it (raise), or ``skip`` it with a warning.
    num_archs
        Number of draws.

    Raises
    ------
    ValueError
        If an option is invalid, or the table cannot be read; the message names file, entry and edge.
    """

    name = ""
    variant = ""
    init = "pytorch-default"
    input_size = 32
    tables: tuple[str, ...] = ()
    open_ended = True
    operations: ClassVar[tuple[str, ...]] = ()
    num_nodes: ClassVar[int] = 5
    joins_all: ClassVar[bool] = False
    """Whether a drawn cell joins all its nodes, or those that no other one takes."""

    def __init__(
        self, table: Path | str | None = None, *, invalid: Invalid = "refuse", num_archs: int = 10_000
    ) -> None:
        if invalid not in get_args(Invalid):
            raise ValueError(f"invalid must be one of {', '.join(get_args(Invalid))}, got {invalid!r}")
        if type(num_archs) is not int or num_archs < 1:
            raise ValueError(f"num_archs must be a whole number from 1 on, got {num_archs!r}")
        self.form: Form = "cifar"
        self.invalid = invalid
        self.published_params: dict[str, int] = {}
        self.open_ended = table is None
        self._operations: set[str] = set()
        self._num_nodes = 0
        self._sizes: set[tuple[int, int]] = set()
        if table is None:
            self._operations, self._num_nodes = set(self.operations), self.num_nodes
            self._sizes = {(width, depth) for width in WIDTHS for depth in DEPTHS}
            self._archs = tuple(self._draw(np.random.RandomState([index, 0])) for index in range(num_archs))
        else:
            path = Path(table)
            self.form = "imagenet" if path.name.split(".")[0].endswith("_in") else "cifar"
            self._archs = self._read(path)
        self._depth = max(depth for _, depth in self._sizes)
        self.input_size = 32 if self.form == "cifar" else 224
        self.layer_names = ("stem", *(f"layer{index}" for index in range(1, self._depth + 2)))

    @classmethod
    def fetch_table(cls, folder: Path) -> Path:
        """Download the official archive to a folder, extract it there, and return the file of this space."""
        from sweetgrad.profiling.datasets._files import fetch

        fetch(URL, None, folder)
        return folder / cls.tables[0]

    @property
    def options(self) -> dict[str, Any]:
        """Parameters that the spec of a profile records: only those that differ from the default."""
        return {} if self.invalid == "refuse" else {"invalid": self.invalid}

    @property
    def order(self) -> str:
        """Description of the order of the rows."""
        return "uniform draws" if self.open_ended else "file"

    def __len__(self) -> int:
        """Number of different networks in the file, or of draws."""
        return len(self._archs)

    def arch_id(self, index: int) -> str:
        """String of the network in row ``index``.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        check_index(index, len(self))
        return self._archs[index]

    def build(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> Network:
        """Build a network, listed or not, that is not deeper than the deepest of the file.

        Raises
        ------
        ValueError
            If the string is malformed, or the genotype is invalid.
        """
        genotype, width, depth = read_nds(arch_id)
        if depth > self._depth:
            raise ValueError(
                f"a network of {depth} cells is deeper than the deepest of the file, {self._depth}: {arch_id[-40:]}"
            )
        return self._network(genotype, width, depth, in_channels, num_classes)

    def build_thin(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> nn.Module:
        """Build a network with 4 channels and 3 cells, for the linear regions of TE-NAS."""
        return self._network(read_nds(arch_id)[0], 4, 3, in_channels, num_classes).module

    def parameter_axes(self) -> dict[str, dict[str, str]]:
        """Names of the parameters that networks with the operations, nodes, widths and depths of the file may have.

        A layer that is the head of a shallow network and a cell of a deeper one has the names of both.
        """

        def build(genotype: Genotype, width: int, depth: int) -> Network:
            return self._network(genotype, width, depth, 3, 10)

        return name_parameters(build, operations=self._operations, num_nodes=self._num_nodes, sizes=self._sizes)

    def costs(self, arch_id: str, *, in_channels: int = 3, num_classes: int = 10) -> Costs:
        """Parameters and multiply-adds of a network for an image of `input_size`, without building it."""
        genotype, width, depth = read_nds(arch_id)
        return count_costs(
            genotype,
            form=self.form,
            channels=width,
            num_cells=depth,
            in_channels=in_channels,
            num_classes=num_classes,
            size=self.input_size,
        )

    def _network(self, genotype: Genotype, width: int, depth: int, in_channels: int, num_classes: int) -> Network:
        return build_cell_network(
            genotype,
            form=self.form,
            channels=width,
            num_cells=depth,
            in_channels=in_channels,
            num_classes=num_classes,
            names=("stem", *(f"layer{index}" for index in range(1, depth + 2))),
        )

    def _draw(self, random: np.random.RandomState) -> str:
        """Draw a network: operation and input of each edge, width and depth, each uniform."""
        cells = [self._draw_cell(random) for _ in range(2)]
        (normal, normal_concat), (reduce, reduce_concat) = cells
        width, depth = WIDTHS[random.randint(len(WIDTHS))], DEPTHS[random.randint(len(DEPTHS))]
        return f"{Genotype(normal, normal_concat, reduce, reduce_concat)};width={width};depth={depth}"

    def _draw_cell(self, random: np.random.RandomState) -> tuple[tuple[tuple[str, int], ...], tuple[int, ...]]:
        nodes = range(2, 2 + self.num_nodes)
        edges = tuple(
            (self.operations[random.randint(len(self.operations))], int(random.randint(node)))
            for node in nodes
            for _ in range(NUM_INPUTS)
        )
        taken = {source for _, source in edges}
        return edges, tuple(node for node in nodes if self.joins_all or node not in taken)

    def _read(self, path: Path) -> tuple[str, ...]:
        entries = load_entries(path)
        archs: dict[str, int] = {}
        skipped: list[str] = []
        num_repeated = 0
        for number, entry in enumerate(entries):
            try:
                # The string under which `import_accuracy` stores the accuracy of the same entry.
                arch = entry_id(entry)
                genotype, width, depth = read_nds(arch)
            except ValueError as error:
                message = f"{path}, entry {number} (counted from 0): {error}"
                if self.invalid == "refuse":
                    raise ValueError(f"{message}. --space-option invalid=skip skips such entries") from None
                skipped.append(message)
                continue
            for edges in (genotype.normal, genotype.reduce):
                self._operations.update(name for name, _ in edges)
                self._num_nodes = max(self._num_nodes, len(edges) // NUM_INPUTS)
            self._sizes.add((width, depth))
            num_repeated += arch in archs
            archs.setdefault(arch, number)
            if type(entry.get("params")) is int:
                self.published_params[arch] = entry["params"]
        if skipped:
            warnings.warn(
                f"{len(skipped)} of {len(entries)} entries are skipped; the first: {skipped[0]}", stacklevel=3
            )
        if num_repeated:
            warnings.warn(
                f"{path}: {num_repeated} of {len(entries)} entries repeat the network of another entry; it is profiled once",
                stacklevel=3,
            )
        if not archs:
            raise ValueError(f"{path}: none of its {len(entries)} entries is a valid network")
        return tuple(archs)


_SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7")
_POOLS = ("avg_pool_3x3", "max_pool_3x3")


class NdsDarts(Nds):
    """NDS, DARTS: 5,000 networks; 8 operations, 4 nodes."""

    name = "nds-darts"
    operations = ("none", "skip_connect", *_SEPARABLE[:2], "dil_conv_3x3", "dil_conv_5x5", *_POOLS)
    num_nodes = 4
    joins_all = True
    tables = (f"{_FOLDER}/DARTS.json", "DARTS.json")


class NdsEnas(Nds):
    """NDS, ENAS: 4,999 networks; 5 operations, 5 nodes."""

    name = "nds-enas"
    operations = ("skip_connect", *_SEPARABLE[:2], *_POOLS)
    tables = (f"{_FOLDER}/ENAS.json", "ENAS.json")


class NdsPnas(Nds):
    """NDS, PNAS: 4,999 networks; 8 operations, 5 nodes."""

    name = "nds-pnas"
    operations = ("skip_connect", *_SEPARABLE, "conv_7x1_1x7", "dil_conv_3x3", *_POOLS)
    joins_all = True
    tables = (f"{_FOLDER}/PNAS.json", "PNAS.json")


class NdsNasnet(Nds):
    """NDS, NASNet: 4,846 networks; 13 operations, 5 nodes."""

    name = "nds-nasnet"
    operations = (
        *("skip_connect", *_SEPARABLE, "conv_1x1", "conv_3x3", "conv_3x1_1x3", "conv_7x1_1x7", "dil_conv_3x3"),
        *(*_POOLS, "max_pool_5x5", "max_pool_7x7"),
    )
    tables = (f"{_FOLDER}/NASNet.json", "NASNet.json")


class NdsAmoeba(Nds):
    """NDS, AmoebaNet: 4,983 networks; 8 operations, 5 nodes."""

    name = "nds-amoeba"
    operations = ("skip_connect", *_SEPARABLE, "conv_7x1_1x7", "dil_sep_conv_3x3", *_POOLS)
    tables = (f"{_FOLDER}/Amoeba.json", "Amoeba.json")
