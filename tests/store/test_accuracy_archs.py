"""Which architecture a row of a table is about: its string by the grammar of the space, its index by a list that is known."""

import itertools

import pandas as pd
import pytest

from sweetgrad.store import Profile, create_profile, import_accuracy, open_accuracy
from sweetgrad.store.spaces.cells import CELL_OPERATIONS, arch_string

EVERY = [arch_string((*operations, *["none"] * 3)) for operations in itertools.product(CELL_OPERATIONS, repeat=3)][:30]
BENCHMARK = [*EVERY[20:], *EVERY[:20]]
LEXICOGRAPHIC = sorted(EVERY)
FILE, OWN = "file nas-bench-201.csv.gz", "the space's own (lexicographic)"


def by_index(indices=range(30)):
    """An accuracy for each place in the benchmark's list."""
    rows = {"index": list(indices), "dataset": "cifar10", "split": "test", "epochs": 200}
    return pd.DataFrame(rows).assign(accuracy=lambda table: 10.0 + table["index"])


def by_arch(*archs):
    rows = {"arch": archs, "dataset": "cifar10", "split": "test", "epochs": 200, "accuracy": 50.0}
    return pd.DataFrame(rows)


def put(store, table, space="nas-bench-201", **options):
    return import_accuracy(store, space=space, table=table, source="t.csv", **options)


def stored(store, space="nas-bench-201"):
    return open_accuracy(store, space, "cifar10/test").to_series().dropna().to_dict()


@pytest.fixture
def profile(tmp_path, toy):
    """Make a profile whose rows are in an order, of which a run recorded where it was from."""

    def make(archs, recorded=None, **changes):
        spec = toy.spec(space="nas-bench-201", arch=archs, **changes)
        name = create_profile(tmp_path / "s.zarr", spec, arch=archs, layers=toy.layers, shard_size=8).name
        if recorded:
            Profile.open(tmp_path / "s.zarr", name).record_run({"arch_order": recorded})
        return name

    return make


def test_index__refers_to_the_benchmarks_list_that_a_profile_was_made_with(profile, tmp_path):
    profile(BENCHMARK, FILE)
    report = put(tmp_path / "s.zarr", by_index())
    assert report.matched == 30
    assert report.index_order.startswith(FILE)
    assert stored(tmp_path / "s.zarr") == {arch: 10.0 + i for i, arch in enumerate(BENCHMARK)}


@pytest.mark.parametrize(
    ("recorded", "named"), [(OWN, "lexicographic"), ("the space's own (uniform draws)", "uniform"), (None, "of unknown")]
)  # fmt: skip
def test_index__is_refused_where_the_order_of_the_profile_is_known_to_nobody_else(profile, tmp_path, recorded, named):
    name = profile(LEXICOGRAPHIC, recorded)
    with pytest.raises(ValueError, match=rf"order of the profile {name} is .*{named}.*--space-file FILE.*column arch"):
        put(tmp_path / "s.zarr", by_index())
    assert not (tmp_path / "s.zarr" / "nas-bench-201" / "accuracy").exists()


def test_index__refers_to_the_list_that_is_given_whatever_the_order_of_the_profile(profile, tmp_path):
    profile(LEXICOGRAPHIC, OWN)
    report = put(tmp_path / "s.zarr", by_index(), arch=BENCHMARK)
    assert (report.matched, report.index_order) == (30, "the given list")
    assert stored(tmp_path / "s.zarr") == {arch: 10.0 + i for i, arch in enumerate(BENCHMARK)}


def test_index__takes_the_profile_whose_order_is_published(profile, tmp_path):
    profile(LEXICOGRAPHIC, OWN)
    profile(BENCHMARK[:25], FILE, seed=1)
    report = put(tmp_path / "s.zarr", by_index())
    assert (report.matched, report.unmatched) == (25, 5)
    assert stored(tmp_path / "s.zarr") == {arch: 10.0 + i for i, arch in enumerate(BENCHMARK[:25])}


def test_index__is_refused_where_two_published_orders_differ(profile, tmp_path):
    one, two = profile(BENCHMARK, FILE), profile(BENCHMARK[::-1][:20], "file other.csv", seed=1)
    with pytest.raises(ValueError, match=f"profiles {two} and {one} have different orders"):
        put(tmp_path / "s.zarr", by_index())


@pytest.mark.parametrize(
    "arch", ["foo", "('none', 0)", EVERY[3].replace("none", "foo"), EVERY[3] + "|", "100101:conv3x3"]
)
def test_arch__that_is_none_of_the_space_is_left_out_and_named(tmp_path, arch):
    report = put(tmp_path / "s.zarr", by_arch(EVERY[0], arch))
    assert (report.matched, report.unmatched, report.num_archs) == (1, 1, 1)
    assert report.unmatched_examples == (arch,)
    assert stored(tmp_path / "s.zarr") == {EVERY[0]: 50.0}
    with pytest.raises(
        ValueError, match=r"no row matches an architecture of nas-bench-201: the first is .*expected \|op~0"
    ):
        put(tmp_path / "t.zarr", by_arch(arch))


def test_arch__of_one_benchmark_is_none_of_another(tmp_path):
    with pytest.raises(ValueError, match="no row matches an architecture of nas-bench-101"):
        put(tmp_path / "s.zarr", by_arch(*EVERY), space="nas-bench-101")


def test_arch__is_stored_under_its_one_string(tmp_path, genotype):
    other_form = genotype().replace("[2, 3, 4, 5]", "range(2, 6)")
    put(tmp_path / "s.zarr", by_arch(other_form), space="darts")
    assert stored(tmp_path / "s.zarr", "darts") == {genotype(): 50.0}
    report = put(tmp_path / "s.zarr", by_arch(genotype()), space="darts")
    assert (report.added, report.unchanged) == (0, 1)


@pytest.mark.parametrize("space", ["nas-bench-2001", "nasbench201", "", "toy/synthetic"])
def test_space__that_nobody_registered_is_refused_with_the_nearest(tmp_path, toy, space):
    with pytest.raises(ValueError, match=rf"no search space named '{space}'.*Registered: .*nas-bench-201"):
        put(tmp_path / "new.zarr", by_arch(EVERY[0]), space=space)
    assert not (tmp_path / "new.zarr").exists()
    toy.store(tmp_path / "s.zarr")
    with pytest.raises(ValueError, match=r"In the store: toy"):
        put(tmp_path / "s.zarr", by_arch(EVERY[0]), space=space)


def test_space__that_the_store_holds_needs_no_package(tmp_path, toy):
    toy.store(tmp_path / "s.zarr")
    report = put(tmp_path / "s.zarr", by_arch(toy.archs[0]), space="toy")
    assert report.checked
    assert report.matched == 1


def test_space__of_a_third_party_is_checked_by_its_own_grammar_or_not_at_all_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("sweetgrad.store.accuracy.registered_spaces", lambda: ["theirs"])

    def grammar(arch):
        if not arch.startswith("t"):
            raise ValueError(f"not theirs: {arch}")
        return arch.lower()

    report = put(tmp_path / "a.zarr", by_arch("tA", "x"), space="theirs", grammar=grammar)
    assert (report.matched, report.unmatched_examples, report.checked) == (1, ("x",), True)
    assert stored(tmp_path / "a.zarr", "theirs") == {"ta": 50.0}
    report = put(tmp_path / "b.zarr", by_arch("tA", "x"), space="theirs")
    assert (report.matched, report.checked) == (2, False)
    assert "architecture strings were not checked" in str(report)
