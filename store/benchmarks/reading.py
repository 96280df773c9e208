"""Read any file of accuracies: detect its format and call the module for it. Tidy and wide tables are read here."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from sweetgrad.store.access import files_in
from sweetgrad.store.benchmarks import (
    nas_bench_101,
    nas_bench_101_whole,
    nas_bench_201,
    nas_bench_301,
    nas_bench_nlp,
    nds,
)
from sweetgrad.store.benchmarks.opening import DAMAGED, Progress, check_parquet, is_archive, open_table
from sweetgrad.store.benchmarks.shipped import shipped_table
from sweetgrad.store.benchmarks.surrogates import read_surrogate
from sweetgrad.store.benchmarks.tidy import require_columns, require_unique, tidy, unescaped
from sweetgrad.store.errors import how_to_install
from sweetgrad.store.spaces.genotypes import parse_genotype

Format = Literal[
    "auto",
    "tidy",
    "nas-bench-101",
    "nas-bench-201",
    "nas-bench-301",
    "nas-bench-301-results",
    "nas-bench-101-tfrecord",
    "nas-bench-101-whole",
    "nas-bench-201-archive",
    "nas-bench-nlp",
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
    "nas-bench-101-whole": ("nas-bench-101",),
    "nas-bench-201-archive": ("nas-bench-201",),
    "nas-bench-nlp": ("nas-bench-nlp",),
    "nats-bench-folder": ("nas-bench-201",),
    "nds": ("nds",),
    "onnx": ("nas-bench-301", "darts"),
}
"""Search spaces of a format; a space with a longer name, such as nds-darts, is one of them too."""
_FOLDERS = ("nats-bench-folder", "nas-bench-301-results")


def detect_format(path: str | Path) -> Format:
    """Detect the format of a file or folder from its content (that of an ONNX model, from its suffix).

    Raises
    ------
    ValueError
        If the path does not exist, or is a folder with other content.
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
        raise ValueError(
            f"no such file: {path}; expected accuracies in csv, csv.gz or parquet, or a benchmark's own file"
        )
    if path.suffix == ".onnx":
        return "onnx"
    if nas_bench_101_whole.is_whole(path):
        return "nas-bench-101-whole"
    if is_archive(path):
        return "nas-bench-201-archive"
    if nas_bench_101.is_records(path):
        return "nas-bench-101-tfrecord"
    if nas_bench_301.is_result(path):
        return "nas-bench-301-results"
    if nas_bench_nlp.is_recipes(path):
        return "nas-bench-nlp"
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
        ``nas-bench-201`` or ``digits-201``, tables that come with the package; or a file. A table, ``.parquet`` or text with
        commas, compressed or not: *tidy*, with the columns arch (or index, the position in the search space), dataset, split,
        epochs, accuracy in %, and optionally seconds of training; or a wide one of NAS-Bench-201, NAS-Bench-101 or DARTS
        cells, detected from its columns. Or a benchmark's own file, detected from its content: NAS-Bench-201's ``.pth``,
        NATS-Bench's (tss) ``.pickle.pbz2`` or folder, NAS-Bench-101's ``.tfrecord`` or all its graphs in an ``.npz`` file
        (`nas_bench_101_whole`), NDS's JSON, NAS-Bench-NLP's recipes with their losses, a result or a folder of results of
        NAS-Bench-301; or an ONNX surrogate of it. Several runs of one network are averaged.
    space
        Search space that the file is for.
    format
        Format of the file; ``auto`` detects it with `detect_format`.
    archs
        Architectures for which a surrogate predicts the accuracy.
    progress
        Called with the number of bytes or files done, and their total.

    Returns
    -------
    Columns arch (or index), dataset, split, epochs (int), accuracy in % of [0, 100], seconds (NaN where unknown); attrs
    ``source`` and ``sha256`` of the file. Rows without an accuracy are kept as NaN.

    Raises
    ------
    ValueError
        If columns are missing, values are not accuracies in % or look like fractions, or the file is damaged or of another search
        space.
    UnsafePickleError
        If a pickle names functions that plain data does not need; nothing was executed.
    ImportError
        If a parquet file is read without pyarrow, or an ONNX model without onnxruntime.
    """
    path = shipped_table(path)
    if format not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
    found = detect_format(path) if format == "auto" else format
    if not path.is_file() and not (path.is_dir() and found in _FOLDERS):
        raise ValueError(f"{path}: expected a file of the format {found}")
    expected = _SPACES.get(found, (space,))
    if not any(space == name or space.startswith(f"{name}-") for name in expected):
        raise ValueError(f"{path} is a table of {found}, but was to be read for {space}: give the file of {space}")
    table = tidy(_read(path, found, archs, progress), where=str(path))
    table.attrs.update({"source": path.name, "sha256": _sha256(path)})
    return table


def _read(path: Path, format: Format, archs: Sequence[str] | None, progress: Progress | None) -> pd.DataFrame:  # noqa: A002
    match format:
        case "nas-bench-101-tfrecord":
            return nas_bench_101.read_records(path, progress)
        case "nas-bench-nlp":
            return nas_bench_nlp.read_losses(path)
        case "nas-bench-101-whole":
            return nas_bench_101_whole.read_accuracies(path)
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
    """SHA-256 of a file; for a folder, of the names and digests of its files."""
    if path.is_dir():
        lines = (f"{_sha256(child)}  {child.relative_to(path).as_posix()}\n" for child in files_in(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_TEXTS = ["arch", "arch_str", "adj_upper", "ops", "hash", "genotype", "dataset", "split"]
WIDE: dict[str, list[str]] = {
    "nas-bench-201": ["arch_str"],
    "nas-bench-101": ["adj_upper", "ops", "test_acc_mean3"],
    "nas-bench-301": ["genotype"],
}
"""Columns from which a wide table is detected, apart from those of the accuracies; those of seconds may be missing."""
# Prefix of the columns -> data set, split -> column of seconds per epoch, and the share of it for this training: the validation
# split of cifar10 is trained on 25,000 of the 50,000 images with which the time was measured.
_NB201 = {
    ("cifar10", "valid"): ("cifar10", "epoch_time_s_cifar_50k", 0.5),
    ("cifar10", "test"): ("cifar10", "epoch_time_s_cifar_50k", 1.0),
    ("cifar100", "valid"): ("cifar100", "epoch_time_s_cifar_50k", 1.0),
    ("cifar100", "test"): ("cifar100", "epoch_time_s_cifar_50k", 1.0),
    ("in16", "valid"): ("imagenet16-120", "epoch_time_s_in16", 1.0),
    ("in16", "test"): ("imagenet16-120", "epoch_time_s_in16", 1.0),
}


# Columns of the tables of DARTS cells, without the number of epochs: split, and factor that converts to %. Predictions have a
# split of their own, so they are not mixed with trained accuracies or with predictions of a surrogate that is run here.
_GENOTYPES = {"valid_acc": ("valid", 1), "test_acc": ("test", 1), "pred_val_acc": ("valid-predicted", 100)}
_GENOTYPE_COLUMN = re.compile(rf"({'|'.join(_GENOTYPES)})_e(\d+)")


def read_table(path: Path) -> pd.DataFrame:
    """Read the file as it is, with strings kept as strings.

    Raises
    ------
    ValueError
        If it is not a table, or is truncated.
    ImportError
        If a parquet file is read without pyarrow.
    """
    if path.suffix not in (".parquet", ".pq"):
        # Strings that look like numbers stay strings: "0010" is a graph, not ten.
        text: dict[str, type] = dict.fromkeys(_TEXTS, str)
        try:
            with open_table(path) as file:
                # pandas would rename the second of two columns with the same name.
                header = pd.read_csv(file, header=None, nrows=1, dtype=str, keep_default_na=False)
            require_unique(header.iloc[0].tolist(), where=str(path))
            with open_table(path) as file:
                table = pd.read_csv(file, dtype=text, keep_default_na=False, na_values=["", "nan", "NaN"])
            return unescaped(table, [name for name in _TEXTS if name in table.columns])
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, *DAMAGED) as error:
            # An OSError from the system has a number; that of a damaged bz2 file has none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(
                f"{path}: expected comma-separated text with a header line, cannot read it ({error})"
            ) from error
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs pyarrow: {how_to_install('parquet')}, or write the table as csv"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_parquet(file.metadata, path=path)
        return pd.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: expected a parquet file, cannot read it ({error})") from error


def widen(raw: pd.DataFrame, name: str, *, where: str) -> pd.DataFrame:
    """Convert a wide table of the benchmark ``name``, one of `WIDE`, to tidy rows.

    Raises
    ------
    ValueError
        If columns are missing, or an architecture cannot be read.
    """
    require_columns(raw, WIDE[name], where=where, example=",".join(WIDE[name]))
    return {"nas-bench-201": _nas_bench_201, "nas-bench-101": _nas_bench_101, "nas-bench-301": _nas_bench_301}[name](
        raw
    )


def _nas_bench_201(raw: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for (prefix, split), (dataset, time, share) in _NB201.items():
        for suffix, epochs in (("", 200), ("_e12", 12)):
            column = f"{prefix}_{split}{suffix}"
            if column in raw.columns:
                seconds = epochs * share * raw[time] if time in raw.columns else math.nan
                values = {"accuracy": raw[column], "seconds": seconds}
                parts.append(_part(raw["arch_str"], dataset, split, epochs, values))
    if not parts:
        raise ValueError(f"no accuracy column: expected e.g. cifar10_test, got {', '.join(map(str, raw.columns))}")
    return pd.concat(parts, ignore_index=True)


def _nas_bench_101(raw: pd.DataFrame) -> pd.DataFrame:
    arch = raw["adj_upper"] + ":" + raw["ops"].fillna("")
    parts = [
        # Rounded to six decimals like the file, so that 0.894231 becomes 89.4231 and not 89.42309999999999.
        _part(arch, "cifar10", split, 108, {"accuracy": (raw[column] * 100).round(6)})
        for column, split in (("test_acc_mean3", "test"), ("gennas_acc_1run", "test-1run"))
        if column in raw.columns
    ]
    return pd.concat(parts, ignore_index=True)


def _nas_bench_301(raw: pd.DataFrame) -> pd.DataFrame:
    arch = raw["genotype"].fillna("").map(lambda text: str(parse_genotype(text)))
    parts = []
    for column in raw.columns:
        if found := _GENOTYPE_COLUMN.fullmatch(str(column)):
            split, factor = _GENOTYPES[found[1]]
            values = {"accuracy": (raw[column] * factor).round(6)}
            parts.append(_part(arch, "cifar10", split, int(found[2]), values))
    if not parts:
        raise ValueError(f"no accuracy column: expected e.g. valid_acc_e200, got {', '.join(map(str, raw.columns))}")
    return pd.concat(parts, ignore_index=True)


def _part(
    arch: "pd.Series[str]", dataset: str, split: str, epochs: int, values: Mapping[str, "pd.Series[float] | float"]
) -> pd.DataFrame:
    return pd.DataFrame({"arch": arch, "dataset": dataset, "split": split, "epochs": epochs, **values})
