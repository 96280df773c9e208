"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["PARTIAL", "whole_file"]

PARTIAL = ".partial"
"""How the name of a file ends that is not whole."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under another name, which takes its place when it is on the disk; a crash leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
