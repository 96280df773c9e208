"""Many trainings: the plain functions that a worker runs."""

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

from sweetgrad.profiling.architectures import deterministic
from sweetgrad.profiling.batches import Images, stratified_split
from sweetgrad.profiling.registry import load_images
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.profiling.training.recipe import Recipe
from sweetgrad.profiling.training.regularisation import Augmentation, DropPath, LazyImages, WithAuxiliaryHead
from sweetgrad.profiling.training.trainer import Trainer, evaluate
from sweetgrad.store import STATUS, Lock, Shard, Trainings

EVAL_SPLITS = ("valid", "test")
"""Parts of a data set that a trained network is judged on."""

Part = tuple[Tensor | LazyImages, Tensor]
"""Images and labels of a part of a data set."""

_SHARES = {"valid": 0.1, "test": 0.2}
_SPLIT_SEED = 0
_THREADS = 1
_HASHED_AT_ONCE = 1024


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that accuracies depend on but the architecture: images, recipe, seed.

    It travels to workers, which load the images themselves.

    Attributes
    ----------
    space
        Search space.
    dataset, data_dir
        Registered data set, and the folder of its files.
    recipe, seed
        How to train; seed of the initialisation and of the order of images.
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
        """JSON-ready: what must be equal for accuracies to be comparable.

        Raises
        ------
        ValueError
            If the data set is too small for the recipe, or an image or a label is not valid.
        """
        images = _load(self.dataset, self.data_dir)
        parts = splits_of(images)
        if len(parts["train"]) < self.recipe.batch_size:
            raise ValueError(
                f"{self.dataset} has {len(parts['train'])} images to train with, fewer than a batch of "
                f"{self.recipe.batch_size}: take a smaller --batch-size"
            )
        return {
            "space": self.space.name,
            "variant": self.space.variant,
            "space_options": dict(getattr(self.space, "options", {})),
            "init": self.space.init,
            "dataset": self.dataset,
            "num_classes": images.num_classes,
            "input_shape": list(images.x.shape[1:]),
            "split_sizes": {name: len(part) for name, part in parts.items()},
            "split_sha256": {name: _digest(images, part) for name, part in parts.items()},
            "recipe": self.recipe.to_attrs(),
            "seed": self.seed,
            "device": self.device,
        }


def splits_of(images: Images) -> dict[str, NDArray[np.int64]]:
    """Positions of the images of ``train``, ``valid`` and ``test``: those of the data set, or a stratified cut 70/10/20."""
    if images.splits is not None:
        return dict(images.splits)
    judged = {name: max(1, round(share * len(images.y))) for name, share in _SHARES.items()}
    return stratified_split(images.y, {"train": len(images.y) - sum(judged.values()), **judged}, seed=_SPLIT_SEED)


def train_architecture(
    config: TrainingConfig, arch: str, *, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """Train one architecture and judge it.

    Parameters
    ----------
    config, arch
        How, and the architecture string.
    should_stop
        Asked after every epoch; True gives the training up.

    Returns
    -------
    ``accuracy`` on `EVAL_SPLITS` in %, ``train_seconds``, ``loss`` of the last epoch, ``message`` and ``status``; a training that
    raised, or whose loss was not finite, has status 2 and NaN for accuracies. None if it was given up.
    """
    trainer, loss = None, math.nan
    try:
        with deterministic(_THREADS):
            trainer, judged = make_trainer(config, arch)
            for _ in range(config.recipe.epochs):
                if should_stop():
                    return None
                loss = trainer.run_epoch().loss
            accuracy = [evaluate(trainer.module, *judged[part]) for part in EVAL_SPLITS]
    except Exception as error:  # one training must not end the others; what it raised is kept
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
    """Train the rows that a shard still needs, each written when it is done: the one function that a worker is given.

    Returns
    -------
    Number of trainings done; fewer than asked only if ``should_stop`` said so, which gives up the training in hand.
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
    """See that a recipe is for the networks of a space and the size of the images, before thousands of trainings fail.

    Raises
    ------
    ValueError
        If the architecture is not in the space; if the recipe asks for cells that the network has not, or an auxiliary head for
        larger images.
    """
    images = _load(config.dataset, config.data_dir)
    network = _build(config, images, arch)
    if config.recipe.drop_path:
        DropPath(network.module, torch.Generator())
    if config.recipe.auxiliary_weight:
        with torch.no_grad():
            _with_auxiliary(config, images, network).train()(torch.zeros(2, *images.x.shape[1:]))


def make_trainer(config: TrainingConfig, arch: str) -> tuple[Trainer, Mapping[str, Part]]:
    """The training of an architecture, not begun yet, and the images and labels of each of `EVAL_SPLITS`.

    Raises
    ------
    ValueError
        If the architecture is not in the space, or has no cells that the recipe asks for.
    """
    recipe = config.recipe
    images, data = _load(config.dataset, config.data_dir), _tensors(config.dataset, config.data_dir, config.device)
    torch.manual_seed(config.seed)
    network = _build(config, images, arch)
    module = _with_auxiliary(config, images, network) if recipe.auxiliary_weight else network.module
    module.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(module, *data["train"], recipe, config.seed)
    if recipe.crop or recipe.flip or recipe.cutout:
        padding = images.crop_padding if recipe.crop else 0
        trainer.augment = Augmentation(padding=padding, flip=recipe.flip, cutout=recipe.cutout)
    if recipe.drop_path:
        drop = DropPath(network.module, trainer.random)

        def grow(epoch: int) -> None:
            drop.probability = recipe.drop_path * epoch / recipe.epochs

        trainer.before_epoch = grow
    return trainer, data


def _build(config: TrainingConfig, images: Images, arch: str) -> Network:
    space = config.space
    # Leaving out what does not matter at initialisation, as the profiled network may, would change the training.
    build = getattr(space, "build_trainable", getattr(space, "build_literal", space.build))
    return build(arch, in_channels=images.x.shape[1], num_classes=images.num_classes)


def _with_auxiliary(config: TrainingConfig, images: Images, network: Network) -> WithAuxiliaryHead:
    return WithAuxiliaryHead(network, form=getattr(config.space, "form", "cifar"), num_classes=images.num_classes)


@lru_cache(maxsize=1)
def _load(dataset: str, data_dir: Path | None) -> Images:
    return load_images(dataset, data_dir=data_dir)


@lru_cache(maxsize=1)
def _tensors(dataset: str, data_dir: Path | None, device: str) -> dict[str, Part]:
    images = _load(dataset, data_dir)
    return {
        name: (_images_of(images, part, device), torch.from_numpy(images.y[part]).to(device))
        for name, part in splits_of(images).items()
    }


def _images_of(images: Images, part: NDArray[np.int64], device: str) -> Tensor | LazyImages:
    if isinstance(images.x, np.ndarray):
        return torch.from_numpy(images.x[part]).to(device)
    return LazyImages(images.x, part, device)


def _digest(images: Images, part: NDArray[np.int64]) -> str:
    digest = sha256()
    if hasattr(images.x, "digest"):
        digest.update(images.x.digest(part).encode())
    else:
        for start in range(0, len(part), _HASHED_AT_ONCE):
            digest.update(np.ascontiguousarray(images.x[part[start : start + _HASHED_AT_ONCE]], "<f4").tobytes())
    digest.update(np.ascontiguousarray(images.y[part], "<i8").tobytes())
    return digest.hexdigest()
