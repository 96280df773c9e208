"""``sweetgrad accuracy import`` of benchmarks' own files, as a person types it."""

import bz2
import json
import pickle
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import open_accuracies, open_accuracy, verify

ARCH = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


@pytest.fixture
def run(monkeypatch):
    """Run a command line that must succeed; returns what it printed."""

    def run_command(*arguments):
        monkeypatch.setenv("COLUMNS", "160")
        result = CliRunner().invoke(cli.app, ["accuracy", "import", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    return run_command


@pytest.fixture
def folder(tmp_path):
    """NATS-Bench's folder, of one architecture that was trained on CIFAR-10 for two epochs."""
    trained = {"epochs": 2, "train_times": {0: 3.0, 1: 4.0}, "eval_acc1es": {"ori-test@0": 50.0, "ori-test@1": 84.25}}
    results = {"2": {"arch_index": 0, "arch_str": ARCH, "all_results": {("cifar10", 777): trained}}}
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    for name, content in (("meta", {"meta_archs": [ARCH]}), ("000000", results)):
        with bz2.open(folder / f"{name}.pickle.pbz2", "wb") as file:
            pickle.dump(content, file, protocol=4)
    return folder


def test_accuracy_import__a_folder_of_nats_bench(run, folder, tmp_path):
    out = run(tmp_path / "s.zarr", "--space", "nas-bench-201", "--from", folder)
    assert "1 rows matched" in out
    assert "Accuracies of nas-bench-201 in the store: cifar10/test/2" in out
    assert open_accuracy(tmp_path / "s.zarr", "nas-bench-201", "cifar10/test").to_series().to_dict() == {ARCH: 84.25}
    assert "nothing to do" in run(tmp_path / "s.zarr", "--space", "nas-bench-201", "--from", folder)
    assert verify(tmp_path / "s.zarr") == []


def test_accuracy_import__json_of_nds(run, tmp_path):
    cells = {name: [["skip_connect", 0], ["skip_connect", 1]] for name in ("normal", "reduce")}
    net = {"genotype": {**cells, "normal_concat": [2], "reduce_concat": [2]}, "width": 16, "depth": 8}
    (tmp_path / "ENAS.json").write_text(json.dumps({"top": [{"net": net, "test_ep_top1": [9.0, 7.5]}], "mid": []}))
    assert "cifar10/test/2" in run(tmp_path / "s.zarr", "--space", "nds-enas", "--from", tmp_path / "ENAS.json")
    found = open_accuracy(tmp_path / "s.zarr", "nds-enas", "cifar10/test").to_series()
    assert found.tolist() == [92.5]
    assert found.index[0].endswith(";width=16;depth=8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[: len(raw) // 2], "000000.pickle.pbz2"),
        (lambda raw: b"BZh9" + bytes(100), "000000.pickle.pbz2"),
        (lambda raw: bz2.compress(b"\x80\x04cos\nsystem\n\x8c\x04true\x85R."), "refused, and nothing was executed"),
    ],
)
def test_accuracy_import__damage_is_one_message_and_leaves_the_store_as_it_was(
    run, folder, tmp_path, monkeypatch, capsys, damage, message
):
    run(tmp_path / "s.zarr", "--space", "nas-bench-201", "--from", folder)
    before = {path: path.read_bytes() for path in (tmp_path / "s.zarr").rglob("*") if path.is_file()}
    file = folder / "000000.pickle.pbz2"
    file.write_bytes(damage(file.read_bytes()))
    command = ["accuracy", "import", str(tmp_path / "s.zarr"), "--space", "nas-bench-201", "--from", str(folder)]
    monkeypatch.setattr(sys, "argv", ["sweetgrad", *command])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert {path: path.read_bytes() for path in (tmp_path / "s.zarr").rglob("*") if path.is_file()} == before


def test_accuracy_import__by_index_needs_the_list_that_it_refers_to(run, tmp_path):
    archs = NasBench201()._archs
    order = pd.DataFrame({"index": range(len(archs)), "arch_str": archs[::-1]})
    order.to_csv(tmp_path / "order.csv", index=False)
    (tmp_path / "t.csv").write_text("index,dataset,split,epochs,accuracy\n0,cifar10,test,200,90\n")
    command = [tmp_path / "s.zarr", "--space", "nas-bench-201", "--from", tmp_path / "t.csv"]
    with pytest.raises(ValueError, match=r"their order is not known.*--space-file FILE"):
        run(*command)
    out = run(*command, "--space-file", tmp_path / "order.csv")
    assert "index was read as the position in the given list" in out
    found = open_accuracy(tmp_path / "s.zarr", "nas-bench-201", "cifar10/test").to_series().dropna()
    assert found.to_dict() == {archs[-1]: 90.0}


def test_accuracy_import__of_the_benchmark_that_comes_with_the_package(run, tmp_path):
    (tmp_path / "t.csv").write_text("index,dataset,split,epochs,accuracy\n6111,mine,test,5,90\n")
    store = tmp_path / "s.zarr"
    out = run(store, "--space", "nas-bench-201", "--from", "nas-bench-201")
    assert "187500 rows matched, 0 unmatched, 0 duplicated, 0 without accuracy" in out
    (source,) = open_accuracies(store, "nas-bench-201").attrs["sources"]
    assert source["source"] == "nas-bench-201.csv.gz"
    assert "ICLR 2020" in source["settings"]["benchmark"]
    # Its list says what an index means, too. Number 6111 is the best one on CIFAR-10.
    run(store, "--space", "nas-bench-201", "--from", tmp_path / "t.csv", "--space-file", "nas-bench-201")
    mine = open_accuracy(store, "nas-bench-201", "mine/test").to_series().dropna()
    published = open_accuracy(store, "nas-bench-201", "cifar10/test").to_series()
    assert mine.to_dict() == {published.idxmax(): 90.0}


def test_accuracy_import__refuses_a_space_that_nobody_registered_before_it_reads(run, tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'nas-bench-201'"):
        run(tmp_path / "s.zarr", "--space", "nas-bench-2001", "--from", tmp_path / "absent.csv")
    assert not (tmp_path / "s.zarr").exists()
