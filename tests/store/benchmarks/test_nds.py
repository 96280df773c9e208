import gzip
import json

import numpy as np
import pytest

from sweetgrad.store import detect_format, import_accuracy, open_accuracy, read_accuracy_file
from sweetgrad.store.benchmarks.nds import nds_id


def entry(op="sep_conv_3x3", *, width=32, depth=14, errors=(60.0, 10.0, 6.5), aux=False, **more):
    pairs = [[op, 0], ["skip_connect", 1]]
    cells = {"normal": pairs, "normal_concat": [2], "reduce": pairs, "reduce_concat": [2]}
    found = {
        "net": {"genotype": cells, "width": width, "depth": depth, "aux": aux, "num_classes": 10},
        "optim": {"base_lr": 0.1, "wd": 0.0005, "max_ep": 3},
        "params": 1.5e6,
        "flops": 2e8,
        "train_ep_top1": [1, 2, 3],
        "test_ep_top1": None if errors is None else list(errors),
        "rng_seed": 1,
    }
    return found | more


@pytest.fixture
def write(tmp_path):
    def written(content, name="DARTS.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return written


def read(path, **options):
    return read_accuracy_file(path, space="nds-darts", **options)


def test_read__one_hundred_minus_the_last_error(write):
    path = write([entry(), entry("sep_conv_5x5", errors=[50, 7])])
    assert detect_format(path) == "nds"
    found = read(path)
    assert found["accuracy"].tolist() == [93.5, 93.0]
    assert found["epochs"].tolist() == [3, 2]
    assert found["arch"].tolist() == [nds_id(entry()["net"]), nds_id(entry("sep_conv_5x5")["net"])]
    assert found["arch"][0] == (
        "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
        "reduce=[('sep_conv_3x3', 0), ('skip_connect', 1)], reduce_concat=[2]);width=32;depth=14"
    )
    assert set(found["dataset"]) == {"cifar10"}


def test_read__lists_of_top_and_mid_are_joined(write):
    found = read(write({"top": [entry(width=16)], "mid": [entry(width=24), entry(width=32)]}))
    assert [arch.rpartition("width=")[2] for arch in found["arch"]] == ["16;depth=14", "24;depth=14", "32;depth=14"]


def test_read__files_of_imagenet_are_known_by_their_name(write):
    assert set(read(write([entry()], "DARTS_in.json"))["dataset"]) == {"imagenet"}
    assert set(read(write([entry()], "DARTS_fix-w-d.json"))["dataset"]) == {"cifar10"}


def test_read__networks_that_differ_in_width_or_depth_only_are_different(write):
    assert read(write([entry(), entry(width=33), entry(depth=15)]))["arch"].nunique() == 3


def test_read__entries_of_one_network_are_averaged(write):
    found = read(write([entry(errors=[9, 8, 6]), entry(errors=[9, 8, 7], aux=True), entry(errors=None)]))
    assert found["accuracy"].tolist() == [93.5]


def test_read__entries_without_a_label_are_counted(write, tmp_path):
    unlabelled = entry(width=48, errors=None)
    bare = entry(width=64)
    del bare["test_ep_top1"], bare["optim"]
    table = read(write([entry(), unlabelled, bare, entry(width=72, errors=[])]))
    assert np.isnan(table["accuracy"]).tolist() == [False, True, True, True]
    report = import_accuracy(tmp_path / "s.zarr", space="nds-darts", table=table, source="DARTS.json")
    assert (report.matched, report.empty) == (1, 3)
    assert open_accuracy(tmp_path / "s.zarr", "nds-darts", "cifar10/test/3").max() == 93.5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"net": {"ds": [1, 2], "ws": [16]}}, "no genotype, but ds, ws. Networks of blocks"),
        ({}, "it has no net"),
        ("x", "it has no net"),
        (entry(width=0), "its width must be a positive integer, got 0"),
        (entry(depth="14"), "its depth must be a positive integer, got '14'"),
        (entry(errors=[1, "x"]), "its last test error must be a percentage from 0 to 100, got 'x'"),
        (entry(errors=[1, 101]), "got 101"),
        (entry(test_ep_top1={"a": 1}), "its last test error"),
    ],
)
def test_read__names_an_entry_that_makes_no_sense(write, bad, message):
    with pytest.raises(ValueError, match=rf"DARTS\.json, entry 1 \(counted from 0\): .*{message}"):
        read(write([entry(), bad]))


@pytest.mark.parametrize("part", ["normal", "normal_concat", "reduce", "reduce_concat"])
@pytest.mark.parametrize("value", [None, "x", [["a"]], [["a", -1]], [["a", 0.5]], 3])
def test_read__names_a_genotype_that_makes_no_sense(write, part, value):
    bad = entry()
    bad["net"]["genotype"][part] = value
    with pytest.raises(ValueError, match=r"entry 0 .*not a genotype"):
        read(write([bad]))


def test_read__a_compressed_file(write):
    plain = write([entry()])
    packed = plain.with_name("DARTS.json.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert detect_format(packed) == "nds"
    assert read(packed).equals(read(plain))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"DARTS\.json\.gz cannot be read as JSON"):
        read(packed, format="nds")


@pytest.mark.parametrize("content", ["[", "{}", "[]", '{"top": []}', "[" * 100_000, '"x"'])
def test_read__names_a_file_of_something_else(write, content):
    with pytest.raises(ValueError, match=r"DARTS\.json"):
        read(write(content), format="nds")


def test_read__a_diverged_training_has_no_label(write):
    assert np.isnan(read(write(json.dumps([entry(errors=[90.0, float("nan")])])))["accuracy"]).all()
