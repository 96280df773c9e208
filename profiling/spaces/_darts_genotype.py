"""Genotypes of the DARTS space: numbered, drawn."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sweetgrad.store import Genotype
from sweetgrad.store.spaces.genotypes import DARTS_OPERATIONS, NODES, NUM_INPUTS, CellEdges

__all__ = ["NUM_GENOTYPES", "drawn_genotype", "genotype_at", "mutated_genotype"]

_PAIRS = [list(itertools.combinations(range(node), 2)) for node in NODES]
_PER_NODE = [len(pairs) * len(DARTS_OPERATIONS) ** 2 for pairs in _PAIRS]
NUM_GENOTYPES = (_PER_NODE[0] * _PER_NODE[1] * _PER_NODE[2] * _PER_NODE[3]) ** 2
"""Genotypes of the DARTS space, 1.08e18: two different inputs for each of four nodes, one of seven operations on each."""


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


def mutated_genotype(genotype: Genotype, random: np.random.RandomState) -> Genotype:
    """A genotype that differs in one operation or one input: the mutations of regularised evolution.

    As in Real et al. (AAAI 2019, "Regularized Evolution for Image Classifier Architecture Search", section 3.2): one of the two
    cells is chosen, and whether its operations or its hidden states mutate, each with probability 1/2; then one edge at random,
    which gets another operation, or another earlier node as its input. Unlike there, every mutant differs from its parent, and a
    node never takes one input twice, as nowhere in the space of `genotype_at`. Nodes keep their inputs in ascending order, so
    that one cell has one genotype.

    Parameters
    ----------
    genotype
        As from `check_genotype`.
    random
        Where the choices are drawn from.
    """
    cell = ("normal", "reduce")[random.randint(2)]
    edges = list(getattr(genotype, cell))
    of_operation = random.randint(2) == 0
    others = {
        place: [op for op in DARTS_OPERATIONS if op != name] if of_operation else _other_inputs(edges, place)
        for place, (name, _) in enumerate(edges)
    }
    places = [place for place in others if others[place]]
    place = places[random.randint(len(places))]
    name, source = edges[place]
    chosen = others[place][random.randint(len(others[place]))]
    edges[place] = (chosen, source) if of_operation else (name, chosen)
    first = place - place % NUM_INPUTS
    edges[first : first + NUM_INPUTS] = sorted(edges[first : first + NUM_INPUTS], key=lambda edge: edge[1])
    return replace(genotype, **{cell: tuple(edges)})


def _other_inputs(edges: Sequence[tuple[str, int]], place: int) -> list[int]:
    """Nodes that the one at the end of an edge could take instead."""
    first = place - place % NUM_INPUTS
    taken = {source for _, source in edges[first : first + NUM_INPUTS]}
    return [node for node in range(place // NUM_INPUTS + 2) if node not in taken]
