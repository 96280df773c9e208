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

from sweetgrad.flows.runs.progress import Counter, progress_bar
from sweetgrad.flows.runs.provenance import provenance
from sweetgrad.profiling.supernet import SupernetTraining, accuracy_of
from sweetgrad.store import (
    STATUS,
    Location,
    Lock,
    Shard,
    SpecMismatchError,
    claim_shard,
    list_estimators,
    open_estimators,
    open_profile,
    write_estimators,
)
from sweetgrad.store.access import is_remote, local_path
from sweetgrad.store.estimators import open_trainings, record_training
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


def record(location: Location, profile: str, name: str, facts: dict[str, Any]) -> None:
    """Store how the supernet of these scores was trained; raises `SpecMismatchError` if they come from another training."""
    before = open_trainings(location, profile).get(name)
    if before is None:
        record_training(location, profile, name, facts)
        return
    differing = [key for key in _SAME if before.get(key) != facts[key]]
    if differing:
        lines = "\n".join(f"  {key}: stored {before.get(key)}, here {facts[key]}" for key in differing)
        raise SpecMismatchError(
            f"the scores {name} of {profile} in {location} come from another training:\n{lines}\n"
            "Use the settings of that training to resume it, or give these scores another name with --name."
        )


def is_scored(location: Location, profile: str, name: str) -> NDArray[np.bool_]:
    """Whether each architecture of a profile has a score of this name; shape (arch,)."""
    stored = open_estimators(location, profile)["status"]
    if name not in list_estimators(location, profile):
        return np.zeros(stored.sizes["arch"], dtype=bool)
    is_ok: NDArray[np.bool_] = stored.sel(estimator=name).values == STATUS["ok"]
    return is_ok


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
    """Score the sub-networks that have no score yet, shard by shard, and write scores periodically.

    Parameters
    ----------
    location, profile, name
        Store, profile in it, and the estimator that the scores are stored as.
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
            with claim_shard(location, profile, index, run=run, watch=True) as claim:
                writer = _Writer(location, profile, name, shard, claim)
                _score_shard(shard, arch, training, writer, stop=stop, count=count)
    return count.done


class _Writer:
    """Collects scores of a shard and writes them periodically."""

    def __init__(self, location: Location, profile: str, name: str, shard: Shard, claim: Lock) -> None:
        self._where, self._name, self._claim = (location, profile, shard), name, claim
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
        shape = (len(index), 1)
        data = {
            "score": np.reshape(score, shape),
            "seconds": np.reshape(seconds, shape).astype(np.float32),
            "message": np.full(shape, "", dtype=object),
            "status": np.full(shape, STATUS["ok"], dtype=np.uint8),
        }
        coords = {"arch": list(arch), "arch_index": ("arch", list(index)), "estimator": [self._name]}
        block = xr.Dataset({key: (("arch", "estimator"), value) for key, value in data.items()}, coords)
        write_estimators(*self._where, block, claim=self._claim)
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
        score = accuracy_of(training, str(arch[row]))
        writer.add((row, str(arch[row]), score, time.monotonic() - start))
        count(1)
    writer.flush()
