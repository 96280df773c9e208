"""The steps of a supernet run: train with checkpoints, record how it was trained, score architectures shard by shard."""

import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console

from sweetgrad.flows.provenance import provenance
from sweetgrad.flows.runs.progress import Counter, progress_bar
from sweetgrad.profiling.supernet import SupernetTraining, subnet_accuracy
from sweetgrad.store import STATUS, Block, Location, Lock, Profile, Shard, SpecMismatchError, profile_block
from sweetgrad.store.access import is_remote, local_path
from sweetgrad.store.redaction import redacted

_RECENT_STEPS = 50
_WRITE_EVERY_S = 30.0
_SAME = ("method", "dataset", "settings", "weights_sha256")
"""What two trainings of one estimator must agree in, so that their scores may be stored in one array."""


def checkpoint_file(location: Location, profile: str, name: str) -> Path:
    """Where the checkpoint of a supernet is kept by default: beside the store."""
    if is_remote(location):
        raise ValueError(f"name a checkpoint file with --checkpoint FILE: {redacted(location)} is not a local folder")
    path = local_path(location)
    return path.with_name(f"{path.stem}-{name}-{profile.replace('/', '-')}.npz")


def train(training: SupernetTraining, file: Path, *, stop: threading.Event, console: Console) -> bool:
    """Train from the checkpoint on, if there is one; returns whether the training is complete."""
    if file.exists():
        training.load(file)
    total, done = len(training.losses), training.num_done
    if done == total:
        console.print(f"Supernet: already trained ({file}).", markup=False)
        return True
    console.print(
        f"Supernet: {total - done} of {total} steps to train, {training.steps_per_epoch} per epoch, on {len(training.train):,} "
        f"images of {training.images.name}; {len(training.valid):,} are held out for scoring. Checkpoint: {file}",
        markup=False,
    )
    with progress_bar(total, console=console, done=done, doing="training", of="steps", unit="step") as count:

        def on_step(training: SupernetTraining) -> None:
            count.remark = f", loss {recent_loss(training):.3f}"
            count(1)

        return training.run(file, on_step=on_step, should_stop=stop.is_set)


def recent_loss(training: SupernetTraining) -> float:
    """Mean loss of the last 50 steps, in nat."""
    done = training.losses[: training.num_done]
    return float(done[-_RECENT_STEPS:].mean(dtype=np.float64)) if len(done) else float("nan")


def training_facts(training: SupernetTraining, source: str, *, device: str, threads: int) -> dict[str, Any]:
    """How a supernet was trained, JSON-ready, for the attributes of its estimator."""
    facts = provenance(device=device, data_source=source, arch_order="")
    del facts["arch_order"]
    return {
        "method": "SPOS",
        "dataset": training.images.name,
        "settings": training.settings.as_json(),
        "weights_sha256": training.weights_sha256(),
        "num_train": len(training.train),
        "num_valid": len(training.valid),
        "train_seconds": round(training.seconds, 1),
        "loss_first_epoch": float(training.losses[: training.steps_per_epoch].mean(dtype=np.float64)),
        "loss_last_epoch": float(training.losses[-training.steps_per_epoch :].mean(dtype=np.float64)),
        "device": device,
        "threads": threads,
        **facts,
    }


def record(profile: Profile, name: str, facts: dict[str, Any]) -> None:
    """Store how the supernet of these scores was trained; raises `SpecMismatchError` if they come from another training."""
    before = profile.trained_estimators().get(name)
    if before is None:
        profile.record_training(name, facts)
        return
    differing = [key for key in _SAME if before.get(key) != facts[key]]
    if differing:
        lines = "\n".join(f"  {key}: stored {before.get(key)}, here {facts[key]}" for key in differing)
        raise SpecMismatchError(
            f"the scores {name} of {profile.name} in {profile.location} come from another training:\n{lines}\n"
            "Use the settings of that training to resume it, or give these scores another name with --name."
        )


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
    """Score the sub-networks that have no score yet, shard by shard, and write scores periodically.

    Parameters
    ----------
    profile, name
        Where to write, and the estimator that the scores are stored as.
    rows
        Positions of the requested architectures.
    training
        The supernet, trained.
    stop
        Stops it after the current architecture.
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
    """Collects scores of a shard and writes them periodically."""

    def __init__(self, profile: Profile, block: Block, shard: Shard, lock: Lock) -> None:
        self._profile, self._block, self._shard, self._lock = profile, block, shard, lock
        self._rows: list[tuple[int, str, float, float]] = []
        self._last = time.monotonic()

    def add(self, row: tuple[int, str, float, float]) -> None:
        """Add the position, string, score and seconds of an architecture."""
        self._rows.append(row)
        if time.monotonic() - self._last >= _WRITE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write the collected scores."""
        self._last = time.monotonic()
        if not self._rows:
            return
        index, arch, score, seconds = zip(*self._rows, strict=True)
        data = {
            "score": np.asarray(score, np.float64),
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
