"""Which strings are architectures, known without a list of them and without torch."""

import itertools
import json
import subprocess
import sys

import pandas as pd
import pytest

from sweetgrad.profiling.spaces._cell_network import OPERATIONS
from sweetgrad.profiling.spaces.nas_bench_101 import KERNEL_SIZES
from sweetgrad.profiling.spaces.nas_bench_201_network import OPERATIONS as NB201_OPERATIONS
from sweetgrad.store.spaces import arch_order, grammar_of, registered_spaces, unknown_name
from sweetgrad.store.spaces.cells import CELL_OPERATIONS, arch_string
from sweetgrad.store.spaces.genotypes import NDS_OPERATIONS
from sweetgrad.store.spaces.graphs import GRAPH_OPERATIONS

CELL = [("sep_conv_3x3", 0), ("none", 1), ("skip_connect", 2), ("max_pool_3x3", 1)] * 2
CELL[4:] = [("skip_connect", 2), ("max_pool_3x3", 1), ("dil_conv_5x5", 4), ("sep_conv_5x5", 0)]
GENOTYPE = f"Genotype(normal={CELL}, normal_concat=[2, 3, 4, 5], reduce={CELL}, reduce_concat=[2, 3, 4, 5])"
ONES = {
    "nas-bench-101": "100101:conv3x3;maxpool3x3",
    "nas-bench-201": "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    "nas-bench-301": GENOTYPE,
    "nds-enas": f"{GENOTYPE.replace('sep_conv_5x5', 'conv_7x1_1x7')};width=16;depth=8",
}


@pytest.mark.parametrize(("space", "arch"), ONES.items())
def test_grammar__takes_the_strings_of_its_space_and_of_no_other(space, arch):
    assert grammar_of(space)(arch) == arch
    for other in ONES.keys() - {space}:
        with pytest.raises(ValueError, match=r"^not a|unknown operation"):
            grammar_of(other)(arch)


@pytest.mark.parametrize("space", sorted(ONES))
@pytest.mark.parametrize("arch", ["", "foo", "(1, 2, 3)", "('a', 0)", "a" * 100_000, "\0", "[" * 5000])
def test_grammar__refuses_anything_else_in_few_words(space, arch):
    with pytest.raises(ValueError, match="not a") as refused:
        grammar_of(space)(arch)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("space", sorted(ONES))
def test_grammar__refuses_an_operation_that_the_space_lacks(space):
    for operation in ("conv3x3", "nor_conv_3x3", "sep_conv_3x3"):
        if operation in ONES[space]:
            with pytest.raises(ValueError, match="foo_3x3"):
                grammar_of(space)(ONES[space].replace(operation, "foo_3x3"))


@pytest.mark.parametrize(
    "form",
    [
        GENOTYPE.replace("[2, 3, 4, 5]", "range(2, 6)"),
        GENOTYPE.replace(", ", ",\n"),
        json.dumps({name: CELL if name in ("normal", "reduce") else [2, 3, 4, 5] for name in
                    ("normal", "normal_concat", "reduce", "reduce_concat")}),
    ],
)  # fmt: skip
def test_grammar__gives_every_form_of_a_genotype_its_one_string(form):
    assert grammar_of("darts")(form) == GENOTYPE
    assert grammar_of("nds-darts")(f"{form};width=016;depth=8") == f"{GENOTYPE};width=16;depth=8"


def test_grammar__of_nas_bench_201_is_exactly_its_15625_strings():
    every = {arch_string(operations) for operations in itertools.product(CELL_OPERATIONS, repeat=6)}
    assert len(every) == 15625
    grammar = grammar_of("nas-bench-201")
    assert all(grammar(arch) == arch for arch in every)


def test_grammar__is_that_of_the_networks_that_are_built():
    """The words are the store's, which has no torch; what is built of them is profiling's."""
    assert tuple(NB201_OPERATIONS) == CELL_OPERATIONS
    assert frozenset(OPERATIONS) == NDS_OPERATIONS
    assert tuple(KERNEL_SIZES) == GRAPH_OPERATIONS


def test_grammar__is_there_for_every_space_that_comes_with_the_package():
    ours = [name for name in registered_spaces() if name.startswith(("nas-bench", "darts", "nds"))]
    assert len(ours) >= 10
    assert [name for name in ours if grammar_of(name) is None] == []
    assert grammar_of("somebody-elses") is None


def test_registered_spaces__are_known_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sweetgrad.store.spaces import grammar_of, registered_spaces\n"
        "print('nds-pnas' in registered_spaces(), grammar_of('nds-pnas') is not None)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "True"]


def test_unknown_name__has_the_nearest_first():
    assert "Did you mean 'nas-bench-201'" in str(unknown_name("search space", "nas-bench-2001", registered_spaces()))


def test_arch_order__says_whose_list_it_is():
    class Listed:
        order = "lexicographic"

    assert arch_order(Listed(), "/data/nb.csv.gz") == "file nb.csv.gz"
    assert arch_order(Listed(), None) == "the space's own (lexicographic)"
    assert arch_order(object(), None) == "the space's own (built in)"


@pytest.mark.shared_data
def test_grammar__takes_every_architecture_of_the_published_tables(shared_data):
    tables = shared_data / "benchmarks"
    graphs = pd.read_csv(tables / "nas-bench-101.csv.gz", dtype=str, na_filter=False)[["adj_upper", "ops"]]
    grammar = grammar_of("nas-bench-101")
    for adjacency, ops in graphs.sample(500, random_state=0).itertuples(index=False):
        grammar(f"{adjacency}:{ops}")
    genotypes = pd.read_csv(tables / "nas-bench-301-sample.csv.gz")["genotype"].head(300)
    assert [grammar_of("nas-bench-301")(text) for text in genotypes] == genotypes.tolist()
