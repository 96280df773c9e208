"""What a store knows of search spaces: their names and the grammars of architecture strings, without torch or networks."""

from sweetgrad.store.spaces.genotypes import Genotype, parse_genotype
from sweetgrad.store.spaces.grammar import (
    Grammar,
    arch_order,
    class_of,
    find_arch,
    grammar_of,
    is_published_order,
    registered_spaces,
    unknown_name,
)

__all__ = [
    "Genotype",
    "Grammar",
    "arch_order",
    "class_of",
    "find_arch",
    "grammar_of",
    "is_published_order",
    "parse_genotype",
    "registered_spaces",
    "unknown_name",
]
