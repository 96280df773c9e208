"""Search spaces as far as a store knows them: names, and the grammar of architecture strings. No torch, no networks."""

from sweetgrad.store.spaces.genotypes import Genotype, parse_genotype
from sweetgrad.store.spaces.grammar import (
    Grammar,
    arch_order,
    grammar_of,
    is_published_order,
    registered_spaces,
    unknown_name,
)

__all__ = [
    "Genotype",
    "Grammar",
    "arch_order",
    "grammar_of",
    "is_published_order",
    "parse_genotype",
    "registered_spaces",
    "unknown_name",
]
