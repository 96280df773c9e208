import base64
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweetgrad.profiling.spaces.nas_bench_101 import read_graph
from sweetgrad.store import detect_format, import_accuracy, open_accuracy, read_accuracy_file
from sweetgrad.store.benchmarks.nas_bench_101 import arch_id, is_records
from sweetgrad.store.spaces.graphs import MAX_EDGES

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())

# Input -> conv3x3 -> pool -> output, and input -> output.
CHAIN = ("0101001000010000", "input,conv3x3-bn-relu,maxpool3x3,output")
DIRECT = ("0100", "input,output")


def read(path, **options):
    return read_accuracy_file(path, space="nas-bench-101", **options)


@pytest.fixture
def write(tmp_path, nb101):
    def written(*contents, name="nasbench_only108.tfrecord"):
        (tmp_path / name).write_bytes(nb101.tfrecords(*contents))
        return tmp_path / name

    return written


def test_read__the_mean_of_the_runs_of_every_schedule(write, nb101):
    runs = [(0.9, 0.88, 1000.0), (0.91, 0.89, 1100.0), (0.92, 0.90, 1200.0)]
    path = write(
        nb101.record(*DIRECT, nb101.metrics(0.5, 0.25, 10.0), epochs=4),
        *(nb101.record(*CHAIN, nb101.metrics(*run)) for run in runs),
        nb101.record(*DIRECT, nb101.metrics(0.75, 0.5, 100.0)),
    )
    assert detect_format(path) == "nas-bench-101-tfrecord"
    found = read(path)
    assert found["arch"].drop_duplicates().tolist() == ["1:", "101101:conv3x3;maxpool3x3"]
    rows = found.set_index(["arch", "split", "epochs"])[["accuracy", "seconds"]].apply(tuple, axis=1).to_dict()
    assert rows == {
        ("1:", "valid", 4): (50, 10),
        ("1:", "test", 4): (25, 10),
        ("1:", "valid", 108): (75, 100),
        ("1:", "test", 108): (50, 100),
        ("101101:conv3x3;maxpool3x3", "valid", 108): (91, 1100),
        ("101101:conv3x3;maxpool3x3", "test", 108): (89, 1100),
    }
    assert set(found["dataset"]) == {"cifar10"}


def test_read__metrics_in_lines_and_in_one(write, nb101):
    """Each of the publishers' records has some 250 characters of base64, in lines of 76."""
    metrics = nb101.metrics(0.9, 0.88, 1000.0)
    assert base64.encodebytes(metrics).count(b"\n") > 1
    tables = [
        read(write(nb101.record(*CHAIN, metrics, encode=encode)))
        for encode in (base64.encodebytes, base64.b64encode, lambda data: base64.b64encode(data) + b"\r\n")
    ]
    for table in tables:
        assert table["accuracy"].tolist() == [90.0, 88.0]
    with pytest.raises(ValueError, match=r"record 0: expected .hash, epochs"):
        read(write(nb101.record(*CHAIN, metrics, encode=lambda data: b"!" + base64.b64encode(data)[1:])))


def test_read__agrees_with_tables_of_six_decimals(write, nb101, tmp_path):
    """The publishers' numbers are of single precision; the tables in circulation round their mean."""
    runs = [float(np.float32(right / 10_000)) for right in (8942, 8941, 8944)]
    table = read(write(*(nb101.record(*CHAIN, nb101.metrics(0.5, run, 1.0)) for run in runs)))
    text = f"adj_upper,ops,test_acc_mean3\n101101,conv3x3;maxpool3x3,{np.mean(runs):.6f}\n"
    (tmp_path / "t.csv").write_text(text)
    import_accuracy(tmp_path / "s.zarr", space="nas-bench-101", table=read(tmp_path / "t.csv"), source="table")
    import_accuracy(tmp_path / "s.zarr", space="nas-bench-101", table=table, source="records")
    assert open_accuracy(tmp_path / "s.zarr", "nas-bench-101", "cifar10/test").values.tolist() == [89.4233]


