"""NAS-Bench-ASR: vectors and their classes, the literal network in both readings, parameters."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sweetgrad.profiling import load_space
from sweetgrad.profiling.spaces.nas_bench_asr import AcousticModel, NasBenchAsr, SpeechCell
from sweetgrad.profiling.tasks import ctc_loss
from sweetgrad.profiling.testing import check_space
from sweetgrad.store.spaces.speech_cells import read_vector, vector_class

VECTOR = "[[0,1],[4,1,0],[1,0,1,1]]"


def test_space__has_the_vectors_of_the_benchmark_and_as_many_classes() -> None:
    space = NasBenchAsr()
    archs = [space.arch_id(index) for index in range(len(space))]
    assert len(set(archs)) == 13_824
    assert archs[0] == "[[0,0],[0,0,0],[0,0,0,0]]"
    assert len({vector_class(arch) for arch in archs}) == 8_242  # Mehrotra et al. 2021


@pytest.mark.parametrize("reading", ["pytorch", "tensorflow"])
@pytest.mark.parametrize("vector", [VECTOR, "[[2,0],[5,1,1],[3,1,0,1]]", "[[5,0],[5,0,0],[5,0,0,0]]"])
def test_cell__is_the_literal_one(vector: str, reading: Any) -> None:
    torch.manual_seed(0)
    nodes = read_vector(vector)
    cell = SpeechCell(nodes, 100, reading=reading).double()
    x = torch.randn(2, 100, 12, dtype=torch.float64)
    values = [x]
    for number, (operation, skips) in enumerate(nodes):
        value = torch.zeros_like(x)
        if operation == 0:
            linear: Any = cell.ops[str(number)].linear
            value = (values[-1].transpose(1, 2) @ linear.weight.T + linear.bias).clamp(0, 20).transpose(1, 2)
        elif operation < 5:
            conv: Any = cell.ops[str(number)].conv
            kernel = (5, 5, 7, 7)[operation - 1]
            dilation = (1, 2, 1, 2)[operation - 1] if reading == "pytorch" else 1
            # Four frames of the future, all others of the past.
            padded = functional.pad(values[-1], ((kernel - 1) * dilation - 4, 4))
            value = functional.conv1d(padded, conv.weight, conv.bias, dilation=dilation, groups=100).clamp(0, 20)
        for source, skip in zip(values, skips, strict=True):
            if skip == (reading == "pytorch"):
                value = value + source
        values.append(value)
    norm: Any = cell.norm
    expected = functional.layer_norm(values[-1].transpose(1, 2), (100,), norm.weight, norm.bias, eps=0.001).transpose(
        1, 2
    )
    torch.testing.assert_close(cell(x), expected)


def num_params(vector: str, *, classes: int) -> int:
    """From the description alone."""
    total, inputs = 0, 80
    for width, cells in ((600, 3), (800, 4), (1000, 5), (1200, 6)):
        total += 8 * inputs * width + width + 2 * width
        for operation, *_ in json.loads(vector):
            size = {0: width * width, 1: 5 * width * width // 100, 2: 5 * width * width // 100}.get(
                operation, 7 * width * width // 100 if operation < 5 else -width
            )
            total += cells * (size + width)
        total += cells * 2 * width
        inputs = width
    return total + 4 * 500 * (1200 + 500) + 2 * 4 * 500 + (500 + 1) * classes


@pytest.mark.parametrize("vector", [VECTOR, "[[5,1],[3,1,1],[2,1,1,1]]"])
def test_build__has_the_parameters_of_the_description(vector: str) -> None:
    with torch.device("meta"):
        network = NasBenchAsr().build(vector, in_channels=80, num_classes=49)
    assert sum(p.numel() for p in network.module.parameters()) == num_params(vector, classes=49)
    types = [layer.type for layer in network.layers]
    assert [types.count(kind) for kind in ("stem", "cell", "reduction", "head")] == [1, 18, 3, 1]


def test_build__initialises_xavier_and_reduces_time_by_four() -> None:
    torch.manual_seed(0)
    module = AcousticModel(read_vector(VECTOR), 80, 9, 300, reading="pytorch")
    for name, parameter in module.named_parameters():
        if parameter.ndim < 2:
            assert set(parameter.detach().unique().tolist()) <= {0.0, 1.0}, name
        else:
            fan = sum(torch.nn.init._calculate_fan_in_and_fan_out(parameter))
            assert float(parameter.detach().abs().max()) <= (6 / fan) ** 0.5
    x = torch.randn(2, 80, 30)
    logits: Tensor = module(x)
    assert logits.shape == (2, 8, 9)
    ctc_loss(logits, x, torch.tensor([[1, 2], [3, -1]])).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("options", "variant"), [({"reading": "tensorflow"}, "tensorflow"), ({"channels": 300}, "c300")]
)
def test_check_space__passes(options: dict[str, Any], variant: str) -> None:
    space: Any = load_space("nas-bench-asr", options={"channels": 300} | options)
    assert variant in space.variant
    check_space(space, archs=[VECTOR], image_size=16, in_channels=20, num_classes=6)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ("[]", "must have 3 nodes"),
        ("[[0,1],[4,1],[1,0,1,1]]", r"node 1 must have an operation and 2 skips, got \[4, 1\]"),
        ("[[6,1],[4,1,0],[1,0,1,1]]", "node 0 has the operation 6, expected 0 to 5"),
        ("[[0,2],[4,1,0],[1,0,1,1]]", r"skips of node 0 must be 0 or 1, got \[2\]"),
        ("[[0,true],[4,1,0],[1,0,1,1]]", "node 0 must have"),
        ("hello", "not a NAS-Bench-ASR architecture: 'hello'"),
    ],
)
def test_read_vector__says_what_is_wrong(vector: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_vector(vector)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"reading": "jax"}, "reading must be one of pytorch, tensorflow"), ({"channels": 100}, "a multiple of 300")],
)
def test_space__refuses_other_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_space("nas-bench-asr", options=options)


def test_mutate__changes_one_entry() -> None:
    space = NasBenchAsr()
    flat = np.array([part for node in json.loads(VECTOR) for part in node])
    for seed in range(20):
        mutant = space.mutate(VECTOR, np.random.RandomState(seed))
        assert (np.array([part for node in json.loads(mutant) for part in node]) != flat).sum() == 1
