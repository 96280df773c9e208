"""Checkpoints come from disks and from other people: what one declares is checked before any of it is read."""

import io
import json
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sweetgrad.profiling.checkpoint import (
    arrays_of,
    empty_arrays_of,
    read_checkpoint,
    restore_arrays,
    write_checkpoint,
)

IDENTITY = {"seed": 0, "recipe": {"epochs": 3}}
LIKE = {"weights/a": np.zeros((2, 3), np.float32), "momentum/a": np.zeros((2, 3), np.float32), "epoch": np.array(0)}
HUGE = 1 << 44  # bytes


def npy(shape: tuple[int, ...], dtype: str, content: bytes = b"") -> bytes:
    """An array file that declares this shape and type, whatever it holds."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": dtype})
    return buffer.getvalue() + content


def identity(text: str) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(text))
    return buffer.getvalue()


GOOD = {
    "identity": identity(json.dumps(IDENTITY)),
    "weights/a": npy((2, 3), "<f4", b"\0" * 24),
    "epoch": npy((), "<i8", b"\0" * 8),
}
CASES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "a huge weight": (
        {"weights/a": npy((HUGE // 4,), "<f4")},
        r"weights/a has dtype float32 and shape \(\d+,\), expected float32 and",
    ),
    "a huge momentum": ({"momentum/a": npy((HUGE // 4,), "<f4")}, "momentum/a has dtype float32 and shape"),
    "another shape that would be broadcast": (
        {"weights/a": npy((1, 1), "<f4", b"\0" * 4)},
        r"shape \(1, 1\), expected",
    ),
    "another type": ({"weights/a": npy((2, 3), "<f8", b"\0" * 48)}, "weights/a has dtype float64"),
    "objects": ({"weights/a": npy((2, 3), "|O")}, "weights/a has dtype object"),
    "fewer bytes than declared": ({"weights/a": npy((2, 3), "<f4", b"\0" * 4)}, "cannot be read as a checkpoint"),
    "an array of no training": (
        {"more": npy((HUGE,), "|u1")},
        "it contains 'more', which is not part of this training",
    ),
    "a weight too few": ({"weights/a": None}, "weights/a is missing"),
    "no identity": ({"identity": None}, "no identity"),
    "a huge identity": ({"identity": npy((), f"<U{HUGE // 4 % 10**9}")}, "its identity has dtype <U"),
    "an identity of many": ({"identity": npy((HUGE // 4,), "<U1")}, "its identity has dtype <U1 and shape"),
    "an identity that is no dictionary": ({"identity": identity("[1]")}, "its identity is a list, not a dictionary"),
    "an identity too deep": ({"identity": identity("[" * 100_000)}, "cannot be read as a checkpoint"),
    "another training": (
        {"identity": identity('{"seed": 0, "recipe": {"epochs": 4}}')},
        "its recipe is {'epochs': 4}, not",
    ),
}


def write(path: Path, members: Mapping[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_read_checkpoint__reads_what_is_right(tmp_path: Path, compression: int) -> None:
    arrays = read_checkpoint(write(tmp_path / "c.npz", GOOD, compression), IDENTITY, LIKE)
    assert {name: array.shape for name, array in arrays.items()} == {"weights/a": (2, 3), "epoch": ()}


@pytest.mark.parametrize("which", CASES)
def test_read_checkpoint__refuses_what_is_not_that_of_the_training_before_it_takes_memory(
    which: str, tmp_path: Path
) -> None:
    changes, message = CASES[which]
    path = write(tmp_path / "c.npz", {**GOOD, **changes})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as raised:
            read_checkpoint(path, IDENTITY, LIKE)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 800


def test_read_checkpoint__refuses_a_member_that_is_there_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "c.npz", GOOD)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("epoch.npy", GOOD["epoch"])
    with pytest.raises(ValueError, match="duplicate members"):
        read_checkpoint(path, IDENTITY, LIKE)


def test_restore_arrays__brings_a_network_and_its_momenta_back(tmp_path: Path) -> None:
    def make(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format
        module.register_parameter("unused", nn.Parameter(torch.ones(2)))
        return module, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)

    def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        module(torch.arange(128.0).reshape(2, 2, 4, 8).sin()).square().sum().backward()
        optimizer.step()

    first, second = make(0), make(1)
    step(*first)
    write_checkpoint(tmp_path / "c.npz", IDENTITY, arrays_of(*first))
    restore_arrays(*second, read_checkpoint(tmp_path / "c.npz", IDENTITY, empty_arrays_of(second[0])))
    for _ in range(2):
        step(*first)
        step(*second)
    for key, value in first[0].state_dict().items():
        assert torch.equal(value, second[0].state_dict()[key])
