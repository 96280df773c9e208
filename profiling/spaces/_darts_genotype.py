"""Genotypes: two cells, each node of which takes two earlier ones through an operation each. Read, checked, drawn."""

import ast
import hashlib
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweetgrad.profiling.spaces._operations import DARTS_OPERATIONS

__all__ = ["NUM_GENOTYPES", "Genotype", "check_genotype", "drawn_genotype", "genotype_at", "parse_genotype"]

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_EXPECTED = "Genotype(normal=[('op', input), ...], normal_concat=[...], reduce=[...], reduce_concat=[...])"
_MAX_CHARACTERS = 8192
_NUM_INPUTS = 2
_NODES = (2, 3, 4, 5)
_CONFIG_PREFIX = "NetworkSelectorDatasetInfo:darts:"
_ABSENT = (None, "#na#")

_PAIRS = [list(itertools.combinations(range(node), 2)) for node in _NODES]
_PER_NODE = [len(pairs) * len(DARTS_OPERATIONS) ** 2 for pairs in _PAIRS]
NUM_GENOTYPES = (_PER_NODE[0] * _PER_NODE[1] * _PER_NODE[2] * _PER_NODE[3]) ** 2
"""Genotypes of the DARTS space, 1.08e18: two different inputs for each of four nodes, one of seven operations on each."""

Edges = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Genotype:
    """Operation and input of each edge, two edges for each node, and the nodes whose values the cell joins.

    Nodes 0 and 1 are the outputs of the two cells before. The string of a genotype is the name of its architecture, the same that
    published tables use; the order of the two inputs of a node is kept.

    Examples
    --------
    >>> edges = (("skip_connect", 0), ("max_pool_3x3", 1))
    >>> str(Genotype(edges, (2,), edges, (2,)))[:77]
    "Genotype(normal=[('skip_connect', 0), ('max_pool_3x3', 1)], normal_concat=[2]"
    """

    normal: Edges
    normal_concat: tuple[int, ...]
    reduce: Edges
    reduce_concat: tuple[int, ...]

    def __str__(self) -> str:
        """The canonical string."""
        return f"Genotype({', '.join(f'{name}={list(getattr(self, name))!r}' for name in _FIELDS)})"


def parse_genotype(form: str | Mapping[str, Any]) -> Genotype:
    """Read a genotype in any of the forms that are in use; nothing of it is evaluated.

    Parameters
    ----------
    form
        ``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)``; the same
        four as a dictionary, or as JSON; or a configuration of NAS-Bench-301 (``...:darts:edge_normal_0``,
        ``...:inputs_node_normal_3``), as a dictionary or as JSON.

    Raises
    ------
    ValueError
        If it is none of these; what is wrong is named. See `check_genotype` for what it means.

    Examples
    --------
    >>> cell = "[('skip_connect', 0), ('skip_connect', 1)]"
    >>> parse_genotype(f"Genotype(normal={cell}, normal_concat=[2], reduce={cell}, reduce_concat=range(2, 3))").reduce_concat
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
    """Make sure that a network can be built of a genotype.

    Parameters
    ----------
    genotype
        As from `parse_genotype`.
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
        edges: Edges = getattr(genotype, cell)
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
    cells: list[Edges] = []
    for _ in range(2):
        edges: list[tuple[str, int]] = []
        for pairs in _PAIRS:
            index, pair = divmod(index, len(pairs))
            for source in pairs[pair]:
                index, op = divmod(index, len(DARTS_OPERATIONS))
                edges.append((DARTS_OPERATIONS[op], source))
        cells.append(tuple(edges))
    return Genotype(cells[0], _NODES, cells[1], _NODES)


def drawn_genotype(place: int) -> Genotype:
    """Genotype at a place of the endless list of uniform draws that every sample is taken from.

    A draw depends on its place alone, on any machine and with any version: SHA-256 is the generator.
    """
    digest = hashlib.sha256(f"sweetgrad darts {place}".encode()).digest()
    return genotype_at(int.from_bytes(digest, "big") % NUM_GENOTYPES)


def _read_text(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, expected at most {_MAX_CHARACTERS:,}")
    if text.lstrip().startswith("{"):
        return json.loads(text)
    call = ast.parse(text.strip(), mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Genotype" or call.args:
        raise ValueError("it is no Genotype(...) with named parts")
    return {str(part.arg): _value(part.value) for part in call.keywords}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        numbers = [ast.literal_eval(argument) for argument in node.args]
        if not 1 <= len(numbers) <= 2 or not all(type(n) is int and 0 <= n <= 64 for n in numbers):
            raise ValueError("a range must have one or two small numbers")
        return list(range(*numbers))
    return ast.literal_eval(node)


def _from_config(config: Mapping[str, Any]) -> Genotype:
    """Genotype of NAS-Bench-301's ConfigSpace: an operation on each of 14 possible edges, and the inputs of nodes 3, 4 and 5."""
    values = {str(key).replace("_COLON_", ":").removeprefix(_CONFIG_PREFIX): value for key, value in config.items()}
    cells: list[Edges] = []
    for cell in ("normal", "reduce"):
        edges: list[tuple[str, int]] = []
        first_edge = 0
        for node in _NODES:
            key = f"inputs_node_{cell}_{node}"
            inputs = "0_1" if node == _NODES[0] else values.get(key)
            pairs = {f"{a}_{b}": (a, b) for a, b in itertools.combinations(range(node), 2)}
            if inputs not in pairs:
                raise ValueError(f"{key} must be one of {', '.join(pairs)}, got {inputs!r}")
            for source in pairs[inputs]:
                name = f"edge_{cell}_{first_edge + source}"
                if values.get(name) in _ABSENT:
                    raise ValueError(f"{key} is {inputs}, but {name} has no operation")
                edges.append(_edge((values[name], source)))
            first_edge += node
        cells.append(tuple(edges))
    return Genotype(cells[0], _NODES, cells[1], _NODES)


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
    return repr(text if len(text) <= 100 else text[:97] + "...")
