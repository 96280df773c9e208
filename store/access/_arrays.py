"""Arrays of an ``.npz`` file, which can come from anyone."""

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.access._zip import check_members
from sweetgrad.store.errors import StoreError


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file, never a pickle; the size that an array declares is checked before it is read.

    Parameters
    ----------
    path
        The file.
    names
        Names of the arrays; others are ignored.

    Raises
    ------
    ValueError
        If the file is damaged, lacks an array, or holds objects.
    FileNotFoundError
        If there is no such file.
    """
    try:
        # Opened here, because np.load does not close a file that is not a zip archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            check_members(archive.zip.infolist(), where=str(path), archive_bytes=path.stat().st_size)
            for name in names:
                _check_header(archive.zip, f"{name}.npy")
            return {name: archive[name] for name in names}
    except (
        *(KeyError, TypeError, ValueError, AttributeError, EOFError, MemoryError, StoreError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise ValueError(
            f"{path} must be an intact .npz file with the arrays {' and '.join(names)}, without objects: {error}"
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
