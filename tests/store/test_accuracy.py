import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.store import (
    CorruptShardError,
    NotAStoreError,
    Profile,
    StoreError,
    detect_format,
    import_accuracy,
    info,
    open_accuracies,
    open_accuracy,
    open_store,
    read_accuracy_file,
    verify,
)
from sweetgrad.store.benchmarks import tidy
from sweetgrad.store.benchmarks.shipped import write_table
from sweetgrad.store.spaces import registered_spaces

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
BENCHMARKS = CHECKOUT.parent / "shared" / "data" / "benchmarks"


def table(**columns):
    rows = {"arch": ["a", "b"], "dataset": "cifar10", "split": "test", "epochs": 200, "accuracy": [90.5, 10.0]}
    return pd.DataFrame({**rows, **columns})


def put(path, data, source="test", **options):
    return import_accuracy(path, space="toy", table=data, source=source, **options)


def read(path, text, name="t.csv", space="toy", **options):
    (path / name).write_text(text)
    return read_accuracy_file(path / name, space=space, **options)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """A third party's package registers the space ``toy``, and says nothing of its strings."""
    monkeypatch.setattr("sweetgrad.store.accuracy.registered_spaces", lambda: [*registered_spaces(), "toy"])


HEADER = "arch,dataset,split,epochs,accuracy,seconds\n"


# Reading


def test_read__tidy_csv(tmp_path):
    found = read(tmp_path, HEADER + "0010,cifar10,test,12,91.25,3.5\nx,cifar10,test,12,,\n")
    assert found["arch"].tolist() == ["0010", "x"]
    assert found["accuracy"].tolist()[0] == 91.25
    assert np.isnan(found["accuracy"][1])
    assert found["seconds"][0] == 3.5
    assert found["epochs"].dtype == np.int64
    assert found.attrs["source"] == "t.csv"
    assert len(found.attrs["sha256"]) == 64


def test_read__gives_equal_tables_from_csv_gz_and_parquet(tmp_path):
    data = table(seconds=[1.5, 2.5])
    data.to_csv(tmp_path / "t.csv.gz", index=False)
    data.to_parquet(tmp_path / "t.parquet")
    tables = [read_accuracy_file(tmp_path / name, space="toy") for name in ("t.csv.gz", "t.parquet")]
    pd.testing.assert_frame_equal(*tables, check_dtype=False)


def test_read__says_that_parquet_needs_pyarrow(tmp_path, monkeypatch):
    table().to_parquet(tmp_path / "t.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install 'pyarrow>="):
        read_accuracy_file(tmp_path / "t.parquet", space="toy")


def test_read__lists_missing_and_present_columns_and_an_example(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)lacks the columns split, epochs; it has arch, dataset, accuracy.*arch,dataset,split"
    ):
        read(tmp_path, "arch,dataset,accuracy\na,cifar10,90\n")
    with pytest.raises(ValueError, match="lacks the columns arch, dataset"):
        read(tmp_path, "hello,world\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns arch_str"):
        read(tmp_path, HEADER + "a,cifar10,test,1,90,\n", space="nas-bench-201", format="nas-bench-201")


@pytest.mark.parametrize("value", ["-0.1", "100.5", "8999"])
def test_read__refuses_accuracies_outside_0_to_100(tmp_path, value):
    with pytest.raises(ValueError, match=rf"%, from 0 to 100, got {value}.* for b \(cifar10/test\)"):
        read(tmp_path, HEADER + f"a,cifar10,test,1,90,\nb,cifar10,test,1,{value},\n")


def test_read__refuses_fractions_with_a_hint(tmp_path):
    with pytest.raises(ValueError, match=r"all 2 accuracies of cifar10/valid after 12 epochs.*multiply them by 100"):
        read(tmp_path, HEADER + "a,cifar10,test,12,90,\na,cifar10,valid,12,0.9,\nb,cifar10,valid,12,1,\n")


def test_read__keeps_single_accuracies_of_one_percent(tmp_path):
    """1 % is chance for the 100 classes of CIFAR-100, 0.83 % for the 120 of ImageNet16-120."""
    found = read(tmp_path, HEADER + "a,cifar100,test,12,1.0,\nb,cifar100,test,12,70,\n")
    assert found["accuracy"].tolist() == [1.0, 70.0]


