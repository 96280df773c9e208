"""What the pickles of a benchmark lie in: files of torch (zip, the one before, tar), and bz2."""

import bz2
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

Progress = Callable[[int, int], None]
"""Called with what is done and what there is, in bytes or files."""

_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First pickle, a number, of what torch wrote before version 1.6."""
_HEADERS = 3  # that number, the version of the protocol, and what the machine was like


def is_archive(path: Path) -> bool:
    """Whether a file is one of torch, or a compressed pickle."""
    with path.open("rb") as file:
        start = file.read(len(_TORCH_MAGIC))
    if start.startswith(b"BZh"):
        with bz2.open(path) as unpacked:
            try:
                return unpacked.read(1) == b"\x80"
            except (OSError, EOFError):
                return False
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(_is_data(name) for name in archive.namelist())
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is damaged ({error}): get the file again") from error
    if start == _TORCH_MAGIC:
        return True
    return not start.startswith(b"\x1f\x8b") and tarfile.is_tarfile(path) and _has_pickle(path)


@contextmanager
def open_pickle(path: Path, progress: Progress | None = None) -> Iterator[tuple[BinaryIO, int, Callable[[], None]]]:
    """The pickle of a file, without reading more of the file than that.

    Yields
    ------
    A file to read forwards, the number of pickles that come before the one with the data, and a function that tells ``progress``
    how far the file has been read.

    Raises
    ------
    ValueError
        If the file is damaged, or holds no pickle.
    """
    size = path.stat().st_size
    with path.open("rb") as raw:

        def tell() -> None:
            if progress is not None:
                progress(min(raw.tell(), size), size)

        start = raw.read(len(_TORCH_MAGIC))
        raw.seek(0)
        try:
            if start.startswith(b"BZh"):
                with bz2.open(raw) as unpacked:
                    yield cast(BinaryIO, unpacked), 0, tell
            elif start.startswith(b"PK"):
                with zipfile.ZipFile(raw) as archive, archive.open(_only_data(archive, path)) as member:
                    yield cast(BinaryIO, member), 0, tell
            elif start == _TORCH_MAGIC:
                yield raw, _HEADERS, tell
            elif start.startswith(b"\x80"):
                yield raw, 0, tell
            else:
                with tarfile.open(fileobj=raw, mode="r:") as old, _member(old, path) as member:
                    yield member, 0, tell
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, OSError) as error:
            # An OSError with a number is the machine's; that of a damaged bz2 has none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"{path} is damaged ({error}): get the file again") from error
    if progress is not None:
        progress(size, size)


def _is_data(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _only_data(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    found = [member for member in archive.infolist() if _is_data(member.filename)]
    if len(found) != 1:
        raise ValueError(f"{path} has {len(found)} members data.pkl, expected one, as torch.save writes it")
    return found[0]


def _has_pickle(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:") as archive:
            return any(member.name.removeprefix("./") == "pickle" for member, _ in zip(archive, range(8), strict=False))
    except tarfile.TarError:
        return False


def _member(archive: tarfile.TarFile, path: Path) -> BinaryIO:
    for member in archive:
        if member.name.removeprefix("./") == "pickle" and member.isreg():
            file = archive.extractfile(member)
            if file is not None:
                return cast(BinaryIO, file)
    raise ValueError(f"{path} has no member named pickle, as old versions of torch wrote it")
