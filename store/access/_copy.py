"""Copy groups of a store byte by byte. Only files that the metadata names are copied: no locks and no temporary files."""

import itertools
import math
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import zarr
from zarr.buffer import default_buffer_prototype

from sweetgrad.store.access._location import ignore_leftovers
from sweetgrad.store.access._zarr import sync

Progress = Callable[[str, int, int], None]
"""Called with the name of the current step, the number of items done, and their total."""

_AT_ONCE = 8
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def copy_groups(root: zarr.Group, paths: Sequence[str], folder: Path, *, progress: Progress | None = None) -> None:
    """Copy groups with everything below them, and the metadata of the groups above them, into a folder; never overwrite.

    Every ``status`` is copied before the arrays that it describes. Writers use the opposite order, so every row that counts as
    measured in the copy is complete there, even during a run.
    """
    keys = list(dict.fromkeys(itertools.chain.from_iterable(_keys(root, path) for path in paths)))
    first = [key for key in keys if "/status/" in key]
    rest = [key for key in keys if "/status/" not in key]

    def copy(key: str) -> None:
        target = folder / key
        content = None if target.exists() else sync((root.store_path / key).get(default_buffer_prototype()))
        if content is not None:  # a chunk with only fill values has no file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.to_bytes())

    done = 0
    for part in (first, rest):
        for _ in map_in_threads(copy, part):
            done += 1
            if progress:
                progress("copying", done, len(keys))


def map_in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Apply a function to items in a few threads; yield results in order. An error or Ctrl-C cancels the rest."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def new_folder(folder: Path, suffix: str) -> Iterator[Path]:
    """A temporary folder beside the one to be written. It is deleted on errors, and after a kill by the next attempt.

    Its name is unique, so that a writer that was taken for dead cannot write into another writer's folder.
    """
    name = folder.name + suffix
    left = re.compile(rf"{re.escape(name)}(\.[0-9a-f]{{32}})?")
    for leftover in folder.parent.iterdir() if folder.parent.exists() else ():
        if left.fullmatch(leftover.name):
            shutil.rmtree(leftover)
    work = folder.with_name(f"{name}.{uuid.uuid4().hex}")
    work.mkdir(parents=True)
    try:
        yield work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _keys(root: zarr.Group, path: str) -> Iterator[str]:
    """Every file that a group can have: all its chunks, its metadata, and that of the nodes above and below it."""
    parts = path.split("/")
    yield from ("/".join([*parts[:depth], "zarr.json"]) for depth in range(len(parts) + 1))
    group = root[path]
    assert isinstance(group, zarr.Group)
    with ignore_leftovers():
        members = sorted(group.members(max_depth=None))
    for name, member in members:
        yield f"{path}/{name}/zarr.json"
        if isinstance(member, zarr.Array):
            yield from (f"{path}/{name}/{key}" for key in _chunk_keys(member))


def _chunk_keys(array: zarr.Array[Any]) -> Iterator[str]:
    files = zip(array.shape, array.shards or array.chunks, strict=True)
    for index in itertools.product(*(range(math.ceil(size / part)) for size, part in files)):
        yield array.metadata.encode_chunk_key(index)