@pytest.mark.parametrize(
    ("dataset", "split", "values", "fractions"),
    [
        ("cifar10", "test", [91.2, 0.934, 93.1], "1 of 3"),
        ("cifar10", "test", [0.912, 0.934, 93.1, 90.0, 0.0], "2 of 5"),
        ("cifar100", "valid", [0.31, 71.0, 30.5, 0.703], "2 of 4"),
        ("mine", "test", [0.5, 55.0, 0.61, 48.0, 70.0], "2 of 5"),
        ("mine", "under attack", [0.5, 55.0, 0.61, 48.0, 70.0], "2 of 5"),
        ("digits/seed0", "test", [0.1, 95.0], "1 of 2"),
    ],
)
def test_read__refuses_fractions_among_percentages(tmp_path, dataset, split, values, fractions):
    lines = "".join(f"a{i},{dataset},{split},12,{value},\n" for i, value in enumerate(values))
    first = next(i for i, value in enumerate(values) if 0 < value <= 1)
    with pytest.raises(ValueError, match=rf"{fractions} accuracies of {dataset}/{split} .*fractions.*a{first}: 0\.\d"):
        read(tmp_path, HEADER + lines)


@pytest.mark.parametrize(
    ("dataset", "split", "values"),
    [
        ("cifar100", "test", [1.0, 1.0, 0.97, 1.02, 70.1, 73.4]),
        ("imagenet16-120", "test", [0.833333, 0.833333, 0.9, 46.3, 12.0]),
        ("imagenet", "test", [0.1, 0.1, 75.0, 5.0]),
        ("cifar10", "test", [0.0, 10.0, 93.0]),
        ("cifar10", "pgd", [0.05, 0.31, 0.42, 1.3, 2.5, 9.8, 41.0]),
        ("mine", "test", [0.5, 0.5, 0.5, 48.0, 55.0]),
    ],
)
def test_read__keeps_networks_that_guess_among_many_classes(tmp_path, dataset, split, values):
    lines = "".join(f"a{i},{dataset},{split},12,{value},\n" for i, value in enumerate(values))
    assert read(tmp_path, HEADER + lines)["accuracy"].tolist() == values


@pytest.mark.parametrize("split", ["x/valid", "/", "test/", "200", "12"])
def test_read__refuses_a_split_by_whose_name_nobody_finds_it_again(tmp_path, split):
    with pytest.raises(ValueError, match=rf"a split must be a name without '/' that is not a number.*got '{split}'"):
        read(tmp_path, HEADER + f"a,cifar10,{split},12,90,\n")


@pytest.mark.parametrize("dataset", ["/cifar10", "cifar10/", "a//b", "/"])
def test_read__refuses_a_dataset_with_an_empty_part(tmp_path, dataset):
    with pytest.raises(ValueError, match=rf"a dataset must be a name, or names joined by '/'.*got '{dataset}'"):
        read(tmp_path, HEADER + f"a,{dataset},test,12,90,\n")


def test_read__a_name_has_no_white_space_around_it(tmp_path):
    table = read(tmp_path, HEADER + "a, cifar10 , test ,12,90,\n")
    assert table[["dataset", "split"]].to_numpy().tolist() == [["cifar10", "test"]]


names = st.text(st.sampled_from("ab1"), min_size=1, max_size=3)


@given(st.lists(st.tuples(names, st.none() | names, names, st.integers(0, 12)), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_read__columns_that_are_taken_have_different_selectors(parts):
    keys = {
        (dataset if label is None else f"{dataset}/{label}", split, epochs) for dataset, label, split, epochs in parts
    }
    rows = pd.DataFrame(sorted(keys), columns=["dataset", "split", "epochs"]).assign(arch="x", accuracy=50.0)
    try:
        tidy(rows, where="t")
    except ValueError:
        assert any(split.isdecimal() for _, split, _ in keys)
        return
    called = [f"{dataset}/{split}/{epochs}" for dataset, split, epochs in keys]
    called += {f"{dataset}/{split}" for dataset, split, _ in keys}
    assert len(set(called)) == len(called)


def test_open__of_an_old_table_finds_splits_with_a_slash_and_says_which_are_ambiguous(tmp_path, monkeypatch):
    """Older versions took any name."""
    monkeypatch.setitem(tidy.__globals__, "_require_names", lambda table, where: None)
    rows = pd.DataFrame(
        {"arch": ["a"], "dataset": ["cifar10"], "split": ["x/valid"], "epochs": [12], "accuracy": [81.0]}
    )
    put(tmp_path / "s.zarr", rows)
    put(tmp_path / "s.zarr", rows.assign(dataset="cifar10/a", split="b", accuracy=82.0))
    put(tmp_path / "s.zarr", rows.assign(split="a/b", accuracy=83.0))
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/x/valid").values.tolist() == [81.0]
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/x/valid/12").values.tolist() == [81.0]
    with pytest.raises(ValueError, match=r"'cifar10/a/b' of toy may be .*'cifar10', 'a/b', 12.*'cifar10/a', 'b', 12"):
        open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/a/b")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,cifar10,test,ten,90,", "epochs must have numbers, got 'ten'"),
        ("a,cifar10,test,1.5,90,", "epochs must have non-negative integers, got 1.5"),
        ("a,cifar10,test,1,high,", "accuracy must have numbers, got 'high'"),
        (",cifar10,test,1,90,", "column arch is empty in row 0"),
        ("a,,test,1,90,", "column dataset is empty in row 0"),
    ],
)
def test_read__names_a_value_that_makes_no_sense(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, HEADER + row + "\n")


