"""A training on disk: whole after every epoch, and read without running anything."""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from sweetgrad.profiling._whole_file import PARTIAL, whole_file
from sweetgrad.profiling.training.descent import Trainer

__all__ = ["load_checkpoint", "save_checkpoint", "settings_digest"]


def settings_digest(settings: dict[str, Any]) -> str:
    """Short name of everything that a training depends on; it names its checkpoint."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def save_checkpoint(path: Path, trainer: Trainer, settings: dict[str, Any]) -> None:
    """Write the state of a training, tensors and numbers alone; a crash at any moment leaves the last whole checkpoint."""
    # In memory first: on a full disk torch says "unexpected pos 64 vs 0", and a file what is the matter.
    buffer = io.BytesIO()
    torch.save({"settings": json.dumps(settings, sort_keys=True), **trainer.state()}, buffer)
    with whole_file(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: Path, trainer: Trainer, settings: dict[str, Any]) -> bool:
    """Bring a trainer to where a checkpoint was written, if there is one; parts of files that a crash left are removed.

    Returns
    -------
    Whether there was one.

    Raises
    ------
    ValueError
        If the file is no checkpoint, is damaged, names anything but tensors and numbers, or is that of another training.
    """
    for part in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        part.unlink(missing_ok=True)
    if not path.exists():
        return False
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = json.loads(state["settings"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {str(error).partition(chr(10))[0]}); "
            "delete it to begin anew"
        ) from error
    if found != json.loads(json.dumps(settings)):
        raise ValueError(f"{path} is the checkpoint of a training with other settings; give another folder")
    trainer.restore(state)
    return True
