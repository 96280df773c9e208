"""Trained networks of NAS-Bench-301 as published: one JSON file for each training, in folders.

These parts of a file are read:

- ``optimized_hyperparamater_config``: the operations and inputs of the cells (``NetworkSelectorDatasetInfo:darts:edge_normal_0``,
  …), and the size of the network, ``…:darts:layers`` and ``…:darts:init_channels``;
- ``budget``, the epochs of the schedule, and ``runtime``, in seconds;
- ``test_accuracy``, and ``val_accuracy`` of the first entry of ``info``, or the last of ``learning_curves``'
  ``Train/val_accuracy``, all in %.

The benchmark's network has 8 cells and 32 initial channels. A network of another size is marked in the names of its splits, such
as ``test-c50-n20``.
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from sweetgrad.store.access import files_in
from sweetgrad.store.benchmarks.opening import DAMAGED, Progress, open_table
from sweetgrad.store.benchmarks.tidy import COLUMNS, mean_of_known
from sweetgrad.store.spaces.genotypes import parse_genotype

_CONFIG = "optimized_hyperparamater_config"  # the publishers' spelling
_DARTS = "NetworkSelectorDatasetInfo:darts:"
_CELLS, _CHANNELS = 8, 32
_HEAD_BYTES = 1 << 16
_MAX_BYTES = 1 << 26


def is_result(path: Path) -> bool:
    """Whether a file, compressed or not, begins like a result of NAS-Bench-301."""
    try:
        with open_table(path) as file:
            return f'"{_CONFIG}"'.encode() in file.read(_HEAD_BYTES)
    except (ValueError, OSError, *DAMAGED):
        return False


def is_results_folder(path: Path) -> bool:
    """Whether the first JSON file anywhere below a folder is such a result."""
    first = next(files_in(path, "*.json"), None)
    return first is not None and is_result(first)


def read_results(path: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Read a file, or every JSON file below a folder; several trainings of one network are averaged.

    Returns
    -------
    Tidy table with the splits ``valid`` and ``test`` of cifar10 in %, in the order of the files' names.

    Raises
    ------
    ValueError
        If a file is not such a result, or has invalid values; the message names the file.
    """
    files = list(files_in(path, "*.json")) if path.is_dir() else [path]
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for done, file in enumerate(files, start=1):
        try:
            arch, size, epochs, seconds, accuracies = _read_result(_load(file))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(
                f"{file}: expected a result of NAS-Bench-301, with {_CONFIG}, budget, info and test_accuracy "
                f"({type(error).__name__}: {error})"
            ) from error
        for split, accuracy in accuracies.items():
            found[arch, split + size, epochs].append((accuracy, seconds))
        if progress is not None:
            progress(done, len(files))
    rows = [
        (arch, "cifar10", split, epochs, mean_of_known(a for a, _ in runs), mean_of_known(s for _, s in runs))
        for (arch, split, epochs), runs in found.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _load(file: Path) -> Any:
    with open_table(file) as content:
        text = content.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _read_result(result: Any) -> tuple[str, str, int, float, dict[str, float]]:
    """Architecture, size of the network as its splits name it, epochs, seconds, and the accuracies by split."""
    config = result[_CONFIG]
    arch = str(parse_genotype(config))
    cells, channels = config.get(f"{_DARTS}layers", _CELLS), config.get(f"{_DARTS}init_channels", _CHANNELS)
    size = "" if (cells, channels) == (_CELLS, _CHANNELS) else f"-c{int(channels)}-n{int(cells)}"
    epochs = result["budget"]
    if type(epochs) not in (int, float) or epochs != int(epochs) or epochs < 1:
        raise ValueError(f"budget must be an integer number of epochs, got {str(epochs)[:80]}")
    info = result.get("info") or [{}]
    first = info[0] if isinstance(info, list) else info
    curve = (result.get("learning_curves") or {}).get("Train/val_accuracy") or [math.nan]
    valid = first.get("val_accuracy", curve[-1])
    accuracies = {"valid": _percent(valid, "val_accuracy"), "test": _percent(result["test_accuracy"], "test_accuracy")}
    seconds = result.get("runtime")
    return arch, size, int(epochs), float(seconds) if type(seconds) in (int, float) else math.nan, accuracies


def _percent(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not (math.isnan(value) or 0 <= value <= 100):
        raise ValueError(f"{name} must be a percentage from 0 to 100, got {str(value)[:80]}")
    return float(value)