@pytest.mark.parametrize(
    "header", ["arch,dataset,split,epochs,accuracy,accuracy", "arch,dataset,split,epochs,accuracy,arch"]
)
def test_read__refuses_a_column_that_is_there_twice(tmp_path, header):
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\na,digits,test,12,91.5,17\n")
    with pytest.raises(ValueError, match=f"column {header.rpartition(',')[2]} occurs twice"):
        read_accuracy_file(path, space="toy")


def test_import__refuses_a_column_that_is_there_twice(tmp_path):
    rows = pd.DataFrame([["a", "digits", "test", 12, 91.5, 17.0]])
    rows.columns = ["arch", "dataset", "split", "epochs", "accuracy", "accuracy"]
    with pytest.raises(ValueError, match="column accuracy occurs twice"):
        import_accuracy(tmp_path / "s.zarr", space="toy", table=rows, source="a table")
    assert not (tmp_path / "s.zarr").exists()


def test_read__refuses_what_is_no_table(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_accuracy_file(tmp_path / "nothing.csv", space="toy")
    with pytest.raises(ValueError, match="cannot read it"):
        read(tmp_path, "")
    with pytest.raises(ValueError, match="has no rows"):
        read(tmp_path, HEADER)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="expected a parquet file"):
        read_accuracy_file(tmp_path / "t.parquet", space="toy")
    with pytest.raises(ValueError, match="format must be one of auto, tidy"):
        read(tmp_path, HEADER, format="excel")


WIDE_201 = (
    "arch_str,cifar10_valid,cifar10_test,in16_test,cifar10_valid_e12,epoch_time_s_cifar_50k,epoch_time_s_in16\n"
    "|a~0|,80,90,40,60,20,50\n"
)


def test_read__the_wide_table_of_nas_bench_201(tmp_path):
    found = read(tmp_path, WIDE_201, space="nas-bench-201").set_index(["dataset", "split", "epochs"])
    # cifar10 for validation is trained on half of the images: 200 epochs of 20 s / 2.
    expected = {
        ("cifar10", "valid", 200): (80, 2000),
        ("cifar10", "valid", 12): (60, 120),
        ("cifar10", "test", 200): (90, 4000),
        ("imagenet16-120", "test", 200): (40, 10000),
    }
    assert {key: (row.accuracy, row.seconds) for key, row in found.iterrows()} == expected


def test_read__refuses_the_table_of_another_space(tmp_path):
    with pytest.raises(ValueError, match="is a table of nas-bench-201, but was to be read for nas-bench-101"):
        read(tmp_path, WIDE_201, space="nas-bench-101")


def test_read__the_wide_table_of_nas_bench_201_without_seconds(tmp_path):
    (tmp_path / "t.csv").write_text("arch_str,cifar10_test,in16_test_e12\n|a~0|,90,40\n")
    assert detect_format(tmp_path / "t.csv") == "nas-bench-201"
    found = read_accuracy_file(tmp_path / "t.csv", space="nas-bench-201")
    assert found["accuracy"].tolist() == [90.0, 40.0]
    assert found["seconds"].isna().all()
    with pytest.raises(ValueError, match="no accuracy column: expected"):
        read(tmp_path, "arch_str,params\n|a~0|,9\n", space="nas-bench-201")


