import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.profiling.spaces.darts import NUM_GENOTYPES, genotype_at, mutate_genotype, sample_genotype
from sweetgrad.store import Genotype, parse_genotype
from sweetgrad.store.spaces.genotypes import DARTS_OPERATIONS, check_genotype

CELL = (
    "[('sep_conv_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('dil_conv_5x5', 1), ('sep_conv_5x5', 0), "
    "('avg_pool_3x3', 3), ('dil_conv_3x3', 4), ('skip_connect', 0)]"
)
TEXT = f"Genotype(normal={CELL}, normal_concat=[2, 3, 4, 5], reduce={CELL}, reduce_concat=[2, 3, 4, 5])"

FIRST_DRAWS = (738748642317637644, 648403077950571003)

numbers = st.integers(0, NUM_GENOTYPES - 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("('dil_conv_3x3', 4)", "('conv_9x9', 4)", r"'normal'.*unknown operation 'conv_9x9' on edge 6"),
        (
            "('skip_connect', 2)",
            "('skip_connect', 3)",
            r"node 3 takes node 3 on edge 2; expected an earlier one, 0 to 2",
        ),
        ("('max_pool_3x3', 1)", "('max_pool_3x3', 5)", r"node 2 takes node 5 on edge 1"),
        (", ('skip_connect', 0)]", "]", "7 edges; expected 8 edges"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 2]", r"joins the nodes \[2, 2\]"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[]", r"joins the nodes \[\]"),
        (
            "reduce_concat=[2, 3, 4, 5]",
            "reduce_concat=[6]",
            r"'reduce'.*joins the nodes \[6\]; expected different ones of 2",
        ),
        ("reduce_concat=[2, 3, 4, 5]", "reduce_concat=[1, 2]", r"joins the nodes \[1, 2\]"),
    ],
)
def test_check_genotype__names_cell_node_and_edge(old: str, new: str, message: str) -> None:
    genotype = parse_genotype(TEXT.replace(old, new))
    with pytest.raises(ValueError, match=message):
        check_genotype(genotype, operations=DARTS_OPERATIONS, num_nodes=4)


@settings(max_examples=100, deadline=None)
@given(numbers)
def test_genotype_at__is_in_the_space(number: int) -> None:
    genotype = check_genotype(genotype_at(number), operations=DARTS_OPERATIONS, num_nodes=4)
    for edges in (genotype.normal, genotype.reduce):
        sources = [source for _, source in edges]
        assert all(a < b for a, b in zip(sources[::2], sources[1::2], strict=True))


def number_of(genotype: Genotype) -> int:
    """The slow inverse: digits read from the last to the first."""
    digits: list[tuple[int, int]] = []
    for edges in (genotype.normal, genotype.reduce):
        for node in range(2, 6):
            (first, a), (second, b) = edges[2 * node - 4 : 2 * node - 2]
            pairs = list(itertools.combinations(range(node), 2))
            digits.append((pairs.index((a, b)), len(pairs)))
            digits += [(DARTS_OPERATIONS.index(op), len(DARTS_OPERATIONS)) for op in (first, second)]
    number = 0
    for digit, base in reversed(digits):
        number = number * base + digit
    return number


@settings(max_examples=100, deadline=None)
@given(numbers)
def test_genotype_at__gives_each_genotype_one_number(number: int) -> None:
    assert number_of(genotype_at(number)) == number


def test_genotype_at__has_as_many_as_the_space() -> None:
    assert NUM_GENOTYPES == (1 * 3 * 6 * 10 * 7**8) ** 2
    assert number_of(genotype_at(NUM_GENOTYPES - 1)) == NUM_GENOTYPES - 1
    for outside in (-1, NUM_GENOTYPES):
        with pytest.raises(IndexError, match="genotype index must be in"):
            genotype_at(outside)


def test_drawn_genotype__is_uniform() -> None:
    counts: Counter[str] = Counter()
    for place in range(1000):
        genotype = sample_genotype(place)
        counts.update(op for edges in (genotype.normal, genotype.reduce) for op, _ in edges)
    # 16,000 edges: 2,286 of each operation, give or take 44.
    assert sorted(counts) == sorted(DARTS_OPERATIONS)
    assert all(abs(count - 16_000 / 7) < 200 for count in counts.values())


def test_drawn_genotype__stays_what_it_was() -> None:
    # Profiles name their rows by these draws: they must not change with a release.
    assert number_of(sample_genotype(0)) == FIRST_DRAWS[0]
    assert number_of(sample_genotype(9_999)) == FIRST_DRAWS[1]


@given(number=numbers, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_mutated_genotype__stays_in_the_space_and_changes_one_operation_or_one_input(number: int, seed: int) -> None:
    parent = genotype_at(number)
    mutant = mutate_genotype(parent, np.random.RandomState(seed))
    assert genotype_at(number_of(mutant)) == mutant
    changed = [
        (
            Counter(getattr(parent, cell)[2 * node : 2 * node + 2]),
            Counter(getattr(mutant, cell)[2 * node : 2 * node + 2]),
        )
        for cell in ("normal", "reduce")
        for node in range(4)
    ]
    ((before, after),) = [(a - b, b - a) for a, b in changed if a != b]
    ((op, source),) = before
    ((new_op, new_source),) = after
    assert (op != new_op) != (source != new_source)


def test_mutated_genotype__reaches_every_neighbour_half_of_them_by_operations() -> None:
    parent, random = genotype_at(FIRST_DRAWS[0]), np.random.RandomState(0)
    mutants = Counter(str(mutate_genotype(parent, random)) for _ in range(4000))
    assert len(mutants) == 2 * 8 * 6 + 2 * (2 + 4 + 6)
    inputs = [
        [source for edges in (genotype.normal, genotype.reduce) for _, source in edges]
        for genotype in map(parse_genotype, mutants)
    ]
    of_operation = sum(
        count
        for count, sources in zip(mutants.values(), inputs, strict=True)
        if sources == [source for edges in (parent.normal, parent.reduce) for _, source in edges]
    )
    assert abs(of_operation - 2000) < 130  # 4 standard deviations
