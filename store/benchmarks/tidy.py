"""One row for every (architecture, data set, split, epochs): the table that every reader returns, and its checks."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

COLUMNS = ["arch", "dataset", "split", "epochs", "accuracy", "seconds"]
_EXAMPLE = "arch,dataset,split,epochs,accuracy,seconds"
_CLASSES = {
    **dict.fromkeys(("cifar10", "digits", "mnist", "fashion-mnist", "svhn"), 10),
    **{"cifar100": 100, "imagenet16-120": 120, "imagenet": 1000},
}
"""Number of classes of data sets with known names."""
_USUAL_SPLITS = ("train", "valid", "val", "test")
_GAP = 5
_MAX_SHOWN = 3
_REQUIRED = ("dataset", "split", "epochs", "accuracy")


def tidy(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """Check a tidy table and set the order and types of its columns; ``where`` is its name in error messages.

    Where the attribute ``is_percent`` is true, small accuracies are not refused for looking like fractions.

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
                f"{where}: column {column} must have non-negative integers, got {result[column][bad].iloc[0]}"
            )
        result[column] = result[column].astype("int64")
    for column in ("dataset", "split", *([key] if key == "arch" else [])):
        result[column] = result[column].astype(str)
    for column in ("dataset", "split"):  # otherwise two columns could look alike
        result[column] = result[column].str.strip()
    _require_names(result, where)
    _require_percent(result, where)
    result.attrs = dict(table.attrs)
    if not table.attrs.get("is_percent", False):
        _refuse_fractions(result, where)
    return result


def require_unique(columns: Iterable[object], *, where: str) -> None:
    """Raise if two columns have the same name, since it is unclear which of them is meant."""
    twice = [name for name, count in Counter(map(str, columns)).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: column {', '.join(twice)} occurs twice: delete or rename one of them")


def require_columns(table: pd.DataFrame, columns: list[str], *, where: str, example: str) -> None:
    """Raise unless every column occurs once; the message has the missing and present columns and an example header."""
    require_unique(table.columns, where=where)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"{where} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. "
            f"Expected a header such as\n  {example}\n(index may stand for arch; seconds may be left out)"
        )


def mean_of_known(values: Iterable[float]) -> float:
    """Mean over the runs of one network, ignoring NaN; NaN if there is no other value.

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
        raise ValueError(f"{where}: column {column.name} must have numbers, got {column[bad].iloc[0]!r}")
    return numbers.astype("float64")


def _require_names(table: pd.DataFrame, where: str) -> None:
    """Raise unless ``dataset/split`` and ``dataset/split/epochs`` identify one column each."""
    for dataset in table["dataset"].unique():
        if not all(dataset.split("/")):
            raise ValueError(
                f"{where}: a dataset must be a name, or names joined by '/', such as cifar10; got {dataset!r}"
            )
    for split in table["split"].unique():
        if not split or "/" in split or split.isdecimal():
            raise ValueError(
                f"{where}: a split must be a name without '/' that is not a number, such as test, since accuracies are "
                f"selected by dataset/split/epochs; got {split!r}"
            )


def _require_percent(table: pd.DataFrame, where: str) -> None:
    accuracy = table["accuracy"]
    bad = (accuracy < 0) | (accuracy > 100)
    if bad.any():
        row = table[bad].iloc[0]
        raise ValueError(
            f"{where}: accuracies must be in %, from 0 to 100, got {row['accuracy']} for {row.iloc[0]} "
            f"({row['dataset']}/{row['split']})"
        )


def _refuse_fractions(table: pd.DataFrame, where: str) -> None:
    # 1 % is chance level for 100 classes, so single values of 1 are valid; a column with no other values is not.
    for (dataset, split, epochs), values in table.groupby(["dataset", "split", "epochs"])["accuracy"]:
        if values.max() <= 1:
            raise ValueError(
                f"{where}: all {values.count()} accuracies of {dataset}/{split} after {epochs} epochs are at most 1 (first: "
                f"{values.dropna().iloc[0]}): they look like fractions. Accuracies are in %: multiply them by 100."
            )
        fractions = _fractions(values, str(dataset), str(split))
        if len(fractions):
            rows = ", ".join(f"{table.iloc[row, 0]}: {values[row]}" for row in fractions.index[:_MAX_SHOWN])
            raise ValueError(
                f"{where}: {len(fractions)} of {values.count()} accuracies of {dataset}/{split} after {epochs} epochs look like "
                f"fractions, but the others like %, from {values[values > 1].min()} to {values.max()} (first fractions: {rows}). "
                "Accuracies are in %: multiply those by 100. If they are right, these networks do worse than guessing: leave "
                "them out."
            )


def _fractions(values: "pd.Series[float]", dataset: str, split: str) -> "pd.Series[float]":
    """Accuracies that look like fractions among percentages; empty if all may be percentages.

    A network that has learned nothing is at chance level, 100/classes %, so values up to 1 are valid for 100 or more classes.
    But they are then about equal for all networks, and 100 times as large they would exceed the accuracy of any network. So for
    the usual splits

    - if the number of classes is known, values below half of chance level are fractions, and
    - otherwise, two or more different values are fractions if 100 times as large they lie among the others.

    Another split may have any values, such as accuracies under attack, which go down to 0: there the second rule applies only if
    there is a gap between those values and the others. Zero is the same in both units, and a single 1 is no evidence.

    Examples
    --------
    >>> _fractions(pd.Series([91.2, 0.934, 93.1]), "cifar10", "test").tolist()
    [0.934]
    >>> _fractions(pd.Series([1.0, 0.98, 71.4, 73.2]), "cifar100", "test").tolist()
    []
    """
    low, high = values[(values > 0) & (values < 1)], values[values > 1]
    if low.empty or high.empty:
        return low.iloc[:0]
    is_usual = split.startswith(_USUAL_SPLITS)
    guess = 100 / _CLASSES.get(dataset.partition("/")[0].lower(), math.inf)
    hopeless = (low < guess / 2) & is_usual
    among = (100 * low >= high.min()) & (100 * low <= high.max())
    has_gap = high.min() >= _GAP * low.max()
    several = low[among].nunique() > 1 and (is_usual or has_gap)
    return low[hopeless | among] if hopeless.any() or several else low.iloc[:0]


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r\n]")


def escaped(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Prefix an apostrophe to each string in these columns that begins like a formula, with or without leading apostrophes.

    Examples
    --------
    >>> escaped(pd.DataFrame({"split": ["=1+1", "'-x", "test"]}), ["split"])["split"].tolist()
    ["'=1+1", "''-x", 'test']
    """
    return _mapped(table, columns, lambda text: f"'{text}" if _FORMULA.match(text) else text)


def unescaped(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The inverse of `escaped`.

    Examples
    --------
    >>> table = pd.DataFrame({"split": ["=1+1", "'-x", "'x", "test"]})
    >>> unescaped(escaped(table, ["split"]), ["split"])["split"].tolist() == table["split"].tolist()
    True
    """
    return _mapped(table, columns, lambda text: text[1:] if _ESCAPED.match(text) else text)


def _mapped(table: pd.DataFrame, columns: Sequence[str], change: Callable[[str], str]) -> pd.DataFrame:
    changed = {
        name: table[name].map(lambda value: change(value) if isinstance(value, str) else value) for name in columns
    }
    return table.assign(**changed)
