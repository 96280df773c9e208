"""A checkpoint: one file of arrays (``.npz``), never a pickle, that says which training it is of."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetgrad.profiling._whole_file import whole_file

__all__ = ["read_checkpoint", "write_checkpoint"]

_IDENTITY = "identity"


def write_checkpoint(path: Path, identity: Mapping[str, Any], arrays: Mapping[str, ArrayLike]) -> None:
    """Write the file whole, or leave the one that is there."""
    with whole_file(path) as file:
        np.savez(file, **{_IDENTITY: np.array(json.dumps(identity)), **arrays})  # type: ignore[arg-type]


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file that `write_checkpoint` wrote for the same identity.

    Raises
    ------
    ValueError
        If it is of another training, whose difference is named, or cannot be read.
    """
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        found = json.loads(str(arrays.pop(_IDENTITY)))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({error}): delete it, and training begins anew"
        ) from error
    for key, value in identity.items():
        if found.get(key) != value:
            raise ValueError(
                f"{path} is of another training: its {key} is {found.get(key)!r}, not {value!r}. Ask for that training, or say "
                "with --checkpoint where to keep this one"
            )
    return arrays
