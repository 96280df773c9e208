"""Single path one-shot training (SPOS, Guo et al., ECCV 2020): each step trains one uniformly sampled path."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.batches import Examples, crop_and_flip
from sweetgrad.profiling.checkpoint import (
    arrays_of,
    empty_arrays_of,
    read_checkpoint,
    restore_arrays,
    write_checkpoint,
)
from sweetgrad.profiling.devices import formatted, place
from sweetgrad.profiling.spaces.nas_bench_201_network import CELLS_PER_STAGE, CHANNELS, OPERATIONS
from sweetgrad.profiling.supernet.network import Supernet
from sweetgrad.store.spaces.cells import EDGES


@dataclass(frozen=True)
class SupernetSettings:
    """Settings of a supernet; the defaults are the weight-sharing recipe of NAS-Bench-201 (Dong & Yang, ICLR 2020).

    Attributes
    ----------
    epochs, batch_size
        Number of epochs; images per step, which trains one path.
    learning_rate, last_learning_rate
        Learning rate of SGD with Nesterov momentum at the first and at the last step of a cosine schedule.
    momentum, weight_decay, max_grad_norm
        Settings of SGD; L2 norm to which the gradient of a step is clipped.
    augment
        Random crop and horizontal flip of the training images.
    valid_share
        Fraction of the images that is held out, on which sub-networks are scored.
    num_calibration
        Number of training images for the BatchNorm statistics of a sub-network (all, if there are fewer).
    seed
        Seed of the initialisation, the split and the order of the images, and the paths.
    widths, depth
        As in `Supernet`.
    """

    epochs: int = 250
    batch_size: int = 64
    learning_rate: float = 0.025
    last_learning_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 5e-4
    max_grad_norm: float = 5.0
    augment: bool = False
    valid_share: float = 0.2
    num_calibration: int = 512
    seed: int = 42
    widths: tuple[int, ...] = CHANNELS
    depth: int = CELLS_PER_STAGE

    def __post_init__(self) -> None:
        """Validate the values."""
        for name in ("epochs", "batch_size", "num_calibration", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2, because BatchNorm needs more than one image")
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share must be between 0 and 1, got {self.valid_share}")
        if not 0 <= self.last_learning_rate <= self.learning_rate < math.inf:
            raise ValueError(
                f"the learning rate must not increase from the first to the last step, got {self.learning_rate} and "
                f"{self.last_learning_rate}"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in 0..{2**32 - 1}, got {self.seed}")

    def as_json(self) -> dict[str, Any]:
        """Return the settings as a JSON-serialisable dictionary."""
        return {**asdict(self), "widths": list(self.widths)}


SAVE_EVERY_S = 60.0


class SupernetTraining:
    """Trains a supernet, step by step.

    Everything random about a step follows from the seed, the epoch and the step. So a training that is resumed from a checkpoint
    ends with exactly the weights of an uninterrupted one (on the same machine; not guaranteed on GPUs).

    Parameters
    ----------
    images
        Data set, of which the seed selects a fraction `SupernetSettings.valid_share` to hold out.
    settings
        How to train.
    device
        ``cpu`` or ``cuda``.

    Attributes
    ----------
    supernet
        The network.
    losses
        Mean cross-entropy of each step, in nat, shape (steps,); NaN for steps not done yet.
    seconds
        Wall time of all steps, including those before an interruption.
    train, valid
        Positions of the training images and of the held-out images, in random order.

    Raises
    ------
    ValueError
        If there are too few images for a training batch, or none to score on.
    """

    def __init__(self, images: Examples, settings: SupernetSettings, *, device: str = "cpu") -> None:
        self.images, self.settings, self.device = images, settings, device
        order = np.random.RandomState(settings.seed).permutation(len(images.x))
        num_valid = round(settings.valid_share * len(images.x))
        self.valid, self.train = order[:num_valid], order[num_valid:]
        if not len(self.valid) or len(self.train) < settings.batch_size:
            raise ValueError(
                f"the {len(images.x)} images of {images.name} are split into {len(self.train)} to train on and "
                f"{len(self.valid)} to score on, with batches of {settings.batch_size}: use more images or a smaller batch"
            )
        self.steps_per_epoch = len(self.train) // settings.batch_size
        self.losses = np.full(settings.epochs * self.steps_per_epoch, np.nan, dtype=np.float32)
        self.seconds = 0.0
        torch.manual_seed(settings.seed)
        self.supernet = Supernet(
            in_channels=images.x.shape[1],
            num_classes=images.num_classes,
            widths=settings.widths,
            depth=settings.depth,
        )
        place(self.supernet, device)
        self._optimizer = torch.optim.SGD(
            self.supernet.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
        )
        # Of the current epoch; there is none yet.
        self._epoch = -1
        self._order = self.train
        self._paths: list[tuple[str, ...]] = []

    @property
    def num_done(self) -> int:
        """Number of steps so far."""
        return int(np.isfinite(self.losses).sum())

    def run(
        self,
        checkpoint: Path | None = None,
        *,
        on_step: Callable[["SupernetTraining"], None] = lambda training: None,
        should_stop: Callable[[], bool] = lambda: False,
        save_every_s: float = SAVE_EVERY_S,
    ) -> bool:
        """Train to the end, starting from the checkpoint if it exists.

        Parameters
        ----------
        checkpoint
            File to resume from, which is written regularly and at the end. None: no checkpoints.
        on_step
            Called after each step.
        should_stop
            Called after each step; if it returns True, the checkpoint is written and the training interrupted.
        save_every_s
            Seconds between checkpoints.

        Returns
        -------
        Whether the training is complete.

        Raises
        ------
        ValueError
            If the checkpoint is from a different training or cannot be read, or if the loss is not finite.
        """
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        saved = time.monotonic()
        while self.num_done < len(self.losses) and not should_stop():
            start = time.monotonic()
            self.step()
            self.seconds += time.monotonic() - start
            on_step(self)
            if checkpoint is not None and time.monotonic() - saved >= save_every_s:
                self.save(checkpoint)
                saved = time.monotonic()
        if checkpoint is not None:
            self.save(checkpoint)
        return self.num_done == len(self.losses)

    def step(self) -> None:
        """Train one path on one batch."""
        step = self.num_done
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._draw_epoch(epoch)
        x, y = self._batch(index)
        self.supernet.train()
        self.supernet.choose_operations(self._paths[index])
        self._optimizer.zero_grad(
            set_to_none=True
        )  # without a gradient, weights outside of the path do not change at all
        loss = F.cross_entropy(self.supernet(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self.settings.max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(f"the loss of step {step} is {value}: use a smaller learning rate")
        self._optimizer.step()
        self.losses[step] = value

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint atomically."""
        arrays = arrays_of(self.supernet, self._optimizer) | self._progress()
        write_checkpoint(checkpoint, self._identity(), arrays)

    def load(self, checkpoint: Path) -> None:
        """Resume from a file that `save` wrote."""
        like = empty_arrays_of(self.supernet) | self._progress()
        arrays = read_checkpoint(checkpoint, self._identity(), like)
        restore_arrays(self.supernet, self._optimizer, arrays)
        self.losses = arrays["losses"]
        self.seconds = float(arrays["seconds"])

    def weights_sha256(self) -> str:
        """SHA-256 of all weights and buffers, in the order of the ``state_dict``."""
        digest = hashlib.sha256()
        for name, tensor in self.supernet.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to_tensors(self, x: NDArray[np.float32], positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images, and the labels of the images at these positions, on the device."""
        images = formatted(torch.from_numpy(x).to(self.device))
        return images, torch.from_numpy(self.images.y[positions]).to(self.device)

    def _draw_epoch(self, epoch: int) -> None:
        """Draw the order of the images and the path of each step."""
        random = np.random.RandomState([self.settings.seed, epoch])
        self._order = self.train[random.permutation(len(self.train))]
        names = np.array(list(OPERATIONS), dtype=object)
        drawn = names[random.randint(0, len(names), size=(self.steps_per_epoch, len(EDGES)))]
        self._paths = [tuple(path) for path in drawn]
        self._epoch = epoch

    def _batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Images and labels of a step of the epoch."""
        size, seed = self.settings.batch_size, self.settings.seed
        chosen = self._order[index * size : (index + 1) * size]
        x = self.images.x[chosen]
        if self.settings.augment:
            x = crop_and_flip(x, np.random.RandomState([seed, self._epoch, index]), padding=self.images.crop_padding)
        return self.to_tensors(x, chosen)

    def _learning_rate(self, step: int) -> float:
        first, last = self.settings.learning_rate, self.settings.last_learning_rate
        progress = step / max(1, len(self.losses) - 1)
        return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2

    def _progress(self) -> dict[str, NDArray[np.generic]]:
        return {"losses": self.losses, "seconds": np.array(self.seconds)}

    def _identity(self) -> dict[str, object]:
        """Identity of the training, for its checkpoint."""
        return {"dataset": self.images.name, "images_sha256": self._images_sha256, **self.settings.as_json()}

    @cached_property
    def _images_sha256(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.images.x).data)
        digest.update(np.ascontiguousarray(self.images.y).data)
        return digest.hexdigest()


