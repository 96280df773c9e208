"""The columns of a store that ``sweetgrad profile`` does not make: trainings, and a table of accuracies."""

from pathlib import Path

import pandas as pd

from sweetgrad.store import Trainings, import_accuracy, list_profiles, open_accuracies, open_training, stored_archs
from sweetgrad.store.training import create_training

_SPACE = "nas-bench-201"
_NUM_ARCHS = 60
"""More than one file of trainings."""


def add_tables(store: Path) -> None:
    """Write the trainings and accuracies that the store has not; their values depend on the architecture alone."""
    (name,) = list_profiles(store)
    archs = stored_archs(store, name)[:_NUM_ARCHS]
    settings = {"recipe": {"epochs": 3}}
    training = create_training(
        store, space=_SPACE, label="soak", seed=0, arch=archs, splits=("valid", "test"), settings=settings
    ).name
    for shard in Trainings.open(store, training).plan(range(len(archs))):
        for row in shard.rows:
            values = {"accuracy": [50 + row / 8, 51 + row / 8], "train_seconds": 2.0, "loss": 0.5 + row}
            Trainings.open(store, training).write_row(row, {**values, "message": "", "status": 1})
    Trainings.open(store, training).finalise()
    table = pd.DataFrame({"arch": archs, "dataset": "soak", "split": "test", "epochs": 3})
    table["accuracy"] = [50 + row / 8 for row in range(len(archs))]
    table["seconds"] = 2.0
    import_accuracy(store, space=_SPACE, table=table, source="soak")


def same_trainings(store: Path, undisturbed: Path) -> bool:
    """Whether both stores have the same trainings and accuracies."""
    name = f"{_SPACE}/training/soak/seed0"
    ours, expected = (open_training(each, name).drop_attrs() for each in (store, undisturbed))
    return ours.identical(expected) and open_accuracies(store, _SPACE).equals(open_accuracies(undisturbed, _SPACE))