def test_read__a_tidy_table_may_have_any_other_column(tmp_path):
    (tmp_path / "t.csv").write_text(HEADER.strip() + ",arch_str,genotype\na,cifar10,test,12,91,3,b,c\n")
    assert detect_format(tmp_path / "t.csv") == "tidy"


@pytest.mark.parametrize("seconds", [1234.5678 * (1 + 1e-6), 1234.57, np.float32(1234.5678), 1234.56])
def test_import__seconds_that_are_written_in_another_way_are_no_other_version(tmp_path, seconds):
    put(tmp_path / "s.zarr", table(seconds=[1234.5678, 2.0]))
    assert not put(tmp_path / "s.zarr", table(seconds=[seconds, 2.0])).changed
    with pytest.raises(StoreError, match="disagree on train_seconds"):
        put(tmp_path / "s.zarr", table(seconds=[1235.0, 2.0]))


def test_import__accuracies_in_single_precision_are_no_other_version(tmp_path):
    put(tmp_path / "s.zarr", table(accuracy=[93.7633, 10.1]))
    single = table(accuracy=np.array([93.7633, 10.1], np.float32))
    assert abs(single["accuracy"].astype(float)[0] - 93.7633) > 1e-6
    assert not put(tmp_path / "s.zarr", single).changed
    with pytest.raises(StoreError, match="disagree on accuracy"):
        put(tmp_path / "s.zarr", table(accuracy=[93.7666, 10.1]))  # one image of 10,000 in one run of three


def test_write_table__is_the_same_table_when_it_is_imported_again(tmp_path):
    put(tmp_path / "s.zarr", table(seconds=[1234.5678, 0.126]))
    write_table(open_accuracies(tmp_path / "s.zarr", "toy"), tmp_path / "out.csv")
    report = put(tmp_path / "s.zarr", read_accuracy_file(tmp_path / "out.csv", space="toy"))
    assert not report.changed


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_write_table__has_no_cell_that_a_spreadsheet_runs(tmp_path, name):
    texts = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\tx", "'=1", "''@", "'quoted", "plain"]
    rows = {"arch": texts, "dataset": "=d", "split": "-s", "epochs": 12, "accuracy": range(50, 59), "seconds": 1.0}
    put(tmp_path / "s.zarr", pd.DataFrame(rows))
    held = open_accuracies(tmp_path / "s.zarr", "toy")
    write_table(held, tmp_path / name)
    cells = pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False)
    assert not [cell for cell in cells.to_numpy().ravel() if cell[0] in "=+-@\t\r"]
    assert cells["dataset"].unique().tolist() == ["'=d"]
    back = read_accuracy_file(tmp_path / name, space="toy")
    assert sorted(back["arch"]) == sorted(texts)
    assert not put(tmp_path / "s.zarr", back).changed


def test_read__the_wide_table_of_nas_bench_101(tmp_path):
    text = "adj_upper,ops,test_acc_mean3,gennas_acc_1run\n0010,conv1x1;maxpool3x3,0.894231,\n1110,,0.9,0.5\n"
    found = read(tmp_path, text, space="nas-bench-101")
    assert found["arch"].tolist() == ["0010:conv1x1;maxpool3x3", "1110:"] * 2
    assert found["accuracy"].fillna(-1).tolist() == [89.4231, 90.0, -1, 50.0]
    assert found["split"].tolist() == ["test"] * 2 + ["test-1run"] * 2
    assert set(found["epochs"]) == {108}


# Importing


def test_import__without_a_profile_takes_the_architectures_of_the_table(tmp_path):
    report = put(tmp_path / "s.zarr", table())
    assert (report.matched, report.unmatched, report.duplicated, report.added, report.num_archs) == (2, 0, 0, 2, 2)
    found = open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test")
    assert found.dims == ("arch",)
    assert found.to_series().to_dict() == {"a": 90.5, "b": 10.0}
    assert found.attrs["units"] == "%"
    assert verify(tmp_path / "s.zarr") == []


def test_open_accuracies__is_the_whole_table(tmp_path):
    path = tmp_path / "s.zarr"
    put(path, table())
    put(path, table(epochs=12).assign(accuracy=[50.0, 60.0], seconds=[3.5, 4.5]))
    found = open_accuracies(path, "toy")
    assert found.accuracy.dims == found.train_seconds.dims == ("arch", "dataset", "split", "epochs")
    assert found.epochs.values.tolist() == [12, 200]
    short = found.sel(dataset="cifar10", split="test", epochs=12)
    assert (short.accuracy.values.tolist(), short.train_seconds.values.tolist()) == ([50.0, 60.0], [3.5, 4.5])
    xr.testing.assert_equal(
        found.accuracy.sel(dataset="cifar10", split="test", epochs=200), open_accuracy(path, "toy", "cifar10/test")
    )
    with pytest.raises(NotAStoreError, match="no accuracies of 'other'"):
        open_accuracies(path, "other")