_VALID_BATCH = 256


@torch.no_grad()
def subnet_accuracy(training: SupernetTraining, arch_id: str) -> float:
    """Accuracy of a sub-network on the held-out images, with recomputed BatchNorm statistics.

    The running statistics of the supernet are those of many paths. So, as in SPOS, those of this path are computed again, as the
    mean over batches of training images without augmentation. Weights do not change, and the accuracy does not depend on what was
    scored before.

    Parameters
    ----------
    training
        The trained supernet, with its images.
    arch_id
        Architecture string; raises as `parse_arch` does.

    Returns
    -------
    Accuracy in %, in [0, 100].
    """
    supernet = training.supernet
    supernet.choose(arch_id)
    for norm in supernet.norms():
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches instead of a moving average
    size = training.settings.batch_size
    calibration = training.train[: training.settings.num_calibration]
    supernet.train()
    for start in range(0, max(len(calibration) - size, 0) + 1, size):
        supernet(_images(training, calibration[start : start + size])[0])
    supernet.eval()
    num_correct = 0
    for start in range(0, len(training.valid), _VALID_BATCH):
        x, y = _images(training, training.valid[start : start + _VALID_BATCH])
        num_correct += int((supernet(x).argmax(dim=1) == y).sum())
    return 100 * num_correct / len(training.valid)


def _images(training: SupernetTraining, positions: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    return training.to_tensors(training.images.x[positions], positions)
