import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.store import Genotype, parse_genotype
from sweetgrad.store.spaces.genotypes import to_config

CELL = (
    "[('sep_conv_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('dil_conv_5x5', 1), ('sep_conv_5x5', 0), "
    "('avg_pool_3x3', 3), ('dil_conv_3x3', 4), ('skip_connect', 0)]"
)
TEXT = f"Genotype(normal={CELL}, normal_concat=[2, 3, 4, 5], reduce={CELL}, reduce_concat=[2, 3, 4, 5])"
PREFIX = "NetworkSelectorDatasetInfo:darts:"
PARTS = ("normal", "normal_concat", "reduce", "reduce_concat")
OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "none")
EDGES = [f"{PREFIX}edge_{cell}_{place}" for cell in ("normal", "reduce") for place in range(14)]


@st.composite
def genotypes(draw):
    """Any of the DARTS space, the lower of two inputs first, as a configuration has them."""

    def cell():
        pairs = [draw(st.sampled_from(list(itertools.combinations(range(node), 2)))) for node in range(2, 6)]
        return tuple((draw(st.sampled_from(OPERATIONS)), source) for pair in pairs for source in pair)

    return Genotype(cell(), (2, 3, 4, 5), cell(), (2, 3, 4, 5))


@pytest.fixture
def config(genotype):
    return to_config(parse_genotype(genotype()))


def test_parse_genotype__gives_back_the_string_of_the_tables():
    assert str(parse_genotype(TEXT)) == TEXT


@pytest.mark.parametrize("concat", ["range(2, 6)", "(2, 3, 4, 5)", "[2,3,4,5]"])
def test_parse_genotype__takes_the_ways_in_which_people_write_it(concat):
    assert str(parse_genotype(f" {TEXT.replace('[2, 3, 4, 5]', concat).replace(', ', ',')}\n")) == TEXT


@settings(max_examples=50, deadline=None)
@given(genotypes())
def test_parse_genotype__every_form_is_the_same_genotype(genotype):
    fields = {name: getattr(genotype, name) for name in PARTS}
    config = to_config(genotype)
    forms = [str(genotype), fields, json.dumps(fields), config, json.dumps(config)]
    forms.append({key.removeprefix(PREFIX): value for key, value in config.items()})
    forms.append({key.replace(":", "_COLON_"): value for key, value in config.items()})
    forms += [dict.fromkeys(EDGES, absent) | config for absent in ("#na#", None, float("nan"))]
    assert [parse_genotype(form) for form in forms] == [genotype] * len(forms)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("", ""),
        ("Genotype(", ""),
        ("Genotype()", "lacks normal, normal_concat, reduce, reduce_concat"),
        ("__import__('os').system('true')", "not a Genotype"),
        (TEXT.replace("'sep_conv_3x3'", "open('x')"), "malformed node"),
        (TEXT.replace("Genotype(", "Genotype(1, "), "not a Genotype"),
        (TEXT.replace("reduce_concat", "reduce_concatenation"), "lacks reduce_concat"),
        (TEXT.replace("normal_concat=", "spare=[1], normal_concat="), "part 'spare'"),
        (f"{TEXT[:-1]}, **{{}})", "a part 'None'"),
        (TEXT.replace("normal_concat=", "normal=[], normal_concat="), "'normal' twice"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', -1)"), "number of a node, got -1"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', True)"), "number of a node, got True"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 0, 1)"), "expected an edge"),
        (TEXT.replace("[2, 3, 4, 5]", "range(1000000000)"), "a range must have"),
        (TEXT.replace("[2, 3, 4, 5]", "7"), "must be a list"),
        ("Genotype(normal=" + "[" * 5000, ""),
        ("(" * 5000, ""),
        ("Genotype(normal=" + " " * 9000, "9,016 characters"),
        ('{"normal": 1', ""),
        ('{"normal": [], "normal": []}', "'normal' twice"),
        (json.dumps({part: [] for part in (*PARTS, "ops")}), "part 'ops'"),
        ("[1]", "not a Genotype"),
        (7, "is a int"),
    ],
)
def test_parse_genotype__says_what_is_wrong_and_evaluates_nothing(form, message):
    with pytest.raises(ValueError, match=rf"not a genotype: .*{message}"):
        parse_genotype(form)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs_node_normal_4": "3_1"}, "inputs_node_normal_4 must be one of 0_1, .*got '3_1'"),
        ({"inputs_node_reduce_5": "#na#"}, "inputs_node_reduce_5 must be one of"),
        ({"inputs_node_reduce_5": None}, "inputs_node_reduce_5 must be one of"),
        ({"edge_reduce_0": "#na#"}, "inputs_node_reduce_2 is 0_1, but edge_reduce_0 has no operation"),
        ({"edge_reduce_0": 3}, r"expected an edge .operation, input., got .3, 0."),
        ({"edge_reduce_13": "none"}, "it has 'edge_reduce_13', which its inputs leave out"),
        ({"edge_normal_14": "none"}, "it has 'edge_normal_14', which its inputs leave out"),
        ({"inputs_node_normal_6": "0_1"}, "it has 'inputs_node_normal_6'"),
        ({"normal": []}, "it has 'normal'"),
    ],
)
def test_parse_genotype__names_the_key_of_a_bad_configuration(config, changes, message):
    with pytest.raises(ValueError, match=message):
        parse_genotype(config | {f"{PREFIX}{key}": value for key, value in changes.items()})


def test_parse_genotype__refuses_a_configuration_that_says_a_key_in_two_spellings(config):
    with pytest.raises(ValueError, match="'edge_normal_0' twice"):
        parse_genotype(config | {"edge_normal_0": "none"})


def test_parse_genotype__leaves_alone_how_a_configuration_was_trained(genotype, config):
    training = {f"{PREFIX}auxiliary": False, f"{PREFIX}layers": 8, "OptimizerSelector:sgd:learning_rate": 0.025}
    assert str(parse_genotype(config | training)) == genotype()
