"""Open the text of a foreign table, compressed or not, without following it beyond a limit."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

MAX_TABLE_BYTES = 1 << 30
"""A table, decompressed; that of all 423,624 graphs of NAS-Bench-101 has some 60 MB."""
MAX_TABLE_CELLS = 200_000_000

DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
"""What a compressed file raises that is none, or not whole."""

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNREAD = (".zip", ".tar", ".tgz", ".zst")


def open_table(path: Path) -> BinaryIO:
    """The bytes of a text file, decompressed by its suffix (``.gz``, ``.bz2``, ``.xz``).

    Returns
    -------
    A file that raises ValueError, naming the numbers, when more than `MAX_TABLE_BYTES` are read from it.

    Raises
    ------
    ValueError
        If the file is an archive, or compressed in another way.
    """
    if path.suffix in _UNREAD:
        raise ValueError(f"{path}: expected text, or text in .gz, .bz2 or .xz, got {path.suffix}: unpack it first")
    raw = cast(BinaryIO, _OPENERS.get(path.suffix, open)(path, "rb"))
    return cast(BinaryIO, io.BufferedReader(_Bounded(raw, path), 1 << 16))


def check_parquet(metadata: Any, *, path: Path) -> None:
    """Raise ValueError if the footer of a parquet file declares more rows and bytes than any table of accuracies has."""
    cells = metadata.num_rows * metadata.num_columns
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if cells > MAX_TABLE_CELLS or size > MAX_TABLE_BYTES:
        raise ValueError(
            f"{path} declares {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, and {size:,} bytes; expected at "
            f"most {MAX_TABLE_CELLS:,} values and {MAX_TABLE_BYTES:,} bytes. It is damaged or hostile; if not, cut it up."
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
                f"{self._path} has more than {MAX_TABLE_BYTES:,} bytes when it is decompressed; expected less. It is damaged or "
                "hostile; if not, cut it into several."
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
