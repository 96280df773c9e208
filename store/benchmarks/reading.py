"""Read any file of accuracies: tell what it is, and hand it to the module of its format."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from sweetgrad.store.access import files_in
from sweetgrad.store.benchmarks import nas_bench_101, nas_bench_201, nas_bench_301, nds
from sweetgrad.store.benchmarks.opening import Progress, is_archive
from sweetgrad.store.benchmarks.surrogates import read_surrogate
from sweetgrad.store.benchmarks.tables import WIDE, read_table, widen
from sweetgrad.store.benchmarks.tidy import tidy

Format = Literal[
    "auto",
    "tidy",
    "nas-bench-101",
    "nas-bench-201",
    "nas-bench-301",
    "nas-bench-301-results",
    "nas-bench-101-tfrecord",
    "nas-bench-201-archive",
    "nats-bench-folder",
    "nds",
    "onnx",
]

_SPACES: dict[str, tuple[str, ...]] = {
    "nas-bench-101": ("nas-bench-101",),
    "nas-bench-201": ("nas-bench-201",),
    "nas-bench-301": ("nas-bench-301", "darts"),
    "nas-bench-301-results": ("nas-bench-301", "darts"),
    "nas-bench-101-tfrecord": ("nas-bench-101",),
    "nas-bench-201-archive": ("nas-bench-201",),
    "nats-bench-folder": ("nas-bench-201",),
    "nds": ("nds",),
    "onnx": ("nas-bench-301", "darts"),
}
"""Search spaces that a format is of; a longer name, such as nds-darts, belongs to them, too."""
_FOLDERS = ("nats-bench-folder", "nas-bench-301-results")


def detect_format(path: str | Path) -> Format:
    """Tell the format of a file or folder by its content (of an ONNX model, by its suffix).

    Raises
    ------
    ValueError
        If there is nothing, or a folder of something else.
    """
    path = Path(path)
    if path.is_dir():
        if nas_bench_201.is_folder(path):
            return "nats-bench-folder"
        if nas_bench_301.is_results_folder(path):
            return "nas-bench-301-results"
        raise ValueError(
            f"{path} is a folder without files such as 000000.pickle.pbz2 or results_0.json: expected a file, or the folder of "
            "NATS-Bench or of NAS-Bench-301's results"
        )
    if not path.is_file():
        raise ValueError(f"no file {path}: expected accuracies in csv, csv.gz or parquet, or a benchmark's own file")
    if path.suffix == ".onnx":
        return "onnx"
    if is_archive(path):
        return "nas-bench-201-archive"
    if nas_bench_101.is_records(path):
        return "nas-bench-101-tfrecord"
    if nas_bench_301.is_result(path):
        return "nas-bench-301-results"
    if nds.is_json(path):
        nds.require_entries(path)
        return "nds"
    columns = set(read_table(path).columns)
    if {"dataset", "split", "epochs", "accuracy"} <= columns:
        return "tidy"
    names: tuple[Format, ...] = ("nas-bench-201", "nas-bench-101", "nas-bench-301")
    return next((name for name in names if set(WIDE[name]) <= columns), "tidy")


def read_accuracy_file(
    path: str | Path,
    *,
    space: str,
    format: Format = "auto",  # noqa: A002
    archs: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Read a file of accuracies into one row for every (architecture, data set, split, epochs).

    Parameters
    ----------
    path
        A table, ``.parquet`` or text with commas, compressed or not: *tidy*, with the columns arch (or index, the position in the
        search space), dataset, split, epochs, accuracy in %, and optionally seconds of training; or a wide one of NAS-Bench-201,
        NAS-Bench-101 or DARTS cells, known by its columns. Or a benchmark's own file, known by its content: NAS-Bench-201's
        ``.pth``, NATS-Bench's (tss) ``.pickle.pbz2`` or folder, NAS-Bench-101's ``.tfrecord``, NDS's JSON, a result or a folder
        of results of NAS-Bench-301; or an ONNX surrogate of it. Several runs of one network become their mean.
    space
        Search space that the file is for.
    format
        ``auto`` tells the format, as `detect_format` does.
    archs
        Architectures that a surrogate is asked for.
    progress
        Called with what is done and what there is, in bytes or files.

    Returns
    -------
    Columns arch (or index), dataset, split, epochs (int), accuracy in % of [0, 100], seconds (NaN where unknown); attrs
    ``source`` and ``sha256`` of the file. Rows without an accuracy are kept as NaN.

    Raises
    ------
    ValueError
        If columns are missing, values are no accuracies in %, look like fractions, the file is damaged or of another
        search space.
    UnsafePickleError
        If a pickle names functions that data has no need of; nothing was executed.
    ImportError
        If a parquet file is read without pyarrow, or an ONNX model without onnxruntime.
    """
    path = Path(path)
    if format not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
    found = detect_format(path) if format == "auto" else format
    if not path.is_file() and not (path.is_dir() and found in _FOLDERS):
        raise ValueError(f"{path}: expected a file of the format {found}")
    expected = _SPACES.get(found, (space,))
    if not any(space == name or space.startswith(f"{name}-") for name in expected):
        raise ValueError(f"{path} is a table of {found}, asked to read it for {space}: give the file of {space}")
    table = tidy(_read(path, found, archs, progress), where=str(path))
    table.attrs.update({"source": path.name, "sha256": _sha256(path)})
    return table


def _read(path: Path, format: Format, archs: Sequence[str] | None, progress: Progress | None) -> pd.DataFrame:  # noqa: A002
    match format:
        case "nas-bench-101-tfrecord":
            return nas_bench_101.read_records(path, progress)
        case "nas-bench-201-archive":
            return nas_bench_201.read_archive(path, progress)
        case "nats-bench-folder":
            return nas_bench_201.read_folder(path, progress)
        case "nas-bench-301-results":
            return nas_bench_301.read_results(path, progress)
        case "nds":
            return nds.read_entries(path, progress)
        case "onnx":
            return read_surrogate(path, archs, progress)
    raw = read_table(path)
    return widen(raw, format, where=str(path)) if format in WIDE else raw


def _sha256(path: Path) -> str:
    """Of a file; of a folder, of the names and digests of the files in it."""
    if path.is_dir():
        lines = (f"{_sha256(child)}  {child.relative_to(path).as_posix()}\n" for child in files_in(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
