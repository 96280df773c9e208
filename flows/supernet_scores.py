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
from sweetgrad.store import STATUS, Block, Lock, Profile, Shard, profile_block

__all__ = ["is_scored", "score_archs"]

_WRITE_EVERY_S = 30.0


def is_scored(profile: Profile, name: str) -> NDArray[np.bool_]:
    """Whether each architecture of a profile has a score of this name; shape (arch,)."""
    if name not in profile.estimators():
        return np.zeros(profile.num_archs, dtype=bool)
    return np.asarray(profile.status(profile_block(name)) == STATUS["ok"])


def score_archs(
    profile: Profile,
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
    profile, name
        Where to write, and the estimator that the scores are stored as.
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
    scored = is_scored(profile, name)
    to_do = [row for row in rows if not scored[row]]
    block, arch = profile_block(name), profile.arch()
    run = uuid.uuid4().hex
    with progress_bar(len(to_do), console=console, doing="scoring") as count:
        for shard in profile.shards_of(to_do):
            if stop.is_set():
                break
            with profile.lock(shard.index, run=run, watch=True) as lock:
                writer = _Writer(profile, block, shard, lock)
                _score_shard(shard, arch, training, writer, stop=stop, count=count)
    return count.done


class _Writer:
    """Keeps scores of a shard and writes them now and then."""

    def __init__(self, profile: Profile, block: Block, shard: Shard, lock: Lock) -> None:
        self._profile, self._block, self._shard, self._lock = profile, block, shard, lock
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
        data = {
            "score": score,
            "seconds": np.asarray(seconds, np.float32),
            "message": np.full(len(index), "", dtype=object),
            "status": np.full(len(index), STATUS["ok"], dtype=np.uint8),
        }
        coords = {"arch": list(arch), "arch_index": ("arch", list(index))}
        rows = xr.Dataset({key: ("arch", values) for key, values in data.items()}, coords)
        self._profile.write(self._shard, {self._block: rows}, lock=self._lock)
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
