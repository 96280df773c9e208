"""Shared by the loaders of image files: find files, validate their content, normalise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.benchmarks.unpickle import load_pickle


@dataclass(frozen=True)
class ImageFile:
    """Content of one file: images ``x``, uint8 (N, C, H, W), and labels ``y``, int64 (N,)."""

    name: str
    x: NDArray[np.uint8]
    y: NDArray[np.int64]


def existing_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named files that exist in the folder, in the given order."""
    return [folder / name for name in names if (folder / name).is_file()]


def check_labels(y: NDArray[Any], path: Path, *, first: int, last: int, what: str = "labels") -> None:
    """Raise ValueError, naming the file and the first image, unless all labels are in first..last."""
    wrong = np.flatnonzero((y < first) | (y > last))
    if wrong.size:
        raise ValueError(
            f"{path}: {what} must be in {first}..{last}, but {wrong.size} of {len(y)} are not "
            f"(first: image {wrong[0]} has {y[wrong[0]]}); this is a different data set, or the file is damaged"
        )


def read_pickled_batch(
    path: Path, *, labels: str, pixels: int, first: int, last: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a batch in the Python layout that CIFAR and ImageNet16 share: a pickled dict with ``data`` and labels.

    Returns
    -------
    Images, uint8 (N, pixels), and labels, int64 (N,), as in the file.
    """
    batch = load_pickle(path)
    data, y = _entry(batch, "data", path), _entry(batch, labels, path)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != pixels:
        actual = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"{path}: 'data' must be uint8 of shape (N, {pixels}), got {actual}")
    # Checked before NumPy converts it: nested lists with repeated references could expand to 2^64 elements.
    if isinstance(y, list | tuple) and not all(isinstance(label, int | np.integer) for label in y):
        raise ValueError(
            f"{path}: {labels!r} must be {len(data)} integers, got a {type(y).__name__} with other elements"
        )
    y = np.asarray(y)
    if y.shape != data.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{path}: {labels!r} must be {len(data)} integers, got {y.dtype} {y.shape}")
    check_labels(y, path, first=first, last=last)
    return data, y.astype(np.int64)


def _entry(batch: Any, key: str, path: Path) -> Any:
    # Python 2 wrote the keys as bytes, Python 3 writes strings.
    for candidate in (key, key.encode()):
        if isinstance(batch, dict) and candidate in batch:
            return batch[candidate]
    actual = (
        f"a dict with {sorted(str(name)[:80] for name in list(batch)[:10])}"
        if isinstance(batch, dict)
        else type(batch).__name__
    )
    raise ValueError(f"{path}: expected a pickled dict with {key!r}, got {actual}")


def describe_source(files: Sequence[ImageFile], *, total: int, what: str) -> str:
    """One line for the provenance: which files were read, and how many of the images of the data set they have."""
    return f"{', '.join(file.name for file in files)}: {sum(len(file.y) for file in files):,} of the {total:,} {what} images"


def normalise(
    arrays: Sequence[NDArray[np.uint8]], *, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Concatenate images and normalise each channel: ``(x - mean) / std`` in pixel values 0..255, rounded once to float32.

    Parameters
    ----------
    arrays
        One or more arrays of shape (N, C, H, W).
    mean, std
        Mean and standard deviation of each channel, in pixel values.

    Examples
    --------
    >>> normalise([np.array([[[[0, 255]]]], dtype=np.uint8)], mean=[127.5], std=[51.0])
    array([[[[-2.5,  2.5]]]], dtype=float32)
    """
    # A table of the 256 pixel values for each channel, applied in blocks, so that no second float copy of the images is made.
    values = np.arange(256, dtype=np.float64)
    tables = [((values - m) / s).astype(np.float32) for m, s in zip(mean, std, strict=True)]
    out = np.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), dtype=np.float32)
    done = 0
    for array in arrays:
        for start in range(0, len(array), 256):
            block = array[start : start + 256]
            for channel, table in enumerate(tables):
                out[done : done + len(block), channel] = table[block[:, channel]]
            done += len(block)
    return out
