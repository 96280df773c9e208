"""The recipe for ImageNet on a folder of pictures: what is in memory, what names the images, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sweetgrad.profiling import load_examples, load_space
from sweetgrad.profiling.devices import deterministic
from sweetgrad.profiling.spaces._cell_network import FactorizedReduction, operation
from sweetgrad.profiling.training import (
    RECIPES,
    LazyImages,
    TrainingConfig,
    make_trainer,
    splits_of,
    train_architecture,
)
from sweetgrad.profiling.training.architectures import _digest

Image = pytest.importorskip("PIL.Image", reason="needs pillow: pip install '.[images]'")

SPACE = load_space("darts-imagenet", options={"channels": 4, "cells": 3})
RECIPE = RECIPES["darts-imagenet"].changed(epochs=4, batch_size=4, learning_rate=0.05)


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    """Twelve noisy pictures of each of two colours."""
    random = np.random.RandomState(0)
    for label, colour in enumerate([(160, 60, 60), (60, 60, 160)]):
        folder = tmp_path / "train" / f"n0000000{label}"
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(colour + random.normal(0, 30, (48, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return TrainingConfig(SPACE, "imagenet", tmp_path, RECIPE, seed=0)


def test_imagenet_recipe__its_loss_goes_down_and_it_is_judged(config: TrainingConfig) -> None:
    with deterministic(1):
        trainer, judged = make_trainer(config, SPACE.arch_id(0))
        assert isinstance(trainer.x, LazyImages)
        losses = [trainer.run_epoch().loss for _ in range(4)]
    assert losses[-1] < 0.8 * losses[0]
    result = train_architecture(config, SPACE.arch_id(0))
    assert result is not None
    assert (result["status"], result["loss"]) == (1, losses[-1])
    assert {part: len(x) for part, (x, _) in judged.items() if part != "train"} == {"valid": 2, "test": 5}


def test_read_in_batches__gives_what_a_tensor_of_all_gives(config: TrainingConfig) -> None:
    images = load_examples("imagenet", data_dir=config.data_dir)
    part = splits_of(images)["train"]
    lazy, whole = LazyImages(images.x, part, "cpu"), torch.from_numpy(images.x[part])
    assert len(lazy) == len(whole)
    index = torch.tensor([3, 0, 3])
    assert torch.equal(lazy[index], whole[index])
    assert torch.equal(lazy[2:5], whole[2:5])


def test_settings__name_pictures_by_name_and_size_without_reading_them(config: TrainingConfig, tmp_path: Path) -> None:
    before = config.settings()["split_sha256"]
    picture = tmp_path / "train" / "n00000000" / "3.png"
    size = picture.stat().st_size
    picture.write_bytes(b"x" * size)
    assert config.settings()["split_sha256"] == before
    picture.write_bytes(b"x" * (size + 1))
    images = load_examples("imagenet", data_dir=tmp_path)
    assert {name: _digest(images, part) for name, part in splits_of(images).items()} != before


def test_narrow_networks__stride_without_onednns_faulty_gradient() -> None:
    """Below 16 channels the gradient of a strided 1x1 convolution writes beyond its workspace (oneDNN issue 6035)."""
    network = SPACE.build(SPACE.arch_id(0), in_channels=3, num_classes=1000).module
    for module in (*network.modules(), *operation("conv_1x1", 8, 2).modules()):
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1) and module.in_channels < 16:
            assert module.stride == (1, 1)


@pytest.mark.parametrize("channels", [6, 16])
@pytest.mark.parametrize("size", [6, 7])
def test_factorized_reduction__is_two_strided_convolutions_at_every_width(channels: int, size: int) -> None:
    reduction = FactorizedReduction(channels, 8).eval()
    x = torch.randn(2, channels, size, size)
    active = torch.relu(x)
    further = functional.pad(active, (0, size % 2, 0, size % 2))[:, :, 1:, 1:]
    halves = [
        functional.conv2d(part, conv.get_parameter("weight"), stride=2)
        for part, conv in zip((active, further), reduction.convs, strict=True)
    ]
    torch.testing.assert_close(reduction(x), reduction.norm(torch.cat(halves, 1)))
