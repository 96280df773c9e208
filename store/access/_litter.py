"""Files that desktops leave in any folder that they show: no part of a store, a release or a benchmark, and no damage."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_in", "is_litter"]

_NAMES = frozenset(
    {
        *(".DS_Store", ".AppleDouble", ".localized", "__MACOSX", ".Spotlight-V100", ".Trashes", ".fseventsd"),
        *("Thumbs.db", "desktop.ini", ".directory"),
    }
)


def is_litter(path: str) -> bool:
    """Whether a path with ``/`` between its parts is such a file, or lies in such a folder.

    Examples
    --------
    >>> [is_litter(path) for path in ("a/.DS_Store", "a/._zarr.json", "__MACOSX/a/b", "a/zarr.json")]
    [True, True, True, False]
    """
    return any(part in _NAMES or part.startswith("._") for part in path.split("/"))


def files_in(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Files anywhere below a folder whose names match, and links, in order, without litter."""
    for path in sorted(folder.rglob(pattern)):
        if (path.is_file() or path.is_symlink()) and not is_litter(path.relative_to(folder).as_posix()):
            yield path
