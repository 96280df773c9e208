"""Tables of accuracies as dense arrays, and their union: one key never has two values."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.store.errors import StoreError

DIMS = ("arch", "dataset", "split", "epochs")

_VALUES = {"accuracy": "accuracy", "seconds": "train_seconds"}
"""Columns of a tidy table, and the variables that they become."""
_SAME: dict[str, tuple[float, float]] = {"accuracy": (1e-9, 1e-5), "train_seconds": (1e-5, 0.01)}
"""Relative and absolute difference that text, single precision and rounding make: of accuracies far less than one image of 10^4
makes, 0.01; of seconds six digits, and the two decimals of an exported table."""
_MAX_SHOWN = 3


def to_arrays(table: pd.DataFrame, axis: list[str], source: str) -> xr.Dataset:
    """Dense arrays of a tidy table; rows with equal keys must agree."""
    keys = list(DIMS)
    groups = table.groupby(keys, sort=False)
    for column, name in _VALUES.items():
        spread = groups[column].agg(["min", "max"])
        low, high = spread["min"].to_numpy(), spread["max"].to_numpy()
        differ = np.flatnonzero(_differ(name, low, high))
        if differ.size:
            examples = [(spread.index[i], low[i], high[i]) for i in differ[:_MAX_SHOWN]]
            raise _disagreement(f"two rows of {source}", name, differ.size, examples)
    # first() takes the first value that is not NaN, so a repeated row may add the seconds that another one lacks.
    rows = groups[["accuracy", "seconds"]].first()
    coords: dict[str, Any] = {"arch": axis, **{key: sorted(table[key].unique().tolist()) for key in keys[1:]}}
    shape = tuple(len(coords[key]) for key in keys)
    position = tuple(pd.Index(coords[key]).get_indexer(rows.index.get_level_values(key)) for key in keys)
    data = {}
    for column, name in _VALUES.items():
        values = np.full(shape, np.nan)
        values[position] = rows[column].to_numpy()
        data[name] = (DIMS, values)
    return xr.Dataset(data, coords=coords)


def merge_tables(
    stored: xr.Dataset | None, new: xr.Dataset, axis: list[str], *, space: str, source: str
) -> tuple[xr.Dataset, int, int, bool]:
    """The union of both tables, the number of accuracies added and unchanged, and whether anything differs from ``stored``."""
    num_new = int(new["accuracy"].notnull().sum())
    if stored is None:
        return new, num_new, 0, True
    coords: dict[str, Any] = {"arch": axis}
    for key in DIMS[1:]:
        coords[key] = sorted({*stored[key].values.tolist(), *new[key].values.tolist()})
    before, after = stored.reindex(coords), new.reindex(coords)
    for name in _VALUES.values():
        a, b = before[name].values, after[name].values
        differ = np.argwhere(_differ(name, a, b))
        if len(differ):
            examples = [
                (tuple(coords[key][i] for key, i in zip(DIMS, place, strict=True)), a[*place], b[*place])
                for place in differ[:_MAX_SHOWN]
            ]
            raise _disagreement(f"the table of {space} in the store and {source}", name, len(differ), examples)
    merged = before.fillna(after)
    unchanged = int((before["accuracy"].notnull() & after["accuracy"].notnull()).sum())
    return merged, num_new - unchanged, unchanged, not merged.identical(stored)


def _differ(name: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two values of one key are both there and differ by more than the ways in which one number is written."""
    relative, absolute = _SAME[name]
    return ~np.isnan(a) & ~np.isnan(b) & ~np.isclose(a, b, rtol=relative, atol=absolute)


def _disagreement(who: str, name: str, count: int, examples: list[tuple[tuple[Any, ...], float, float]]) -> StoreError:
    """The error for values that differ, with keys and both values of some of them."""
    lines = "\n".join(f"  {'/'.join(map(str, key))}: {a} and {b}" for key, a, b in examples)
    return StoreError(
        f"{who} disagree on {name} for {count} of (arch/dataset/split/epochs):\n{lines}\n"
        "Two versions of a benchmark would be mixed. Keep one: remove the other rows, give them another split name, or "
        "import into another store."
    )
