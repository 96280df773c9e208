"""Scores of architectures in a trained supernet, written shard by shard as one estimator of a profile."""

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console

from sweetgrad.flows.progress import Counter, progress_bar
from sweetgrad.profiling.supernet import SupernetTraining, subnet_accuracy
from sweetgrad.store import (
    STATUS,
    Location,
    Lock,
    Shard,
    list_estimators,
    lock_shard,
    open_estimators,
    open_profile,
    write_estimators,
)

__all__ = ["is_scored", "score_archs"]

_WRITE_EVERY_S = 30.0


def is_scored(location: Location, profile: str, name: str) -> NDArray[np.bool_]:
    """Whether each architecture of a profile has a score of this name; shape (arch,)."""
    stored = open_estimators(location, profile)["status"]
    if name not in list_estimators(location, profile):
        return np.zeros(stored.sizes["arch"], dtype=bool)
    return stored.sel(estimator=name).values == STATUS["ok"]  # type: ignore[no-any-return]


def score_archs(
    location: Location,
    profile: str,
    name: str,
    rows: Sequence[int],
    training: SupernetTraining,
    *,
    stop: threading.Event,
    console: Console,
) -> int:
    """Score the sub-networks that have no score yet, shard by shard, and write what is there now and then.

    Parameters
    ----------
    location, profile, name
        Store, profile in it, and the estimator that the scores are stored as.
    rows
        Positions of the architectures asked for.
    training
        The supernet, trained.
    stop
        Ends it after the architecture in hand.
    console
        Where progress is shown.

    Returns
    -------
    How many were scored.
    """
    data = open_profile(location, profile, chunks=None)
    size, arch = int(data.attrs["shard_size"]), data["arch"].values
    scored = is_scored(location, profile, name)
    to_do = [row for row in rows if not scored[row]]
    run = uuid.uuid4().hex
    with progress_bar(len(to_do), console=console, doing="scoring") as count:
        for index in sorted({row // size for row in to_do}):
            if stop.is_set():
                break
            inside = tuple(row for row in to_do if row // size == index)
            shard = Shard(index, index * size, min((index + 1) * size, len(arch)), inside)
            with lock_shard(location, profile, index, run=run, watch=True) as lock:
                writer = _Writer(location, profile, name, shard, lock)
                _score_shard(shard, arch, training, writer, stop=stop, count=count)
    return count.done


class _Writer:
    """Keeps scores of a shard and writes them now and then."""

    def __init__(self, location: Location, profile: str, name: str, shard: Shard, lock: Lock) -> None:
        self._where, self._name, self._lock = (location, profile, shard), name, lock
        self._rows: list[tuple[int, str, float, float]] = []
        self._last = time.monotonic()

    def add(self, row: tuple[int, str, float, float]) -> None:
        """Keep the position, string, score and seconds of an architecture."""
        self._rows.append(row)
        if time.monotonic() - self._last >= _WRITE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        self._last = time.monotonic()
        if not self._rows:
            return
        index, arch, score, seconds = zip(*self._rows, strict=True)
        shape = (len(index), 1)
        data = {
            "score": np.reshape(score, shape),
            "seconds": np.reshape(seconds, shape).astype(np.float32),
            "message": np.full(shape, "", dtype=object),
            "status": np.full(shape, STATUS["ok"], dtype=np.uint8),
        }
        coords = {"arch": list(arch), "arch_index": ("arch", list(index)), "estimator": [self._name]}
        block = xr.Dataset({key: (("arch", "estimator"), value) for key, value in data.items()}, coords)
        write_estimators(*self._where, block, lock=self._lock)
        self._rows = []


def _score_shard(
    shard: Shard,
    arch: NDArray[Any],
    training: SupernetTraining,
    writer: _Writer,
    *,
    stop: threading.Event,
    count: Counter,
) -> None:
    for row in shard.rows:
        if stop.is_set():
            break
        start = time.monotonic()
        score = subnet_accuracy(training, str(arch[row]))
        writer.add((row, str(arch[row]), score, time.monotonic() - start))
        count(1)
    writer.flush()
