"""Genotypes of DARTS-like spaces: two cells, in which each node has two earlier nodes as inputs, with an operation each."""

import ast
import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MAX_CHARACTERS = 8192
_CELLS = ("normal", "reduce")
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_EXPECTED = "Genotype(normal=[('op', input), …], normal_concat=[…], reduce=[…], reduce_concat=[…])"
_CELL_KEY = re.compile(r"(edge|inputs_node)_|(normal|reduce)(_concat)?$")

ABSENT = "#na#"
"""Value of a key of NAS-Bench-301's ConfigSpace that a configuration does not use."""
_CONFIG_PREFIX = "NetworkSelectorDatasetInfo:darts:"
"""Prefix of the keys of that ConfigSpace."""
NODES = (2, 3, 4, 5)
"""Nodes of a cell of the DARTS space, after the two inputs."""

NUM_INPUTS = 2
"""Number of inputs of each node."""

DARTS_OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Operations of the cells of the DARTS space; ``none``, which some tables have, can be built too."""

NDS_OPERATIONS = frozenset(
    {
        *("none", "skip_connect"),
        *(f"avg_pool_{size}" for size in ("2x2", "3x3", "5x5")),
        *(f"max_pool_{size}" for size in ("2x2", "3x3", "5x5", "7x7")),
        *(f"conv_{size}" for size in ("1x1", "3x3", "3x1_1x3", "7x1_1x7")),
        *(f"sep_conv_{size}" for size in ("3x3", "5x5", "7x7")),
        *("dil_conv_3x3", "dil_conv_5x5", "dil_sep_conv_3x3"),
    }
)
"""Operations of the cells of the five NDS spaces."""

CellEdges = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Genotype:
    """Operation and input of each edge, with two edges for each node, and the nodes that the cell concatenates.

    Nodes 0 and 1 are the outputs of the two previous cells. The string of a genotype is the name of its architecture, as in
    published tables; the order of the two inputs of a node is kept.

    Examples
    --------
    >>> edges = (("skip_connect", 0), ("max_pool_3x3", 1))
    >>> str(Genotype(edges, (2,), edges, (2,)))[:77]
    "Genotype(normal=[('skip_connect', 0), ('max_pool_3x3', 1)], normal_concat=[2]"
    """

    normal: CellEdges
    normal_concat: tuple[int, ...]
    reduce: CellEdges
    reduce_concat: tuple[int, ...]

    def __str__(self) -> str:
        """The canonical string."""
        return f"Genotype({', '.join(f'{name}={list(getattr(self, name))!r}' for name in _FIELDS)})"


def parse_genotype(form: str | Mapping[str, Any]) -> Genotype:
    """Parse a genotype in any of the common forms, without evaluating it.

    Parameters
    ----------
    form
        ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], reduce=…, reduce_concat=…)``, where a
        ``range(2, 6)`` may stand for a list; the four as a dictionary, or as JSON; or a configuration of NAS-Bench-301
        (``…:darts:edge_normal_0``, ``…:inputs_node_normal_3``), as a dictionary or as JSON.

    Raises
    ------
    ValueError
        If it has none of these forms, or further parts; the message says what is wrong. Operations and inputs are checked by
        `check_genotype`.

    Examples
    --------
    >>> cell = "[('skip_connect', 0), ('skip_connect', 1)]"
    >>> parse_genotype(f"Genotype(normal={cell}, normal_concat=range(2, 3), reduce={cell}, reduce_concat=[2])").normal_concat
    (2,)
    """
    try:
        fields = _read_text(form) if isinstance(form, str) else form
        if not isinstance(fields, Mapping):
            raise ValueError(f"it is a {type(fields).__name__}")
        if any("edge_normal_" in str(key) for key in fields):
            return _from_config(fields)
        missing = [name for name in _FIELDS if name not in fields]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        unknown = [str(name) for name in fields if name not in _FIELDS]
        if unknown:
            raise ValueError(f"it has a part {unknown[0]!r}")
        return Genotype(
            tuple(_edge(edge) for edge in _list(fields, "normal")),
            tuple(_node(node) for node in _list(fields, "normal_concat")),
            tuple(_edge(edge) for edge in _list(fields, "reduce")),
            tuple(_node(node) for node in _list(fields, "reduce_concat")),
        )
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"not a genotype: {_short(form)}: {error}. Expected {_EXPECTED}") from None


def check_genotype(genotype: Genotype, *, operations: Collection[str], num_nodes: int | None = None) -> Genotype:
    """Check that a network can be built from a genotype.

    Parameters
    ----------
    genotype
        As returned by `parse_genotype`.
    operations
        Operations of the space.
    num_nodes
        Number of nodes in each cell; None: any number.

    Returns
    -------
    The genotype itself.

    Raises
    ------
    ValueError
        If a cell does not have two edges for each node, has an unknown operation or an edge from a node that is not earlier, or
        concatenates nodes that do not exist; the message names the cell, node and edge.
    """
    for cell in ("normal", "reduce"):
        edges: CellEdges = getattr(genotype, cell)
        concat: tuple[int, ...] = getattr(genotype, f"{cell}_concat")
        where = f"cell {cell!r} of {_short(genotype)}"
        wrong_number = len(edges) != NUM_INPUTS * num_nodes if num_nodes else not edges or len(edges) % NUM_INPUTS
        if wrong_number:
            expected = f"{NUM_INPUTS * num_nodes} edges" if num_nodes else "an even number of edges"
            raise ValueError(f"{where} has {len(edges)} edges; expected {expected}, two inputs for each node")
        for place, (name, source) in enumerate(edges):
            node = place // NUM_INPUTS + 2
            if name not in operations:
                raise ValueError(
                    f"{where}: unknown operation {name!r} on edge {place}; expected {', '.join(sorted(operations))}"
                )
            if source >= node:
                raise ValueError(
                    f"{where}: node {node} takes node {source} on edge {place}; expected an earlier one, 0 to {node - 1}"
                )
        # In a reduction cell, the inputs are larger than the other nodes.
        first, last = (2 if cell == "reduce" else 0), len(edges) // NUM_INPUTS + 1
        if not concat or len(set(concat)) < len(concat) or not all(first <= node <= last for node in concat):
            raise ValueError(f"{where} joins the nodes {list(concat)}; expected different ones of {first} to {last}")
    return genotype


def _read_text(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, expected at most {_MAX_CHARACTERS:,}")
    if text.lstrip().startswith("{"):
        return json.loads(text, object_pairs_hook=_unique)
    call = ast.parse(text.strip(), mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Genotype" or call.args:
        raise ValueError("not a Genotype(…) with named parts")
    return _unique([(str(part.arg), _value(part.value)) for part in call.keywords])


def _unique(parts: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parts:
        if name in found:
            raise ValueError(f"it has {name!r} twice")
        found[name] = value
    return found


def _from_config(config: Mapping[str, Any]) -> Genotype:
    """Genotype of a configuration, which has an operation for each edge that exists, and the inputs of nodes 3, 4 and 5."""
    values = _unique(
        [(str(key).replace("_COLON_", ":").removeprefix(_CONFIG_PREFIX), value) for key, value in config.items()]
    )
    used: set[str] = set()
    cells: list[CellEdges] = []
    for cell in _CELLS:
        edges: list[tuple[str, int]] = []
        first_edge = 0
        for node in NODES:
            key = f"inputs_node_{cell}_{node}"
            inputs = "0_1" if node == NODES[0] else values.get(key)
            possible = {f"{low}_{high}": (low, high) for low, high in itertools.combinations(range(node), 2)}
            if inputs not in possible:
                raise ValueError(f"{key} must be one of {', '.join(possible)}, got {inputs!r}")
            used.add(key)
            for source in possible[inputs]:
                name = f"edge_{cell}_{first_edge + source}"
                if _is_absent(values.get(name)):
                    raise ValueError(f"{key} is {inputs}, but {name} has no operation")
                used.add(name)
                edges.append(_edge((values[name], source)))
            first_edge += node
        cells.append(tuple(edges))
    # The published configurations of NAS-Bench-301 also have training settings: keys that are not of a cell are ignored.
    of_cells = [key for key, value in values.items() if _CELL_KEY.match(key) and not _is_absent(value)]
    unused = [key for key in of_cells if key not in used]
    if unused:
        raise ValueError(f"it has {unused[0]!r}, which its inputs leave out")
    return Genotype(cells[0], NODES, cells[1], NODES)


def to_config(genotype: Genotype) -> dict[str, str]:
    """The dictionary of NAS-Bench-301's ConfigSpace: the operation of every edge that exists, and the inputs of nodes 3, 4 and 5.

    Edges are numbered by node and then by input: edges 0 and 1 lead to node 2, edges 2 to 4 to node 3, and so on.

    Raises
    ------
    ValueError
        If the genotype has other nodes, or a node with two equal inputs.

    Examples
    --------
    >>> cell = tuple(("skip_connect", i) for i in (0, 1, 0, 2, 1, 3, 0, 4))
    >>> config = to_config(Genotype(cell, (2, 3, 4, 5), cell, (2, 3, 4, 5)))
    >>> {key.rpartition(":")[2]: value for key, value in config.items() if "normal_4" in key or "normal_5" in key}
    {'edge_normal_4': 'skip_connect', 'inputs_node_normal_4': '1_3', 'inputs_node_normal_5': '0_4'}
    """
    config: dict[str, str] = {}
    for cell in _CELLS:
        pairs = getattr(genotype, cell)
        if len(pairs) != 2 * len(NODES) or getattr(genotype, f"{cell}_concat") != NODES:
            raise ValueError(f"the {cell} cell must have two inputs for each of the nodes 2 to 5, all joined")
        first_edge = 0
        for place, node in enumerate(NODES):
            two = sorted(pairs[2 * place : 2 * place + 2], key=lambda pair: pair[1])
            low, high = two[0][1], two[1][1]
            if not low < high < node:
                raise ValueError(
                    f"node {node} of the {cell} cell must have two different earlier inputs, got {low} and {high}"
                )
            config |= {f"{_CONFIG_PREFIX}edge_{cell}_{first_edge + source}": op for op, source in two}
            if node > NODES[0]:
                config[f"{_CONFIG_PREFIX}inputs_node_{cell}_{node}"] = f"{low}_{high}"
            first_edge += node
    return config


def _is_absent(value: Any) -> bool:
    return value is None or value == ABSENT or value != value  # NaN, if a configuration was a row of a table


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        numbers = [ast.literal_eval(argument) for argument in node.args]
        if not 1 <= len(numbers) <= 2 or not all(type(n) is int and 0 <= n <= 64 for n in numbers):
            raise ValueError("a range must have one or two small numbers")
        return list(range(*numbers))
    return ast.literal_eval(node)


def _list(fields: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = fields[name]
    if not isinstance(value, list | tuple | range):
        raise ValueError(f"{name} must be a list, got {value!r}")
    return value


def _edge(edge: Any) -> tuple[str, int]:
    if not isinstance(edge, list | tuple) or len(edge) != 2 or not isinstance(edge[0], str):
        raise ValueError(f"expected an edge (operation, input), got {edge!r}")
    return edge[0], _node(edge[1])


def _node(node: Any) -> int:
    if type(node) is not int or node < 0:
        raise ValueError(f"expected the number of a node, got {node!r}")
    return node


def _short(form: object) -> str:
    text = str(form)
    return repr(text if len(text) <= 100 else text[:97] + "…")