def test_import__takes_the_architectures_of_the_profile(tmp_path, toy):
    toy.store(tmp_path / "s.zarr")
    report = put(tmp_path / "s.zarr", table(arch=["|op3~0|", "|alien~0|"]), arch=["ignored"])
    assert (report.matched, report.unmatched, report.unmatched_examples) == (1, 1, ("|alien~0|",))
    assert "|alien~0|" in str(report)
    found = open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test")
    assert found["arch"].values.tolist() == toy.archs
    assert found.notnull().values.tolist() == [i == 3 for i in range(10)]
    assert verify(tmp_path / "s.zarr") == []
    assert "toy/accuracy" in {node.path.strip("/") for node in open_store(tmp_path / "s.zarr").subtree}


def test_import__places_rows_by_index(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr")
    Profile.open(tmp_path / "s.zarr", name).record_run({"arch_order": "file toy.csv"})
    rows = table(arch=None).drop(columns="arch").assign(index=[4, 99])
    report = put(tmp_path / "s.zarr", rows)
    assert (report.matched, report.unmatched_examples) == (1, ("index 99",))
    assert f"index was read as the position in file toy.csv (profile {name})" in str(report)
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test").dropna("arch")["arch"].values.tolist() == [
        "|op4~0|"
    ]


def test_import__by_index_needs_an_order(tmp_path):
    rows = table(arch=None).drop(columns="arch").assign(index=[1, 0])
    with pytest.raises(ValueError, match="their order is not known"):
        put(tmp_path / "s.zarr", rows)
    put(tmp_path / "s.zarr", rows, arch=["x", "y", "z"])
    found = open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test").to_series()
    assert found.fillna(-1).to_dict() == {"x": 10.0, "y": 90.5, "z": -1}


def test_import__refuses_a_table_of_which_nothing_matches(tmp_path, toy):
    toy.store(tmp_path / "s.zarr")
    with pytest.raises(ValueError, match=r"no row matches.*\|op0~0\|.*the table has e\.g\. a, b"):
        put(tmp_path / "s.zarr", table())


def test_import__counts_identical_rows_once(tmp_path):
    report = put(tmp_path / "s.zarr", pd.concat([table(), table()[:1], table(accuracy=np.nan)]))
    assert (report.matched, report.duplicated, report.added, report.empty) == (3, 1, 2, 2)


def test_import__refuses_a_table_that_disagrees_with_itself(tmp_path):
    with pytest.raises(
        StoreError, match=r"(?s)two rows of mine disagree on accuracy for 1 .*a/cifar10/test/200: 90.5 and 90.7"
    ):
        put(tmp_path / "s.zarr", pd.concat([table(), table(accuracy=[90.7, 10.0])]), source="mine")
    assert info(tmp_path / "s.zarr").accuracies == ()


def test_import__again_is_a_no_op_that_says_so(tmp_path, toy):
    put(tmp_path / "s.zarr", table())
    before = toy.contents(tmp_path / "s.zarr")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "s.zarr").rglob("*")}
    report = put(tmp_path / "s.zarr", table())
    assert (report.added, report.unchanged, report.changed) == (0, 2, False)
    assert "nothing to do" in str(report)
    assert toy.contents(tmp_path / "s.zarr") == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s.zarr").rglob("*")} == times


def test_import__refuses_another_version_of_the_benchmark_and_keeps_the_old(tmp_path):
    put(tmp_path / "s.zarr", table())
    with pytest.raises(
        StoreError, match=r"(?s)the table of toy in the store and v2 disagree.*b/cifar10/test/200: 10.0 and 11.0"
    ):
        put(tmp_path / "s.zarr", table(accuracy=[90.5, 11.0]), source="v2")
    put(tmp_path / "t.zarr", table(seconds=[1.0, 2.0]))
    with pytest.raises(StoreError, match="disagree on train_seconds"):
        put(tmp_path / "t.zarr", table(seconds=[1.0, 3.0]))
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test").values.tolist() == [90.5, 10.0]


