"""Small files in the layouts of the benchmarks' publishers, written here."""

import base64
import bz2
import collections
import io
import itertools
import json
import pickle
import random
import struct
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google_crc32c
import numpy as np
import pytest
import torch

from sweetgrad.store.spaces.cells import CELL_OPERATIONS, EDGES, arch_string

DATASETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


def nb201_run(dataset: str, seed: int, epochs: int, arch: str, weights: int) -> dict[str, Any]:
    """What `ResultsCount.state_dict` of the benchmark's API gives."""
    draw = random.Random(f"{dataset}{seed}{arch}{epochs}").random
    # Texts are made anew for each dictionary, as the API does: equal, but not one object.
    names = [[f"{name}@{epoch}" for name in DATASETS[dataset] for epoch in range(epochs)] for _ in range(3)]
    net = {"stem.0.weight": torch.zeros(weights), "head.bias": torch.nn.Parameter(torch.zeros(3))} if weights else None
    return {
        "name": "infer.tiny",
        "net_state_dict": collections.OrderedDict(net) if net else None,
        "train_acc1es": {epoch: 100 * draw() for epoch in range(epochs)},
        "train_acc5es": {epoch: 100 * draw() for epoch in range(epochs)},
        "train_losses": {epoch: draw() for epoch in range(epochs)},
        "train_times": collections.OrderedDict((epoch, 10 * draw()) for epoch in range(epochs)),
        "arch_config": {"name": "infer.tiny", "channel": 16, "num_cells": 5, "arch_str": arch, "class_num": 10},
        "params": 1.5,
        "flop": 113.9,
        "seed": seed,
        "epochs": epochs,
        "latency": [0.01],
        "eval_names": list(DATASETS[dataset]),
        "eval_acc1es": {key: np.float64(100 * draw()) if seed == 888 else 100 * draw() for key in names[0]},
        "eval_losses": {key: draw() for key in names[1]},
        "eval_times": {key: draw() for key in names[2]},
    }


def nb201_content(
    num_archs: int = 3,
    *,
    weights: int = 0,
    schedules: Sequence[tuple[str, int, Sequence[int]]] = (("less", 12, (777,)), ("full", 200, (777, 888))),
) -> dict[str, Any]:
    """What the benchmark's file holds."""
    every = itertools.product(CELL_OPERATIONS, repeat=len(EDGES))
    archs = [arch_string(operations) for operations in itertools.islice(every, num_archs)]
    infos = {
        index: {
            name: {
                "arch_index": index,
                "arch_str": arch,
                "all_results": {
                    (dataset, seed): nb201_run(dataset, seed, epochs, arch, weights)
                    for dataset in DATASETS
                    for seed in seeds
                },
                "dataset_seed": {dataset: list(seeds) for dataset in DATASETS},
                "clear_net_done": not weights,
            }
            for name, epochs, seeds in schedules
        }
        for index, arch in enumerate(archs)
    }
    return {"meta_archs": archs, "arch2infos": infos, "evaluated_indexes": set(range(num_archs))}


def nb201_expected(content: dict[str, Any]) -> dict[tuple[str, str, str, int], tuple[np.floating, np.floating]]:
    """What the benchmark's API answers: the mean over the seeds after the last epoch, and the seconds of all epochs."""
    asked = {
        ("cifar10", "valid"): ("cifar10-valid", "x-valid"),
        ("cifar10", "test"): ("cifar10", "ori-test"),
        ("cifar100", "valid"): ("cifar100", "x-valid"),
        ("cifar100", "test"): ("cifar100", "x-test"),
        ("imagenet16-120", "valid"): ("ImageNet16-120", "x-valid"),
        ("imagenet16-120", "test"): ("ImageNet16-120", "x-test"),
    }
    found = {}
    for schedules in content["arch2infos"].values():
        for results in schedules.values():
            for key, (dataset, name) in asked.items():
                runs = [results["all_results"][dataset, seed] for seed in results["dataset_seed"][dataset]]
                last = runs[0]["epochs"] - 1
                found[results["arch_str"], *key, last + 1] = (
                    np.mean([run["eval_acc1es"][f"{name}@{last}"] for run in runs]),
                    np.mean([sum(run["train_times"].values()) for run in runs]),
                )
    return found


def write_nb201(path: Path, content: dict[str, Any], container: str) -> Path:
    """Write in one of the containers that the publishers, and torch through the years, have used."""
    match container:
        case "zip" | "legacy":
            torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
        case "bz2":
            with bz2.open(path, "wb") as file:
                pickle.dump(content, file, protocol=4)
        case "tar":
            # Before version 0.1.10: a pickle whose tensors are texts that name members of the same archive.
            class Pickler(pickle.Pickler):
                def persistent_id(self, value: object) -> str | None:
                    return str(id(value)) if isinstance(value, torch.Tensor) else None

            data = io.BytesIO()
            Pickler(data, protocol=2).dump(content)
            with tarfile.open(path, "w:") as archive:
                for name, raw in (("sys_info", b"\x80\x02}."), ("pickle", data.getvalue()), ("storages", bytes(4096))):
                    member = tarfile.TarInfo(name)
                    member.size = len(raw)
                    archive.addfile(member, io.BytesIO(raw))
        case "folder":
            path.mkdir()
            write_nb201(path / "meta.pickle.pbz2", {"meta_archs": content["meta_archs"]}, "bz2")
            for index, results in content["arch2infos"].items():
                write_nb201(path / f"{index:06d}.pickle.pbz2", results, "bz2")
    return path


