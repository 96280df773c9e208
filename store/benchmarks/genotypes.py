"""Genotypes of DARTS-like spaces, in the form that benchmarks write them."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Genotype", "parse_genotype"]

_MAX_CHARACTERS = 8192
_CELLS = ("normal", "reduce")
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")

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
        ``range(2, 6)`` may stand for a list; or the four as a dictionary.

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
    fields = _fields_of(form) if isinstance(form, str) else form
    try:
        missing = [name for name in _FIELDS if name not in fields]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        pairs = {name: tuple(_pair(pair) for pair in fields[name]) for name in _CELLS}
        joined = {f"{name}_concat": tuple(_node(node) for node in fields[f"{name}_concat"]) for name in _CELLS}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"not a genotype: {str(form)[:80]!r}: {error}. Expected Genotype(normal=[('op', input), …], normal_concat=[…], "
            "reduce=[…], reduce_concat=[…])"
        ) from None
    return Genotype(pairs["normal"], joined["normal_concat"], pairs["reduce"], joined["reduce_concat"])


def _fields_of(text: str) -> dict[str, Any]:
    expected = "Expected Genotype(normal=[('op', input), …], normal_concat=[…], reduce=[…], reduce_concat=[…])"
    try:
        if len(text) > _MAX_CHARACTERS:
            raise ValueError(f"it has {len(text):,} characters, expected at most {_MAX_CHARACTERS:,}")
        call = ast.parse(text.strip(), mode="eval").body
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)
            or call.func.id != "Genotype"
            or call.args
        ):
            raise ValueError("it is no Genotype(…) with named parts")
        return {str(part.arg): _value(part.value) for part in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"not a genotype: {text[:80]!r}: {error}. {expected}") from None


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
