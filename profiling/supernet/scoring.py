"""The score of an architecture in a supernet: how well its sub-network does with the weights that it inherits."""

import numpy as np
import torch
from numpy.typing import NDArray

from sweetgrad.profiling.supernet.training import SupernetTraining

__all__ = ["accuracy_of"]

_VALID_BATCH = 256


@torch.no_grad()
def accuracy_of(training: SupernetTraining, arch_id: str) -> float:
    """Accuracy of a sub-network on the images kept from training, its BatchNorm statistics made anew.

    In the supernet every BatchNorm has seen the features of many paths. So the statistics of those on this path are computed
    again, as the mean over batches of training images that are not augmented, as SPOS does. No weight changes, and the
    score does not depend on what was scored before.

    Parameters
    ----------
    training
        The supernet, trained, and its images.
    arch_id
        Architecture string; see `parse_arch` for its errors.

    Returns
    -------
    Accuracy in %, in [0, 100].
    """
    supernet = training.supernet
    supernet.choose(arch_id)
    for norm in supernet.norms():
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches, not a moving one
    size = training.settings.batch_size
    calibration = training.train[: training.settings.num_calibration]
    supernet.train()
    for start in range(0, max(len(calibration) - size, 0) + 1, size):
        supernet(_images(training, calibration[start : start + size])[0])
    supernet.eval()
    num_right = 0
    for start in range(0, len(training.valid), _VALID_BATCH):
        x, y = _images(training, training.valid[start : start + _VALID_BATCH])
        num_right += int((supernet(x).argmax(dim=1) == y).sum())
    return 100 * num_right / len(training.valid)


def _images(training: SupernetTraining, positions: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    return training.to_tensors(training.images.x[positions], positions)
