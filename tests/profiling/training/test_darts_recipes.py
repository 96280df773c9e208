"""The recipes for DARTS cells: what they add while a network trains, and that they leave the network itself alone."""

import pytest
import torch

from sweetgrad.profiling import load_space
from sweetgrad.profiling.batches import random_batch
from sweetgrad.profiling.training import (
    RECIPES,
    Augmentation,
    DropPath,
    Recipe,
    Trainer,
    WithAuxiliaryHead,
    load_checkpoint,
    save_checkpoint,
)

SPACE = load_space("darts", options={"channels": 4, "cells": 3})
ARCH = SPACE.arch_id(0)
TINY = RECIPES["darts-cifar"].changed(epochs=3, batch_size=8)
BATCH = random_batch((3, 32, 32), num_classes=4, batch_size=16, seed=0)


def network():
    torch.manual_seed(0)
    return SPACE.build(ARCH, in_channels=3, num_classes=4)


def trainer(recipe: Recipe = TINY) -> Trainer:
    made = network()
    x, y = torch.from_numpy(BATCH.x), torch.from_numpy(BATCH.y)
    found = Trainer(WithAuxiliaryHead(made, form="cifar", num_classes=4), x, y, recipe, seed=0)
    drop = DropPath(made.module, found.random)
    found.augment = Augmentation(padding=4, flip=True, cutout=16)

    def grow(epoch: int) -> None:
        drop.probability = recipe.drop_path * epoch / recipe.epochs

    found.before_epoch = grow
    return found


def test_with_auxiliary__leaves_weights_and_outputs_of_the_network_alone():
    plain, made = network().module, network()
    module = WithAuxiliaryHead(made, form="cifar", num_classes=4)
    DropPath(made.module, torch.Generator())
    x = torch.from_numpy(BATCH.x)
    for ours, theirs in zip(made.module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    logits, auxiliary = module.train()(x)
    assert torch.equal(logits, plain.train()(x))
    assert auxiliary.shape == (16, 4)
    assert torch.equal(module.eval()(x), plain.eval()(x))


def test_with_auxiliary__has_the_parameters_of_the_published_head():
    space = load_space("darts")
    module = WithAuxiliaryHead(space.build(ARCH, in_channels=3, num_classes=10), form="cifar", num_classes=10)
    width = 576  # 36 channels, doubled twice, four nodes joined
    expected = width * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 10 + 10
    assert sum(p.numel() for part in (module.head, module.classifier) for p in part.parameters()) == expected


def test_with_auxiliary__refuses_a_network_without_cells():
    nb201 = load_space("nas-bench-201")
    built = nb201.build(nb201.arch_id(0), in_channels=3, num_classes=10)
    with pytest.raises(ValueError, match=r"network of cells with edges.*NasBench201Network"):
        WithAuxiliaryHead(built, form="cifar", num_classes=10)


def test_drop_path__drops_whole_images_and_keeps_the_mean():
    made = network()
    drop = DropPath(made.module, torch.Generator().manual_seed(0))
    drop.probability = 0.25
    module = torch.nn.Identity().train()
    output = drop._drop(module, None, torch.ones(4000, 2, 1, 1))
    assert output.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(output[:, 0], output[:, 1])
    assert output.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop._drop(module.eval(), None, output), output)


def test_augmentation__cuts_squares_and_moves_pixels_without_making_new_ones():
    x = torch.arange(1.0, 65).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    cut = Augmentation(cutout=4)(x, torch.Generator().manual_seed(0))
    sizes = (cut == 0).sum((1, 2, 3))
    assert (sizes.min(), sizes.max()) == (4, 16)  # at a corner, and whole
    assert torch.equal(cut[cut != 0], x[cut != 0])
    flipped = Augmentation(flip=True)(x, torch.Generator().manual_seed(0))
    is_flipped = (flipped == x.flip(3)).all(dim=(1, 2, 3))
    assert (is_flipped | (flipped == x).all(dim=(1, 2, 3))).all()
    assert 60 < is_flipped.sum() < 140
    cropped = Augmentation(padding=1)(x, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x[:1], (1, 1, 1, 1))
    windows = [padded[0, 0, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    assert all(any(torch.equal(image[0], window) for window in windows) for image in cropped)


def test_darts_recipe__its_loss_goes_down():
    # Without what makes it harder on purpose, a network of 3 cells must learn 16 images by heart.
    recipe = TINY.changed(epochs=10, drop_path=0.0, learning_rate=0.05)
    found = trainer(recipe)
    found.augment = None
    losses = [found.run_epoch().loss for _ in range(recipe.epochs)]
    assert losses[-1] < 0.8 * losses[0]


def test_checkpoint__gives_the_losses_of_a_training_that_was_not_interrupted(tmp_path):
    path, settings = tmp_path / "c" / "one.npz", {"recipe": TINY.to_attrs()}
    whole = trainer()
    expected = [whole.run_epoch().loss for _ in range(3)]
    half = trainer()
    assert not load_checkpoint(path, half, settings)
    found = [half.run_epoch().loss]
    save_checkpoint(path, half, settings)
    assert [file.name for file in path.parent.iterdir()] == ["one.npz"]
    rest = trainer()
    assert load_checkpoint(path, rest, settings)
    assert found + [rest.run_epoch().loss for _ in range(2)] == expected
    for ours, theirs in zip(rest.module.parameters(), whole.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoint__refuses_another_training_and_what_is_no_checkpoint(tmp_path):
    made = trainer()
    save_checkpoint(tmp_path / "one.npz", made, {"seed": 0})
    with pytest.raises(ValueError, match=r"one\.npz is from a different training: its seed is 0, not 1"):
        load_checkpoint(tmp_path / "one.npz", made, {"seed": 1})
    (tmp_path / "two.npz").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "two.npz", made, {"seed": 0})
    torch.save({"settings": "{}", "module": torch.nn.Linear(1, 1)}, tmp_path / "three.npz")  # a pickle
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "three.npz", made, {})
