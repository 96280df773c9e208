"""Train many architectures of a search space: the plain functions that a worker runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweetgrad.profiling.batches import Examples, stratified_split
from sweetgrad.profiling.devices import deterministic, place
from sweetgrad.profiling.registry import load_examples
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.profiling.training.recipe import Recipe
from sweetgrad.profiling.training.regularisation import Augmentation, DropPath, LazyImages, WithAuxiliaryHead
from sweetgrad.profiling.training.trainer import Trainer, evaluate
from sweetgrad.store import STATUS, Lock, Shard, Trainings

EVAL_SPLITS = ("valid", "test")
"""Splits on which a trained network is evaluated."""

Split = tuple[Tensor | LazyImages, Tensor]
"""Images and labels of one split of a data set."""

_HELD_OUT = {"valid": 0.1, "test": 0.2}
_SPLIT_SEED = 0
_THREADS = 1
_HASH_BLOCK = 1024


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that accuracies depend on except the architecture: images, recipe, seed.

    It is sent to workers, which load the images themselves.

    Attributes
    ----------
    space
        Search space.
    dataset, data_dir
        Name of a registered data set, and the folder of its files.
    recipe, seed
        How to train; seed of the initialisation and of the order of the images.
    device
        ``cpu`` or ``cuda``.
    """

    space: SearchSpace
    dataset: str
    data_dir: Path | None
    recipe: Recipe
    seed: int
    device: str = "cpu"

    def settings(self) -> dict[str, Any]:
        """Settings that must be equal for accuracies to be comparable, as a JSON-serialisable dictionary.

        Raises
        ------
        ValueError
            If the data set is too small for the recipe, or an image or a label is invalid.
        """
        images = _load(self.dataset, self.data_dir)
        splits = splits_of(images)
        if len(splits["train"]) < self.recipe.batch_size:
            raise ValueError(
                f"{self.dataset} has {len(splits['train'])} training images, fewer than a batch of "
                f"{self.recipe.batch_size}: use a smaller --batch-size"
            )
        return {
            "space": self.space.name,
            "variant": self.space.variant,
            "space_options": dict(getattr(self.space, "options", {})),
            "init": self.space.init,
            "dataset": self.dataset,
            "num_classes": images.num_classes,
            "input_shape": list(images.x.shape[1:]),
            "split_sizes": {name: len(positions) for name, positions in splits.items()},
            "split_sha256": {name: _digest(images, positions) for name, positions in splits.items()},
            "recipe": self.recipe.to_attrs(),
            "seed": self.seed,
            "device": self.device,
        }


def splits_of(images: Examples) -> dict[str, NDArray[np.int64]]:
    """Positions of the images of ``train``, ``valid`` and ``test``: those of the data set, or stratified, 70/10/20 %."""
    if images.splits is not None:
        return dict(images.splits)
    held_out = {name: max(1, round(fraction * len(images.y))) for name, fraction in _HELD_OUT.items()}
    return stratified_split(images.y, {"train": len(images.y) - sum(held_out.values()), **held_out}, seed=_SPLIT_SEED)


