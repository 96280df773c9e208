import itertools
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.profiling.spaces._darts_genotype import (
    NUM_GENOTYPES,
    Genotype,
    check_genotype,
    drawn_genotype,
    genotype_at,
    parse_genotype,
)
from sweetgrad.profiling.spaces._operations import DARTS_OPERATIONS

CELL = (
    "[('sep_conv_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('dil_conv_5x5', 1), ('sep_conv_5x5', 0), "
    "('avg_pool_3x3', 3), ('dil_conv_3x3', 4), ('skip_connect', 0)]"
)
TEXT = f"Genotype(normal={CELL}, normal_concat=[2, 3, 4, 5], reduce={CELL}, reduce_concat=[2, 3, 4, 5])"
PREFIX = "NetworkSelectorDatasetInfo:darts:"

FIRST_DRAWS = (738748642317637644, 648403077950571003)

numbers = st.integers(0, NUM_GENOTYPES - 1)


def as_config(genotype: Genotype, prefix: str = PREFIX) -> dict[str, str]:
    """The dictionary of NAS-Bench-301, every edge that is not used there as absent."""
    config = {}
    for cell in ("normal", "reduce"):
        edges = {}
        for node in range(2, 6):
            for source in range(node):
                edges[node, source] = "#na#"
            pair = getattr(genotype, cell)[2 * node - 4 : 2 * node - 2]
            for name, source in pair:
                edges[node, source] = name
            if node > 2:
                config[f"{prefix}inputs_node_{cell}_{node}"] = "_".join(str(source) for _, source in pair)
        config |= {f"{prefix}edge_{cell}_{place}": name for place, name in enumerate(edges.values())}
    return config


def test_parse_genotype__gives_back_the_string_of_the_tables() -> None:
    assert str(parse_genotype(TEXT)) == TEXT


@pytest.mark.parametrize("concat", ["range(2, 6)", "(2, 3, 4, 5)", "[2,3,4,5]"])
def test_parse_genotype__takes_the_ways_in_which_people_write_it(concat: str) -> None:
    assert str(parse_genotype(f" {TEXT.replace('[2, 3, 4, 5]', concat)}\n")) == TEXT


@settings(max_examples=50, deadline=None)
@given(numbers)
def test_parse_genotype__every_form_is_the_same_genotype(number: int) -> None:
    genotype = genotype_at(number)
    fields = {name: getattr(genotype, name) for name in ("normal", "normal_concat", "reduce", "reduce_concat")}
    config = as_config(genotype)
    forms = [str(genotype), fields, json.dumps(fields), config, json.dumps(config), as_config(genotype, "")]
    forms.append({key.replace(":", "_COLON_"): value for key, value in config.items()})
    forms.append({key: value for key, value in config.items() if value != "#na#"})
    assert [parse_genotype(form) for form in forms] == [genotype] * len(forms)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("", "not a genotype"),
        ("Genotype(", "not a genotype"),
        ("__import__('os').system('true')", "no Genotype"),
        (TEXT.replace("'sep_conv_3x3'", "open('x')"), "malformed node"),
        (TEXT.replace("Genotype(", "Genotype(1, "), "no Genotype"),
        (TEXT.replace("reduce_concat", "reduce_concatenation"), "lacks reduce_concat"),
        (TEXT.replace("normal_concat=", "spare=[1], normal_concat="), "part 'spare'"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', -1)"), "number of a node, got -1"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', True)"), "number of a node, got True"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 0, 1)"), "expected an edge"),
        (TEXT.replace("[2, 3, 4, 5]", "range(1000000000)"), "a range must have"),
        (TEXT.replace("[2, 3, 4, 5]", "7"), "must be a list"),
        ("Genotype(normal=" + "[" * 5000, "not a genotype"),
        ("Genotype(normal=" + " " * 9000, "9,016 characters"),
        ('{"normal": 1', "not a genotype"),
        ("[1]", "no Genotype"),
        (7, "is a int"),
    ],
)
def test_parse_genotype__says_what_is_wrong_and_evaluates_nothing(form: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_genotype(form)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs_node_normal_4": "3_4"}, "inputs_node_normal_4 must be one of"),
        ({"inputs_node_reduce_5": "#na#"}, "inputs_node_reduce_5 must be one of"),
        ({"edge_reduce_0": "#na#"}, "edge_reduce_0 has no operation"),
    ],
)
def test_parse_genotype__names_the_key_of_a_bad_configuration(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_genotype(as_config(genotype_at(0), "") | changes)


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
        with pytest.raises(IndexError, match="the DARTS space has"):
            genotype_at(outside)


def test_drawn_genotype__is_uniform() -> None:
    counts: Counter[str] = Counter()
    for place in range(1000):
        genotype = drawn_genotype(place)
        counts.update(op for edges in (genotype.normal, genotype.reduce) for op, _ in edges)
    # 16,000 edges: 2,286 of each operation, give or take 44.
    assert sorted(counts) == sorted(DARTS_OPERATIONS)
    assert all(abs(count - 16_000 / 7) < 200 for count in counts.values())


def test_drawn_genotype__stays_what_it_was() -> None:
    # Profiles name their rows by these draws: they must not change with a release.
    assert number_of(drawn_genotype(0)) == FIRST_DRAWS[0]
    assert number_of(drawn_genotype(9_999)) == FIRST_DRAWS[1]
