"""``sweetgrad score``: a person's network, by name, against a backward pass of the test's own; and every mistake named."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import xarray as xr
from torch import nn
from typer.testing import CliRunner

from sweetgrad.analysis import IntervalGrid, layer_profile
from sweetgrad.flows import score_network
from sweetgrad.flows.cli import app as cli
from sweetgrad.profiling import load_batch, profile_network, random_batch

CODE = '''
import torch
import xarray as xr
from torch import nn

class Block(nn.Module):
    """Two convolutions and a shortcut, as in a ResNet."""
    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.shortcut = nn.Conv2d(wide_in, wide, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x):
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + self.shortcut(x)).relu()

def resnet():
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Block(8, 8, 1), Block(8, 16, 2), head)

class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(16, 2, dim_feedforward=24, dropout=0.0, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        tokens = self.encoder(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))

def all_conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Overflow(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 10)

    def forward(self, x):
        return (1e30 * self.head(x.flatten(1))) ** 3

def empty():
    return nn.Flatten()

def nothing():
    return None

def five():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))

def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("score") / "nets.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def run_command(*arguments: object) -> str:
        monkeypatch.setenv("COLUMNS", "160")
        result = CliRunner().invoke(cli.app, ["score", *map(str, arguments)])
        if result.exception is not None:
            raise result.exception
        return str(result.stdout)

    return run_command


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet", ["0", "1.conv1", "1.conv2", "2.conv1", "2.conv2", "2.shortcut", "3.2"]),
        (
            "Transformer",
            [
                *("patches", "encoder.self_attn", "encoder.self_attn.out_proj", "encoder.linear1", "encoder.linear2"),
                *("attention", "attention.out_proj", "head"),
            ],
        ),
        ("all_conv", ["0", "2"]),
    ],
)
def test_score_network__equals_a_count_of_gradients_by_hand(file: Path, name: str, layers: list[str]) -> None:
    found = score_network(f"{file}:{name}", interval=(1e-3, 1e-2), batch_size=4, seed=7)

    namespace: dict[str, Any] = {"__name__": "by_hand"}
    exec(compile(CODE, "by_hand", "exec"), namespace)
    batch = random_batch((3, 32, 32), num_classes=10, batch_size=4, seed=7)
    torch.manual_seed(7)
    model: nn.Module = namespace[name]()
    loss = F.cross_entropy(model(torch.from_numpy(batch.x)), torch.from_numpy(batch.y))
    loss.backward()
    weights = [p for p in model.parameters() if p.ndim >= 2]
    inside = sum(int(((p.grad.abs() >= 1e-3) & (p.grad.abs() < 1e-2)).sum()) for p in weights if p.grad is not None)
    assert found.layer.values.tolist() == layers
    assert found.num_params.sum() == sum(p.numel() for p in weights)
    assert found.score.item() == pytest.approx(inside, abs=3)  # attention may take another kernel in another run
    assert found.score.item() == found["count"].sum()
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    told = {"arch": name, "dataset": "random", "batch_size": 4, "seed": 7, "input_shape": (3, 32, 32)}
    assert told.items() <= found.attrs.items()


def test_score_network__is_profile_network_and_layer_profile(file: Path) -> None:
    build = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))  # noqa: E731
    batch = load_batch("digits", batch_size=8, seed=3)
    by_hand = layer_profile(profile_network(build, batch.x, batch.y, seed=3), (1e-3, 1e-2), grid=IntervalGrid(split=3))
    found = score_network(
        build, interval=(1e-3, 1e-2), grid=IntervalGrid(split=3), dataset="digits", batch_size=8, seed=3
    )
    for name in by_hand.variables:
        np.testing.assert_array_equal(found[name].values, by_hand[name].values)


def test_score_network__does_not_depend_on_the_threads_that_are_set(file: Path) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(score_network(f"{file}:resnet", batch_size=8, interval=(0, "inf")))
    finally:
        torch.set_num_threads(before)
    xr.testing.assert_identical(*found)
    assert (found[0].threads, found[0].memory_format) == (1, "as given")
    assert found[0].cpu_capability == torch.backends.cpu.get_cpu_capability()
    assert score_network(f"{file}:all_conv", batch_size=4, threads=2, memory_format="channels_last").threads == 2


def test_score__prints_every_layer_the_score_and_draws(file: Path, run: Callable[..., str], tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    out = run(f"{file}:resnet", "--batch-size", 4, "--plot", picture)
    found = score_network(f"{file}:resnet", batch_size=4)
    assert f"Score in [1e-4, 5e-4): {found.score.item():,.0f}" in out
    assert "resnet: 5,112 weights in 7 layers; 4 random images 3x32x32, loss " in out
    for each in (found.isel(layer=i) for i in range(found.sizes["layer"])):
        row = next(line for line in out.splitlines() if line.split()[:1] == [each.layer.item()])
        assert row.split()[1:4] == [f"{each.num_params:,}", f"{each['count']:,}", f"{each.proportion:.1%}"]
    assert f"{found.sweetness.item():+.2f}" in out
    assert f"Figure in {picture}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_score__prints_json(file: Path, run: Callable[..., str]) -> None:
    out = json.loads(run(f"{file}:all_conv", "--batch-size", 4, "--interval", "1e-3,inf", "--split", 1, "--json"))
    found = score_network(f"{file}:all_conv", batch_size=4, interval=(1e-3, "inf"), grid=IntervalGrid(split=1))
    assert (out["score"], out["interval"], out["upper"]) == (found.score.item(), "[1e-3, inf)", None)
    assert [layer["layer"] for layer in out["layers"]] == ["0", "2"]
    assert [layer["count"] for layer in out["layers"]] == found["count"].values.tolist()
    assert out["layers"][1]["grid_proportion"] == found.grid_proportion.values[1].tolist()
    assert [each["sweetness"] for each in out["grid"]] == found.grid_sweetness.values.tolist()


def test_score__takes_a_data_set_and_what_is_installed(file: Path, run: Callable[..., str]) -> None:
    out = run(f"{file}:small", "--dataset", "digits", "--batch-size", 4, "--input", "3x8x8", "--classes", 10)
    assert "4 digits images 3x8x8" in out
    assert "Sweetness needs two layers to compare." in out
    assert "estimated" in run(f"{file}:small", "--input", "3x8x8", "--interval", "1e-4,3.1e-4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}:resnett"], "Did you mean resnet?"),
        (["{file}.py:resnet"], "no such file"),
        (["{file}:nothing"], "nets.py:nothing returned NoneType: it must return the network, an nn.Module"),
        (
            ["{file}:resnet", "--input", "1x28x28"],
            "failed on x of shape (64, 1, 28, 28), float32: RuntimeError: Given groups=1",
        ),
        (["{file}:resnet", "--input", "28x28"], "--input is CHANNELSxHEIGHTxWIDTH such as 3x32x32, got '28x28'"),
        (["{file}:empty"], "the network has no parameters, all are frozen"),
        (
            ["{file}:five"],
            "labels must be in 0..4, because the network has 5 outputs; got 0..9: the network needs one output for each class",
        ),
        (["{file}:Overflow"], "the loss is nan, and 30,730 of 30,730 gradients are not finite"),
        (["{file}:resnet", "--interval", "1e-4"], "an interval is LOWER,UPPER"),
        (
            ["{file}:small", "--dataset", "digits", "--classes", "9"],
            "digits has 10 classes, but 9 classes were requested",
        ),
        (
            ["{file}:small", "--dataset", "digits", "--input", "3x9x9"],
            "digits has images 3x8x8, but images 3x9x9 were requested",
        ),
        (["torchvison.models:resnet18"], "Install the package that contains it"),
    ],
)
def test_score__names_a_mistake(
    arguments: list[str], message: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweetgrad", "score", *(argument.format(file=file) for argument in arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors
