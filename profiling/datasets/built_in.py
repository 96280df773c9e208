"""Data sets that need no files: 1,797 handwritten digits in 8x8 pixels, which come with scikit-learn, and noise."""

from pathlib import Path

import numpy as np

from sweetgrad.profiling.batches import Examples, stratified_split
from sweetgrad.store.errors import how_to_install

MEAN = 0.30526028624095713
"""Mean over all pixels of all images, as grey values in [0, 1]."""
STD = 0.3760492217920148
"""Standard deviation over the same pixels."""
SPLIT_SIZES = {"train": 300, "valid": 497, "test": 1000}
"""Images of each split: few to train on and many to evaluate on, so that architectures differ by more than the sampling error."""
_SPLIT_SEED = 0


def load_digits(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load scikit-learn's digits, grey repeated to 3 channels, normalised by their own mean and standard deviation.

    Parameters
    ----------
    data_dir, seed, download
        Ignored: the images are part of scikit-learn.

    Returns
    -------
    1,797 images of shape (3, 8, 8), labels 0..9, in three fixed stratified splits (`SPLIT_SIZES`).

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    del data_dir, seed, download
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"data set 'digits' is part of scikit-learn, which is not installed: {how_to_install('profile')}, "
            "or use data set 'synthetic'"
        ) from error
    data = datasets.load_digits()
    grey = ((data.images / 16 - MEAN) / STD).astype(np.float32)
    x = np.repeat(grey[:, np.newaxis], 3, axis=1)
    source = f"scikit-learn digits: all {len(x):,} images, 8x8"
    y = data.target.astype(np.int64)
    splits = stratified_split(y, SPLIT_SIZES, seed=_SPLIT_SEED)
    return Examples("digits", x, y, num_classes=10, source=source, crop_padding=1, splits=splits)


_NUM_IMAGES = 4096
_SHAPE = (3, 32, 32)
_NUM_CLASSES = 10


def load_synthetic(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
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
    return Examples("synthetic", x, y, _NUM_CLASSES, source=f"{_NUM_IMAGES:,} Gaussian images, seed {seed}")
