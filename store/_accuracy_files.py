"""Files of benchmark accuracies, read into one tidy table."""

import hashlib
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from sweetgrad.store._tables import DAMAGED, check_parquet, open_table

Format = Literal["auto", "tidy", "nas-bench-201", "nas-bench-101"]

COLUMNS = ["arch", "dataset", "split", "epochs", "accuracy", "seconds"]
_EXAMPLE = "arch,dataset,split,epochs,accuracy,seconds"
_REQUIRED = ("dataset", "split", "epochs", "accuracy")

# Columns by which a wide file is known, apart from those of the accuracies.
_WIDE: dict[Format, list[str]] = {
    "nas-bench-201": ["arch_str", "epoch_time_s_cifar_50k", "epoch_time_s_in16"],
    "nas-bench-101": ["adj_upper", "ops", "test_acc_mean3"],
}
# Prefix of the columns -> data set, split -> column of seconds an epoch and the share of it that this training takes:
# cifar10 for the validation split is trained on 25,000 of the 50,000 images that the time was measured with.
_NB201 = {
    ("cifar10", "valid"): ("cifar10", "epoch_time_s_cifar_50k", 0.5),
    ("cifar10", "test"): ("cifar10", "epoch_time_s_cifar_50k", 1.0),
    ("cifar100", "valid"): ("cifar100", "epoch_time_s_cifar_50k", 1.0),
    ("cifar100", "test"): ("cifar100", "epoch_time_s_cifar_50k", 1.0),
    ("in16", "valid"): ("imagenet16-120", "epoch_time_s_in16", 1.0),
    ("in16", "test"): ("imagenet16-120", "epoch_time_s_in16", 1.0),
}


