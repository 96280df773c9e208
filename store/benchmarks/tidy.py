"""One row for every (architecture, data set, split, epochs): the table that every reader returns, and what it must satisfy."""

import math
from collections import Counter
from collections.abc import Iterable

import pandas as pd

__all__ = ["COLUMNS", "mean_of_known", "require_columns", "require_unique", "tidy"]

COLUMNS = ["arch", "dataset", "split", "epochs", "accuracy", "seconds"]
_EXAMPLE = "arch,dataset,split,epochs,accuracy,seconds"
_REQUIRED = ("dataset", "split", "epochs", "accuracy")


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


def require_unique(columns: Iterable[object], *, where: str) -> None:
    """Raise if two columns have one name: which of them is meant, nobody can tell."""
    twice = [name for name, count in Counter(map(str, columns)).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: column {', '.join(twice)} is there twice: delete or rename one of them")


def require_columns(table: pd.DataFrame, columns: list[str], *, where: str, example: str) -> None:
    """Raise unless all columns are there, each once, with those missing, those present, and an example header."""
    require_unique(table.columns, where=where)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"{where} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. "
            f"Expected a header such as\n  {example}\n(index may stand for arch; seconds may be left out)"
        )


def mean_of_known(values: Iterable[float]) -> float:
    """Mean over the runs of one network, of values that are not NaN; NaN if there is none.

    Examples
    --------
    >>> mean_of_known([90.0, math.nan, 91.0])
    90.5
    """
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


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
