"""Genotypes of the DARTS space: checked, numbered, drawn."""

import hashlib
import itertools
from collections.abc import Collection

from sweetgrad.profiling.spaces._operations import DARTS_OPERATIONS
from sweetgrad.store import Genotype
from sweetgrad.store.benchmarks.genotypes import NODES, CellEdges

__all__ = ["NUM_GENOTYPES", "check_genotype", "drawn_genotype", "genotype_at"]

_NUM_INPUTS = 2

_PAIRS = [list(itertools.combinations(range(node), 2)) for node in NODES]
_PER_NODE = [len(pairs) * len(DARTS_OPERATIONS) ** 2 for pairs in _PAIRS]
NUM_GENOTYPES = (_PER_NODE[0] * _PER_NODE[1] * _PER_NODE[2] * _PER_NODE[3]) ** 2
"""Genotypes of the DARTS space, 1.08e18: two different inputs for each of four nodes, one of seven operations on each."""


def check_genotype(genotype: Genotype, *, operations: Collection[str], num_nodes: int | None = None) -> Genotype:
    """Make sure that a network can be built of a genotype.

    Parameters
    ----------
    genotype
        As from `sweetgrad.store.parse_genotype`.
    operations
        Those that the space has.
    num_nodes
        Nodes that each cell must have; None: any number.

    Returns
    -------
    The genotype itself.

    Raises
    ------
    ValueError
        If a cell has another number of edges than two for each node, an unknown operation, an edge from a node that is not
        earlier, or joins nodes that are not there; cell, node and edge are named.
    """
    for cell in ("normal", "reduce"):
        edges: CellEdges = getattr(genotype, cell)
        concat: tuple[int, ...] = getattr(genotype, f"{cell}_concat")
        where = f"cell {cell!r} of {_short(str(genotype))}"
        wrong_number = len(edges) != _NUM_INPUTS * num_nodes if num_nodes else not edges or len(edges) % _NUM_INPUTS
        if wrong_number:
            expected = f"{_NUM_INPUTS * num_nodes} edges" if num_nodes else "an even number of edges"
            raise ValueError(f"{where} has {len(edges)} edges; expected {expected}, two inputs for each node")
        for place, (name, source) in enumerate(edges):
            node = place // _NUM_INPUTS + 2
            if name not in operations:
                raise ValueError(
                    f"{where}: unknown operation {name!r} on edge {place}; expected {', '.join(sorted(operations))}"
                )
            if source >= node:
                raise ValueError(
                    f"{where}: node {node} takes node {source} on edge {place}; expected an earlier one, 0 to {node - 1}"
                )
        # In a reduction cell, the inputs are larger than what is made of them.
        first, last = (2 if cell == "reduce" else 0), len(edges) // _NUM_INPUTS + 1
        if not concat or len(set(concat)) < len(concat) or not all(first <= node <= last for node in concat):
            raise ValueError(f"{where} joins the nodes {list(concat)}; expected different ones of {first} to {last}")
    return genotype


def genotype_at(index: int) -> Genotype:
    """The genotype of a number in 0..`NUM_GENOTYPES` - 1, each genotype having one.

    Raises
    ------
    IndexError
        If there is no such number.
    """
    if not 0 <= index < NUM_GENOTYPES:
        raise IndexError(f"the DARTS space has the genotypes 0 to {NUM_GENOTYPES - 1}, got {index}")
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


def drawn_genotype(place: int) -> Genotype:
    """Genotype at a place of the endless list of uniform draws that every sample is taken from.

    A draw depends on its place alone, on any machine and with any version: SHA-256 is the generator.
    """
    digest = hashlib.sha256(f"sweetgrad darts {place}".encode()).digest()
    return genotype_at(int.from_bytes(digest, "big") % NUM_GENOTYPES)


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "…")
