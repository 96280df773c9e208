"""Search spaces by name, the strings of their architectures, and the canonical string of each architecture."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from sweetgrad.store.spaces.cells import cell_class, parse_arch
from sweetgrad.store.spaces.genotypes import (
    DARTS_OPERATIONS,
    NDS_OPERATIONS,
    NODES,
    Genotype,
    check_genotype,
    parse_genotype,
)
from sweetgrad.store.spaces.graphs import find_graph, graph_hash, read_parts
from sweetgrad.store.spaces.recipes import read_recipe
from sweetgrad.store.spaces.speech_cells import read_vector, vector_class, vector_string

Grammar = Callable[[str], str]
"""Returns the canonical string of an architecture; raises ``ValueError`` if the string is not an architecture of the space."""

_WITH_NONE = frozenset({"none", *DARTS_OPERATIONS})
_MAX_WIDTH, _MAX_DEPTH = 4096, 1000


def grammar_of(space: str) -> Grammar | None:
    """The grammar of a space that comes with the package; None for other spaces.

    Examples
    --------
    >>> grammar_of("nas-bench-101")("100101:conv3x3;foo")
    Traceback (most recent call last):
    ValueError: not a NAS-Bench-101 architecture: '100101:conv3x3;foo': operations must be among conv1x1, ...
    """
    return _GRAMMARS.get(space)


def read_darts(arch_id: str) -> Genotype:
    """Parse a genotype of the DARTS space: two inputs for each of four nodes, with the seven operations or ``none``.

    Raises
    ------
    ValueError
        As for `parse_genotype` and `check_genotype`.
    """
    return check_genotype(parse_genotype(arch_id), operations=_WITH_NONE, num_nodes=len(NODES))


def read_nds(arch_id: str) -> tuple[Genotype, int, int]:
    """Genotype, width and depth of a network of NDS, ``Genotype(...);width=16;depth=8``.

    Raises
    ------
    ValueError
        As for `parse_genotype` and `check_genotype`, or if width and depth are missing or invalid.
    """
    match = re.fullmatch(r"(.*);width=(\d{1,5});depth=(\d{1,5})", arch_id, flags=re.DOTALL)
    if match is None:
        raise ValueError(f"not a network of NDS: {arch_id[:80]!r}; expected Genotype(...);width=16;depth=8")
    width, depth = int(match[2]), int(match[3])
    if not (1 <= width <= _MAX_WIDTH and 1 <= depth <= _MAX_DEPTH):
        raise ValueError(f"width must be in 1..{_MAX_WIDTH} and depth in 1..{_MAX_DEPTH}, got {width} and {depth}")
    return check_genotype(parse_genotype(match[1]), operations=NDS_OPERATIONS), width, depth


def _nas_bench_101(arch_id: str) -> str:
    read_parts(arch_id)
    return arch_id


def _nas_bench_201(arch_id: str) -> str:
    parse_arch(arch_id)
    return arch_id


def _darts(arch_id: str) -> str:
    return str(read_darts(arch_id))


def _nds(arch_id: str) -> str:
    genotype, width, depth = read_nds(arch_id)
    return f"{genotype};width={width};depth={depth}"


_GRAMMARS: dict[str, Grammar] = {
    "nas-bench-101": _nas_bench_101,
    "nas-bench-201": _nas_bench_201,
    "nas-bench-asr": lambda arch_id: vector_string(read_vector(arch_id)),
    "nas-bench-nlp": lambda arch_id: str(read_recipe(arch_id)),
    **dict.fromkeys(("nas-bench-301", "darts", "darts-imagenet"), _darts),
    **dict.fromkeys(("nds-amoeba", "nds-darts", "nds-enas", "nds-nasnet", "nds-pnas"), _nds),
}


_CLASSES: dict[str, Grammar] = {
    "nas-bench-101": graph_hash,
    "nas-bench-201": cell_class,
    "nas-bench-asr": vector_class,
}


def class_of(space: str) -> Grammar | None:
    """The function that names the class of architectures that are the same network in other words; None if a space has none.

    Examples
    --------
    >>> class_of("nas-bench-101")("1:")
    '043721b9c7fe8c5fad811d47d83132ec'
    """
    return _CLASSES.get(space)


def find_arch(space: str, archs: Sequence[str], arch: str) -> int:
    """Position of an architecture in a list, by its string; in NAS-Bench-101 also by its hash, or by that of an isomorphic graph.

    Raises
    ------
    ValueError
        If it is not in the list, or is not an architecture of the space.
    """
    if space == "nas-bench-101":
        return find_graph(archs, arch)
    grammar = grammar_of(space)
    wanted = arch if grammar is None else grammar(arch)
    found = next((index for index, other in enumerate(archs) if other == wanted), None)
    if found is None:
        raise ValueError(f"{wanted!r} is not among the {len(archs):,} architectures of {space}")
    return found


_OWN = "the space's own ({})"
_ONLY = "built in"


def registered_spaces() -> list[str]:
    """Names in the entry-point group ``sweetgrad.spaces``, sorted; no space is imported, so torch is not needed."""
    return sorted({entry.name for entry in entry_points(group="sweetgrad.spaces")})


def unknown_name(what: str, name: str, known: Iterable[str], *, held: Iterable[str] = ()) -> ValueError:
    """The error for a name that is neither registered nor in the store, with the nearest names."""
    known, held = list(known), list(held)
    near = difflib.get_close_matches(name, dict.fromkeys([*known, *held]), n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    in_store = f". In the store: {', '.join(held)}" if held else ""
    return ValueError(f"no {what} named {name!r}.{hint} Registered: {', '.join(known)}{in_store}")


def arch_order(space: object, table: str | Path | None) -> str:
    """Order of the architectures as recorded by the runs of a profile: the file that lists them, or the space's own order.

    Parameters
    ----------
    space
        The search space; its attribute ``order``, if it has one, names its own order.
    table
        The file from which it was created.
    """
    return f"file {Path(table).name}" if table else _OWN.format(getattr(space, "order", _ONLY))


def is_published_order(orders: Collection[str]) -> bool:
    """Whether the indices of a published table can refer to the order that the runs of a profile recorded.

    The order of a file is that of a published list, and a built-in list is the only one of its space. An order that a space makes
    up without a file, such as ``lexicographic``, is not known to others; neither is one that no run has recorded.

    Examples
    --------
    >>> is_published_order(["file nas-bench-201.csv.gz"]), is_published_order(["the space's own (built in)"])
    (True, True)
    >>> is_published_order(["the space's own (lexicographic)"]), is_published_order([])
    (False, False)
    """
    return any(order.startswith("file ") or order == _OWN.format(_ONLY) for order in orders)
