"""Open untrusted files within limits: the text of a table, compressed or not, and a pickle, plain or in an archive."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

MAX_TABLE_BYTES = 1 << 30
"""Size of a decompressed table; that of all 423,624 graphs of NAS-Bench-101 has about 60 MB."""
MAX_TABLE_CELLS = 200_000_000

DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
"""Errors for a file that is not compressed as its suffix says, or is truncated."""

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNREAD = (".zip", ".tar", ".tgz", ".zst")


def open_table(path: Path) -> BinaryIO:
    """The bytes of a text file, decompressed by its suffix (``.gz``, ``.bz2``, ``.xz``).

    Returns
    -------
    A file that raises ValueError when more than `MAX_TABLE_BYTES` are read from it.

    Raises
    ------
    ValueError
        If the file is an archive, or compressed by another method.
    """
    if path.suffix in _UNREAD:
        raise ValueError(f"{path}: expected text, or text in .gz, .bz2 or .xz, got {path.suffix}: unpack it first")
    raw = cast(BinaryIO, _OPENERS.get(path.suffix, open)(path, "rb"))
    return cast(BinaryIO, io.BufferedReader(_Bounded(raw, path), 1 << 16))


def read_json(path: Path, expected: str) -> Any:
    """The content of a JSON file, decompressed by its suffix.

    Raises
    ------
    ValueError
        If there is no such file, or it is not JSON; ``expected`` ends the message.
    """
    try:
        with open_table(path) as file:
            return json.load(file)
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}; {expected}") from None
    except (ValueError, RecursionError, OSError, *DAMAGED) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): download the file again; {expected}") from error


def check_parquet(metadata: Any, *, path: Path) -> None:
    """Raise ValueError if the footer of a parquet file declares more values or bytes than any table of accuracies has."""
    cells = metadata.num_rows * metadata.num_columns
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if cells > MAX_TABLE_CELLS or size > MAX_TABLE_BYTES:
        raise ValueError(
            f"{path} declares {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, and {size:,} bytes; expected at "
            f"most {MAX_TABLE_CELLS:,} values and {MAX_TABLE_BYTES:,} bytes. It is damaged or malicious; if not, split it."
        )


class _Bounded(io.RawIOBase):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path, self._read = file, path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._read += len(data)
        if self._read > MAX_TABLE_BYTES:
            raise ValueError(
                f"{self._path} has more than {MAX_TABLE_BYTES:,} bytes when it is decompressed; expected fewer. It is damaged or "
                "malicious; if not, split it into several files."
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


Progress = Callable[[int, int], None]
"""Called with the number of bytes or files done, and their total."""

_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle, a number, in files of torch before version 1.6."""
_HEADERS = 3  # that number, the version of the protocol, and properties of the machine


def is_archive(path: Path) -> bool:
    """Whether a file is a torch file, or a compressed pickle."""
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
            raise ValueError(f"{path} is damaged ({error}): download the file again") from error
    if start == _TORCH_MAGIC:
        return True
    return not start.startswith(b"\x1f\x8b") and tarfile.is_tarfile(path) and _has_pickle(path)


@contextmanager
def open_pickle(path: Path, progress: Progress | None = None) -> Iterator[tuple[BinaryIO, int, Callable[[], None]]]:
    """Open the pickle in a file, without reading the rest of the file.

    Yields
    ------
    A file to read forwards, the number of pickles before the one with the data, and a function that reports to ``progress`` how
    much of the file has been read.

    Raises
    ------
    ValueError
        If the file is damaged, or has no pickle.
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
            # An OSError from the system has a number; that of a damaged bz2 file has none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"{path} is damaged ({error}): download the file again") from error
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
