"""Paths that options name: ``~`` is the home folder, and a file that cannot be written is refused before the work."""

import os
from collections.abc import Callable, Sequence
from errno import EACCES, ENOENT
from pathlib import Path

__all__ = ["PICTURES", "expanded", "new_folder", "written_as"]

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps", ".ps")
"""Suffixes of pictures."""


def expanded(value: Path | None) -> Path | None:
    """A path as it was meant: a shell leaves the ``~`` of ``--data-dir=~/data`` to the program."""
    return None if value is None else value.expanduser()


def written_as(*suffixes: str) -> Callable[[Path | list[Path] | None], Path | list[Path] | None]:
    """A callback for an option that names a file to write, or several: raises ``ValueError`` if one cannot be written as that."""

    def check(value: Path | list[Path] | None) -> Path | list[Path] | None:
        if isinstance(value, list | tuple):
            return [_checked(path, suffixes) for path in value]
        return None if value is None else _checked(value, suffixes)

    return check


def new_folder(value: Path | None) -> Path | None:
    """A callback for an option that names a folder to make: raises ``ValueError`` if there is something, or cannot be."""
    if value is None:
        return None
    path = value.expanduser()
    if path.exists():
        raise ValueError(f"{path} is there already: name a new folder, and nothing is overwritten")
    return _in_folder(path)


def _checked(path: Path, suffixes: Sequence[str]) -> Path:
    path = path.expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if suffixes and not path.name.lower().endswith(tuple(suffixes)):
        raise ValueError(f"expected a file name that ends in {', '.join(suffixes)}, got {str(path)!r}")
    return _in_folder(path)


def _in_folder(path: Path) -> Path:
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path))
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))
    return path
