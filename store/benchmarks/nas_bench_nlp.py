"""NAS-Bench-NLP: the recipes of its recurrent cells, and the losses of their trainings on Penn Treebank, as JSON.

A list of entries, of which these parts are read::

    recepie          the recipe (`sweetgrad.store.spaces.recipes`), with the key spelled as in the published logs; or recipe
    ptb_loss_runs    test losses after 50 epochs in nats a token, one for each run that ended
    ptb_loss_mean    their mean; null where none ended

An entry may also be the recipe itself.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweetgrad.store.benchmarks.opening import DAMAGED, open_table, read_json
from sweetgrad.store.spaces.recipes import read_recipe

_HEAD_BYTES = 1 << 16
_LOSS = "ptb_loss_mean"
_RUNS = "ptb_loss_runs"
_EPOCHS = 50


def is_recipes(path: Path) -> bool:
    """Whether a file, compressed or not, begins like a list with recipes."""
    try:
        with open_table(path) as file:
            head = file.read(_HEAD_BYTES).lstrip()
            return head.startswith(b"[") and b'"op"' in head and b'"h_new_0"' in head
    except (ValueError, OSError, *DAMAGED):
        return False


def read_recipes(path: Path) -> tuple[str, ...]:
    """Canonical strings of all recipes, in the order of the file.

    Raises
    ------
    ValueError
        If the file is damaged, or an entry is not a recipe or occurs twice; the message has its number.
    """
    archs = [_recipe_of(entry, f"{path}, entry {number}") for number, entry in enumerate(_read(path))]
    first: dict[str, int] = {}
    for number, arch in enumerate(archs):
        if first.setdefault(arch, number) != number:
            raise ValueError(f"{path}: entries {first[arch]} and {number} have the same recipe, {arch[:100]}")
    return tuple(archs)


def read_losses(path: Path) -> pd.DataFrame:
    """Tidy table of what trainings on Penn Treebank came to.

    The accuracy is ``100 exp(-loss)``: the geometric mean of the probability of the right token, in %. It ranks as the negative
    loss does. Split ``test`` is of the mean loss of all runs, ``test-run0``, … of single ones.

    Raises
    ------
    ValueError
        As in `read_recipes`, or if a loss is not a positive number.
    """
    rows: list[tuple[str, str, float]] = []
    for number, entry in enumerate(_read(path)):
        where = f"{path}, entry {number}"
        arch = _recipe_of(entry, where)
        if not isinstance(entry, Mapping) or entry.get(_LOSS) is None:
            continue
        runs = entry.get(_RUNS) or ()
        losses = {"test": entry[_LOSS], **{f"test-run{run}": loss for run, loss in enumerate(runs)}}
        for split, loss in losses.items():
            if type(loss) not in (int, float) or not math.isfinite(loss) or loss <= 0:
                raise ValueError(f"{where}: a loss must be a positive number of nats, got {loss!r}")
            rows.append((arch, split, loss))
    if not rows:
        raise ValueError(f"{path} has no entry with a loss, {_LOSS}")
    table = pd.DataFrame(rows, columns=["arch", "split", "loss"])
    accuracy = np.round(100 * np.exp(-table["loss"]), 10)
    tidy = table.drop(columns="loss").assign(dataset="ptb", epochs=_EPOCHS, accuracy=accuracy)
    tidy.attrs["is_percent"] = True
    return tidy


def _read(path: Path) -> list[Any]:
    expected = "expected a JSON list of recipes"
    entries = read_json(path, expected)
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: {expected}, got {type(entries).__name__}")
    return entries


def _recipe_of(entry: Any, where: str) -> str:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected a recipe, got {entry!r}"[:200])
    recipe = next((entry[key] for key in ("recepie", "recipe") if isinstance(entry.get(key), Mapping)), entry)
    try:
        return str(read_recipe(recipe))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
