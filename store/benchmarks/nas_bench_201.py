"""NAS-Bench-201 v1.0 and v1.1 as one torch file, and NATS-Bench's topology space as one file or a folder of files.

All have the same content: a list ``meta_archs`` of architecture strings, and under ``arch2infos``, or in one file for each
architecture, the results of every training schedule (``less`` and ``full``, or ``12`` and ``200``) by (data set, seed). Of the
values that a run has for every epoch, only the accuracy after the last epoch is read.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sweetgrad.store.benchmarks.opening import Progress, open_pickle
from sweetgrad.store.benchmarks.pickle_stream import PickleStream
from sweetgrad.store.benchmarks.tidy import COLUMNS, mean_of_known

_SPLITS = {
    ("cifar10-valid", "x-valid"): ("cifar10", "valid"),
    ("cifar10", "ori-test"): ("cifar10", "test"),
    ("cifar100", "x-valid"): ("cifar100", "valid"),
    ("cifar100", "x-test"): ("cifar100", "test"),
    ("ImageNet16-120", "x-valid"): ("imagenet16-120", "valid"),
    ("ImageNet16-120", "x-test"): ("imagenet16-120", "test"),
}
"""(training set, evaluation) of the benchmark to (data set, split) of the store."""

# train_times is summed; the other values that are read are attributes of a run, and of all runs of an architecture.
_DROP = frozenset(
    {
        *("net_state_dict", "arch_config", "latency", "evaluated_indexes"),
        *("train_acc1es", "train_acc5es", "train_losses", "eval_losses", "eval_times", "eval_names"),
    }
)
_Row = tuple[str, str, str, int, float, float]
_FILE = re.compile(r"(\d+)\.pickle\.pbz2")
_META = "meta.pickle.pbz2"


def is_folder(path: Path) -> bool:
    """Whether a folder is that of NATS-Bench, with one file for each architecture."""
    return path.is_dir() and ((path / _META).is_file() or any(_FILE.fullmatch(child.name) for child in path.iterdir()))


def read_archive(path: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Read one file with all architectures, without loading its weights and curves into memory.

    Returns
    -------
    Tidy table in the order of the benchmark: for every architecture, data set, split and schedule, the accuracy after the last
    epoch and the training time in seconds, averaged over the seeds.

    Raises
    ------
    ValueError
        If the file is damaged or has other content; the message says what was expected and what was found.
    UnsafePickleError
        If it names functions that plain data does not need; nothing was executed.
    """
    content = _load(path, progress)
    archs: Any
    infos: Any
    archs, infos = (content.get(key) if isinstance(content, dict) else None for key in ("meta_archs", "arch2infos"))
    if not _is_texts(archs) or not isinstance(infos, dict):
        raise ValueError(
            f"{path}: expected a dictionary with meta_archs and arch2infos, as in NAS-Bench-201 and NATS-Bench, "
            f"got {_describe(content)}"
        )
    rows: list[_Row] = []
    if not all(type(index) is int for index in infos):
        raise ValueError(f"{path}: expected integers as keys of arch2infos, got {_describe(infos)}")
    for index in sorted(infos):
        if not 0 <= index < len(archs):
            raise ValueError(f"{path}: arch2infos has the index {index}, expected 0 to {len(archs) - 1}")
        rows += _rows(infos[index], archs[index], where=f"{path}, architecture {index}")
    return _table(rows, path)


