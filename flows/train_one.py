"""``sweetgrad train --arch``: one long training, with a checkpoint after every epoch."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sweetgrad.flows.inputs import check_label, find_table, resolve_device
from sweetgrad.flows.interrupt import draining
from sweetgrad.profiling import load_space
from sweetgrad.profiling.devices import deterministic
from sweetgrad.profiling.training import (
    EVAL_SPLITS,
    Recipe,
    TrainingConfig,
    check_config,
    evaluate,
    load_checkpoint,
    make_trainer,
    save_checkpoint,
    settings_digest,
)
from sweetgrad.store import ImportReport, Location, import_accuracy, parse_genotype
from sweetgrad.store.access import absolute
from sweetgrad.store.root import create_store


def train_one(
    store: Location,
    arch: str,
    *,
    recipe: Recipe,
    checkpoints: str | Path,
    space: str = "darts",
    dataset: str = "cifar10",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    space_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    label: str | None = None,
    device: str = "auto",
    threads: int = 1,
    console: Console | None = None,
) -> ImportReport | None:
    """Train one architecture in this process; after Ctrl-C or a crash the same call resumes from the last whole epoch.

    On the same machine, a resumed training is bit for bit the same as one that was not interrupted.

    Parameters
    ----------
    store, space, dataset, data_dir, space_file, space_options, label, device
        As in `sweetgrad.flows.train`.
    arch
        Architecture string; in the DARTS spaces any form of `sweetgrad.store.parse_genotype`.
    recipe, seed
        How to train; seed of initialisation, order of images and all that is random about them.
    checkpoints
        Folder of checkpoints, each under a name made of its settings.
    threads
        Threads of this process, where it trains on the CPU.
    console
        Where each epoch is reported (default: standard error).

    Returns
    -------
    What was added to the accuracy table: ``<label>/valid`` and ``<label>/test``; None if it was interrupted.

    Raises
    ------
    ValueError
        If the architecture is not in the space, the recipe not for it, a checkpoint cannot be read, or an option is invalid.
    NotAStoreError
        If the path of the store holds something else.
    DivergedError
        If the loss is not finite; the last checkpoint is kept.
    """
    console = console or Console(stderr=True)
    label = dataset if label is None else label
    check_label(label)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    folder_of_checkpoints = Path(checkpoints)
    if folder_of_checkpoints.exists() and not folder_of_checkpoints.is_dir():
        raise ValueError(f"--checkpoints must be a folder, and {checkpoints} is a file: choose another")
    device = resolve_device(device, remote=False)
    search_space = load_space(space, table=space_file or find_table(space, data_dir), options=space_options)
    if hasattr(search_space, "form"):
        arch = str(parse_genotype(arch))
    folder = None if data_dir is None else Path(data_dir).expanduser().resolve()
    course = TrainingConfig(search_space, dataset, folder, recipe, seed, device)
    settings = {"arch": arch, **course.settings()}
    path = folder_of_checkpoints / f"{settings_digest(settings)}.npz"
    stop = threading.Event()
    with deterministic(threads):
        check_config(course, arch)
        trainer, data = make_trainer(course, arch)
        # Whether a store can be created there must be known before the training, not after.
        create_store(absolute(store))
        if load_checkpoint(path, trainer, settings):
            console.print(f"Resuming after epoch {trainer.epoch} of {recipe.epochs}, from {path}.", markup=False)
        else:
            console.print(f"Starting; the checkpoint of every epoch is written to {path}.", markup=False)
        with draining(stop, console=console, stopping="finishing the epoch, then writing its checkpoint"):
            while trainer.epoch < recipe.epochs and not stop.is_set():
                start = time.monotonic()
                done = trainer.run_epoch()
                save_checkpoint(path, trainer, settings)
                left = (recipe.epochs - done.number) * (time.monotonic() - start)
                console.print(
                    f"epoch {done.number} of {recipe.epochs}: loss {done.loss:.4f}, {left:.0f} s left", markup=False
                )
        if trainer.epoch < recipe.epochs:
            return None
        rows = [
            {
                "arch": arch,
                "dataset": label,
                "split": part,
                "epochs": recipe.epochs,
                "accuracy": evaluate(trainer.module, *data[part]),
                "seconds": trainer.seconds,
            }
            for part in EVAL_SPLITS
        ]
    console.print(", ".join(f"{label}/{row['split']}: {row['accuracy']:.2f} %" for row in rows), markup=False)
    table = pd.DataFrame(rows)
    table.attrs["settings"] = settings
    return import_accuracy(absolute(store), space=search_space.name, table=table, source=f"sweetgrad train {path.stem}")
