"""ImageNet, or any folder of pictures that is laid out like it: one folder for each class, with pictures in it."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from sweetgrad.profiling.batches import Images
from sweetgrad.profiling.datasets._files import normalise
from sweetgrad.store.packages import how_to_install

_SIZE, _SHORTER_SIDE = 224, 256
# Of red, green and blue in pixel values 0..255: in [0, 1] they are the usual 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.
_MEAN = (123.675, 116.28, 103.53)
_SD = (58.395, 57.12, 57.375)
_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
_PLACES = ("train", "ILSVRC/Data/CLS-LOC/train", "imagenet/train", "imagenet", ".")
_MAX_PIXELS = 100_000_000


def load_imagenet(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Images:
    """Find the pictures of a folder in the layout of ImageNet, ``train/n01440764/*.JPEG``.

    Only the pictures of a batch are read, when it is drawn, by as many threads as torch has. Each is scaled so that its shorter
    side has 256 pixels (bilinear), the middle 224 x 224 of it are taken, and the channels normalised: the usual preprocessing
    for evaluation.

    Parameters
    ----------
    data_dir
        Folder with a folder for each class, or one above it: ``train``, ``ILSVRC/Data/CLS-LOC/train``, ``imagenet/train`` or
        ``imagenet`` in it are tried. Classes are numbered in the order of their names, pictures in that of theirs.
    seed, download
        Ignored: there is no address to fetch it from.

    Returns
    -------
    Images of shape (3, 224, 224), labels from 0; as many classes as there are folders. ``x`` gives the pictures at an array of
    places, and ``source`` says how many there are.

    Raises
    ------
    FileNotFoundError
        If there is no such folder; says where it was looked for.
    ImportError
        Without pillow, which reads pictures.
    ValueError
        If a class has no picture; and, when a batch is drawn, if a file is no picture.
    """
    del seed, download
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the data set imagenet needs pillow to read pictures: {how_to_install('images')}") from error
    folder, classes = _find(data_dir)
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _pictures(folder / name)
        if not found:
            raise ValueError(
                f"{folder / name} holds no picture ({', '.join(_SUFFIXES)}): remove it, or complete the class"
            )
        files += found
        labels += [label] * len(found)
    names = hashlib.sha256("\n".join(classes).encode()).hexdigest()[:8]
    source = f"{folder.name}: {len(files):,} pictures in {len(classes)} classes (SHA-256 of their names: {names})"
    x = cast(NDArray[np.float32], _Pictures(files))
    return Images("imagenet", x, np.array(labels, np.int64), num_classes=len(classes), source=source, crop_padding=28)


class _Pictures:
    """What an array of all pictures would give for an index array, without being one: ImageNet has 1.28 million."""

    dtype = np.dtype(np.float32)

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self.shape = (len(files), 3, _SIZE, _SIZE)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            pictures = list(threads.map(_read, [self._files[place] for place in places]))
        return normalise([picture[None] for picture in pictures], mean=_MEAN, sd=_SD)

    def digest(self, places: NDArray[np.int64]) -> str:
        """SHA-256 of the names of pictures, with their folders, and the sizes of their files: reading them all takes hours."""
        digest = hashlib.sha256()
        for place in places:
            file = Path(self._files[place])
            line = f"{file.parent.name}/{file.name} {file.stat().st_size}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()


def _find(data_dir: Path | None) -> tuple[Path, list[str]]:
    """Folder of the classes, and their names."""
    for place in _PLACES if data_dir is not None else ():
        folder = cast(Path, data_dir) / place
        classes = _folders(folder)
        # A folder of folders alone could be anything: the first must have pictures in it.
        if classes and any(_pictures(folder / name) for name in classes):
            return folder, classes
    looked = "no --data-dir was given" if data_dir is None else f"found none in {data_dir} ({', '.join(_PLACES)})"
    raise FileNotFoundError(
        f"data set imagenet: expected a folder for each class with pictures in it, such as train/n01440764/*.JPEG; {looked}. It "
        "cannot be fetched from here: get ILSVRC2012 (image-net.org, with an account) and say where it is with --data-dir DIR"
    )


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if entry.name.lower().endswith(_SUFFIXES))


def _read(path: str) -> NDArray[np.uint8]:
    """One picture, uint8 (3, 224, 224)."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if width * height > _MAX_PIXELS:
                raise ValueError(f"it has {width} x {height} pixels, more than {_MAX_PIXELS:,}")
            rgb = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}): get it again, or remove it") from error
    scale = _SHORTER_SIDE / min(width, height)
    size = [max(_SHORTER_SIDE, int(side * scale)) for side in (width, height)]
    left, top = (round((side - _SIZE) / 2) for side in size)
    middle = rgb.resize((size[0], size[1]), Image.Resampling.BILINEAR).crop((left, top, left + _SIZE, top + _SIZE))
    return np.ascontiguousarray(np.asarray(middle, dtype=np.uint8).transpose(2, 0, 1))
