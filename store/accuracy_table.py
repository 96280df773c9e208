"""The accuracy table of a search space in a store: a new table is written beside the old one, then replaces it."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from sweetgrad.store.access import GuardedStore
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.errors import CorruptShardError, StoreError
from sweetgrad.store.format.arrays import compressor, write_array
from sweetgrad.store.format.blocks import DIGEST
from sweetgrad.store.format.digests import row_digests
from sweetgrad.store.format.schema import Variable
from sweetgrad.store.groups import Store
from sweetgrad.store.redaction import redacted_facts
from sweetgrad.store.root import consolidate, now

DIMS = ("arch", "dataset", "split", "epochs")

_VALUES = {"accuracy": "accuracy", "seconds": "train_seconds"}
"""Columns of a tidy table, and the variables that they become."""
_SAME: dict[str, tuple[float, float]] = {"accuracy": (1e-9, 1e-5), "train_seconds": (1e-5, 0.01)}
"""Relative and absolute tolerance for differences due to text, single precision and rounding: for accuracies far below 0.01, the
weight of one image of 10^4; for seconds six digits, and the two decimals of an exported table."""
_MAX_SHOWN = 3

_TABLE = (
    Variable(
        "accuracy", DIMS, "float64", "%", "Accuracy after training, in [0, 100]; NaN where the table has none.", np.nan
    ),
    Variable("train_seconds", DIMS, "float64", "s", "Time that the training took; NaN where unknown.", np.nan),
    DIGEST,
    Variable("arch", ("arch",), "str", "", "Canonical architecture string of the search space.", "", "coord"),
    Variable("dataset", ("dataset",), "str", "", "Data set that the network was trained and judged on.", "", "coord"),
    Variable("split", ("split",), "str", "", "Part of the data set that the accuracy is of.", "", "coord"),
    Variable("epochs", ("epochs",), "int64", "1", "Epochs of the whole training schedule.", 0, "coord"),
)
ACCURACY_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
"""Variables of the group ``<space>/accuracy``, by name."""


def load_table(store: Store, space: str) -> xr.Dataset | None:
    """Load the stored table; an interrupted import can have left it under the name accuracy.old."""
    for name in ("accuracy", "accuracy.old"):
        try:
            group = store.root.get(f"{space}/{name}")
            if not isinstance(group, zarr.Group):
                continue
            variables = {key: variable for key, variable in ACCURACY_VARIABLES.items() if key != "digest"}
            data = {key: (v.dims, np.asarray(group[key][...])) for key, v in variables.items()}  # type: ignore[index]
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise CorruptShardError(
                f"{store.location}: {space}/{name} cannot be read ({error}). Delete that folder and import its tables again."
            ) from error
        coords = {key: data.pop(key) for key in DIMS}
        # Plain str labels, whatever the version of zarr returns.
        coords["arch"] = ("arch",), coords["arch"][1].astype(object)
        table = xr.Dataset(data, coords=coords, attrs=dict(group.attrs))
        for key, variable in variables.items():
            table[key].attrs.update(units=variable.units, doc=variable.doc)
        return table
    return None


def selectors(table: xr.Dataset) -> Iterator[str]:
    """Selectors for `sweetgrad.store.open_accuracy`: ``dataset/split/epochs`` of all accuracies."""
    return ("/".join(map(str, key)) for key in columns(table))


def columns(table: xr.Dataset) -> Iterator[tuple[str, str, int]]:
    """(data set, split, epochs) of all accuracies, in ascending order of epochs."""
    present = table["accuracy"].notnull().any("arch")
    for dataset in table["dataset"].values.tolist():
        for split in table["split"].values.tolist():
            for epochs in table["epochs"].values.tolist():
                if present.sel(dataset=dataset, split=split, epochs=epochs):
                    yield dataset, split, epochs


def source_entry(source: str, table: pd.DataFrame) -> dict[str, Any]:
    """Entry of a table in the attribute ``sources``."""
    return redacted_facts(
        {
            "source": source,
            "sha256": table.attrs.get("sha256") or _sha256(table),
            "imported": now(),
            "rows": len(table),
            **({"settings": table.attrs["settings"]} if "settings" in table.attrs else {}),
        }
    )


def replace_table(store: Store, space: str, table: xr.Dataset) -> None:
    """Write the table under another name, then replace the old one by it."""
    root, files, (live, new, old) = store.root, store.root.store, _places(space)
    if space not in root:
        root.create_group(space)
    if isinstance(files, GuardedStore) and files.can_rename:
        _write(root, new, table)
        # Between the two renames, the old table is complete under the name accuracy.old, where readers and imports look for it.
        if _is_there(root, live):
            sync(files.rename(live, old))
        sync(files.rename(new, live))
        recover_accuracy(store, space)
    else:
        _write(root, live, table)
    consolidate(root)


def recover_accuracy(store: Store, space: str) -> None:
    """Clean up after an interrupted import: restore the old table if it was moved, and delete leftovers."""
    root, files, (live, new, old) = store.root, store.root.store, _places(space)
    if not (isinstance(files, GuardedStore) and files.can_rename):
        return
    if _is_there(root, old) and not _is_there(root, live):
        sync(files.rename(old, live))
    for leftover in (new, old):
        if _is_there(root, leftover):
            sync(files.delete_dir(leftover))


def _places(space: str) -> tuple[str, str, str]:
    return f"{space}/accuracy", f"{space}/accuracy.new", f"{space}/accuracy.old"


def _is_there(root: zarr.Group, path: str) -> bool:
    """Whether a folder exists, whatever its content."""
    folder, _, name = path.rpartition("/")

    async def names() -> set[str]:
        return {name async for name in root.store.list_dir(folder)}

    return name in sync(names())


def _write(root: zarr.Group, path: str, table: xr.Dataset) -> None:
    group = root.create_group(path, overwrite=True, attributes={"space": path.split("/")[0], **table.attrs})
    table = table.assign(digest=("arch", table_digests(table)))
    for name, variable in ACCURACY_VARIABLES.items():
        values = table[name].values
        is_text = variable.dtype == "str"
        group.create_array(
            name,
            shape=values.shape,
            dtype=str if is_text else variable.dtype,
            chunks=tuple(max(1, size) for size in values.shape),
            compressors=[compressor(is_text=is_text), Crc32cCodec()],
            fill_value=variable.fill,
            dimension_names=variable.dims,
            attributes={"units": variable.units, "doc": variable.doc},
        )
        write_array(group, name, slice(None), values.astype(object) if is_text else values)


def table_digests(table: xr.Dataset) -> NDArray[np.uint64]:
    """Digest of every row of a table over its accuracies and times, in the order of their names; shape (arch,)."""
    columns = [table[name].values for name in sorted(_VALUES.values())]
    return row_digests(table["arch"].values, columns)


def _sha256(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


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
    # first() returns the first value that is not NaN, so a repeated row may add the seconds that another one lacks.
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
    """Where both values of a key exist and differ by more than the tolerance."""
    relative, absolute = _SAME[name]
    return ~np.isnan(a) & ~np.isnan(b) & ~np.isclose(a, b, rtol=relative, atol=absolute)


def _disagreement(who: str, name: str, count: int, examples: list[tuple[tuple[Any, ...], float, float]]) -> StoreError:
    """The error for values that differ, with some of the keys and both values of each."""
    lines = "\n".join(f"  {'/'.join(map(str, key))}: {a} and {b}" for key, a, b in examples)
    return StoreError(
        f"{who} disagree on {name} for {count} of (arch/dataset/split/epochs):\n{lines}\n"
        "Two versions of a benchmark would be mixed. Keep one: remove the other rows, give them another split name, or "
        "import into another store."
    )
