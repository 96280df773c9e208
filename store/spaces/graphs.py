"""Cells of NAS-Bench-101 as strings: the upper triangle of an adjacency matrix, and the operations of the inner vertices.

Vertices are numbered in topological order: 0 is the input, the last one is the output, the others have an operation. Edges go
from a lower to a higher number, so the upper triangle of the adjacency matrix, row by row, contains all of them.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from hashlib import md5
from itertools import combinations

MAX_VERTICES = 7
MAX_EDGES = 9
GRAPH_OPERATIONS = ("conv1x1", "conv3x3", "maxpool3x3")

Edges = tuple[tuple[int, int], ...]


def read_parts(arch_id: str) -> tuple[tuple[str, ...], Edges]:
    """Parse ``upper triangle:op;op;...`` into the operations of the inner vertices and the edges on paths from input to output.

    Raises
    ------
    ValueError
        If the string is malformed or the graph is outside the space.

    Examples
    --------
    >>> read_parts("100101:conv3x3;maxpool3x3")
    (('conv3x3', 'maxpool3x3'), ((0, 1), (1, 2), (2, 3)))
    """
    adjacency, colon, listed = arch_id.partition(":")
    try:
        if not colon:
            raise ValueError("there is no colon")
        num_vertices, edges = read_edges(adjacency)
        return read_ops(listed, num_ops=num_vertices - 2), edges
    except ValueError as error:
        raise ValueError(
            f"not a NAS-Bench-101 architecture: {arch_id[:200]!r}: {error}. "
            "Expected the upper triangle of the adjacency matrix, a colon, and the operations of the inner vertices, "
            "such as '100101:conv3x3;maxpool3x3'"
        ) from None


def read_edges(adjacency: str) -> tuple[int, Edges]:
    """Parse an upper triangle such as ``100101`` into the number of vertices and the edges on paths from input to output.

    Raises
    ------
    ValueError
        If it is not an upper triangle, or the graph is outside the space. Edges are counted after pruning, as in the benchmark.
    """
    if set(adjacency) - {"0", "1"}:
        raise ValueError(f"the upper triangle must consist of 0 and 1, got {adjacency!r}")
    by_length = {n * (n - 1) // 2: n for n in range(2, MAX_VERTICES + 1)}
    if len(adjacency) not in by_length:
        raise ValueError(
            f"the upper triangle must have {', '.join(map(str, by_length))} digits for 2 to {MAX_VERTICES} vertices, "
            f"got {len(adjacency)} digits"
        )
    num_vertices = by_length[len(adjacency)]
    pairs = combinations(range(num_vertices), 2)
    edges = live_edges([pair for pair, digit in zip(pairs, adjacency, strict=True) if digit == "1"], num_vertices - 1)
    if not edges:
        raise ValueError(f"no path leads from the input to the output in {adjacency!r}")
    if len(edges) > MAX_EDGES:
        raise ValueError(f"at most {MAX_EDGES} edges may lie on paths from input to output, got {len(edges)}")
    return num_vertices, edges


def read_ops(listed: str, *, num_ops: int) -> tuple[str, ...]:
    """Parse a list of operations such as ``conv3x3;maxpool3x3``.

    Raises
    ------
    ValueError
        If there are not ``num_ops`` of them, or one is unknown.
    """
    ops = tuple(listed.split(";")) if listed else ()
    if len(ops) != num_ops:
        raise ValueError(f"{num_ops + 2} vertices need {num_ops} operations, got {len(ops)} ({listed!r})")
    for op in ops:
        if op not in GRAPH_OPERATIONS:
            raise ValueError(f"operations must be among {', '.join(GRAPH_OPERATIONS)}, got {op!r}")
    return ops


def live_edges(edges: list[tuple[int, int]], output: int) -> Edges:
    """Edges on a path from vertex 0 to ``output``; ``edges`` must be sorted by source, and lead to higher numbers."""
    reached = {0}
    for source, target in edges:  # sorted by source, so one pass is enough
        if source in reached:
            reached.add(target)
    leading = {output}
    for source, target in reversed(edges):
        if target in leading:
            leading.add(source)
    return tuple((source, target) for source, target in edges if source in reached and target in leading)


_LABELS = {"conv3x3": 0, "conv1x1": 1, "maxpool3x3": 2}
_INPUT, _OUTPUT = -1, -2


def graph_hash(arch_id: str) -> str:
    """Hash of a cell as NAS-Bench-101 computes it (Ying et al. 2019): equal for two cells if and only if they are isomorphic.

    Every vertex begins with its number of edges and its operation, and then takes up the hashes of its neighbours, as many times
    as there are vertices. The benchmark lists its graphs in the order of these hashes.

    Parameters
    ----------
    arch_id
        As in `read_parts`, without dead vertices, as all graphs of the benchmark are.

    Returns
    -------
    32 hexadecimal digits.

    Examples
    --------
    >>> graph_hash("100101:conv3x3;maxpool3x3") == graph_hash("100101:maxpool3x3;conv3x3")
    False
    """
    ops, edges = read_parts(arch_id)
    return hash_of([_INPUT, *(_LABELS[op] for op in ops), _OUTPUT], edges)


def hash_of(labels: Sequence[int], edges: Collection[tuple[int, int]]) -> str:
    """Hash of a graph as NAS-Bench-101 computes it, from the label of each vertex and the edges; lone vertices are left out."""
    vertices = sorted({vertex for edge in edges for vertex in edge})
    sources = {v: [source for source, target in edges if target == v] for v in vertices}
    targets = {v: [target for source, target in edges if source == v] for v in vertices}
    hashes = {v: _md5(str((len(targets[v]), len(sources[v]), labels[v]))) for v in vertices}
    for _ in vertices:
        hashes = {
            v: _md5(
                "|".join([*("".join(sorted(hashes[w] for w in near)) for near in (sources[v], targets[v])), hashes[v]])
            )
            for v in vertices
        }
    return _md5(str(sorted(hashes.values())))


def find_graph(archs: Sequence[str], arch: str) -> int:
    """Position of a graph in a list, by its string, by that of an isomorphic graph, or by its `graph_hash`.

    Raises
    ------
    ValueError
        If the graph is not in the list, or ``arch`` is neither a graph of the space nor a hash.

    Examples
    --------
    >>> graphs = ["101:conv3x3", "100101:conv3x3;conv1x1"]
    >>> find_graph(graphs, "100101:conv3x3;conv1x1"), find_graph(graphs, graph_hash("101:conv3x3"))
    (1, 0)
    """
    wanted = arch if re.fullmatch("[0-9a-f]{32}", arch) else graph_hash(arch)
    # A list in the benchmark's order is sorted by hash: nineteen hashes are computed instead of 423,624.
    place = bisect_left(archs, wanted, key=graph_hash)
    if place < len(archs) and graph_hash(archs[place]) == wanted:
        return place
    found = next((index for index, other in enumerate(archs) if graph_hash(other) == wanted), None)
    if found is None:
        raise ValueError(f"no graph with the hash {wanted} is among these {len(archs):,}")
    return found


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
