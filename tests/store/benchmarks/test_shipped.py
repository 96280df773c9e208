"""The tables that come with the package: what they hold, what they are known by, and that nothing of them is left behind."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweetgrad.store import create_profile, import_accuracy, open_accuracies, open_accuracy, read_accuracy_file
from sweetgrad.store.benchmarks import detect_format
from sweetgrad.store.benchmarks.shipped import SHIPPED, settings_of, shipped_table
from sweetgrad.store.spaces.cells import CELL_OPERATIONS, arch_string

ROOT = Path(__file__).resolve().parents[3]
NAME = "nas-bench-201"
KEY = ["arch", "dataset", "split", "epochs"]
EVERY = sorted(arch_string(operations) for operations in itertools.product(CELL_OPERATIONS, repeat=6))
FIRST = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"


@pytest.fixture(scope="module")
def benchmark() -> pd.DataFrame:
    return read_accuracy_file(shipped_table(NAME), space=NAME)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_table__says_how_its_networks_were_trained(name: str) -> None:
    table, settings = read_accuracy_file(shipped_table(name), space=NAME), settings_of(shipped_table(name))
    assert settings is not None
    assert settings["recipe"]["name"] == name
    assert set(table["epochs"]) == set(np.atleast_1d(settings["recipe"]["epochs"]))


def test_shipped_tables__are_all_package_data_and_in_the_readme() -> None:
    folder = ROOT / "store" / "benchmarks"
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {path.name.partition(".")[0] for path in folder.glob("*.csv.gz")} == set(SHIPPED)
    expected = ["README.md", *(f"{name}{suffix}" for name in SHIPPED for suffix in (".csv.gz", ".json"))]
    assert sorted(data["sweetgrad.store.benchmarks"]) == sorted(expected)
    assert [name for name in SHIPPED if f"`{name}`" not in (folder / "README.md").read_text(encoding="utf-8")] == []


def test_benchmark__has_every_architecture_data_set_split_and_schedule_once(benchmark: pd.DataFrame) -> None:
    assert detect_format(shipped_table(NAME)) == NAME
    keys = itertools.product(EVERY, ("cifar10", "cifar100", "imagenet16-120"), ("test", "valid"), (12, 200))
    assert benchmark[KEY].sort_values(KEY).apply(tuple, axis=1).tolist() == list(keys)
    assert benchmark[["accuracy", "seconds"]].notna().all(axis=None)


def test_benchmark__has_the_published_values(benchmark: pd.DataFrame) -> None:
    accuracy = benchmark.set_index(KEY)["accuracy"]
    test = accuracy.unstack(["dataset", "split", "epochs"]).xs(("test", 200), axis=1, level=("split", "epochs"))
    # The optima of the paper's table of results.
    assert test.max().round(2).to_dict() == {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
    # Number 0 of the benchmark, which the shared table's line 2 has.
    assert accuracy[FIRST, "cifar10", "test", 200] == 85.863333
    assert accuracy[FIRST, "imagenet16-120", "test", 12] == 17.0
    seconds = benchmark.set_index(KEY)["seconds"]
    assert seconds[FIRST, "cifar10", "valid", 12] == pytest.approx(12 * 14.4422 / 2)


@pytest.mark.shared_data
def test_benchmark__is_the_table_that_it_was_made_from(benchmark: pd.DataFrame, shared_data: Path) -> None:
    original = read_accuracy_file(shared_data / "benchmarks" / "nas-bench-201.csv.gz", space=NAME)
    shipped, made_from = (table.sort_values(KEY).reset_index(drop=True) for table in (benchmark, original))
    pd.testing.assert_frame_equal(shipped, made_from, check_exact=True)


@pytest.mark.parametrize("step", [1, -1])
def test_benchmark__fits_a_profile_of_either_order(benchmark: pd.DataFrame, toy, tmp_path: Path, step: int) -> None:
    archs = EVERY[::step]
    create_profile(tmp_path / "s.zarr", toy.spec(space=NAME, arch=archs), arch=archs, layers=toy.layers)
    report = import_accuracy(tmp_path / "s.zarr", space=NAME, table=benchmark, source="t")
    assert (report.matched, report.unmatched, report.added) == (len(benchmark), 0, len(benchmark))
    assert open_accuracies(tmp_path / "s.zarr", NAME)["arch"].values.tolist() == archs
    found = open_accuracy(tmp_path / "s.zarr", NAME, "cifar10/test").to_series()
    chosen = benchmark.query("dataset == 'cifar10' and split == 'test' and epochs == 200")
    expected = chosen.set_index("arch")["accuracy"]
    assert (found == expected[found.index]).all()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("digits201", "digits-201"), ("nas-bench-201.csv.gz", NAME), ("data/nas_bench_201.csv", NAME)],
)
def test_shipped_table__that_is_misspelt_is_named(typed: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"no file {typed}; did you mean {meant}, the table that comes"):
        shipped_table(typed)


@pytest.mark.parametrize("typed", ["nas-bench-101.csv.gz", "accuracies.csv", "nas-bench-101"])
def test_shipped_table__does_not_stand_in_for_another_benchmark(typed: str) -> None:
    assert shipped_table(typed) == Path(typed)


def test_shipped_table__gives_way_to_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).touch()
    assert shipped_table(NAME) == Path(NAME)


def test_read_accuracy_file__knows_shipped_tables_by_name() -> None:
    table = read_accuracy_file("digits-201", space="nas-bench-201")
    pd.testing.assert_frame_equal(table, read_accuracy_file(shipped_table("digits-201"), space="nas-bench-201"))
    assert set(table["dataset"]) >= {"digits"}
