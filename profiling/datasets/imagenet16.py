"""ImageNet16-120: the first 120 classes of ImageNet at 16x16, from the official batches or an ``.npz``."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sweetgrad.profiling.batches import Images
from sweetgrad.profiling.datasets._files import (
    ImageFile,
    check_labels,
    describe_source,
    existing_files,
    normalise,
    read_pickled_batch,
)
from sweetgrad.store.access import check_members
from sweetgrad.store.errors import StoreError

_NUM_CLASSES = 120
_NUM_TRAIN = 151_700
# In pixel values 0..255.
_MEAN = (122.68, 116.66, 104.01)
_SD = (63.22, 61.26, 65.09)
_FOLDER = "ImageNet16"
_BATCHES = tuple(f"train_data_batch_{i}" for i in range(1, 11))
_NPZ = "imagenet16_120*.npz"


def load_imagenet16_120(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Images:
    """Load ImageNet16-120: the official training batches that exist, else an ``.npz``.

    Parameters
    ----------
    data_dir
        Folder with ``train_data_batch_1`` .. ``_10`` (pickles with ``data``, uint8 (N, 768), and ``labels``, 1..1000, of which
        1..120 are kept), or its parent folder; a folder with one ``imagenet16_120*.npz`` (``x`` uint8 (N, 16, 16, 3), ``y``
        0..119); or such a file itself.
    seed, download
        Ignored: there is no address to download from.

    Returns
    -------
    Images of shape (3, 16, 16), normalised with the benchmark's constants, labels 0..119; ``source`` says which files.

    Raises
    ------
    FileNotFoundError
        If there is no file; the message says where it was searched.
    ValueError
        If a file is damaged or invalid, or there are several ``.npz`` files.
    """
    del seed, download
    if data_dir is not None and (files := _official(data_dir)):
        source = describe_source(files, total=_NUM_TRAIN, what="training")
    else:
        files = [_read_npz(_find_npz(data_dir))]
        # Not "of the training images": an .npz does not say which images it holds.
        source = f"{files[0].name}: {len(files[0].y):,} images"
    y = np.concatenate([file.y for file in files])
    if not len(y):
        raise ValueError(f"{data_dir}: no image is in one of the {_NUM_CLASSES} classes; download the files again")
    x = normalise([file.x for file in files], mean=_MEAN, std=_SD)
    return Images("imagenet16-120", x, y, _NUM_CLASSES, source, crop_padding=2)


def _official(data_dir: Path) -> list[ImageFile]:
    paths = existing_files(data_dir / _FOLDER, _BATCHES) or existing_files(data_dir, _BATCHES)
    return [_read_official(path) for path in paths]


def _read_official(path: Path) -> ImageFile:
    pixels, y = read_pickled_batch(path, labels="labels", pixels=3 * 16 * 16, first=1, last=1000)
    # Batch by batch, so that the other 880 classes of only one batch are in memory.
    keep = y <= _NUM_CLASSES
    return ImageFile(path.name, pixels[keep].reshape(-1, 3, 16, 16), y[keep] - 1)


def _find_npz(data_dir: Path | None) -> Path:
    if data_dir is not None and data_dir.is_file():
        return data_dir
    paths = [] if data_dir is None else sorted(data_dir.glob(_NPZ))
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise ValueError(f"{data_dir} has {len(paths)} files {_NPZ} ({names}): pass one of them as --data-dir")
    if paths:
        return paths[0]
    expected = (
        f"{_BATCHES[0]} .. {_BATCHES[-1]}, or one {_NPZ} with x (uint8, N x 16 x 16 x 3) and y (0..{_NUM_CLASSES - 1})"
    )
    searched = "no --data-dir was given" if data_dir is None else f"found none in {data_dir / _FOLDER}, {data_dir}"
    raise FileNotFoundError(
        f"data set imagenet16-120: expected {expected}; {searched}. It cannot be downloaded automatically: get the 16x16 "
        "ImageNet (image-net.org, with an account) and specify its folder with --data-dir DIR"
    )


def _read_npz(path: Path) -> ImageFile:
    x, y = _arrays(path)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (16, 16, 3):
        raise ValueError(f"{path}: x must be uint8 of shape (N, 16, 16, 3), got {x.dtype} {x.shape}")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{path}: y must be {len(x)} integers, got {y.dtype} {y.shape}")
    check_labels(y, path, first=0, last=_NUM_CLASSES - 1)
    return ImageFile(path.name, np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y.astype(np.int64))


def _arrays(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    try:
        # Opened here, because np.load does not close a file that is not a zip archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            check_members(archive.zip.infolist(), where=str(path), archive_bytes=path.stat().st_size)
            for name in ("x", "y"):
                _check_header(archive.zip, f"{name}.npy")
            return archive["x"], archive["y"]
    except (
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        MemoryError,
        StoreError,
    ) as error:
        raise ValueError(
            f"{path} must be an intact .npz file with the arrays x and y, without objects: {error}"
        ) from error


def _check_header(archive: zipfile.ZipFile, name: str) -> None:
    """Raise ValueError if an array declares more bytes than its file has: NumPy allocates the array before it reads."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    declared, actual = math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size
    if declared > actual:
        raise ValueError(f"{name} declares {declared:,} bytes, but has {actual:,}")
