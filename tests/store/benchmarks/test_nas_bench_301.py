"""Results of NAS-Bench-301 in the layout of the file that its authors publish with their code."""

import gzip
import json
import math

import pytest

from sweetgrad.store import detect_format, import_accuracy, open_accuracy, parse_genotype, read_accuracy_file
from sweetgrad.store.spaces.genotypes import to_config


def result(genotype, *, valid=90.5, test=90.1, layers=8, channels=32, budget=98, runtime=5000, **changes):
    config = {
        "ImageAugmentation:cutout": "True",
        "NetworkSelectorDatasetInfo:darts:drop_path_prob": 0.2,
        "NetworkSelectorDatasetInfo:network": "darts",
        **to_config(parse_genotype(genotype)),
        "NetworkSelectorDatasetInfo:darts:init_channels": channels,
        "NetworkSelectorDatasetInfo:darts:layers": layers,
        "SimpleLearningrateSchedulerSelector:cosine_annealing:T_max": budget,
    }
    info = {"train_accuracy": 86.6, "val_accuracy": valid, "epochs": 96, "val_accuracy_final": 90.4901}
    content = {
        "final_metric_score": -90.5,
        "optimized_hyperparamater_config": config,
        "budget": budget,
        "info": [info],
    }
    content |= {"test_accuracy": test, "runtime": runtime, **changes}
    return {key: value for key, value in content.items() if value is not ...}


@pytest.fixture
def folder(tmp_path, genotype):
    one, two = genotype(), genotype(op="max_pool_3x3")
    results = {
        "random/results_fidelity_0/results_0": result(one, valid=90.0, test=89.0, runtime=1000),
        "random/results_fidelity_0/results_1": result(two, valid=91.5, test=91.25),
        "de/results_fidelity_0/results_0": result(one, valid=92.0, test=91.0, runtime=3000),
        "de/results_fidelity_6/results_0": result(one, valid=97.68, test=97.54, layers=20, channels=50, budget=1500),
    }
    for name, content in results.items():
        path = tmp_path / "nb_301" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    return tmp_path / "nb_301"


def test_read__a_folder_of_results(folder, genotype, tmp_path):
    assert detect_format(folder) == "nas-bench-301-results"
    steps = []
    table = read_accuracy_file(folder, space="nas-bench-301", progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (4, 4)
    one, two = genotype(), genotype(op="max_pool_3x3")
    rows = table.set_index(["arch", "split", "epochs"])[["accuracy", "seconds"]].apply(tuple, axis=1).to_dict()
    assert rows == {
        (one, "valid", 98): (91.0, 2000.0),
        (one, "test", 98): (90.0, 2000.0),
        (two, "valid", 98): (91.5, 5000.0),
        (two, "test", 98): (91.25, 5000.0),
        (one, "valid-c50-n20", 1500): (97.68, 5000.0),
        (one, "test-c50-n20", 1500): (97.54, 5000.0),
    }
    import_accuracy(tmp_path / "s.zarr", space="nas-bench-301", table=table, source="nb_301")
    assert open_accuracy(tmp_path / "s.zarr", "nas-bench-301", "cifar10/test").to_series().to_dict() == {
        one: 90.0,
        two: 91.25,
    }


def test_read__one_result_compressed_or_not_and_for_the_darts_space(tmp_path, genotype):
    content = json.dumps(result(genotype(), runtime=...))
    (tmp_path / "results_0.json").write_text(content)
    (tmp_path / "results_0.json.gz").write_bytes(gzip.compress(content.encode()))
    for name in ("results_0.json", "results_0.json.gz"):
        assert detect_format(tmp_path / name) == "nas-bench-301-results"
        table = read_accuracy_file(tmp_path / name, space="darts")
        assert table["accuracy"].tolist() == [90.5, 90.1]
        assert table["seconds"].isna().all()


def test_read__the_learning_curve_where_info_has_no_accuracy(tmp_path, genotype):
    curves = {"Train/val_accuracy": [10.0, 50.0, 88.5]}
    (tmp_path / "r.json").write_text(json.dumps(result(genotype(), info=..., learning_curves=curves)))
    assert read_accuracy_file(tmp_path / "r.json", space="darts")["accuracy"].tolist() == [88.5, 90.1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": 901}, "test_accuracy must be a percentage.*got 901"),
        ({"valid": None}, "val_accuracy must be a percentage"),
        ({"budget": 1.5}, "budget must be an integer number of epochs, got 1.5"),
        ({"test_accuracy": ...}, "KeyError: 'test_accuracy'"),
        ({"optimized_hyperparamater_config": {"a": 1}}, "not a genotype"),
        ({"optimized_hyperparamater_config": [1]}, "not a genotype"),
        ({"info": 3}, "AttributeError"),
    ],
)
def test_read__names_a_result_that_makes_no_sense(tmp_path, genotype, changes, message):
    (tmp_path / "results_7.json").write_text(json.dumps(result(genotype(), **changes)))
    with pytest.raises(ValueError, match=rf"results_7\.json: expected a result of NAS-Bench-301.*{message}"):
        read_accuracy_file(tmp_path / "results_7.json", space="nas-bench-301")


def test_read__damaged_results_and_other_spaces(tmp_path, genotype):
    text = json.dumps(result(genotype()))
    (tmp_path / "cut.json").write_text(text[:-30])
    with pytest.raises(ValueError, match=r"cut\.json: expected a result"):
        read_accuracy_file(tmp_path / "cut.json", space="nas-bench-301")
    (tmp_path / "deep.json").write_text('{"optimized_hyperparamater_config": ' + "[" * 10**5)
    with pytest.raises(ValueError, match="is nested too deeply"):
        read_accuracy_file(tmp_path / "deep.json", space="nas-bench-301")
    (tmp_path / "whole.json").write_text(text)
    with pytest.raises(ValueError, match="is a table of nas-bench-301-results, but was to be read for nas-bench-201"):
        read_accuracy_file(tmp_path / "whole.json", space="nas-bench-201")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"folder without files such as .*results_0\.json"):
        detect_format(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"accuracy": 1, "arch": 2}, r"is a dictionary with 'accuracy', 'arch'"),
        ([{"arch": "a", "accuracy": 90.0}], r"a list whose first entry is a dictionary with 'arch', 'accuracy'"),
        ([[1, 2]], "a list whose first entry is a list"),
        ({}, "a dictionary with nothing"),
        ([], "an empty list"),
        ({"k" * 10**6: 1, **{f"key{i}": i for i in range(9)}}, r"'k{39}, 'key0', .*, …"),
    ],
)
def test_detect__says_what_other_json_holds(tmp_path, content, said):
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as refused:
        read_accuracy_file(tmp_path / "t.json", space="nas-bench-201")
    assert len(str(refused.value)) < 1000
    assert "a table of nds" not in str(refused.value)


def test_read__nan_is_no_accuracy(tmp_path, genotype):
    (tmp_path / "r.json").write_text(json.dumps(result(genotype(), valid=math.nan)))
    assert read_accuracy_file(tmp_path / "r.json", space="darts")["accuracy"].fillna(-1).tolist() == [-1, 90.1]