def test_import__extends_the_table(tmp_path):
    put(tmp_path / "s.zarr", table(), source="first")
    more = pd.concat(
        [table(epochs=12, accuracy=[50.0, 9.0]), table(dataset="digits", arch=["b", "c"], accuracy=[77.0, 78.0])]
    )
    report = put(tmp_path / "s.zarr", more, source="second")
    assert (report.added, report.unchanged, report.num_archs) == (4, 0, 3)
    assert report.selectors == ("cifar10/test/12", "cifar10/test/200", "digits/test/200")
    assert open_accuracy(tmp_path / "s.zarr", "toy", "digits/test").to_series().fillna(-1).to_dict() == {
        "b": 77,
        "c": 78,
        "a": -1,
    }
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test/12").sel(arch="a") == 50.0
    (found,) = info(tmp_path / "s.zarr").accuracies
    assert [(s["source"], s["rows"]) for s in found.sources] == [("first", 2), ("second", 4)]
    assert verify(tmp_path / "s.zarr") == []


def test_import__adds_seconds_to_accuracies_that_are_there(tmp_path):
    put(tmp_path / "s.zarr", table())
    report = put(tmp_path / "s.zarr", table(seconds=[5.0, 6.0]))
    assert (report.added, report.unchanged, report.changed) == (0, 2, True)
    assert open_store(tmp_path / "s.zarr")["toy/accuracy/train_seconds"].values.ravel().tolist() == [5.0, 6.0]


class KilledError(BaseException):
    """Stands for a kill, which no handler sees."""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_import__killed_at_any_rename_keeps_the_old_or_the_new_table(tmp_path, monkeypatch, renames):
    path = tmp_path / "s.zarr"
    put(path, table())
    rename, count = Path.rename, 0

    def counted(self, target):
        nonlocal count
        if count == renames:
            raise KilledError
        count += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted)
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            put(path, table(split="valid"))
    assert open_accuracy(path, "toy", "cifar10/test").values.tolist() == [90.5, 10.0]
    problems = verify(path)
    assert problems
    assert all("interrupted import" in p.what and p.repairable for p in problems)
    verify(path, repair=True)
    assert verify(path) == []
    report = put(path, table(split="valid"))
    assert (report.added, report.unchanged) == ((0, 2) if renames == 2 else (2, 0))
    assert open_accuracy(path, "toy", "cifar10/test").values.tolist() == [90.5, 10.0]


def test_import__names_a_stored_table_that_cannot_be_read(tmp_path):
    put(tmp_path / "s.zarr", table())
    file = next((tmp_path / "s.zarr/toy/accuracy/accuracy/c").rglob("0/0/0/0"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptShardError, match="Delete that folder and import its tables again"):
        put(tmp_path / "s.zarr", table(split="valid"))
    (problem,) = verify(tmp_path / "s.zarr")
    assert "accuracy cannot be decoded" in problem.what


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(6)))
def test_import__does_not_depend_on_the_order_of_rows(tmp_path_factory, order):
    path = tmp_path_factory.mktemp("order") / "s.zarr"
    rows = pd.concat([table(), table(split="valid"), table(dataset="digits")]).iloc[list(order)]
    put(path, rows, arch=["a", "b"])
    for selector in ("cifar10/test", "cifar10/valid", "digits/test"):
        assert open_accuracy(path, "toy", selector).sel(arch=["a", "b"]).values.tolist() == [90.5, 10.0]


# Opening


def test_open__takes_the_longest_training_by_default(tmp_path):
    put(tmp_path / "s.zarr", pd.concat([table(epochs=90, accuracy=[1.0, 2.0]), table(epochs=108, accuracy=[3.0, 4.0])]))
    # A longer training of another split must not make this one empty.
    put(tmp_path / "s.zarr", table(split="valid", epochs=200))
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test").values.tolist() == [3.0, 4.0]
    assert open_accuracy(tmp_path / "s.zarr", "toy", "cifar10/test/90").values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("selector", ["cifar10/tset", "cifar10", "cifar10/test/7", "cifar10/valid/108", ""])
def test_open__lists_what_there_is(tmp_path, selector):
    put(tmp_path / "s.zarr", pd.concat([table(), table(dataset="digits")]))
    with pytest.raises(ValueError, match=f"no accuracies '{selector}' of toy; available: .*/test/200, .*/test/200"):
        open_accuracy(tmp_path / "s.zarr", "toy", selector)


