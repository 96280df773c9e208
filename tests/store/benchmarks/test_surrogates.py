import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweetgrad.store import (
    OnnxSurrogate,
    Surrogate,
    detect_format,
    import_accuracy,
    list_archs,
    open_accuracy,
    parse_genotype,
    predict_accuracies,
    read_accuracy_file,
)
from sweetgrad.store.spaces.genotypes import to_config

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
SHARED = CHECKOUT.parent / "shared/data/benchmarks"


class Fake:
    """What an official surrogate of NAS-Bench-301 has to look like."""

    epochs = 100

    def predict(self, genotypes):
        return np.array([90.0 + len(parse_genotype(genotype).normal) for genotype in genotypes])


def test_predict__any_object_with_the_method_will_do(genotype, tmp_path):
    assert isinstance(Fake(), Surrogate)
    table = predict_accuracies(Fake(), [genotype()])
    import_accuracy(tmp_path / "s.zarr", space="darts", table=table, source="fake")
    assert open_accuracy(tmp_path / "s.zarr", "darts", "cifar10/valid-surrogate/100").values.tolist() == [98.0]


def test_predict__refuses_another_number_of_values(genotype):
    class Short(Fake):
        def predict(self, genotypes):
            return np.zeros(0)

    with pytest.raises(ValueError, match="one accuracy for each of 1 genotypes, got"):
        predict_accuracies(Short(), [genotype()])


def test_to_config__has_the_keys_of_the_benchmark(genotype):
    config = to_config(parse_genotype(genotype(op="dil_conv_3x3")))
    assert len(config) == 2 * (8 + 3)
    start = "NetworkSelectorDatasetInfo:darts:"
    assert config[f"{start}edge_normal_0"] == config[f"{start}edge_normal_1"] == "dil_conv_3x3"
    # Node 3 has the inputs 0 and 2: edges 2 and 4; node 4 the inputs 1 and 3: edges 6 and 8; node 5: 10 and 12.
    assert {key.rpartition("_")[2] for key in config if "edge_normal" in key} == {
        "0",
        "1",
        "2",
        "4",
        "6",
        "8",
        "10",
        "12",
    }
    assert config[f"{start}edge_normal_12"] == "sep_conv_5x5"
    assert [config[f"{start}inputs_node_normal_{node}"] for node in (3, 4, 5)] == ["0_2", "1_3", "1_3"]
    assert [config[f"{start}inputs_node_reduce_{node}"] for node in (3, 4, 5)] == ["0_1"] * 3


def test_to_config__does_not_depend_on_the_order_of_a_nodes_inputs(genotype):
    text = genotype()
    turned = text.replace("('skip_connect', 0), ('skip_connect', 2)", "('skip_connect', 2), ('skip_connect', 0)")
    assert turned != text
    assert to_config(parse_genotype(turned)) == to_config(parse_genotype(text))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("('skip_connect', 2)", "('skip_connect', 0)", "node 3 of the normal cell must have two different"),
        ("('skip_connect', 2)", "('skip_connect', 3)", "node 3 of the normal cell"),
        ("('skip_connect', 2), ", "", "two inputs for each of the nodes 2 to 5"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3]", "all joined"),
    ],
)
def test_to_config__names_what_is_outside_the_space(genotype, old, new, message):
    with pytest.raises(ValueError, match=message):
        to_config(parse_genotype(genotype().replace(old, new)))


def test_onnx__codes_the_inputs_as_its_json_says(surrogate_files, genotype):
    pytest.importorskip("onnxruntime")
    surrogate = OnnxSurrogate(surrogate_files)
    assert isinstance(surrogate, Surrogate)
    # The tiny model answers an eighth of the code of edge_normal_0: avg_pool_3x3 is 1, skip_connect 7.
    found = surrogate.predict([genotype(op="avg_pool_3x3"), genotype(op="skip_connect"), genotype(op="none")])
    np.testing.assert_array_equal(found, [12.5, 87.5, np.nan])
    assert surrogate.predict([]).shape == (0,)


