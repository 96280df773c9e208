"""Checkpoints: one file of arrays (``.npz``), never a pickle, with the identity of the training."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from sweetgrad.store.access import atomic_write

_IDENTITY = "identity"
_MAX_IDENTITY = 1 << 20
"""Characters; a training's identity has a few thousand."""
_MOMENTUM = "momentum/"


def write_checkpoint(path: Path, identity: Mapping[str, Any], arrays: Mapping[str, ArrayLike]) -> None:
    """Write a checkpoint atomically."""
    # In memory first: if the disk is full, closing an incomplete zip file raises a second time.
    buffer = io.BytesIO()
    np.savez(buffer, **{_IDENTITY: np.array(json.dumps(identity)), **arrays})  # type: ignore[arg-type]  # mypy takes a value for allow_pickle
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_checkpoint(path: Path, identity: Mapping[str, Any], like: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file that `write_checkpoint` wrote for the same identity.

    The header of every array is checked before its data is read: a small file can declare terabytes.

    Parameters
    ----------
    path, identity
        As in `write_checkpoint`.
    like
        Arrays with the expected names, shapes and dtypes; momentum buffers may be missing.

    Raises
    ------
    ValueError
        If the checkpoint is from a different training (the message names the difference), or cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = _names(archive)
            stored = json.loads(_read_identity(archive))
            if not isinstance(stored, dict):
                raise ValueError(f"its identity is a {type(stored).__name__}, not a dictionary")
            same = stored == json.loads(json.dumps(identity))
            arrays = {name: _read(archive, name, like) for name in names} if same else {}
    except (
        *(OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, MemoryError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({error}): delete it to restart the training"
        ) from error
    _require_same(path, stored, identity)
    missing = [name for name in like if name not in arrays and not name.startswith(_MOMENTUM)]
    if missing:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({missing[0]} is missing): delete it to restart the training"
        )
    return arrays


def arrays_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, NDArray[np.generic]]:
    """Weights and buffers of a network, and the momentum buffers of its optimizer, if it has any yet."""
    arrays = {f"weights/{name}": _to_numpy(tensor) for name, tensor in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            arrays[f"{_MOMENTUM}{name}"] = _to_numpy(buffer)
    return arrays


def empty_arrays_of(module: nn.Module) -> dict[str, NDArray[np.generic]]:
    """All arrays that `arrays_of` can return, for `read_checkpoint` to compare with."""
    arrays = {f"weights/{name}": _to_numpy(tensor) for name, tensor in module.state_dict().items()}
    return arrays | {f"{_MOMENTUM}{name}": arrays[f"weights/{name}"] for name, _ in module.named_parameters()}


def restore_arrays(
    module: nn.Module, optimizer: torch.optim.Optimizer, arrays: Mapping[str, NDArray[np.generic]]
) -> None:
    """Inverse of `arrays_of`."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(torch.from_numpy(arrays[f"weights/{name}"]))
    for name, parameter in module.named_parameters():
        if f"{_MOMENTUM}{name}" in arrays:
            buffer = torch.empty_like(parameter).copy_(torch.from_numpy(arrays[f"{_MOMENTUM}{name}"]))
            optimizer.state[parameter]["momentum_buffer"] = buffer


def _to_numpy(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().cpu().numpy()
    return array


def _names(archive: zipfile.ZipFile) -> list[str]:
    """Names of all arrays except the identity."""
    members = archive.namelist()
    names = [member.removesuffix(".npy") for member in members]
    if len(set(members)) < len(members) or _IDENTITY not in names:
        raise ValueError("it has duplicate members or no identity")
    return [name for name in names if name != _IDENTITY]


def _read_identity(archive: zipfile.ZipFile) -> str:
    shape, dtype = _header(archive, _IDENTITY)
    if shape != () or dtype.kind != "U" or dtype.itemsize > 4 * _MAX_IDENTITY:
        raise ValueError(f"its identity has dtype {dtype} and shape {shape}")
    return str(_load(archive, _IDENTITY))


def _read(archive: zipfile.ZipFile, name: str, like: Mapping[str, ArrayLike]) -> NDArray[Any]:
    if name not in like:
        raise ValueError(f"it contains {name[:100]!r}, which is not part of this training")
    shape, dtype = _header(archive, name)
    expected = np.asarray(like[name])
    if (shape, dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{name} has dtype {dtype} and shape {shape}, expected {expected.dtype} and {expected.shape}")
    return _load(archive, name)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has version {version} of the npy format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return tuple(shape), dtype


def _load(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _require_same(path: Path, stored: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    expected = json.loads(json.dumps(identity))
    differing = [key for key in {**expected, **stored} if stored.get(key) != expected.get(key)]
    if differing:
        key = differing[0]
        theirs, ours = (_short(values.get(key)) for values in (stored, expected))
        raise ValueError(
            f"{path} is from a different training: its {key} is {theirs}, not {ours}. Resume that training, or choose "
            "another location for this one (--checkpoint, --checkpoints)"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
