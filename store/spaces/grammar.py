"""Which strings are architectures of a search space, and the one string that each of them has."""

import re
from collections.abc import Callable

from sweetgrad.store.spaces.cells import parse_arch
from sweetgrad.store.spaces.genotypes import (
    DARTS_OPERATIONS,
    NDS_OPERATIONS,
    NODES,
    Genotype,
    check_genotype,
    parse_genotype,
)
from sweetgrad.store.spaces.graphs import read_parts

Grammar = Callable[[str], str]
"""From any string to the string of the architecture that it means; ``ValueError`` if it means none of the space."""

_WITH_NONE = frozenset({"none", *DARTS_OPERATIONS})
_MAX_WIDTH, _MAX_DEPTH = 4096, 1000


def grammar_of(space: str) -> Grammar | None:
    """The grammar of a space that comes with the package; None for any other.

    Examples
    --------
    >>> grammar_of("nas-bench-101")("100101:conv3x3;foo")
    Traceback (most recent call last):
    ValueError: not a NAS-Bench-101 architecture: '100101:conv3x3;foo': operations must be among conv1x1, ...
    """
    return _GRAMMARS.get(space)


def read_darts(arch_id: str) -> Genotype:
    """Genotype of the DARTS space: two earlier inputs for each of four nodes, with the seven operations or ``none``.

    Raises
    ------
    ValueError
        As `parse_genotype` and `check_genotype`.
    """
    return check_genotype(parse_genotype(arch_id), operations=_WITH_NONE, num_nodes=len(NODES))


def read_nds(arch_id: str) -> tuple[Genotype, int, int]:
    """Genotype, width and depth of a network of NDS, ``Genotype(...);width=16;depth=8``.

    Raises
    ------
    ValueError
        As `parse_genotype` and `check_genotype`, or if width and depth are missing or make no sense.
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
    **dict.fromkeys(("nas-bench-301", "darts", "darts-imagenet"), _darts),
    **dict.fromkeys(("nds-amoeba", "nds-darts", "nds-enas", "nds-nasnet", "nds-pnas"), _nds),
}
