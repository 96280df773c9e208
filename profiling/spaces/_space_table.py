"""Read the csv file that lists or orders the architectures of a space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sweetgrad.store.benchmarks.opening import DAMAGED, open_table
from sweetgrad.store.benchmarks.shipped import shipped_table


def read_space_table(path: Path, columns: Sequence[str], *, expected: str, **options: Any) -> pd.DataFrame:
    """Read a csv file, compressed or not, that has these columns; others are kept.

    Parameters
    ----------
    path
        The file, or the name of a table that comes with the package.
    columns
        Required columns.
    expected
        Description of a valid file, for error messages.
    options
        Arguments of `pandas.read_csv`.

    Raises
    ------
    ValueError
        If the file does not exist, cannot be read, or lacks a column.
    """
    path = shipped_table(path)
    try:
        with open_table(path) as file:
            frame: pd.DataFrame = pd.read_csv(file, **options)
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}; expected {expected}") from None
    except (OSError, ValueError, *DAMAGED) as error:
        raise ValueError(
            f"{path} cannot be read as a csv ({error}); expected {expected}. If it was downloaded, compare its size or checksum "
            "and download it again"
        ) from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        columns_read = ", ".join(map(str, frame.columns[:20]))
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; it has {columns_read}; expected {expected}")
    return frame
