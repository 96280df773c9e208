"""Training itself: deterministic, to be laid down and taken up, and honest about what went wrong."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sweetgrad.profiling import load_examples, load_space
from sweetgrad.profiling.training import (
    RECIPES,
    DivergedError,
    Recipe,
    Trainer,
    TrainingConfig,
    evaluate,
    splits_of,
    train_architecture,
)
from sweetgrad.store import STATUS

RECIPE = Recipe("test", epochs=2, batch_size=50, learning_rate=0.05, weight_decay=5e-4, nesterov=True)
SPACE = load_space("nas-bench-201")
CONNECTED = SPACE.arch_id(7800)


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 10))


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images = load_examples("digits")
    part = splits_of(images)["train"]
    return torch.from_numpy(images.x[part]), torch.from_numpy(images.y[part])


def losses(trainer: Trainer, num_epochs: int) -> list[float]:
    return [trainer.run_epoch().loss for _ in range(num_epochs)]


def test_trainer__learns():
    x, y = digits()
    recipe = RECIPE.changed(epochs=30, learning_rate=0.1)
    trainer = Trainer(small(), x, y, recipe, seed=0)
    found = losses(trainer, 30)
    assert found[-1] < 0.2 < found[0]
    assert evaluate(trainer.module, x, y) > 95


def test_trainer__lets_the_learning_rate_fall_along_half_a_cosine():
    x, y = digits()
    trainer = Trainer(small(), x, y, RECIPE, seed=0)
    losses(trainer, 2)
    steps = 2 * trainer.steps_per_epoch
    expected = 0.5 * 0.05 * (1 + math.cos(math.pi * (steps - 1) / steps))
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_trainer__depends_on_its_seed_alone():
    x, y = digits()
    first, again, other = (losses(Trainer(small(), x, y, RECIPE, seed), 2) for seed in (0, 0, 1))
    torch.manual_seed(99)
    assert first == again
    assert first != other


def test_trainer__taken_up_again_goes_on_as_if_it_had_never_been_laid_down():
    x, y = digits()
    recipe = RECIPE.changed(epochs=4)
    whole = losses(Trainer(small(), x, y, recipe, seed=3), 4)
    half = Trainer(small(), x, y, recipe, seed=3)
    first = losses(half, 2)
    rest = Trainer(small(seed=7), x, y, recipe, seed=5)
    rest.restore(half.state())
    assert first + losses(rest, 2) == whole


def test_trainer__says_that_a_loss_is_not_finite():
    x, y = digits()
    trainer = Trainer(small(), x, y, RECIPE.changed(learning_rate=1e30), seed=0)
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) in epoch \d of 2"):
        losses(trainer, 2)


def test_trainer__refuses_fewer_images_than_a_batch():
    x, y = digits()
    with pytest.raises(ValueError, match="there are 10 training images, fewer than batch_size 50"):
        Trainer(small(), x[:10], y[:10], RECIPE, seed=0)


def test_splits_of__digits_are_disjoint_and_stratified():
    images = load_examples("digits")
    parts = splits_of(images)
    assert {name: len(part) for name, part in parts.items()} == {"train": 300, "valid": 497, "test": 1000}
    assert len(np.unique(np.concatenate(list(parts.values())))) == 1797
    shares = np.bincount(images.y) / len(images.y)
    for part in parts.values():
        assert np.abs(np.bincount(images.y[part]) - shares * len(part)).max() <= 1


def test_splits_of__another_data_set_is_cut_by_shares():
    parts = splits_of(load_examples("synthetic"))
    assert {name: len(part) for name, part in parts.items()} == {"train": 2867, "valid": 410, "test": 819}


def test_train_architecture__is_the_same_every_time_and_differs_by_seed():
    config = TrainingConfig(SPACE, "digits", None, RECIPE, 0)
    first = train_architecture(config, CONNECTED)
    torch.rand(3)
    again = train_architecture(config, CONNECTED)
    other = train_architecture(TrainingConfig(SPACE, "digits", None, RECIPE, 1), CONNECTED)
    assert first["status"] == STATUS["ok"]
    assert first["train_seconds"] > 0
    assert (first["accuracy"], first["loss"]) == (again["accuracy"], again["loss"])
    assert first["loss"] != other["loss"]


def test_train_architecture__diverged_is_failed_and_has_no_accuracy():
    config = TrainingConfig(SPACE, "digits", None, RECIPE.changed(learning_rate=1e30), 0)
    result = train_architecture(config, CONNECTED)
    assert result["status"] == STATUS["failed"]
    assert result["message"].startswith("DivergedError: the loss is nan in epoch")
    assert np.isnan(result["accuracy"]).all()


def test_train_architecture__stops_when_asked():
    assert (
        train_architecture(TrainingConfig(SPACE, "digits", None, RECIPE, 0), CONNECTED, should_stop=lambda: True)
        is None
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": -1}, "learning_rate must be a finite number of at least 0"),
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\)"),
        ({"momentum": 0.0}, "Nesterov momentum requires a momentum"),
    ],
)
def test_recipe__refuses_what_cannot_be_trained_with(values, message):
    with pytest.raises(ValueError, match=message):
        RECIPE.changed(**values)


def test_recipe__survives_its_attributes():
    for recipe in RECIPES.values():
        assert Recipe.from_attrs(recipe.to_attrs()) == recipe
    with pytest.raises(ValueError, match="unknown key 'warmup' in a recipe"):
        Recipe.from_attrs({**RECIPE.to_attrs(), "warmup": 5})
