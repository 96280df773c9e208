"""Make ``format-2.zarr``, the golden store of format version 2. Never run it again once that format is released.

    .venv/bin/python tests/data/make_golden_store.py tests/data/format-2.zarr

The first version of this script, and of the package, made ``format-1.zarr`` with the same numbers, but without trainings. A test
opens the stores that lie beside this script, and compares with numbers typed into the test, so that no later version of the
package can stop reading what an earlier one wrote. The content is random, but seeded by a generator whose stream NumPy promises
never to change.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from sweetgrad.store import (
    COUNTS,
    LAYER_TYPES,
    NUM_BINS,
    Profile,
    ProfileSpec,
    Trainings,
    collect_trainings,
    create_profile,
    empty_rows,
    import_accuracy,
    profile_block,
)
from sweetgrad.store.training import create_training

ARCHS = [f"|op_{letter}~0|" for letter in "abcdefghij"]
LAYERS = {"stem": "stem", "cell1": "cell", "head": "head"}
FAILED, NOT_RUN = 3, 9


def make(location: Path) -> None:
    """Write the store: ten architectures, of which one failed and one was not run, an estimator, accuracies and trainings."""
    spec = ProfileSpec(
        space="toy",
        dataset="synthetic",
        batch_size=4,
        seed=42,
        num_classes=10,
        input_shape=(3, 8, 8),
        batch_sha256="0" * 64,
        arch_sha256=hashlib.sha256("".join(f"{arch}\n" for arch in ARCHS).encode()).hexdigest(),
    )
    name = create_profile(location, spec, arch=ARCHS, layers=list(LAYERS), shard_size=10).name
    Profile.open(location, name).record_run({"script": "make_golden_store.py"})
    Profile.open(location, name).add_blocks([profile_block("snip")])
    (shard,) = Profile.open(location, name).plan(range(NOT_RUN))
    rows = empty_rows([ARCHS[i] for i in shard.rows], shard.rows, layers=list(LAYERS))
    random = np.random.RandomState(20231)
    for i in shard.rows:
        if i == FAILED:
            rows["status"][i] = 2
            rows["message"][i] = "RuntimeError: out of memory"
            continue
        rows["grad_count"][i] = random.poisson(0.2, size=(len(LAYERS), 2, NUM_BINS))
        rows["grad_abs_sum"][i] = random.random_sample((len(LAYERS), 2))
        rows["grad_sq_sum"][i] = random.random_sample((len(LAYERS), 2))
        rows["layer_type"][i] = [LAYER_TYPES[kind] for kind in LAYERS.values()]
        rows["loss"][i] = 2.25 + i / 16
        rows["profile_seconds"][i] = 0.5
        rows["status"][i] = 1
    rows["grad_count_network"][:] = rows["grad_count"].sum("layer")
    rows["num_params"][:] = rows["grad_count"].sum("bin")
    Profile.open(location, name).write(shard, {COUNTS: rows})
    snip = profile_block("snip")
    scores = rows[["status"]].assign({v.name: ("arch", np.full(len(shard.rows), v.fill)) for v in snip.variables})
    scores["score"][:] = np.arange(len(shard.rows)) / 4
    scores["seconds"][:] = 0.25
    scores["status"] = scores["status"].astype("uint8")
    scores["status"][:] = 1
    Profile.open(location, name).write(shard, {snip: scores})
    Profile.open(location, name).finalise()
    table = pd.DataFrame({"arch": ARCHS[:8], "dataset": "cifar10", "split": "test", "epochs": 12})
    table["accuracy"] = 50 + np.arange(8) * 1.5
    table["seconds"] = 60.0
    table = pd.concat([table, table[:2].assign(split="valid", epochs=200, accuracy=[91.25, 92.5])])
    import_accuracy(location, space="toy", table=table, source="golden.csv")
    settings = {"recipe": {"epochs": 3}}
    training = create_training(
        location, space="toy", label="own", seed=0, arch=ARCHS, splits=("valid", "test"), settings=settings
    ).name
    for row in range(3):
        values = {"accuracy": [60 + row, 61 + row], "train_seconds": 2.5, "loss": 0.5, "message": "", "status": 1}
        Trainings.open(location, training).write_row(row, values)
    collect_trainings(location, space="toy", label="own")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
