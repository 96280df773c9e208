"""Cells of NAS-Bench-201 as strings: an operation on each of six edges between four nodes."""

NUM_NODES = 4
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) node of each edge, in the order of the architecture string."""

CELL_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def parse_arch(arch_id: str) -> tuple[str, ...]:
    """Operations of the six edges, in the order of `EDGES`.

    Raises
    ------
    ValueError
        If the string is malformed, has an unknown operation, or has an edge from another node than in the benchmark.

    Examples
    --------
    >>> parse_arch("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")[3:]
    ('skip_connect', 'none', 'nor_conv_3x3')
    """
    expected = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2| with op one of " + ", ".join(CELL_OPERATIONS)
    pairs = [edge.partition("~") for node in arch_id.split("+") for edge in node.strip("|").split("|")]
    operations = tuple(operation for operation, _, _ in pairs)
    unknown = [operation for operation in operations if operation not in CELL_OPERATIONS]
    if unknown and len(pairs) == len(EDGES):
        raise ValueError(f"unknown operation {unknown[0]!r} in {arch_id[:200]!r}; expected {expected}")
    if unknown or len(pairs) != len(EDGES) or arch_string(operations) != arch_id:
        raise ValueError(f"not a NAS-Bench-201 architecture: {arch_id[:200]!r}; expected {expected}")
    return operations


def arch_string(operations: tuple[str, ...]) -> str:
    """The architecture string of the operations of the six edges, in the order of `EDGES`."""
    nodes = [
        "".join(f"|{operations[edge]}~{source}" for edge, (source, target) in enumerate(EDGES) if target == node) + "|"
        for node in range(1, NUM_NODES)
    ]
    return "+".join(nodes)


def cell_class(arch_id: str) -> str:
    """Name of the class of cells that NAS-Bench-201 takes for the same, of which it has 6,466 (Dong & Yang 2020).

    A node is the sum of its edges in any order. An edge that skips is the node that it comes from; one that is ``none``, or comes
    from a node that is zero, is zero. As in the benchmark, zeros stay terms of their sum, and a sum that is added stays one term:
    the classes are somewhat smaller than mathematics would make them.

    Raises
    ------
    ValueError
        As in `parse_arch`.

    Examples
    --------
    >>> last = "|skip_connect~0|skip_connect~1|nor_conv_1x1~2|"
    >>> {cell_class(f"|skip_connect~0|+{two}+{last}") for two in ("|none~0|nor_conv_1x1~1|", "|nor_conv_1x1~0|none~1|")}
    {'(#+(0)nor_conv_1x1)nor_conv_1x1+0+0'}
    """
    operations = parse_arch(arch_id)
    nodes = ["0"]
    for node in range(1, NUM_NODES):
        edges = [(operations[edge], source) for edge, (source, target) in enumerate(EDGES) if target == node]
        nodes.append("+".join(sorted(_term(operation, nodes[source]) for operation, source in edges)))
    return nodes[-1]


def _term(operation: str, node: str) -> str:
    if operation == "none" or node == "#":
        return "#"
    return node if operation == "skip_connect" else f"({node}){operation}"
