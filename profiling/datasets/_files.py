"""What the loaders of image files share: where to look, what to check, how to normalise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.benchmarks.unpickle import load_pickle


@dataclass(frozen=True)
class Part:
    """Images of one file: ``x`` uint8 (N, C, H, W), ``y`` int64 (N,)."""

    file: str
    x: NDArray[np.uint8]
    y: NDArray[np.int64]


def present(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files of the folder that have one of the names, in the order of the names."""
    return [folder / name for name in names if (folder / name).is_file()]


def check_labels(y: NDArray[Any], path: Path, *, first: int, last: int, what: str = "labels") -> None:
    """Raise ValueError, naming the file and the first image, unless all labels are in first..last."""
    wrong = np.flatnonzero((y < first) | (y > last))
    if wrong.size:
        raise ValueError(
            f"{path}: {what} must be in {first}..{last}, but {wrong.size} of {len(y)} are not "
            f"(first: image {wrong[0]} has {y[wrong[0]]}); this is another data set or the file is damaged"
        )


def read_batch(
    path: Path, *, labels: str, pixels: int, first: int, last: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a batch in the Python layout that CIFAR and ImageNet16 share: a pickled dict with ``data`` and labels.

    Returns
    -------
    Images, uint8 (N, pixels), and labels, int64 (N,), as they are in the file.
    """
    batch = load_pickle(path)
    data, y = _entry(batch, "data", path), _entry(batch, labels, path)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != pixels:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"{path}: 'data' must be uint8 of shape (N, {pixels}), got {found}")
    # Checked before NumPy makes an array of it: lists inside each other, each there twice, would have 2^64 elements.
    if isinstance(y, list | tuple) and not all(isinstance(label, int | np.integer) for label in y):
        raise ValueError(
            f"{path}: {labels!r} must be {len(data)} whole numbers, got a {type(y).__name__} with something else in it"
        )
    y = np.asarray(y)
    if y.shape != data.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{path}: {labels!r} must be {len(data)} whole numbers, got {y.dtype} {y.shape}")
    check_labels(y, path, first=first, last=last)
    return data, y.astype(np.int64)


def _entry(batch: Any, key: str, path: Path) -> Any:
    # Python 2 wrote the keys as bytes, Python 3 as text.
    for candidate in (key, key.encode()):
        if isinstance(batch, dict) and candidate in batch:
            return batch[candidate]
    found = (
        f"a dict with {sorted(str(each)[:80] for each in list(batch)[:10])}"
        if isinstance(batch, dict)
        else type(batch).__name__
    )
    raise ValueError(f"{path}: expected a pickled dict with {key!r}, got {found}")


def describe_source(parts: Sequence[Part], *, total: int, what: str) -> str:
    """The line that says which files were read and how many of the data set's images they hold."""
    return f"{', '.join(part.file for part in parts)}: {sum(len(part.y) for part in parts):,} of the {total:,} {what} images"


def normalise(parts: Sequence[NDArray[np.uint8]], *, mean: Sequence[float], sd: Sequence[float]) -> NDArray[np.float32]:
    """Join images, each channel normalised: ``(x - mean) / sd`` in pixel values 0..255, rounded once to float32.

    Parameters
    ----------
    parts
        One or more arrays of shape (N, C, H, W).
    mean, sd
        One of each for each channel, in pixel values.

    Examples
    --------
    >>> normalise([np.array([[[[0, 255]]]], dtype=np.uint8)], mean=[127.5], sd=[51.0])
    array([[[[-2.5,  2.5]]]], dtype=float32)
    """
    # A table of the 256 pixel values for each channel, and a block at a time: the images are never twice in memory as floats.
    values = np.arange(256, dtype=np.float64)
    tables = [((values - m) / s).astype(np.float32) for m, s in zip(mean, sd, strict=True)]
    out = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.float32)
    done = 0
    for part in parts:
        for start in range(0, len(part), 256):
            block = part[start : start + 256]
            for channel, table in enumerate(tables):
                out[done : done + len(block), channel] = table[block[:, channel]]
            done += len(block)
    return out