def test_open__lists_the_nearest_first(tmp_path):
    put(tmp_path / "s.zarr", pd.concat([table(dataset="abc"), table(dataset="digits")]))
    with pytest.raises(ValueError, match="available: digits/test/200, abc/test/200"):
        open_accuracy(tmp_path / "s.zarr", "toy", "digts/test")


def test_open__of_a_zip_says_to_unpack_it_first(tmp_path):
    put(tmp_path / "s.zarr", table())
    shutil.make_archive(str(tmp_path / "s.zarr"), "zip", tmp_path / "s.zarr")
    with pytest.raises(
        NotAStoreError, match="a zip file can only be read: unpack it, then `sweetgrad accuracy import FOLDER"
    ):
        open_accuracy(tmp_path / "s.zarr.zip", "nasbench", "cifar10/test")


def test_open__says_how_to_import(tmp_path):
    put(tmp_path / "s.zarr", table())
    with pytest.raises(
        NotAStoreError, match=r"no accuracies of 'nasbench' \(it has those of toy\).*sweetgrad accuracy import"
    ):
        open_accuracy(tmp_path / "s.zarr", "nasbench", "cifar10/test")


# Real tables


def real(name):
    path = BENCHMARKS / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


@pytest.mark.shared_data
def test_real_data__nas_bench_201(tmp_path):
    path = real("nas-bench-201.csv.gz")
    report = import_accuracy(
        tmp_path / "s.zarr",
        space="nas-bench-201",
        table=read_accuracy_file(path, space="nas-bench-201"),
        source=path.name,
    )
    assert (report.matched, report.unmatched, report.duplicated, report.num_archs) == (187500, 0, 0, 15625)
    assert len(report.selectors) == 12
    raw = pd.read_csv(path)
    test = open_accuracy(tmp_path / "s.zarr", "nas-bench-201", "cifar10/test")
    assert test["arch"].values.tolist() == raw["arch_str"].tolist()
    # REFERENCE.md: parameters against test accuracy over all 15,625 architectures.
    assert test.to_series().reset_index(drop=True).corr(raw["params_c10"], method="spearman") == pytest.approx(
        0.7527, abs=5e-5
    )
    # Read by hand from line 2 (index 0) of the file.
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    hand = {
        "cifar10/valid": 81.982667,
        "cifar10/test": 85.863333,
        "cifar100/valid": 52.7,
        "cifar100/test": 52.913333,
        "imagenet16-120/valid": 28.211111,
        "imagenet16-120/test": 26.633333,
        "cifar10/valid/12": 63.364,
        "imagenet16-120/test/12": 17.0,
    }
    for selector, value in hand.items():
        assert open_accuracy(tmp_path / "s.zarr", "nas-bench-201", selector).sel(arch=first) == value
    seconds = open_store(tmp_path / "s.zarr")["nas-bench-201/accuracy/train_seconds"].sel(arch=first)
    assert seconds.sel(dataset="cifar10", split="valid", epochs=12) == pytest.approx(12 * 14.4422 / 2)
    assert seconds.sel(dataset="cifar100", split="valid", epochs=200) == pytest.approx(200 * 14.4422)
    assert seconds.sel(dataset="imagenet16-120", split="test", epochs=12) == pytest.approx(12 * 43.8176)


@pytest.mark.shared_data
def test_real_data__nas_bench_101(tmp_path):
    path = real("nas-bench-101.csv.gz")
    data = read_accuracy_file(path, space="nas-bench-101")
    report = import_accuracy(tmp_path / "s.zarr", space="nas-bench-101", table=data, source=path.name)
    assert (report.num_archs, report.added, report.empty) == (17000, 14580 + 2500, 17000 - 14580 + 17000 - 2500)
    assert report.selectors == ("cifar10/test/108", "cifar10/test-1run/108")
    test = open_accuracy(tmp_path / "s.zarr", "nas-bench-101", "cifar10/test")
    assert test.sel(arch="100000100101100101101:conv1x1;maxpool3x3;conv1x1;maxpool3x3;conv3x3") == 89.4231
    one_run = (
        open_accuracy(tmp_path / "s.zarr", "nas-bench-101", "cifar10/test-1run").to_series().reset_index(drop=True)
    )
    raw = pd.read_csv(path)
    # The data's README: Spearman with the number of parameters over the 2,500 of one run.
    assert one_run.corr(raw["params"], method="spearman") == pytest.approx(0.426, abs=5e-4)
