"""How a supernet is trained and its sub-networks are scored."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from sweetgrad.profiling.spaces.nas_bench_201_network import CELLS_PER_STAGE, CHANNELS

__all__ = ["SupernetSettings"]


@dataclass(frozen=True)
class SupernetSettings:
    """Settings of a supernet; the defaults are the weight-sharing recipe of NAS-Bench-201 (Dong & Yang, ICLR 2020).

    Attributes
    ----------
    epochs, batch_size
        Passes over the training images; images in a step, each of which trains one path.
    learning_rate, last_learning_rate
        Of SGD with Nesterov momentum, at the first step, and at the last, which a cosine leads to.
    momentum, weight_decay, max_grad_norm
        Of SGD; and the L2 norm to which the gradient of a step is clipped.
    augment
        Random crop and horizontal flip of the training images.
    valid_share
        Share of the images that is kept from training, and on which sub-networks are scored.
    num_calibration
        Training images that the BatchNorm statistics of a sub-network are computed from (all, if there are fewer).
    seed
        Of the initialisation, the division of the images, their order, and the paths.
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
        """Check what a user can have got wrong; once, here."""
        for name in ("epochs", "batch_size", "num_calibration", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2: BatchNorm has no statistics of one image")
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share must lie between 0 and 1, got {self.valid_share}")
        if not 0 <= self.last_learning_rate <= self.learning_rate < math.inf:
            raise ValueError(
                f"the learning rate must fall from the first to the last step, got {self.learning_rate} and "
                f"{self.last_learning_rate}"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in 0..{2**32 - 1}, got {self.seed}")

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        return {**asdict(self), "widths": list(self.widths)}
