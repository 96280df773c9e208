"""``sweetgrad supernet``: train a weight-sharing supernet (SPOS), then score architectures in it; not training-free."""

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

if TYPE_CHECKING:
    from sweetgrad.profiling.supernet import SupernetSettings
    from sweetgrad.store import Location


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
        Architectures requested, scored by this run, and left to be scored.
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
    store: "Location",
    profile: str,
    *,
    settings: "SupernetSettings | None" = None,
    archs: str = "all",
    name: str = "spos",
    checkpoint: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
    console: Console | None = None,
) -> SupernetSummary:
    """Train a supernet on the data set of a profile, and store the accuracy of sub-networks with inherited weights beside it.

    This is SPOS (Guo et al. 2020), which the paper's Table 6 compares with; unlike every other estimator it trains. Steps that
    the checkpoint holds, and scores that the store holds, are not computed again.

    Parameters
    ----------
    store
        As in `estimate`.
    profile
        Name of a profile of NAS-Bench-201 in the store. It need not be measured.
    settings
        Settings of the training (default: those of `SupernetSettings`).
    archs
        Architectures to score: all, START:STOP, sample:N, unique, an index, or an architecture string.
    name
        Estimator that the scores are stored as.
    checkpoint
        Checkpoint file of the training (default: beside the store).
    data_dir
        As in `profile`.
    download
        Download missing files of the data set.
    device
        As in `profile`.
    threads
        Number of CPU threads; it can change the last bits of a score.
    console
        Where progress is shown (default: standard error).

    Returns
    -------
    What was done. After Ctrl-C steps or architectures are left, and the same call resumes.

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can fix; nothing has been written then.
    NotAStoreError
        If there is no such profile.
    SpecMismatchError
        If the store holds scores of this name from another training.
    """
    # Imported here, so that reading the options of a command does not load torch.
    import torch

    from sweetgrad.flows.inputs import resolve_device
    from sweetgrad.flows.interrupt import draining
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.flows.supernet_run import (
        checkpoint_file,
        is_scored,
        recent_loss,
        record,
        score_archs,
        train,
        training_facts,
    )
    from sweetgrad.profiling import load_examples, registry
    from sweetgrad.profiling.supernet import SupernetSettings, SupernetTraining
    from sweetgrad.store import Profile
    from sweetgrad.store.access import absolute

    start = time.monotonic()
    settings = settings or SupernetSettings()
    console = console or Console(stderr=True)
    resolved_device = resolve_device(device, remote=False)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in registry.names("estimators"):
        raise ValueError(
            f"the name of the scores must be new, of lower-case letters, digits, - and _, such as spos-2; got {name!r}"
        )
    location = absolute(store)
    stored = Profile.open(location, profile)
    spec = stored.spec
    if spec.space != "nas-bench-201":
        raise ValueError(f"a supernet requires a profile of nas-bench-201, and {profile} is of {spec.space}")
    rows = select_archs(archs, stored.arch().tolist(), space=spec.space)
    file = checkpoint_file(location, profile, name) if checkpoint is None else Path(checkpoint)
    images = load_examples(spec.dataset, data_dir=data_dir, seed=spec.seed, download=download)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        training = SupernetTraining(images, settings, device=resolved_device)
        stop = threading.Event()
        with draining(stop, console=console):
            is_complete = train(training, file, stop=stop, console=console)
            num_done = 0
            if is_complete:
                facts = training_facts(training, images.source, device=resolved_device, threads=threads)
                record(stored, name, facts)
                num_done = score_archs(stored, name, rows, training, stop=stop, console=console)
    finally:
        torch.set_num_threads(threads_before)
    scored = is_scored(stored, name)
    return SupernetSummary(
        name=profile,
        estimator=name,
        num_steps=len(training.losses),
        num_steps_left=len(training.losses) - training.num_done,
        loss=recent_loss(training),
        num_asked=len(rows),
        num_done=num_done,
        num_left=sum(not scored[row] for row in rows),
        train_seconds=training.seconds,
        seconds=time.monotonic() - start,
    )
