"""``sweetgrad supernet``: train a weight-sharing supernet (SPOS), then score architectures in it; not training-free."""

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sweetgrad.flows.inputs import resolve_device
from sweetgrad.flows.interrupt import draining
from sweetgrad.flows.progress import progress_bar
from sweetgrad.flows.provenance import provenance
from sweetgrad.flows.selection import select_archs
from sweetgrad.flows.supernet_scores import is_scored, score_archs
from sweetgrad.profiling import load_images, registry
from sweetgrad.profiling.supernet import SupernetSettings, SupernetTraining
from sweetgrad.store import Location, Profile, ProfileSpec, SpecMismatchError
from sweetgrad.store.access import absolute, is_remote, local_path
from sweetgrad.store.redaction import redacted

__all__ = ["SupernetSummary", "supernet"]

_RECENT_STEPS = 50
_SAME = ("method", "dataset", "settings", "weights_sha256")
"""What two trainings of one estimator must agree in, so that their scores may stand in one array."""


@dataclass(frozen=True)
class SupernetSummary:
    """What a run did.

    Attributes
    ----------
    name, estimator
        Profile in the store, and the estimator that the scores are stored as.
    num_steps, num_steps_left
        Steps of the training, and those of them that are left after an interruption.
    loss
        Mean loss of the last 50 steps, in nat.
    num_asked, num_done, num_left
        Architectures asked for, scored by this run, and left to be scored.
    train_seconds, seconds
        Wall time of the training in all its runs; of this run.
    """

    name: str
    estimator: str
    num_steps: int
    num_steps_left: int
    loss: float
    num_asked: int
    num_done: int
    num_left: int
    train_seconds: float
    seconds: float


def supernet(
    store: Location,
    profile: str,
    *,
    settings: SupernetSettings | None = None,
    archs: str = "all",
    name: str = "spos",
    checkpoint: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    threads: int = 1,
    console: Console | None = None,
) -> SupernetSummary:
    """Train a supernet on the data set of a profile, and store beside it how well sub-networks do with inherited weights.

    This is SPOS (Guo et al. 2020), which the paper's Table 6 compares with; unlike every other estimator it trains. What is there
    already, in the checkpoint or in the store, is not done again.

    Parameters
    ----------
    store, profile
        Folder, URL or `RemoteStore`, and name of a profile of NAS-Bench-201 in it. It need not be measured.
    settings
        How to train; by default as `SupernetSettings` says.
    archs
        Architectures to score, as in `profile`.
    name
        Estimator that the scores are stored as.
    checkpoint
        File in which the training is kept [default: beside the store].
    data_dir, download, device
        As in `profile`.
    threads
        Threads of the processor. Their number can move last bits.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was done. After Ctrl-C steps or architectures are left, and the same call continues.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can put right; nothing is written then.
    NotAStoreError
        If there is no such profile.
    SpecMismatchError
        If the store holds scores of this name from another training.
    """
    start = time.monotonic()
    settings = settings or SupernetSettings()
    console = console or Console(stderr=True)
    device = resolve_device(device, remote=False)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in registry.names("estimators"):
        raise ValueError(
            f"the scores need a name of their own, of small letters, digits, - and _, such as spos-2; got {name!r}"
        )
    location = absolute(store)
    stored = Profile.open(location, profile)
    data = stored.dataset(chunks=None)
    spec = ProfileSpec.from_attrs(data.attrs["spec"])
    if spec.space != "nas-bench-201":
        raise ValueError(f"a supernet can be built of nas-bench-201, and {profile} is of {spec.space}")
    rows = select_archs(archs, num_archs=data.sizes["arch"])
    file = _checkpoint_file(location, profile, name) if checkpoint is None else Path(checkpoint)
    images = load_images(spec.dataset, data_dir=data_dir, seed=spec.seed, download=download)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        training = SupernetTraining(images, settings, device=device)
        stop = threading.Event()
        with draining(stop, console=console):
            is_complete = _train(training, file, stop=stop, console=console)
            num_done = 0
            if is_complete:
                facts = _facts(training, images.source, device=device, threads=threads)
                _record(stored, name, facts)
                num_done = score_archs(stored, name, rows, training, stop=stop, console=console)
    finally:
        torch.set_num_threads(threads_before)
    scored = is_scored(stored, name)
    return SupernetSummary(
        name=profile,
        estimator=name,
        num_steps=len(training.losses),
        num_steps_left=len(training.losses) - training.num_done,
        loss=_recent_loss(training),
        num_asked=len(rows),
        num_done=num_done,
        num_left=sum(not scored[row] for row in rows),
        train_seconds=training.seconds,
        seconds=time.monotonic() - start,
    )


def _checkpoint_file(location: Location, profile: str, name: str) -> Path:
    if is_remote(location):
        raise ValueError(
            f"say with --checkpoint FILE where to keep the training: {redacted(location)} is not a folder here"
        )
    path = local_path(location)
    return path.with_name(f"{path.stem}-{name}-{profile.replace('/', '-')}.npz")


def _train(training: SupernetTraining, file: Path, *, stop: threading.Event, console: Console) -> bool:
    if file.exists():
        training.load(file)
    total, done = len(training.losses), training.num_done
    if done == total:
        console.print(f"Supernet: trained already ({file}).", markup=False)
        return True
    console.print(
        f"Supernet: {total - done} of {total} steps to train, {training.steps_per_epoch} an epoch, on {len(training.train):,} "
        f"images of {training.images.name}; {len(training.valid):,} are kept to score on. Checkpoint: {file}",
        markup=False,
    )
    with progress_bar(total, console=console, done=done, doing="training", of="steps", unit="step") as count:

        def on_step(training: SupernetTraining) -> None:
            count.remark = f", loss {_recent_loss(training):.3f}"
            count(1)

        return training.run(file, on_step=on_step, should_stop=stop.is_set)


def _recent_loss(training: SupernetTraining) -> float:
    done = training.losses[: training.num_done]
    return float(done[-_RECENT_STEPS:].mean(dtype=np.float64)) if len(done) else float("nan")


def _facts(training: SupernetTraining, source: str, *, device: str, threads: int) -> dict[str, Any]:
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


def _record(profile: Profile, name: str, facts: dict[str, Any]) -> None:
    before = profile.trained_estimators().get(name)
    if before is None:
        profile.record_training(name, facts)
        return
    differing = [key for key in _SAME if before.get(key) != facts[key]]
    if differing:
        lines = "\n".join(f"  {key}: stored {before.get(key)}, here {facts[key]}" for key in differing)
        raise SpecMismatchError(
            f"the scores {name} of {profile.name} in {profile.location} come from another training:\n{lines}\n"
            "Ask for that training to continue it, or give these scores another name with --name."
        )
