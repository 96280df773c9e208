"""Writes to a disk that a power cut does not undo: a file is whole under its name, and forced there, before anything later is.

A crash of the system keeps what was forced (`os.fsync`) and may keep or drop all else, in any order. Two things are forced for
every file: its content, before it gets its name, and the folder that holds the name.
"""

import asyncio
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from zarr.abc.buffer import Buffer
from zarr.storage import LocalStore

PARTIAL = ".partial"
"""How the name of a file ends that is not whole."""

_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def atomic_write(path: Path, *, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Write a file under another name, which takes its place when it is on the disk; a crash leaves what was there before.

    Raises
    ------
    FileExistsError
        If ``exclusive``, and there is such a file; it stays as it is.
    """
    folders = _make_folders(path.parent)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(partial, path)  # a rename would replace what is there
        else:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    for folder in folders:
        force_folder(folder)


def force_folder(folder: Path) -> None:
    """Force the names in a folder onto the disk: of files that were created, renamed or deleted in it."""
    try:
        _force(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:  # some network file systems force names by themselves, and say so
            raise


def force_tree(folder: Path) -> None:
    """Force a folder that was written by other means onto the disk, with everything in it."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _force(Path(place, name))
        force_folder(Path(place))


def _force(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename_folder(source: Path, target: Path) -> None:
    """Give a folder another name, for good.

    Raises
    ------
    OSError
        If there is a folder of that name which is not empty: nothing is ever replaced.
    """
    source.rename(target)
    force_folder(target.parent)
    if source.parent != target.parent:
        force_folder(source.parent)


class DurableStore(LocalStore):
    """A folder on a disk in which every write is forced before the next: what a power cut keeps, it keeps with all before."""

    async def set(self, key: str, value: Buffer) -> None:
        await self._force(key, value, exclusive=False)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with suppress(FileExistsError):
            await self._force(key, value, exclusive=True)

    async def delete(self, key: str) -> None:
        path = self.root / key
        if path.is_symlink():  # of a link, zarr would delete what it points to
            self._check_writable()
            path.unlink()
        else:
            await super().delete(key)
        await self._force_parent(path)

    async def delete_dir(self, prefix: str) -> None:
        await super().delete_dir(prefix)
        await self._force_parent(self.root / prefix)

    def rename(self, source: str, target: str) -> None:
        """Rename a group, as `rename_folder` does."""
        self._check_writable()
        rename_folder(self.root / source, self.root / target)

    async def _force(self, key: str, value: Buffer, *, exclusive: bool) -> None:
        await self._ensure_open()
        self._check_writable()
        await asyncio.to_thread(_write, self.root / key, value, exclusive=exclusive)

    async def _force_parent(self, path: Path) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):  # there was nothing to delete
            await asyncio.to_thread(force_folder, path.parent)


def _write(path: Path, value: Buffer, *, exclusive: bool) -> None:
    with atomic_write(path, exclusive=exclusive) as file:
        file.write(value.as_buffer_like())


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder with all above it that are missing; returns those whose names have to be forced."""
    to_force = [folder]
    while not to_force[-1].exists():
        to_force.append(to_force[-1].parent)
    folder.mkdir(parents=True, exist_ok=True)
    return to_force


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
