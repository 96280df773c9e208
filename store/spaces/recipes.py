"""Recurrent cells of NAS-Bench-NLP (Klyuchnikov et al. 2022) as recipes: nodes by name, with operation and inputs, as JSON.

The inputs of a cell are ``x`` and the states ``h_prev_0``, ``h_prev_1``, …; its new states are the nodes ``h_new_0``,
``h_new_1``, … ``h_new_0`` is also the output of the layer.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

MAX_HIDDEN = 3
MAX_NODES = 64
"""Nodes of a cell; the benchmark's have at most 27."""
_MAX_CHARACTERS = 1 << 16

NUM_INPUTS: Mapping[str, tuple[int, int]] = {
    "linear": (1, MAX_NODES),
    "blend": (3, 3),
    "elementwise_prod": (2, 2),
    "elementwise_sum": (2, 2),
    "activation_tanh": (1, 1),
    "activation_sigm": (1, 1),
    "activation_leaky_relu": (1, 1),
}
"""Least and greatest number of inputs of each operation."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_NEW = re.compile(r"h_new_\d+")


@dataclass(frozen=True)
class Node:
    """A node of a cell: its name, operation, and the names of its inputs, whose order matters for ``blend``."""

    name: str
    operation: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """A recurrent cell.

    Attributes
    ----------
    nodes
        In topological order.
    num_hidden
        Number of states.
    """

    nodes: tuple[Node, ...]
    num_hidden: int

    def __str__(self) -> str:
        """The canonical string: JSON with sorted keys and without blanks."""
        nodes = {node.name: {"input": list(node.inputs), "op": node.operation} for node in self.nodes}
        return json.dumps(nodes, sort_keys=True, separators=(",", ":"))


def read_recipe(text: str | Mapping[str, Any]) -> Recipe:
    """Read and validate a recipe in the published form, ``{node: {"op": operation, "input": [node, …]}}``.

    Parameters
    ----------
    text
        JSON, or what it stands for.

    Raises
    ------
    ValueError
        If it has another form, an unknown operation, a wrong number of inputs or states, a cycle, an input that nothing uses, or
        a state that is passed on unchanged; the message names the node.

    Examples
    --------
    >>> rnn = '{"f": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": {"op": "activation_tanh", "input": ["f"]}}'
    >>> str(read_recipe(rnn))
    '{"f":{"input":["x","h_prev_0"],"op":"linear"},"h_new_0":{"input":["f"],"op":"activation_tanh"}}'
    """
    try:
        nodes = _read_nodes(_load(text) if isinstance(text, str) else text)
        return _check(nodes)
    except ValueError as error:
        shown = text if isinstance(text, str) else json.dumps(text, default=repr)
        raise ValueError(
            f"not a recipe of NAS-Bench-NLP: {shown[:100]!r}: {error}. "
            'Expected {"node": {"op": "linear", "input": ["x", "h_prev_0"]}, …, "h_new_0": …}'
        ) from None


def _load(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, at most {_MAX_CHARACTERS:,} are read")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} occurs twice")
    return dict(pairs)


def _read_nodes(form: Any) -> dict[str, Node]:
    if not isinstance(form, Mapping) or not form:
        raise ValueError("it is no JSON object with nodes")
    if len(form) > MAX_NODES:
        raise ValueError(f"it has {len(form)} nodes, at most {MAX_NODES} are built")
    nodes = {}
    for name, parts in form.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "x" or name.startswith("h_prev_"):
            raise ValueError(f"{name!r} cannot name a node: letters, digits and _; x and h_prev_… are inputs")
        if not isinstance(parts, Mapping) or parts.keys() != {"op", "input"}:
            raise ValueError(f"node {name!r} must have op and input, and nothing else")
        operation, inputs = parts["op"], parts["input"]
        if operation not in NUM_INPUTS:
            raise ValueError(f"node {name!r} has the operation {operation!r}, expected {', '.join(NUM_INPUTS)}")
        if not isinstance(inputs, list | tuple) or not all(isinstance(each, str) for each in inputs):
            raise ValueError(f"the inputs of node {name!r} must be a list of names, got {inputs!r}")
        least, most = NUM_INPUTS[operation]
        if not least <= len(inputs) <= most:
            expected = str(least) if least == most else f"at least {least}"
            raise ValueError(f"node {name!r}, {operation}, has {len(inputs)} inputs, expected {expected}")
        nodes[name] = Node(name, operation, tuple(inputs))
    return nodes


def _check(nodes: Mapping[str, Node]) -> Recipe:
    states = [name for name in nodes if _NEW.fullmatch(name)]
    num_hidden = len(states)
    if not 1 <= num_hidden <= MAX_HIDDEN or set(states) != {f"h_new_{k}" for k in range(num_hidden)}:
        found = ", ".join(states) or "none"
        raise ValueError(
            f"the new states must be h_new_0 to h_new_{MAX_HIDDEN - 1} without a gap, at least one, got {found}"
        )
    given = {"x", *(f"h_prev_{k}" for k in range(num_hidden))}
    used = {name for node in nodes.values() for name in node.inputs}
    unknown = sorted(used - given - nodes.keys())
    if unknown:
        raise ValueError(f"{unknown[0]!r} is used, but is no node, and no input of a cell with {num_hidden} states")
    unused = sorted(given - used)
    if unused:
        raise ValueError(f"input {unused[0]!r} is not used")
    idle = sorted(name for name in nodes if name not in used and name not in states)
    if idle:
        raise ValueError(f"node {idle[0]!r} leads nowhere")
    try:
        order = list(TopologicalSorter({n: node.inputs for n, node in nodes.items()}).static_order())
    except CycleError as error:
        raise ValueError(f"its nodes form a cycle: {' → '.join(error.args[1])}") from None
    # Sorted by depth and name, so that equal recipes have equal networks whatever order their nodes are written in.
    depth: dict[str, int] = dict.fromkeys(given, 0)
    for name in order:
        if name in nodes:
            depth[name] = 1 + max(depth[source] for source in nodes[name].inputs)
    ordered = sorted(nodes, key=lambda name: (depth[name], name))
    return Recipe(tuple(nodes[name] for name in ordered), num_hidden)