def test_onnx__needs_onnxruntime(surrogate_files, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install 'onnxruntime>="):
        OnnxSurrogate(surrogate_files)


def test_onnx__names_files_that_are_missing_or_something_else(surrogate_files, tmp_path):
    pytest.importorskip("onnxruntime")
    keys = surrogate_files.with_suffix(".json")
    with pytest.raises(ValueError, match=r"epochs must be from 1 to 98 .*, got 200"):
        OnnxSurrogate(surrogate_files, epochs=200)
    with pytest.raises(ValueError, match=r"no file .*none"):
        OnnxSurrogate(surrogate_files, tmp_path / "none.json")
    for text in ("[]", "{", '{"a": {"x": 1}}', '{"a": {"#na#": "0"}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json"):
            OnnxSurrogate(surrogate_files, tmp_path / "bad.json")
    (tmp_path / "few.json").write_text('{"a": {"#na#": 0}}')
    with pytest.raises(ValueError, match=r"has the inputs .*expected x_cat .int32, 1 columns"):
        OnnxSurrogate(surrogate_files, tmp_path / "few.json")
    (tmp_path / "no.onnx").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"no\.onnx cannot be read as an ONNX model"):
        OnnxSurrogate(tmp_path / "no.onnx", keys)


def test_read__a_surrogate_needs_architectures(surrogate_files, genotype):
    pytest.importorskip("onnxruntime")
    assert detect_format(surrogate_files) == "onnx"
    with pytest.raises(ValueError, match="predicts given architectures, but got none"):
        read_accuracy_file(surrogate_files, space="darts")
    table = read_accuracy_file(surrogate_files, space="darts", archs=[genotype(), genotype(op="none")])
    assert table["split"].unique().tolist() == ["valid-surrogate"]
    assert table["accuracy"].fillna(-1).tolist() == [87.5, -1]


def test_list_archs__of_profiles_and_tables(tmp_path, toy):
    assert list_archs(tmp_path / "none.zarr", "toy") == []
    toy.store(tmp_path / "s.zarr")
    assert list_archs(tmp_path / "s.zarr", "toy") == toy.archs
    assert list_archs(tmp_path / "s.zarr", "other") == []
    rows = {"arch": ["x"], "dataset": ["d"], "split": ["test"], "epochs": [1], "accuracy": [50.0]}
    import_accuracy(tmp_path / "s.zarr", space="other", table=pd.DataFrame(rows), arch=["x", "y"], source="t")
    assert list_archs(tmp_path / "s.zarr", "other") == ["x", "y"]


TABLE = 'genotype,valid_acc_e200,pred_val_acc_e98\n"{0}",85.24,0.91866\n'


def test_read__tables_of_darts_cells(tmp_path, genotype):
    (tmp_path / "t.csv").write_text(TABLE.format(genotype().replace(" ", "")))
    assert detect_format(tmp_path / "t.csv") == "nas-bench-301"
    for space in ("darts", "nas-bench-301"):
        found = read_accuracy_file(tmp_path / "t.csv", space=space)
        assert found["arch"].tolist() == [genotype()] * 2  # the canonical string
        rows = found[["split", "epochs", "accuracy"]].apply(tuple, axis=1).tolist()
        assert rows == [("valid", 200, 85.24), ("valid-predicted", 98, 91.866)]
    with pytest.raises(ValueError, match="but was to be read for nds-darts"):
        read_accuracy_file(tmp_path / "t.csv", space="nds-darts")
    (tmp_path / "t.csv").write_text(TABLE.format("Genotype(1)"))
    with pytest.raises(ValueError, match="not a genotype: 'Genotype"):
        read_accuracy_file(tmp_path / "t.csv", space="darts")
    (tmp_path / "t.csv").write_text(TABLE.format(genotype()).replace("_acc_", "_loss_"))
    with pytest.raises(ValueError, match=r"expected e.g. valid_acc_e200"):
        read_accuracy_file(tmp_path / "t.csv", space="darts", format="nas-bench-301")


def real(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"needs {SHARED / name}")
    return SHARED / name


@pytest.mark.shared_data
def test_real_data__the_surrogate_gives_the_predictions_of_its_table():
    pytest.importorskip("onnxruntime")
    table = read_accuracy_file(real("nas-bench-301-sample.csv.gz"), space="darts")
    found = read_accuracy_file(real("nas-bench-301-surrogate.onnx"), space="darts", archs=table["arch"].tolist())
    assert len(table) == 2000
    # The table has five decimals of a fraction.
    np.testing.assert_allclose(found["accuracy"], table["accuracy"], atol=1.1e-3)  # rounded twice


@pytest.mark.shared_data
def test_real_data__the_surrogate_against_trained_accuracies():
    """Most of the 1,000 cells have operations or inputs that NAS-Bench-301 lacks, and get no prediction."""
    pytest.importorskip("onnxruntime")
    table = read_accuracy_file(real("darts-1000.csv.gz"), space="darts")
    found = read_accuracy_file(real("nas-bench-301-surrogate.onnx"), space="darts", archs=table["arch"].tolist())
    assert found["accuracy"].notna().sum() == 61
    assert found["accuracy"].corr(table["accuracy"], method="spearman") == pytest.approx(0.487, abs=0.001)
