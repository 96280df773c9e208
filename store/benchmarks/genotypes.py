"""Genotypes of DARTS-like spaces, in the form that benchmarks write them."""

import ast
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CONFIG_PREFIX", "NODES", "Genotype", "parse_genotype"]

_MAX_CHARACTERS = 8192
_CELLS = ("normal", "reduce")
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_EXPECTED = "Genotype(normal=[('op', input), …], normal_concat=[…], reduce=[…], reduce_concat=[…])"
_ABSENT = (None, "#na#")

CONFIG_PREFIX = "NetworkSelectorDatasetInfo:darts:"
"""What the keys of NAS-Bench-301's ConfigSpace begin with."""
NODES = (2, 3, 4, 5)
"""Nodes of a cell of the DARTS space, after the two inputs."""

Pairs = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Genotype:
    """Two cells: (operation, input) of every edge, two for each node, and the nodes that are joined in the output.

    Its text is the canonical string of the architecture, the one that the tables hold:

    >>> str(Genotype((("skip_connect", 0), ("sep_conv_3x3", 1)), (2,), (("max_pool_3x3", 0), ("none", 1)), (2,)))[:75]
    "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=["
    """

    normal: Pairs
    normal_concat: tuple[int, ...]
    reduce: Pairs
    reduce_concat: tuple[int, ...]

    def __str__(self) -> str:
        """The canonical string."""
        return f"Genotype({', '.join(f'{name}={list(getattr(self, name))!r}' for name in _FIELDS)})"


def parse_genotype(form: str | Mapping[str, Any]) -> Genotype:
    """Read the text of a genotype, or a dictionary (as from JSON) with the same four entries.

    Parameters
    ----------
    form
        ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], reduce=…, reduce_concat=…)``, where a
        ``range(2, 6)`` may stand for a list; the four as a dictionary, or as JSON; or a configuration of NAS-Bench-301
        (``…:darts:edge_normal_0``, ``…:inputs_node_normal_3``), as a dictionary or as JSON.

    Raises
    ------
    ValueError
        If it is neither; what is wrong is named. Which operations and inputs there are is for the space to say.

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
        pairs = {name: tuple(_pair(pair) for pair in fields[name]) for name in _CELLS}
        joined = {f"{name}_concat": tuple(_node(node) for node in fields[f"{name}_concat"]) for name in _CELLS}
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"not a genotype: {str(form)[:80]!r}: {error}. Expected {_EXPECTED}") from None
    return Genotype(pairs["normal"], joined["normal_concat"], pairs["reduce"], joined["reduce_concat"])


def _read_text(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, expected at most {_MAX_CHARACTERS:,}")
    if text.lstrip().startswith("{"):
        return json.loads(text)
    call = ast.parse(text.strip(), mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Genotype" or call.args:
        raise ValueError("it is no Genotype(…) with named parts")
    return {str(part.arg): _value(part.value) for part in call.keywords}


def _from_config(config: Mapping[str, Any]) -> Genotype:
    """Of a configuration: an operation on each edge that there is, and the inputs of nodes 3, 4 and 5."""
    values = {str(key).replace("_COLON_", ":").removeprefix(CONFIG_PREFIX): value for key, value in config.items()}
    cells: list[Pairs] = []
    for cell in _CELLS:
        pairs: list[tuple[str, int]] = []
        first_edge = 0
        for node in NODES:
            key = f"inputs_node_{cell}_{node}"
            inputs = "0_1" if node == NODES[0] else values.get(key)
            possible = {f"{low}_{high}": (low, high) for low, high in itertools.combinations(range(node), 2)}
            if inputs not in possible:
                raise ValueError(f"{key} must be one of {', '.join(possible)}, got {inputs!r}")
            for source in possible[inputs]:
                name = f"edge_{cell}_{first_edge + source}"
                if values.get(name) in _ABSENT:
                    raise ValueError(f"{key} is {inputs}, but {name} has no operation")
                pairs.append(_pair((values[name], source)))
            first_edge += node
        cells.append(tuple(pairs))
    return Genotype(cells[0], NODES, cells[1], NODES)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        numbers = [ast.literal_eval(argument) for argument in node.args]
        if not 1 <= len(numbers) <= 2 or not all(type(n) is int and 0 <= n <= 64 for n in numbers):
            raise ValueError("a range must have one or two small numbers")
        return list(range(*numbers))
    return ast.literal_eval(node)


def _pair(pair: Any) -> tuple[str, int]:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        raise ValueError(f"expected (operation, input), got {pair!r}")
    return pair[0], _node(pair[1])


def _node(node: Any) -> int:
    if type(node) is not int or node < 0:
        raise ValueError(f"expected the number of a node, got {node!r}")
    return int(node)
