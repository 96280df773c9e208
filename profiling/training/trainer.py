"""Train one network, as a pure function of the network, the images, the recipe and the seed; checkpoints."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.checkpoint import arrays_of, empty_arrays_of, read_checkpoint, restore_arrays, write_checkpoint
from sweetgrad.profiling.devices import formatted
from sweetgrad.profiling.training.recipe import Recipe
from sweetgrad.profiling.training.regularisation import LazyImages
from sweetgrad.store.access import PARTIAL

_MAX_EVAL_BATCH = 1024
_MAX_EVAL_PIXELS = 1 << 22


class DivergedError(ArithmeticError):
    """The training loss is not finite."""


@dataclass(frozen=True)
class Epoch:
    """Result of an epoch.

    Attributes
    ----------
    number
        Number of epochs so far, including this one.
    loss
        Mean training loss over its batches, in nat.
    seconds
        Wall time of all epochs so far.
    """

    number: int
    loss: float
    seconds: float


@dataclass
class Trainer:
    """Trains a network; after any epoch its state can be saved, and training resumed from it exactly.

    Attributes
    ----------
    module
        Network, on the device of the images; returns logits, or logits and those of an auxiliary head.
    x, y
        Training images, shape (N, C, H, W), in memory or read when they are indexed, and labels, shape (N,).
    recipe, seed
        How to train; seed of the order and the augmentation of the images.
    augment, before_epoch
        Function that augments a batch of images; function that is called before each epoch with the number of epochs so far.
    epoch, seconds
        Number of epochs so far, and their wall time.
    random, optimizer
        Generator on the CPU of everything random except the initialisation; the optimizer.
    """

    module: nn.Module
    x: Tensor | LazyImages
    y: Tensor
    recipe: Recipe
    seed: int
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    before_epoch: Callable[[int], None] | None = None
    epoch: int = 0
    seconds: float = 0.0
    random: torch.Generator = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        """Create the optimizer and the generator."""
        recipe = self.recipe
        if self.steps_per_epoch < 1:
            raise ValueError(
                f"there are {len(self.x)} training images, fewer than batch_size {recipe.batch_size}: use a smaller batch_size"
            )
        self.random = torch.Generator().manual_seed(self.seed)
        self.optimizer = torch.optim.SGD(
            self.module.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches per epoch."""
        return len(self.x) // self.recipe.batch_size

    def run_epoch(self) -> Epoch:
        """Train for one epoch.

        Raises
        ------
        DivergedError
            If the loss is not finite.
        """
        start = time.perf_counter()
        recipe, steps = self.recipe, self.steps_per_epoch
        self.module.train()
        if self.before_epoch is not None:
            self.before_epoch(self.epoch)
        order = torch.randperm(len(self.x), generator=self.random)
        total = torch.zeros((), device=self.x.device)  # read once per epoch, since that waits for the device
        for step, batch in enumerate(torch.split(order[: steps * recipe.batch_size], recipe.batch_size)):
            progress = (self.epoch * steps + step) / (recipe.epochs * steps)
            for group in self.optimizer.param_groups:
                group["lr"] = 0.5 * recipe.learning_rate * (1 + math.cos(math.pi * progress))
            total += self._step(batch.to(self.x.device))
        self.epoch += 1
        self.seconds += time.perf_counter() - start
        loss = total.item() / steps
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} in epoch {self.epoch} of {recipe.epochs}")
        return Epoch(self.epoch, loss, self.seconds)

    def _step(self, batch: Tensor) -> Tensor:
        x, y = self.x[batch], self.y[batch]
        if self.augment is not None:
            x = self.augment(x, self.random)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self.module(formatted(x)), y)
        loss.backward()
        if self.recipe.gradient_clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        return loss.detach()

    def _loss(self, output: Tensor | tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        smoothing = self.recipe.label_smoothing
        logits, auxiliary = output if isinstance(output, tuple) else (output, None)
        loss = F.cross_entropy(logits, y, label_smoothing=smoothing)
        if auxiliary is None:
            return loss
        return loss + self.recipe.auxiliary_weight * F.cross_entropy(auxiliary, y, label_smoothing=smoothing)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """State that the rest of the training depends on, except the recipe, as arrays."""
        return arrays_of(self.module, self.optimizer) | self._progress()

    def empty_state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays with the names, shapes and dtypes that `state` can return."""
        return empty_arrays_of(self.module) | self._progress()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Resume from what `state` returned; the next epochs are those of an uninterrupted training."""
        restore_arrays(self.module, self.optimizer, state)
        self.random.set_state(torch.from_numpy(state["random"]))
        self.epoch, self.seconds = int(state["epoch"]), float(state["seconds"])

    def _progress(self) -> dict[str, NDArray[np.generic]]:
        return {
            "epoch": np.array(self.epoch),
            "seconds": np.array(self.seconds),
            "random": self.random.get_state().numpy(),
        }


def evaluate(module: nn.Module, x: Tensor | LazyImages, y: Tensor) -> float:
    """Top-1 accuracy in %, in evaluation mode."""
    module.eval()
    num_correct = 0
    height, width = x[:1].shape[2:]
    batch_size = min(_MAX_EVAL_BATCH, max(1, _MAX_EVAL_PIXELS // (height * width)))
    with torch.inference_mode():
        for start in range(0, len(y), batch_size):
            batch = slice(start, start + batch_size)
            logits = module(formatted(x[batch]))
            num_correct += int((logits.argmax(1) == y[batch]).sum())
    return 100 * num_correct / len(y)


def settings_digest(settings: dict[str, Any]) -> str:
    """Short digest of everything that a training depends on, for the name of its checkpoint."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def save_checkpoint(path: Path, trainer: Trainer, settings: dict[str, Any]) -> None:
    """Write the state of a trainer to a checkpoint atomically."""
    write_checkpoint(path, settings, trainer.state())


def load_checkpoint(path: Path, trainer: Trainer, settings: dict[str, Any]) -> bool:
    """Resume a trainer from a checkpoint, if there is one; partial files of a crash are removed.

    Returns
    -------
    Whether there was one.

    Raises
    ------
    ValueError
        If the file is not a checkpoint, is damaged, or is from a different training.
    """
    for partial in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        partial.unlink(missing_ok=True)
    if not path.exists():
        return False
    trainer.restore(read_checkpoint(path, settings, trainer.empty_state()))
    return True
