"""The synthetic data set: Gaussian noise with random labels."""

from pathlib import Path

import numpy as np

from sweetgrad.profiling.batches import Images

_NUM_IMAGES = 4096
_SHAPE = (3, 32, 32)
_NUM_CLASSES = 10


def load_synthetic(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Images:
    """Draw standard normal images and uniform labels.

    Parameters
    ----------
    data_dir, download
        Ignored: no files are read.
    seed
        Seed of the images and labels; the same seed gives the same data on every platform.

    Returns
    -------
    4,096 images of shape (3, 32, 32), labels 0..9.
    """
    del data_dir, download
    # RandomState, because NumPy promises never to change its stream.
    random = np.random.RandomState(seed)
    y = random.randint(0, _NUM_CLASSES, size=_NUM_IMAGES, dtype=np.int64)
    x = np.empty((_NUM_IMAGES, *_SHAPE), dtype=np.float32)
    for start in range(0, _NUM_IMAGES, 256):  # in blocks: the float64 draws of all images would take twice their memory
        x[start : start + 256] = random.standard_normal(x[start : start + 256].shape)
    return Images("synthetic", x, y, _NUM_CLASSES, source=f"{_NUM_IMAGES:,} Gaussian images, seed {seed}")