def read_accuracy_file(path: str | Path, *, space: str, format: Format = "auto") -> pd.DataFrame:  # noqa: A002
    """Read a file of accuracies into one row for every (architecture, data set, split, epochs).

    Parameters
    ----------
    path
        ``.parquet``, or text with commas, compressed or not. *Tidy* files have the columns arch (or index, the position in the
        search space), dataset, split, epochs, accuracy in %, and optionally seconds of training. The wide tables of
        NAS-Bench-201 (accuracies after 200 and, ``_e12``, 12 epochs) and NAS-Bench-101 (fractions, after 108 epochs) are
        known by their columns.
    space
        Search space that the file is for.
    format
        ``auto`` tells the format from the columns.

    Returns
    -------
    Columns arch (or index), dataset, split, epochs (int), accuracy in % of [0, 100], seconds (NaN where unknown); attrs
    ``source`` and ``sha256`` of the file. Rows without an accuracy are kept as NaN.

    Raises
    ------
    ValueError
        If columns are missing, values are no accuracies in %, look like fractions, or the file is of another search space.
    ImportError
        If a parquet file is read without pyarrow.
    """
    path = Path(path)
    if format not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
    if not path.is_file():
        raise ValueError(f"no file {path}: expected a csv, csv.gz or parquet file of accuracies")
    raw = _read(path)
    if format == "auto":
        format = next((wide for wide, columns in _WIDE.items() if set(columns) <= set(raw.columns)), "tidy")  # noqa: A001
    if format in _WIDE and space != format:
        raise ValueError(f"{path} is a table of {format}, asked to read it for {space}: give the file of {space}")
    readers = {"nas-bench-201": _nas_bench_201, "nas-bench-101": _nas_bench_101}
    if format in readers:
        require_columns(raw, _WIDE[format], where=str(path), example=",".join(_WIDE[format]))
        raw = readers[format](raw)
    table = tidy(raw, where=str(path))
    table.attrs.update({"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    return table


def tidy(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """Check a tidy table and give its columns their order and types; ``where`` names it in errors.

    Examples
    --------
    >>> rows = {"arch": ["a"], "dataset": ["digits"], "split": ["test"], "epochs": [12.0], "accuracy": [91.5]}
    >>> tidy(pd.DataFrame(rows), where="my table").to_dict("records")
    [{'arch': 'a', 'dataset': 'digits', 'split': 'test', 'epochs': 12, 'accuracy': 91.5, 'seconds': nan}]
    """
    key = "arch" if "arch" in table.columns or "index" not in table.columns else "index"
    require_columns(table, [key, *_REQUIRED], where=where, example=_EXAMPLE)
    if table.empty:
        raise ValueError(f"{where} has no rows: expected one for every accuracy")
    result = table.reindex(columns=[key, *COLUMNS[1:]]).reset_index(drop=True)
    for column in ("dataset", "split", key):
        if result[column].isna().any():
            raise ValueError(f"{where}: column {column} is empty in row {result[column].isna().idxmax()}; fill it in")
    for column in ("epochs", "accuracy", "seconds", *(["index"] if key == "index" else [])):
        result[column] = _numbers(result[column], where)
    for column in ("epochs", "index") if key == "index" else ("epochs",):
        bad = result[column].isna() | (result[column] % 1 != 0) | (result[column] < 0)
        if bad.any():
            raise ValueError(
                f"{where}: column {column} must hold whole numbers from 0, got {result[column][bad].iloc[0]}"
            )
        result[column] = result[column].astype("int64")
    for column in ("dataset", "split", *([key] if key == "arch" else [])):
        result[column] = result[column].astype(str)
    _require_percent(result, where)
    return result


def require_columns(table: pd.DataFrame, columns: list[str], *, where: str, example: str) -> None:
    """Raise unless all columns are there, with those missing, those present, and an example header."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"{where} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. "
            f"Expected a header such as\n  {example}\n(index may stand for arch; seconds may be left out)"
        )


def _read(path: Path) -> pd.DataFrame:
    if path.suffix not in (".parquet", ".pq"):
        # Strings that look like numbers stay strings: "0010" is a graph, not ten.
        text: dict[str, type] = dict.fromkeys(["arch", "arch_str", "adj_upper", "ops", "hash", "dataset", "split"], str)
        try:
            with open_table(path) as file:
                return pd.read_csv(file, dtype=text, keep_default_na=False, na_values=["", "nan", "NaN"])
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, *DAMAGED) as error:
            raise ValueError(
                f"{path}: expected text with commas and a header line, cannot read it ({error})"
            ) from error
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs pyarrow: pip install 'sweetgrad[parquet]', or write the table as csv"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_parquet(file.metadata, path=path)
        return pd.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: expected a parquet file, cannot read it ({error})") from error


def _numbers(column: "pd.Series[float]", where: str) -> "pd.Series[float]":
    numbers = pd.to_numeric(column, errors="coerce")
    bad = numbers.isna() & column.notna()
    if bad.any():
        raise ValueError(f"{where}: column {column.name} must hold numbers, got {column[bad].iloc[0]!r}")
    return numbers.astype("float64")


def _require_percent(table: pd.DataFrame, where: str) -> None:
    accuracy = table["accuracy"]
    bad = (accuracy < 0) | (accuracy > 100)
    if bad.any():
        row = table[bad].iloc[0]
        raise ValueError(
            f"{where}: accuracies are in % of 0 to 100, got {row['accuracy']} for {row.iloc[0]} ({row['dataset']}/{row['split']})"
        )
    # 1 % is chance for 100 classes, so single values of 1 are accuracies; a column of nothing else is not worth keeping.
    for (dataset, split, epochs), values in table.groupby(["dataset", "split", "epochs"])["accuracy"]:
        if values.max() <= 1:
            raise ValueError(
                f"{where}: all {values.count()} accuracies of {dataset}/{split} after {epochs} epochs are at most 1 (first: "
                f"{values.dropna().iloc[0]}): they look like fractions. Accuracies are in %: multiply them by 100."
            )


def _nas_bench_201(raw: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for (prefix, split), (dataset, time, share) in _NB201.items():
        for suffix, epochs in (("", 200), ("_e12", 12)):
            column = f"{prefix}_{split}{suffix}"
            if column in raw.columns:
                values = {"accuracy": raw[column], "seconds": epochs * share * raw[time]}
                parts.append(_part(raw["arch_str"], dataset, split, epochs, values))
    if not parts:
        raise ValueError(f"no accuracy column: expected e.g. cifar10_test, got {', '.join(raw.columns)}")
    return pd.concat(parts, ignore_index=True)


def _nas_bench_101(raw: pd.DataFrame) -> pd.DataFrame:
    arch = raw["adj_upper"] + ":" + raw["ops"].fillna("")
    parts = [
        # Rounded to what a file of six decimals holds, so that 0.894231 becomes 89.4231 and not 89.42309999999999.
        _part(arch, "cifar10", split, 108, {"accuracy": (raw[column] * 100).round(6)})
        for column, split in (("test_acc_mean3", "test"), ("gennas_acc_1run", "test-1run"))
        if column in raw.columns
    ]
    return pd.concat(parts, ignore_index=True)


def _part(
    arch: "pd.Series[str]", dataset: str, split: str, epochs: int, values: dict[str, "pd.Series[float]"]
) -> pd.DataFrame:
    return pd.DataFrame({"arch": arch, "dataset": dataset, "split": split, "epochs": epochs, **values})