def read_folder(path: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Read the folder of NATS-Bench (``NATS-tss-v1_0-3ffb9-simple``, or ``-full``), one file after another.

    Returns
    -------
    Table as from `read_archive`, of the architectures whose files exist.

    Raises
    ------
    ValueError, UnsafePickleError
        As for `read_archive`, with the name of the file.
    """
    files = sorted(
        (int(found[1]), child) for child in path.iterdir() if (found := _FILE.fullmatch(child.name)) is not None
    )
    meta = _load(path / _META, None) if (path / _META).is_file() else {"meta_archs": []}
    archs: Any = meta.get("meta_archs") if isinstance(meta, dict) else None
    if not _is_texts(archs):
        raise ValueError(f"{path / _META}: expected a dictionary with the list meta_archs, got {_describe(meta)}")
    rows: list[_Row] = []
    for done, (index, file) in enumerate(files):
        known = archs[index] if index < len(archs) else None
        rows += _rows(_load(file, None), known, where=str(file))
        if progress is not None:
            progress(done + 1, len(files))
    return _table(rows, path)


def _load(path: Path, progress: Progress | None) -> Any:
    with open_pickle(path, progress) as (file, num_headers, tell):
        collapse = {"eval_acc1es": _last, "train_times": _total, "all_results": _runs}
        stream = PickleStream(file, where=str(path), drop=_DROP, collapse=collapse, progress=tell)
        for _ in range(num_headers):
            stream.load()
        return stream.load()


def _last(accuracies: Any) -> dict[str, tuple[int, float]]:
    """By name of an evaluation, its last epoch (counted from 0) and the accuracy in % after it."""
    last: dict[str, tuple[int, float]] = {}
    for key, accuracy in accuracies.items():
        name, _, epoch = key.partition("@")
        if int(epoch) >= last.get(name, (-1, 0.0))[0]:
            last[name] = int(epoch), float(accuracy)
    return last


def _total(times: Any) -> tuple[int, float]:
    """Number of epochs, and their total time in seconds."""
    return (len(times), math.fsum(times.values())) if isinstance(times, dict) else (0, math.nan)


def _runs(results: Any) -> list[tuple[str, str, int, float, float]]:
    """(data set, split, epochs, accuracy, seconds) of one architecture and schedule, averaged over the seeds."""
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for (dataset, _seed), run in results.items():
        epochs, (num_times, seconds) = int(run["epochs"]), run.get("train_times") or (0, math.nan)
        for evaluation, (epoch, accuracy) in run["eval_acc1es"].items():
            if (dataset, evaluation) in _SPLITS:
                # A run that was not evaluated after its last epoch has no accuracy for the whole schedule.
                values = accuracy if epoch == epochs - 1 else math.nan, seconds if num_times == epochs else math.nan
                found[*_SPLITS[dataset, evaluation], epochs].append(values)
    return [
        (*key, mean_of_known(a for a, _ in values), mean_of_known(s for _, s in values))
        for key, values in found.items()
    ]


def _rows(schedules: Any, arch: str | None, *, where: str) -> Iterator[_Row]:
    """Rows of one architecture; raises if it differs from the list of architectures or is of another space."""
    if not isinstance(schedules, dict) or not all(
        isinstance(s, dict) and isinstance(s.get("all_results"), list) for s in schedules.values()
    ):
        raise ValueError(f"{where}: expected a dictionary of training schedules, got {_describe(schedules)}")
    for schedule in schedules.values():
        name = schedule.get("arch_str")
        if not isinstance(name, str):
            raise ValueError(f"{where}: expected the string arch_str in each schedule, got {_describe(name)}")
        if arch is not None and name != arch:
            raise ValueError(
                f"{where}: its results are those of {name[:200]!r}, but the list of architectures has {arch[:200]!r}"
            )
        if not name.startswith("|"):
            raise ValueError(
                f"{where} has the architecture {name[:200]!r}; expected one of NAS-Bench-201, such as '|none~0|+…'. "
                "The size space of NATS-Bench (sss) is not read."
            )
        arch = name
        for row in schedule["all_results"]:
            yield (name, *row)


def _table(rows: list[_Row], path: Path) -> pd.DataFrame:
    if not rows:
        raise ValueError(f"{path} has no results: expected results for every architecture")
    return pd.DataFrame(rows, columns=COLUMNS)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _describe(value: Any) -> str:
    """Description for an error message. Only keys are shown, since the text of a value could be endless."""
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    return f"one with {', '.join(repr(key)[:60] for key in list(value)[:5]) or 'nothing'}"
