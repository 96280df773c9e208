"""A training on disk: whole after every epoch, and read without running anything."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sweetgrad.profiling._checkpoint import read_checkpoint, write_checkpoint
from sweetgrad.profiling.training.descent import Trainer
from sweetgrad.store.access import PARTIAL

__all__ = ["load_checkpoint", "save_checkpoint", "settings_digest"]


def settings_digest(settings: dict[str, Any]) -> str:
    """Short name of everything that a training depends on; it names its checkpoint."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def save_checkpoint(path: Path, trainer: Trainer, settings: dict[str, Any]) -> None:
    """Write the state of a training as a file of arrays; a crash at any moment leaves the last whole checkpoint."""
    write_checkpoint(path, settings, trainer.state())


def load_checkpoint(path: Path, trainer: Trainer, settings: dict[str, Any]) -> bool:
    """Bring a trainer to where a checkpoint was written, if there is one; parts of files that a crash left are removed.

    Returns
    -------
    Whether there was one.

    Raises
    ------
    ValueError
        If the file is no checkpoint, is damaged, or is that of another training.
    """
    for part in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        part.unlink(missing_ok=True)
    if not path.exists():
        return False
    trainer.restore(read_checkpoint(path, settings, trainer.empty_state()))
    return True
