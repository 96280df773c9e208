"""ImageNet: crops of 224x224 for DARTS, and ImageNet16-120, its first 120 classes at 16x16."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from sweetgrad.profiling.batches import Examples
from sweetgrad.profiling.datasets._files import (
    ImageFile,
    check_labels,
    describe_source,
    existing_files,
    normalise,
    read_pickled_batch,
)
from sweetgrad.store.access import read_arrays
from sweetgrad.store.errors import how_to_install

_SIZE, _SHORTER_SIDE = 224, 256
# Of red, green and blue in pixel values 0..255: in [0, 1] they are the usual 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.
_MEAN = (123.675, 116.28, 103.53)
_SD = (58.395, 57.12, 57.375)
_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
_FOLDERS = ("train", "ILSVRC/Data/CLS-LOC/train", "imagenet/train", "imagenet", ".")
_MAX_PIXELS = 100_000_000


def load_imagenet(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Find the images of a folder with the layout of ImageNet, ``train/n01440764/*.JPEG``.

    Images are only read when a batch is drawn, by as many threads as torch has. The usual preprocessing for evaluation is used:
    the shorter side is scaled to 256 pixels (bilinear), the central 224 x 224 are cropped, and the channels are normalised.

    Parameters
    ----------
    data_dir
        Folder with a folder for each class, or a parent folder: ``train``, ``ILSVRC/Data/CLS-LOC/train``, ``imagenet/train`` or
        ``imagenet`` in it are searched. Classes and images are in the order of their names.
    seed, download
        Ignored: there is no address to download from.

    Returns
    -------
    Images of shape (3, 224, 224), labels from 0; one class for each folder. ``x`` reads the images at an array of
    positions, and ``source`` says how many there are.

    Raises
    ------
    FileNotFoundError
        If there is no such folder; the message says where it was searched.
    ImportError
        If pillow is not installed.
    ValueError
        If a class has no images; and, when a batch is drawn, if a file is not an image.
    """
    del seed, download
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the data set imagenet needs pillow to read images: {how_to_install('images')}") from error
    folder, classes = _find(data_dir)
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        paths = _image_paths(folder / name)
        if not paths:
            raise ValueError(
                f"{folder / name} has no images ({', '.join(_SUFFIXES)}): remove it, or add the images of the class"
            )
        files += paths
        labels += [label] * len(paths)
    names = hashlib.sha256("\n".join(classes).encode()).hexdigest()[:8]
    source = f"{folder.name}: {len(files):,} pictures in {len(classes)} classes (SHA-256 of their names: {names})"
    x = cast(NDArray[np.float32], _ImageFiles(files))
    return Examples("imagenet", x, np.array(labels, np.int64), num_classes=len(classes), source=source, crop_padding=28)


class _ImageFiles:
    """Stands for an array of all images, and reads those that are indexed: ImageNet has 1.28 million."""

    dtype = np.dtype(np.float32)

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self.shape = (len(files), 3, _SIZE, _SIZE)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            images = list(threads.map(_read, [self._files[position] for position in positions]))
        return normalise([image[None] for image in images], mean=_MEAN, std=_SD)

    def digest(self, positions: NDArray[np.int64]) -> str:
        """SHA-256 of the names (with folders) and file sizes of images: reading all of them takes hours."""
        digest = hashlib.sha256()
        for position in positions:
            file = Path(self._files[position])
            line = f"{file.parent.name}/{file.name} {file.stat().st_size}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()


def _find(data_dir: Path | None) -> tuple[Path, list[str]]:
    """Folder of the classes, and their names."""
    for name in _FOLDERS if data_dir is not None else ():
        folder = cast(Path, data_dir) / name
        classes = _folders(folder)
        # A folder of folders could be anything: at least one must have images in it.
        if classes and any(_image_paths(folder / label) for label in classes):
            return folder, classes
    searched = "no --data-dir was given" if data_dir is None else f"found none in {data_dir} ({', '.join(_FOLDERS)})"
    raise FileNotFoundError(
        f"data set imagenet: expected a folder of images for each class, such as train/n01440764/*.JPEG; {searched}. It "
        "cannot be downloaded automatically: get ILSVRC2012 (image-net.org, with an account) and specify its folder with "
        "--data-dir DIR"
    )


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _image_paths(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if entry.name.lower().endswith(_SUFFIXES))


def _read(path: str) -> NDArray[np.uint8]:
    """Read and crop one image, uint8 (3, 224, 224)."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > _MAX_PIXELS:
                raise ValueError(f"it has {width} x {height} pixels, more than {_MAX_PIXELS:,}")
            rgb = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}): download it again, or remove it") from error
    scale = _SHORTER_SIDE / min(width, height)
    size = [max(_SHORTER_SIDE, int(side * scale)) for side in (width, height)]
    left, top = (round((side - _SIZE) / 2) for side in size)
    middle = rgb.resize((size[0], size[1]), Image.Resampling.BILINEAR).crop((left, top, left + _SIZE, top + _SIZE))
    return np.ascontiguousarray(np.asarray(middle, dtype=np.uint8).transpose(2, 0, 1))


_NUM_CLASSES = 120
_NUM_TRAIN = 151_700
# In pixel values 0..255.
_MEAN_16 = (122.68, 116.66, 104.01)
_SD_16 = (63.22, 61.26, 65.09)
_FOLDER = "ImageNet16"
_BATCHES = tuple(f"train_data_batch_{i}" for i in range(1, 11))
_NPZ = "imagenet16_120*.npz"


def load_imagenet16_120(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
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
    x = normalise([file.x for file in files], mean=_MEAN_16, std=_SD_16)
    return Examples("imagenet16-120", x, y, _NUM_CLASSES, source, crop_padding=2)


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
    arrays = read_arrays(path, ("x", "y"))
    x, y = arrays["x"], arrays["y"]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (16, 16, 3):
        raise ValueError(f"{path}: x must be uint8 of shape (N, 16, 16, 3), got {x.dtype} {x.shape}")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{path}: y must be {len(x)} integers, got {y.dtype} {y.shape}")
    check_labels(y, path, first=0, last=_NUM_CLASSES - 1)
    return ImageFile(path.name, np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y.astype(np.int64))
