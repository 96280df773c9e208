"""Tables with commas or in parquet: tidy ones, and the wide ones of NAS-Bench-201, NAS-Bench-101 and the DARTS space."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from sweetgrad.store.benchmarks.opening import DAMAGED, check_parquet, open_table
from sweetgrad.store.benchmarks.tidy import require_columns, require_unique, unescaped
from sweetgrad.store.packages import how_to_install
from sweetgrad.store.spaces.genotypes import parse_genotype

_TEXTS = ["arch", "arch_str", "adj_upper", "ops", "hash", "genotype", "dataset", "split"]
WIDE: dict[str, list[str]] = {
    "nas-bench-201": ["arch_str"],
    "nas-bench-101": ["adj_upper", "ops", "test_acc_mean3"],
    "nas-bench-301": ["genotype"],
}
"""Columns by which a wide table is known, apart from those of the accuracies; those of seconds may be missing."""
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


# Columns of the tables of DARTS cells, before the number of epochs: split, and what makes % of it. Predictions have a split of
# their own: they are never taken for trained accuracies, nor for what a surrogate says that is asked here.
_GENOTYPES = {"valid_acc": ("valid", 1), "test_acc": ("test", 1), "pred_val_acc": ("valid-predicted", 100)}
_GENOTYPE_COLUMN = re.compile(rf"({'|'.join(_GENOTYPES)})_e(\d+)")


def read_table(path: Path) -> pd.DataFrame:
    """The file as it is, its texts kept as texts.

    Raises
    ------
    ValueError
        If it is no table, or not whole.
    ImportError
        If a parquet file is read without pyarrow.
    """
    if path.suffix not in (".parquet", ".pq"):
        # Strings that look like numbers stay strings: "0010" is a graph, not ten.
        text: dict[str, type] = dict.fromkeys(_TEXTS, str)
        try:
            with open_table(path) as file:
                # pandas would call the second of two columns with one name by another.
                header = pd.read_csv(file, header=None, nrows=1, dtype=str, keep_default_na=False)
            require_unique(header.iloc[0].tolist(), where=str(path))
            with open_table(path) as file:
                table = pd.read_csv(file, dtype=text, keep_default_na=False, na_values=["", "nan", "NaN"])
            return unescaped(table, [name for name in _TEXTS if name in table.columns])
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, *DAMAGED) as error:
            # An OSError with a number is the machine's; that of a damaged bz2 has none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(
                f"{path}: expected text with commas and a header line, cannot read it ({error})"
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
    """The tidy rows of a wide table of the benchmark ``name``, one of `WIDE`.

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
        # Rounded to what a file of six decimals holds, so that 0.894231 becomes 89.4231 and not 89.42309999999999.
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