@pytest.fixture
def nb201() -> SimpleNamespace:
    return SimpleNamespace(
        content=nb201_content,
        expected=nb201_expected,
        write=write_nb201,
        containers=("zip", "legacy", "tar", "bz2", "folder"),
    )


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: float | str | bytes) -> bytes:
    """A field of a protobuf message: a double, a whole number, or a text or message."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(*fields: tuple[int, float | str | bytes]) -> bytes:
    return b"".join(field(number, value) for number, value in fields)


def nb101_metrics(valid: float, test: float, seconds: float) -> bytes:
    """ModelMetrics with three evaluations; the last is that after the whole schedule."""
    early = message((1, 0.0), (2, 0.0), (3, 0.1), (4, 0.1), (5, 0.1))
    last = message((1, 108.0), (2, seconds), (3, 1.0), (4, valid), (5, test), (6, "/tmp/model.ckpt"))
    return message((1, early), (1, early), (1, last), (2, 1_500_000), (3, 2000.0))


def nb101_record(
    adjacency: str,
    operations: str,
    metrics: bytes,
    *,
    epochs: int = 108,
    encode: Callable[[bytes], bytes] = base64.encodebytes,
) -> bytes:
    """As the publishers write it: their base64 has line breaks."""
    return json.dumps(["hash", epochs, adjacency, operations, encode(metrics).decode()]).encode()


def tfrecords(*contents: bytes) -> bytes:
    def crc(data: bytes) -> bytes:
        value = google_crc32c.value(data)
        return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    lengths = [struct.pack("<Q", len(content)) for content in contents]
    return b"".join(length + crc(length) + c + crc(c) for length, c in zip(lengths, contents, strict=True))


@pytest.fixture
def nb101() -> SimpleNamespace:
    return SimpleNamespace(metrics=nb101_metrics, record=nb101_record, tfrecords=tfrecords)


def tiny_onnx(num_keys: int) -> bytes:
    """An ONNX model, made by hand, that answers an eighth of the code of every key."""
    int32, float32 = 6, 1

    def tensor_type(name: str, kind: int, columns: int) -> bytes:
        shape = message((1, message((2, "n"))), (1, message((1, columns))))
        return message((1, name), (2, message((1, message((1, kind), (2, shape))))))

    eighth = message((2, float32), (8, "eighth"), (9, struct.pack("<f", 0.125)))
    # The epoch takes part with a factor of nothing.
    zero = message((2, float32), (8, "zero"), (9, struct.pack("<f", 0.0)))
    nodes = (
        message((1, "x_cat"), (2, "codes"), (4, "Cast"), (5, message((1, "to"), (20, 2), (3, float32)))),
        message((1, "codes"), (1, "eighth"), (2, "scaled"), (4, "Mul")),
        message((1, "x_cont"), (1, "zero"), (2, "nothing"), (4, "Mul")),
        message((1, "scaled"), (1, "nothing"), (2, "output"), (4, "Add")),
    )
    graph = message(
        *((1, node) for node in nodes),
        (2, "tiny"),
        (5, eighth),
        (5, zero),
        (11, tensor_type("x_cat", int32, num_keys)),
        (11, tensor_type("x_cont", float32, 1)),
        (12, tensor_type("output", float32, num_keys)),
    )
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


@pytest.fixture
def surrogate_files(tmp_path: Path) -> Path:
    """A tiny surrogate, in the layout of YAHPO's: model and codes."""
    ops = [
        "avg_pool_3x3",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "max_pool_3x3",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "skip_connect",
    ]
    names = [f"edge_{cell}_{edge}" for cell in ("normal", "reduce") for edge in range(14)]
    values = dict.fromkeys(names, ops)
    for cell in ("normal", "reduce"):
        for node in (3, 4, 5):
            pairs = [f"{low}_{high}" for low in range(node) for high in range(low + 1, node)]
            values[f"inputs_node_{cell}_{node}"] = pairs
    codes = {
        f"NetworkSelectorDatasetInfo_COLON_darts_COLON_{name}": {
            value: code for code, value in enumerate(["#na#", *listed])
        }
        for name, listed in values.items()
    }
    (tmp_path / "tiny.json").write_text(json.dumps(codes))
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx(len(codes)))
    return tmp_path / "tiny.onnx"
