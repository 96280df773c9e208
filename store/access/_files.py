"""Durable writes to a disk: every file is complete and flushed before anything later is written.

A system crash keeps what was flushed (`os.fsync`), and may keep or lose anything else, in any order. Two things are flushed for
every file: its content, before it gets its name, and the folder that contains the name.
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
"""Suffix of the name of an incomplete file."""

_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def atomic_write(path: Path, *, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Write a file under a temporary name, and rename it when it is on the disk; after a crash, the previous file is still there.

    Raises
    ------
    FileExistsError
        If ``exclusive`` and the file exists; it is left unchanged.
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
    """Flush the entries of a folder to the disk, after files were created, renamed or deleted in it."""
    try:
        _force(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:  # some network file systems flush names themselves, and refuse to
            raise


def force_tree(folder: Path) -> None:
    """Flush a folder that was written by other means to the disk, with everything in it."""
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
    """Rename a folder, and flush the change to the disk.

    Raises
    ------
    OSError
        If the target exists and is not empty: nothing is ever replaced.
    """
    source.rename(target)
    force_folder(target.parent)
    if source.parent != target.parent:
        force_folder(source.parent)


class DurableStore(LocalStore):
    """A local folder in which every write is flushed before the next: a power cut keeps no write without all earlier ones."""

    async def set(self, key: str, value: Buffer) -> None:
        await self._force(key, value, exclusive=False)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with suppress(FileExistsError):
            await self._force(key, value, exclusive=True)

    async def delete(self, key: str) -> None:
        path = self.root / key
        if path.is_symlink():  # zarr would delete the target of the link
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
    """Create a folder and its missing parents; return the folders that have to be flushed."""
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
    """Whether a path (separated by ``/``) is a file that a desktop leaves behind, or lies in such a folder.

    Examples
    --------
    >>> [is_litter(path) for path in ("a/.DS_Store", "a/._zarr.json", "__MACOSX/a/b", "a/zarr.json")]
    [True, True, True, False]
    """
    return any(part in _NAMES or part.startswith("._") for part in path.split("/"))


def files_in(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Files and links below a folder whose names match, sorted, without what a desktop leaves behind (`is_litter`)."""
    for path in sorted(folder.rglob(pattern)):
        if (path.is_file() or path.is_symlink()) and not is_litter(path.relative_to(folder).as_posix()):
            yield path
