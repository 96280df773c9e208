"""CIFAR-10 and CIFAR-100 from the official files, binary or Python layout (https://www.cs.toronto.edu/~kriz/cifar.html)."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweetgrad.profiling.batches import Examples
from sweetgrad.profiling.datasets._files import (
    ImageFile,
    check_labels,
    describe_source,
    existing_files,
    normalise,
    read_pickled_batch,
)

_PIXELS = 3 * 32 * 32
_NUM_TRAIN, _NUM_TEST = 50_000, 10_000


@dataclass(frozen=True)
class _Cifar:
    """The official layouts of one of the two data sets; ``mean`` and ``std`` in pixel values 0..255.

    ``coarse_labels`` is the range of the label byte that precedes the fine label in the binary layout, or 0.
    """

    name: str
    num_classes: int
    coarse_labels: int
    binary_folder: str
    python_folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    python_labels: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    url: str
    md5: str

    def folders(self, data_dir: Path) -> Iterator[tuple[Path, str]]:
        """Folders to search, and the file suffix of the layout there."""
        for folder, suffix in ((self.binary_folder, ".bin"), (self.python_folder, "")):
            yield data_dir / folder, suffix
            yield data_dir, suffix


_CIFAR10 = _Cifar(
    name="cifar10",
    num_classes=10,
    coarse_labels=0,
    binary_folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=(),
    python_labels="labels",
    mean=(125.3, 123.0, 113.9),
    std=(63.0, 62.1, 66.7),
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)
_CIFAR100 = _Cifar(
    name="cifar100",
    num_classes=100,
    coarse_labels=20,
    binary_folder="cifar-100-binary",
    python_folder="cifar-100-python",
    train=("train",),
    test=("test",),
    python_labels="fine_labels",
    mean=(129.3, 124.1, 112.4),
    std=(68.2, 65.4, 70.4),
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
)


def load_cifar10(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load the CIFAR-10 training batches that exist, in order.

    Parameters
    ----------
    data_dir
        Folder with ``data_batch_1.bin`` .. ``_5.bin`` (binary layout) or ``data_batch_1`` .. ``_5`` (Python layout), or its
        parent folder; the first layout found is read.
    seed
        Ignored.
    download
        Download the binary layout to ``data_dir`` if there is no training batch at all; existing batches are used as they are.

    Returns
    -------
    Images of shape (3, 32, 32), normalised with the benchmark's constants, labels 0..9; ``source`` says which files.

    Raises
    ------
    FileNotFoundError
        If there is no batch and ``download`` is false; the message says where it was searched and how to download it.
    ValueError
        If a file is truncated or damaged, or has invalid labels.
    ConnectionError
        If the download fails.
    """
    del seed
    return _load(_CIFAR10, data_dir, download=download)


def load_cifar100(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load the CIFAR-100 training images, or the test images if only those exist (``source`` says which).

    Parameters and errors are as in `load_cifar10`; the files are ``train.bin`` or ``train`` (and ``test.bin`` or ``test``),
    the labels the 100 fine ones.
    """
    del seed
    return _load(_CIFAR100, data_dir, download=download)


def _load(cifar: _Cifar, data_dir: Path | None, *, download: bool) -> Examples:
    located = None if data_dir is None else _find(cifar, data_dir)
    if download and data_dir is not None and not (located and located[1]):
        from sweetgrad.profiling.datasets._files import fetch

        fetch(cifar.url, cifar.md5, data_dir)
        located = _find(cifar, data_dir)
    if located is None:
        raise FileNotFoundError(_not_found(cifar, data_dir))
    paths, is_train = located
    files = [_read(cifar, path) for path in paths]
    total, what = (_NUM_TRAIN, "training") if is_train else (_NUM_TEST, "test")
    x = normalise([file.x for file in files], mean=cifar.mean, std=cifar.std)
    y = np.concatenate([file.y for file in files])
    source = describe_source(files, total=total, what=what)
    return Examples(cifar.name, x, y, cifar.num_classes, source, crop_padding=4)


def _find(cifar: _Cifar, data_dir: Path) -> tuple[list[Path], bool] | None:
    """Files of the first layout found, and whether they are training images; test images only if there are no others."""
    for names, is_train in ((cifar.train, True), (cifar.test, False)):
        for folder, suffix in cifar.folders(data_dir):
            paths = existing_files(folder, (name + suffix for name in names))
            if paths:
                return paths, is_train
    return None


def _not_found(cifar: _Cifar, data_dir: Path | None) -> str:
    files = f"{cifar.train[0]}.bin" + (f" .. {cifar.train[-1]}.bin" if len(cifar.train) > 1 else "")
    files += f" (binary layout) or {files.replace('.bin', '')} (Python layout)"
    command = (
        f"sweetgrad profile STORE --dataset {cifar.name} --data-dir {shlex.quote(str(data_dir or 'DIR'))} --download"
    )
    if data_dir is None:
        return (
            f"data set {cifar.name} needs its files, {files}: specify their folder with --data-dir DIR, or download them: "
            f"`{command}`"
        )
    searched = ", ".join(str(folder) for folder in dict.fromkeys(folder for folder, _ in cifar.folders(data_dir)))
    return f"data set {cifar.name}: expected {files}, found none in {searched}. To download them: `{command}`"


def _read(cifar: _Cifar, path: Path) -> ImageFile:
    if path.suffix == ".bin":
        return _read_binary(cifar, path)
    pixels, y = read_pickled_batch(
        path, labels=cifar.python_labels, pixels=_PIXELS, first=0, last=cifar.num_classes - 1
    )
    return ImageFile(path.name, pixels.reshape(-1, 3, 32, 32), y)


def _read_binary(cifar: _Cifar, path: Path) -> ImageFile:
    """Records of a label byte (CIFAR-100: coarse, then fine) and 3,072 bytes: the R, G and B planes, row by row."""
    label_bytes = 2 if cifar.coarse_labels else 1
    record, size = label_bytes + _PIXELS, path.stat().st_size
    if size == 0 or size % record:
        raise ValueError(
            f"{path}: expected a whole number of records of {record:,} bytes, got {size:,} bytes ({size / record:.2f} records); "
            "the file is truncated or a different one: download it again"
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, record)
    if cifar.coarse_labels:
        check_labels(records[:, 0], path, first=0, last=cifar.coarse_labels - 1, what="coarse labels")
    y = records[:, label_bytes - 1]
    check_labels(y, path, first=0, last=cifar.num_classes - 1)
    return ImageFile(path.name, records[:, label_bytes:].reshape(-1, 3, 32, 32), y.astype(np.int64))