def test_read__the_message_as_the_protobuf_library_writes_it(write, nb101):
    """A twin: the same message made by Google's library from the publishers' description of it."""
    protobuf = pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    assert protobuf.__version__
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="nasbench", syntax="proto2")
    field = descriptor_pb2.FieldDescriptorProto
    evaluation, metrics = file.message_type.add(name="EvaluationData"), file.message_type.add(name="ModelMetrics")
    names = ("current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
    for number, name in enumerate(names, start=1):
        evaluation.field.add(name=name, number=number, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    evaluation.field.add(name="checkpoint_path", number=6, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    kind = {"type": field.TYPE_MESSAGE, "type_name": ".nasbench.EvaluationData", "label": field.LABEL_REPEATED}
    metrics.field.add(name="evaluation_data", number=1, **kind)
    metrics.field.add(name="trainable_parameters", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    metrics.field.add(name="total_time", number=3, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("nasbench.ModelMetrics"))()
    for epoch, valid in ((0, 0.1), (54, 0.5), (108, 0.875)):
        made.evaluation_data.add(
            current_epoch=epoch,
            training_time=epoch * 10.0,
            train_accuracy=1.0,
            validation_accuracy=valid,
            test_accuracy=valid - 0.125,
            checkpoint_path="/a/b",
        )
    made.trainable_parameters, made.total_time = 8_555_530, 1234.5
    found = read(write(nb101.record(*CHAIN, made.SerializeToString())))
    assert found["accuracy"].tolist() == [87.5, 75.0]
    assert found["seconds"].tolist() == [1080.0, 1080.0]


def random_graph(draw):
    size = draw.randint(2, 7)
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size)]
    edges = set(draw.sample(pairs, min(len(pairs), draw.randint(1, MAX_EDGES))))
    adjacency = "".join("01"[(a, b) in edges] for a in range(size) for b in range(size))
    inner = [draw.choice(["conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3"]) for _ in range(size - 2)]
    upper = "".join("01"[pair in edges] for pair in pairs)
    return adjacency, ["input", *inner, "output"], f"{upper}:{';'.join(op.removesuffix('-bn-relu') for op in inner)}"


def test_arch_id__is_the_pruned_graph_as_the_search_space_reads_it():
    draw, read_any = random.Random(0), 0
    for _ in range(500):
        adjacency, ops, ours = random_graph(draw)
        try:
            graph = read_graph(ours)
        except ValueError:
            with pytest.raises(ValueError, match="no path leads"):
                arch_id(adjacency, ",".join(ops))
            continue
        read_any += 1
        found = arch_id(adjacency, ",".join(ops))
        assert read_graph(found) == graph
        assert len(found.partition(":")[0]) == (len(graph.ops) + 2) * (len(graph.ops) + 1) // 2  # nothing left to prune
    assert read_any > 200


@pytest.mark.parametrize(
    ("adjacency", "operations", "message"),
    [
        ("0100000000000000", CHAIN[1], "no path leads from the input to the output"),
        ("010100100001", CHAIN[1], "expected a matrix of 4 rows"),
        ("0102001000010000", CHAIN[1], "expected a matrix of 4 rows"),
        ("0101101000010000", CHAIN[1], "edges to later vertices only"),
        ("0101001000011000", CHAIN[1], "edges to later vertices only"),
        (CHAIN[0], "input,conv5x5-bn-relu,maxpool3x3,output", "operations of conv1x1-bn-relu"),
        (CHAIN[0], "conv3x3-bn-relu,maxpool3x3,maxpool3x3,output", "expected input"),
        ("0", "input", "expected a matrix"),
    ],
)
def test_read__names_a_graph_outside_the_space(write, nb101, adjacency, operations, message):
    good = nb101.record(*CHAIN, nb101.metrics(0.5, 0.5, 1.0))
    with pytest.raises(ValueError, match=f"tfrecord, record 1: .*{message}"):
        read(write(good, nb101.record(adjacency, operations, nb101.metrics(0.5, 0.5, 1.0))))


def test_read__names_metrics_that_make_no_sense(write, nb101):
    whole = nb101.metrics(0.5, 0.5, 1.0)
    for metrics in (
        b"",
        whole[:-20],
        b"\xff" * 11,
        b"\x0b",
        nb101.metrics(1.5, 0.5, 1.0),
        nb101.metrics(0.5, float("nan"), 1.0),
    ):
        with pytest.raises(ValueError, match=r"record 0: expected \[hash, epochs"):
            read(write(nb101.record(*CHAIN, metrics)))
    for content in (b"[]", b"{", b"\xff", json.dumps(["h", "108", *CHAIN, base64.b64encode(whole).decode()]).encode()):
        with pytest.raises(ValueError, match=r"record 0: expected \[hash, epochs"):
            read(write(content))


def test_read__any_flipped_bit_is_found(write, nb101):
    path = write(*[nb101.record(*CHAIN, nb101.metrics(0.5, 0.5, 1.0))] * 2)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checksum of its (length|content) is wrong"):
            read(path, format="nas-bench-101-tfrecord")


def test_read__a_file_that_is_cut_off_is_named(write, nb101):
    path = write(*[nb101.record(*CHAIN, nb101.metrics(0.5, 0.5, 1.0))] * 2)
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        if size == len(whole) // 2:
            assert len(read(path)) == 2
            continue
        with pytest.raises(ValueError, match=rf"ends inside record {2 * size // len(whole)}: it is truncated"):
            read(path, format="nas-bench-101-tfrecord")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="has no records"):
        read(path, format="nas-bench-101-tfrecord")


def test_read__a_record_is_bounded(write, nb101):
    path = write(bytes(2 << 20))
    assert is_records(path)
    with pytest.raises(ValueError, match="record 0 has 2,097,152 bytes; expected at most"):
        read(path)


def test_read__of_another_space_is_refused(write, nb101):
    path = write(nb101.record(*CHAIN, nb101.metrics(0.5, 0.5, 1.0)))
    with pytest.raises(ValueError, match="but was to be read for nas-bench-201"):
        read_accuracy_file(path, space="nas-bench-201")


def test_read__tells_how_far_it_is(write, nb101):
    seen = []
    path = write(*[nb101.record(*CHAIN, nb101.metrics(0.5, 0.5, 1.0))] * 2000)
    read(path, progress=lambda *done: seen.append(done))
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (path.stat().st_size,) * 2


@pytest.mark.shared_data
def test_real_data__the_graphs_of_the_table_are_pruned_already():
    """So a table made from the publishers' file names its graphs as the importer does."""
    path = CHECKOUT.parent / "shared/data/benchmarks/nas-bench-101.csv.gz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    differ = 0
    for size, upper, ops in zip(table["n_vertices"].astype(int), table["adj_upper"], table["ops"], strict=True):
        digits = iter(upper)
        adjacency = "".join(next(digits) if b > a else "0" for a in range(size) for b in range(size))
        named = [f"{op}-bn-relu" if op.startswith("conv") else op for op in ops.split(";") if op]
        differ += arch_id(adjacency, ",".join(["input", *named, "output"])) != f"{upper}:{ops}"
    assert differ == 0
