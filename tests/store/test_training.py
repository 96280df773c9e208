"""Trainings in a store: written one by one, told apart by seed, and brought into the accuracy table."""

import math

import numpy as np
import pandas as pd
import pytest

from sweetgrad.store import (
    NotAStoreError,
    SpecMismatchError,
    Trainings,
    collect_trainings,
    import_accuracy,
    info,
    list_profiles,
    open_accuracies,
    open_accuracy,
    open_training,
    read_accuracy_file,
    verify,
)
from sweetgrad.store.benchmarks.shipped import settings_of, shipped_table, write_table
from sweetgrad.store.training import create_training

ARCHS = [f"|op{i}~0|" for i in range(60)]
SETTINGS = {"recipe": {"name": "test", "epochs": 3}, "dataset": "digits"}


def make(store, seed: int = 0, **changes) -> str:
    return create_training(
        store,
        space="toy",
        label="digits",
        seed=seed,
        arch=changes.pop("arch", ARCHS),
        splits=("valid", "test"),
        settings={**SETTINGS, **changes, "seed": seed},
    ).name


def write(store, name: str, row: int, *, test: float = math.nan, message: str = "") -> None:
    status = 2 if message else 1
    values = {"accuracy": [test - 1, test], "train_seconds": 2.0, "loss": 0.5, "message": message, "status": status}
    Trainings.open(store, name).write_row(row, values)


def test_plan_trainings__leaves_out_what_is_written(tmp_path):
    store = tmp_path / "s.zarr"
    name = make(store)
    assert name == "toy/training/digits/seed0"
    write(store, name, 3, test=90)
    write(store, name, 30, message="DivergedError: the loss is nan")
    planned = Trainings.open(store, name).plan([1, 3, 30, 59])
    assert [(shard.index, list(shard.rows)) for shard in planned] == [(0, [1]), (2, [59])]
    retried = Trainings.open(store, name).plan([1, 3, 30, 59], retry_failed=True)
    assert [list(shard.rows) for shard in retried] == [[1], [30], [59]]
    write(store, name, 59, test=80)
    assert list(Trainings.open(store, name).replan(planned[1]).rows) == []


def test_write_training__keeps_its_neighbours(tmp_path):
    store = tmp_path / "s.zarr"
    name = make(store)
    for row in (4, 5, 6):
        write(store, name, row, test=90 + row)
    data = open_training(store, name)
    assert data["accuracy"].sel(split="test").values[3:8].tolist()[1:4] == [94, 95, 96]
    assert np.isnan(data["accuracy"].sel(split="test").values[[3, 7]]).all()
    assert data["status"].values[3:8].tolist() == [0, 1, 1, 1, 0]


def test_create_training__refuses_another_recipe_and_another_order(tmp_path):
    store = tmp_path / "s.zarr"
    make(store)
    assert make(store) == "toy/training/digits/seed0"
    with pytest.raises(SpecMismatchError, match=r"recipe.epochs: stored 3, requested 4\n"):
        make(store, recipe={"name": "test", "epochs": 4})
    with pytest.raises(SpecMismatchError, match="architectures: another list, or another order"):
        make(store, arch=ARCHS[::-1])


def test_collect_trainings__gives_seeds_and_their_mean_and_leaves_failures_out(tmp_path):
    store = tmp_path / "s.zarr"
    first = make(store, 0)
    write(store, first, 1, test=90)
    write(store, first, 2, test=70)
    write(store, first, 5, message="DivergedError: the loss is nan")
    assert collect_trainings(store, space="toy", label="digits") == 2
    second = make(store, 1)
    write(store, second, 1, test=92)
    assert collect_trainings(store, space="toy", label="digits") == 2
    mean = open_accuracy(store, "toy", "digits/test")
    assert mean.values[[1, 2]].tolist() == [91, 70]
    assert int(mean.notnull().sum()) == 2
    assert open_accuracy(store, "toy", "digits/seed1/test").values[1] == 92
    assert open_accuracy(store, "toy", "digits/seed0/valid/3").values[1] == 89
    (source,) = open_accuracies(store, "toy").attrs["sources"]
    assert source["settings"] == SETTINGS
    assert verify(store) == []
    assert list_profiles(store) == []
    assert info(store).accuracies[0].space == "toy"


def test_collect_trainings__keeps_what_was_imported(tmp_path):
    store = tmp_path / "s.zarr"
    rows = {"arch": ARCHS[:2], "dataset": "cifar10", "split": "test", "epochs": 200, "accuracy": [93.0, 94.0]}
    import_accuracy(store, space="toy", table=pd.DataFrame(rows), arch=ARCHS, source="published")
    name = make(store)
    write(store, name, 7, test=88)
    collect_trainings(store, space="toy", label="digits")
    assert open_accuracy(store, "toy", "cifar10/test").values[:2].tolist() == [93, 94]
    assert open_accuracy(store, "toy", "digits/test").values[7] == 88
    assert [each["source"] for each in open_accuracies(store, "toy").attrs["sources"]] == [
        "published",
        "sweetgrad train, label digits",
    ]


def test_collect_trainings__needs_a_store(tmp_path):
    with pytest.raises(NotAStoreError):
        collect_trainings(tmp_path / "none.zarr", space="toy", label="digits")
    assert not (tmp_path / "none.zarr").exists()


def test_verify__finds_a_damaged_training(tmp_path):
    store = tmp_path / "s.zarr"
    name = make(store)
    write(store, name, 1, test=90)
    chunk = store / name / "accuracy" / "c" / "0" / "0"
    chunk.write_bytes(b"\x00" + chunk.read_bytes()[1:])
    (problem,) = verify(store)
    assert "shard 0, rows 0-24: accuracy: accuracy/c/0/0 cannot be decoded" in str(problem)
    assert "sweetgrad train" in str(problem)


def test_write_table__comes_back_as_it_was_and_always_as_the_same_bytes(tmp_path):
    store, path = tmp_path / "s.zarr", tmp_path / "digits.csv.gz"
    name = make(store)
    write(store, name, 1, test=91.23456)
    collect_trainings(store, space="toy", label="digits")
    table = open_accuracies(store, "toy")
    assert write_table(table, path, label="digits") == 4
    before = path.read_bytes()
    write_table(table, path, label="digits")
    assert path.read_bytes() == before
    assert settings_of(path) == SETTINGS
    again = read_accuracy_file(path, space="toy")
    report = import_accuracy(store, space="toy", table=again, source=path.name)
    assert (report.added, report.unchanged) == (0, 4)
    with pytest.raises(ValueError, match="no accuracies of 'digit'; available: digits, digits/seed0"):
        write_table(table, path, label="digit")


def test_digits_201__has_both_seeds_and_their_mean():
    table = read_accuracy_file(shipped_table("digits-201"), space="nas-bench-201")
    assert set(table["dataset"]) == {"digits", "digits/seed0", "digits/seed1"}
    accuracy = table.pivot(index=["arch", "split"], columns="dataset", values="accuracy")
    seeds = accuracy[["digits/seed0", "digits/seed1"]]
    np.testing.assert_allclose(accuracy["digits"], seeds.mean(axis=1), atol=1e-7)
    assert table["accuracy"].between(0, 100).all()
