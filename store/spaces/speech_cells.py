"""Cells of NAS-Bench-ASR (Mehrotra et al. 2021) as vectors: for each of three nodes an operation, and which skips it has.

``[[op, b], [op, b, b], [op, b, b, b]]``: ``op`` is the number of an operation of `SPEECH_OPERATIONS`; ``b`` is 1 where the node
also adds the input of the cell, or the output of an earlier node, in this order.
"""

import itertools
import json

from sweetgrad.store.spaces.graphs import hash_of, live_edges

SPEECH_OPERATIONS = ("linear", "conv5", "conv5d2", "conv7", "conv7d2", "zero")
"""Operations in the order of the benchmark."""

NUM_SPEECH_NODES = 3
_ZERO = SPEECH_OPERATIONS.index("zero")

SpeechNode = tuple[int, tuple[int, ...]]
"""Operation and skips of a node."""


def read_vector(text: str) -> tuple[SpeechNode, ...]:
    """Parse a vector.

    Raises
    ------
    ValueError
        If it is not a vector of the space; the message names the node.

    Examples
    --------
    >>> read_vector("[[0,1],[5,1,0],[3,1,1,1]]")
    ((0, (1,)), (5, (1, 0)), (3, (1, 1, 1)))
    """
    expected = "[[op,b],[op,b,b],[op,b,b,b]] with op in 0..5 and b in 0..1"
    try:
        if len(text) > 200:
            raise ValueError(f"it has {len(text):,} characters")
        nodes = json.loads(text)
        if not isinstance(nodes, list) or len(nodes) != NUM_SPEECH_NODES:
            raise ValueError(f"it must have {NUM_SPEECH_NODES} nodes")
        for number, node in enumerate(nodes):
            if not isinstance(node, list) or len(node) != number + 2 or any(type(part) is not int for part in node):
                raise ValueError(f"node {number} must have an operation and {number + 1} skips, got {node!r}")
            if not 0 <= node[0] < len(SPEECH_OPERATIONS):
                raise ValueError(
                    f"node {number} has the operation {node[0]}, expected 0 to {len(SPEECH_OPERATIONS) - 1}"
                )
            if any(part not in (0, 1) for part in node[1:]):
                raise ValueError(f"the skips of node {number} must be 0 or 1, got {node[1:]}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a NAS-Bench-ASR architecture: {text[:100]!r}: {error}; expected {expected}") from None
    return tuple((node[0], tuple(node[1:])) for node in nodes)


def vector_string(nodes: tuple[SpeechNode, ...]) -> str:
    """The canonical string of a vector."""
    return json.dumps([[operation, *skips] for operation, skips in nodes], separators=(",", ":"))


def all_vectors() -> list[str]:
    """The strings of all 13,824 vectors, in ascending order of their numbers."""
    of_node = [
        [
            (operation, skips)
            for operation in range(len(SPEECH_OPERATIONS))
            for skips in itertools.product((0, 1), repeat=n)
        ]
        for n in range(1, NUM_SPEECH_NODES + 1)
    ]
    return [vector_string(nodes) for nodes in itertools.product(*of_node)]


def vector_class(text: str) -> str:
    """Name of the class of vectors that the benchmark counts as one architecture, of which it trained 8,242.

    The graph of the vector has the operations as vertices, between the input and the output. What reads a node reads its
    operation and the operations that it skips to. Operations ``zero`` and vertices that are not on a path from the input to the
    output are left out; the name is a hash of the rest, as NAS-Bench-101 computes it.

    Raises
    ------
    ValueError
        As in `read_vector`.

    Examples
    --------
    >>> len({vector_class(f"[[5,0],[{op},0,0],[{last},0,0,1]]") for op in (0, 1) for last in (2, 3)})
    1
    """
    nodes = read_vector(text)
    output = NUM_SPEECH_NODES + 1
    labels = [-1, *(operation for operation, _ in nodes), -2]
    pairs = {(vertex, vertex + 1) for vertex in range(output)}
    for number, (_, skips) in enumerate(nodes):
        pairs |= {(source, number + 2) for source, skip in enumerate(skips) if skip}
    pairs = {(source, target) for source, target in pairs if _ZERO not in (labels[source], labels[target])}
    return hash_of(labels, live_edges(sorted(pairs), output))