def train_architecture(
    config: TrainingConfig, arch: str, *, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """Train one architecture and evaluate it.

    Parameters
    ----------
    config, arch
        How to train, and the architecture string.
    should_stop
        Called before every epoch; if it returns True, the training is cancelled.

    Returns
    -------
    ``accuracy`` on `EVAL_SPLITS` in %, ``train_seconds``, ``loss`` of the last epoch, ``message`` and ``status``; if the training
    raised, or its loss was not finite, the status is 2 and the accuracies are NaN. None if it was cancelled.
    """
    trainer, loss = None, math.nan
    try:
        with deterministic(_THREADS):
            trainer, splits = make_trainer(config, arch)
            for _ in range(config.recipe.epochs):
                if should_stop():
                    return None
                loss = trainer.run_epoch().loss
            accuracy = [evaluate(trainer.module, *splits[name]) for name in EVAL_SPLITS]
    except Exception as error:  # one training must not stop the others; its error is stored
        message, status, accuracy = f"{type(error).__name__}: {error}", STATUS["failed"], [math.nan] * len(EVAL_SPLITS)
    else:
        message, status = "", STATUS["ok"]
    seconds = math.nan if trainer is None else trainer.seconds
    return {"accuracy": accuracy, "train_seconds": seconds, "loss": loss, "message": message, "status": status}


def train_shard(
    trainings: Trainings,
    shard: Shard,
    config: TrainingConfig,
    *,
    on_done: Callable[[int], None] = lambda index: None,
    should_stop: Callable[[], bool] = lambda: False,
    lock: Lock | None = None,
) -> int:
    """Train the missing rows of a shard and write each when it is done: the one function that a worker runs.

    Returns
    -------
    Number of trainings that are done; fewer than requested only if ``should_stop`` returned True, which cancels the current one.
    """
    num_done = 0
    for row in shard.rows:
        result = (
            None if should_stop() else train_architecture(config, config.space.arch_id(row), should_stop=should_stop)
        )
        if result is None:
            break
        trainings.write_row(row, result, lock=lock)
        num_done += 1
        on_done(row)
    return num_done


def check_config(config: TrainingConfig, arch: str) -> None:
    """Check that a recipe fits the networks of a space and the size of the images, before thousands of trainings fail.

    Raises
    ------
    ValueError
        If the architecture is not in the space, or the recipe needs cells that the network does not have, or an auxiliary head
        and larger images.
    """
    images = _load(config.dataset, config.data_dir)
    network = _build(config, images, arch)
    if config.recipe.drop_path:
        DropPath(network.module, torch.Generator())
    if config.recipe.auxiliary_weight:
        with torch.no_grad():
            _with_auxiliary(config, images, network).train()(torch.zeros(2, *images.x.shape[1:]))


def make_trainer(config: TrainingConfig, arch: str) -> tuple[Trainer, Mapping[str, Split]]:
    """Create the trainer of an architecture; returns it and the images and labels of each split.

    Raises
    ------
    ValueError
        If the architecture is not in the space, or does not have the cells that the recipe needs.
    """
    recipe = config.recipe
    images, data = _load(config.dataset, config.data_dir), _tensors(config.dataset, config.data_dir, config.device)
    torch.manual_seed(config.seed)
    network = _build(config, images, arch)
    module = _with_auxiliary(config, images, network) if recipe.auxiliary_weight else network.module
    place(module, config.device)
    trainer = Trainer(module, *data["train"], recipe, config.seed)
    if recipe.crop or recipe.flip or recipe.cutout:
        padding = images.crop_padding if recipe.crop else 0
        trainer.augment = Augmentation(padding=padding, flip=recipe.flip, cutout=recipe.cutout)
    if recipe.drop_path:
        drop_path = DropPath(network.module, trainer.random)

        def increase_drop_path(epoch: int) -> None:
            drop_path.probability = recipe.drop_path * epoch / recipe.epochs

        trainer.before_epoch = increase_drop_path
    return trainer, data


def _build(config: TrainingConfig, images: Examples, arch: str) -> Network:
    space = config.space
    # Skipping what has no effect at initialisation, as the profiled network may do, would change the training.
    build = getattr(space, "build_trainable", getattr(space, "build_literal", space.build))
    return build(arch, in_channels=images.x.shape[1], num_classes=images.num_classes)


def _with_auxiliary(config: TrainingConfig, images: Examples, network: Network) -> WithAuxiliaryHead:
    return WithAuxiliaryHead(network, form=getattr(config.space, "form", "cifar"), num_classes=images.num_classes)


@lru_cache(maxsize=1)
def _load(dataset: str, data_dir: Path | None) -> Examples:
    return load_examples(dataset, data_dir=data_dir)


@lru_cache(maxsize=1)
def _tensors(dataset: str, data_dir: Path | None, device: str) -> dict[str, Split]:
    images = _load(dataset, data_dir)
    return {
        name: (_images_at(images, positions, device), torch.from_numpy(images.y[positions]).to(device))
        for name, positions in splits_of(images).items()
    }


def _images_at(images: Examples, positions: NDArray[np.int64], device: str) -> Tensor | LazyImages:
    if isinstance(images.x, np.ndarray):
        return torch.from_numpy(images.x[positions]).to(device)
    return LazyImages(images.x, positions, device)


def _digest(images: Examples, positions: NDArray[np.int64]) -> str:
    digest = sha256()
    if hasattr(images.x, "digest"):
        digest.update(images.x.digest(positions).encode())
    else:
        for start in range(0, len(positions), _HASH_BLOCK):
            digest.update(np.ascontiguousarray(images.x[positions[start : start + _HASH_BLOCK]], "<f4").tobytes())
    digest.update(np.ascontiguousarray(images.y[positions], "<i8").tobytes())
    return digest.hexdigest()
