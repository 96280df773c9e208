"""Accuracies of trained networks: imported from a file, stored beside the profiles of their search space."""

import difflib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec

from sweetgrad.store._accuracy_merge import DIMS, merge_tables, to_arrays
from sweetgrad.store._arrays import compressor
from sweetgrad.store._groups import profile_names
from sweetgrad.store.access import Location, child_groups, is_remote, is_zip, open_root, with_options
from sweetgrad.store.benchmarks import tidy
from sweetgrad.store.claims import exclusively
from sweetgrad.store.errors import CorruptShardError, NotAStoreError
from sweetgrad.store.root import consolidate, create_root, now
from sweetgrad.store.schema import Variable

__all__ = [
    "ACCURACY_VARIABLES",
    "ImportReport",
    "import_accuracy",
    "list_archs",
    "open_accuracies",
    "open_accuracy",
    "recover_accuracy",
]

_TABLE = (
    Variable(
        "accuracy", DIMS, "float64", "%", "Accuracy after training, in [0, 100]; NaN where the table has none.", np.nan
    ),
    Variable("train_seconds", DIMS, "float64", "s", "Time that the training took; NaN where unknown.", np.nan),
    Variable("arch", ("arch",), "str", "", "Canonical architecture string of the search space.", "", "coord"),
    Variable("dataset", ("dataset",), "str", "", "Data set that the network was trained and judged on.", "", "coord"),
    Variable("split", ("split",), "str", "", "Part of the data set that the accuracy is of.", "", "coord"),
    Variable("epochs", ("epochs",), "int64", "1", "Epochs of the whole training schedule.", 0, "coord"),
)
ACCURACY_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
"""Name to `Variable` of the group ``<space>/accuracy``."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did, counted in rows of the table that was given.

    Attributes
    ----------
    matched, unmatched
        Rows whose architecture is, or is not, among those of the space; the latter are left out.
    unmatched_examples
        Up to five architectures that are not in the space.
    empty
        Rows without an accuracy, left out.
    duplicated
        Rows that repeat another row with the same value; counted once.
    added, unchanged
        Different keys (arch, dataset, split, epochs) that are new in the store, and that it held with the same value.
    num_archs
        Architectures along the ``arch`` dimension of the stored table.
    selectors
        What `open_accuracy` now understands, e.g. ``cifar10/test/200``.
    changed
        Whether anything was written.
    """

    matched: int
    unmatched: int
    unmatched_examples: tuple[str, ...]
    empty: int
    duplicated: int
    added: int
    unchanged: int
    num_archs: int
    selectors: tuple[str, ...]
    changed: bool

    def __str__(self) -> str:
        """Sentences for a person."""
        lines = [
            f"{self.matched} rows matched, {self.unmatched} unmatched, {self.duplicated} duplicated, "
            f"{self.empty} without accuracy",
            f"{self.added} accuracies added, {self.unchanged} were there already"
            + ("" if self.changed else ": nothing to do, the store holds this table"),
        ]
        if self.unmatched:
            lines.insert(
                1, f"not in the search space: {', '.join(self.unmatched_examples)}{', …' if self.unmatched > 5 else ''}"
            )
        return "\n".join(lines)


def import_accuracy(
    location: Location, *, space: str, table: pd.DataFrame, arch: Sequence[str] | None = None, source: str
) -> ImportReport:
    """Add a table of accuracies to a store. Importing the same table again changes nothing.

    The new table is written whole beside the old one, which it then replaces by renaming, so that a crash at any moment leaves
    one of the two. On a remote store, which cannot rename, it is overwritten in place: import again after a crash.

    Parameters
    ----------
    location
        Local path or writable URL; the store is made if it is not there.
    space
        Search space, e.g. ``nas-bench-201``.
    table
        As from `read_accuracy_file`. Its attribute ``settings``, if it has one, is kept: how the accuracies were made.
    arch
        Architecture strings of the space in index order, for a store that has no profile of the space yet; None: those of the
        table. Profiles in the store take precedence.
    source
        Name of the table, kept in the attributes with its SHA-256.

    Returns
    -------
    What was matched, left out and added.

    Raises
    ------
    ValueError
        If columns are missing, values are no accuracies in %, no row matches, or ``index`` is used and nothing orders the space.
    StoreError
        If a key has one value here and another in the table or the store: two versions of a benchmark would be mixed.
    """
    table = tidy(table, where=source)
    with exclusively(location):
        return _import(location, space, table, arch, source)


def _source_entry(source: str, table: pd.DataFrame) -> dict[str, Any]:
    """What the attribute ``sources`` keeps of a table."""
    return {
        "source": source,
        "sha256": table.attrs.get("sha256") or _sha256(table),
        "imported": now(),
        "rows": len(table),
        **({"settings": table.attrs["settings"]} if "settings" in table.attrs else {}),
    }


def _import(
    location: Location, space: str, table: pd.DataFrame, arch: Sequence[str] | None, source: str
) -> ImportReport:
    root = create_root(location)
    recover_accuracy(location, space)
    stored = _load(root, location, space)
    order = _profile_archs(root, space) or list(arch or ())
    table, unplaced = _with_arch(table, order, source)
    axis = list(dict.fromkeys([*(order or table["arch"]), *(stored["arch"].values.tolist() if stored else ())]))
    table, empty = table[table["accuracy"].notna()], int(table["accuracy"].isna().sum())
    known = table["arch"].isin(axis)
    unmatched = [*unplaced, *table["arch"][~known]]
    table, num_matched = table[known], int(known.sum())
    if not num_matched:
        raise ValueError(
            f"{source}: no row matches an architecture of {space}, which has e.g. {', '.join(axis[:2])}; "
            f"the table has e.g. {', '.join(dict.fromkeys(unmatched[:2])) or 'no accuracy at all'}"
        )
    new = to_arrays(table, axis, source)
    merged, added, unchanged, changed = merge_tables(stored, new, axis, space=space, source=source)
    if changed:
        sources = [*(stored.attrs["sources"] if stored else []), _source_entry(source, table)]
        _replace(root, location, space, merged.assign_attrs(sources=sources))
    return ImportReport(
        matched=num_matched,
        unmatched=len(unmatched),
        unmatched_examples=tuple(dict.fromkeys(unmatched))[:5],
        empty=empty,
        duplicated=num_matched - added - unchanged,
        added=added,
        unchanged=unchanged,
        num_archs=len(axis),
        selectors=tuple(_selectors(merged)),
        changed=changed,
    )


def open_accuracies(location: Location, space: str, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """The whole table of a space, in memory.

    Parameters
    ----------
    location, storage_options
        As in `open_store`.
    space
        Search space, e.g. ``nas-bench-201``.

    Returns
    -------
    ``accuracy`` in % and ``train_seconds``, dims (arch, dataset, split, epochs); NaN where the table has none.

    Raises
    ------
    NotAStoreError
        If the store has no accuracies of the space.
    """
    location = with_options(location, storage_options)
    root = open_root(location)
    table = _load(root, location, space)
    if table is None:
        have = ", ".join(path for path, child in child_groups(root) if "accuracy" in child)
        there = f" (it has those of: {have})" if have else ""
        first, into = (
            ("a zip file can only be read: unpack it, then ", "FOLDER") if is_zip(location) else ("", location)
        )
        raise NotAStoreError(
            f"{location} has no accuracies of {space!r}{there}: {first}"
            f"`sweetgrad accuracy import {into} --space {space} --from FILE` adds them."
        )
    return table


def open_accuracy(
    location: Location, space: str, selector: str, *, storage_options: dict[str, Any] | None = None
) -> xr.DataArray:
    """Accuracies of all architectures of a space for one data set and split.

    Parameters
    ----------
    location, storage_options
        As in `open_store`.
    space
        Search space, e.g. ``nas-bench-201``.
    selector
        ``dataset/split`` or ``dataset/split/epochs``, e.g. ``cifar10/test``; without epochs, the longest training there is.

    Returns
    -------
    Dims ``(arch,)``, in %, NaN where the table has none; in memory.

    Raises
    ------
    ValueError
        If the table has no such accuracies; those that it has are listed, the nearest first.
    NotAStoreError
        If the store has no accuracies of the space.
    """
    table = open_accuracies(location, space, storage_options=storage_options)
    there = list(_selectors(table))
    longest = {name.rpartition("/")[0]: name for name in there}  # epochs ascend, so the last one stays
    full = longest.get(selector, selector)
    if full not in there:
        near = difflib.get_close_matches(selector, there, n=len(there), cutoff=0.0) if selector else there
        raise ValueError(f"no accuracies {selector!r} of {space}; there are {', '.join(near)}")
    dataset, split, epochs = full.rsplit("/", 2)
    return table["accuracy"].sel(dataset=dataset, split=split, epochs=int(epochs))


def list_archs(location: Location, space: str, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Architectures of a space that a store knows: those of its profiles, then those that have accuracies.

    A surrogate is asked for these. Empty if the store has none, or is not there.
    """
    location = with_options(location, storage_options)
    try:
        root = open_root(location)
    except NotAStoreError:
        return []
    stored = _load(root, location, space)
    return list(dict.fromkeys([*_profile_archs(root, space), *(stored["arch"].values.tolist() if stored else ())]))


def recover_accuracy(location: Location, space: str) -> None:
    """Clear up what an interrupted import left: the old table comes back if it was out of its place."""
    if is_remote(location):
        return
    live, new, old = (Path(str(location)) / space / name for name in ("accuracy", "accuracy.new", "accuracy.old"))
    if old.exists() and not live.exists():
        old.rename(live)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)


def _selectors(table: xr.Dataset) -> Iterator[str]:
    present = table["accuracy"].notnull().any("arch")
    for dataset in table["dataset"].values:
        for split in table["split"].values:
            for epochs in table["epochs"].values:
                if present.sel(dataset=dataset, split=split, epochs=epochs):
                    yield f"{dataset}/{split}/{epochs}"


def _load(root: zarr.Group, location: Location, space: str) -> xr.Dataset | None:
    """The stored table in memory; an interrupted import can have left it under the name accuracy.old."""
    for name in ("accuracy", "accuracy.old"):
        try:
            group = root.get(f"{space}/{name}")
            if not isinstance(group, zarr.Group):
                continue
            data = {key: (v.dims, np.asarray(group[key][...])) for key, v in ACCURACY_VARIABLES.items()}  # type: ignore[index]
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise CorruptShardError(
                f"{location}: {space}/{name} cannot be read ({error}). Delete that folder and import its tables again."
            ) from error
        coords = {key: data.pop(key) for key in DIMS}
        # Plain str labels, whatever the version of zarr returns.
        coords["arch"] = ("arch",), coords["arch"][1].astype(object)
        table = xr.Dataset(data, coords=coords, attrs=dict(group.attrs))
        for key, variable in ACCURACY_VARIABLES.items():
            table[key].attrs.update(units=variable.units, doc=variable.doc)
        return table
    return None


def _profile_archs(root: zarr.Group, space: str) -> list[str]:
    """Architectures of all profiles of a space, those of the largest profile first."""
    group = root.get(space)
    names = profile_names(group) if isinstance(group, zarr.Group) else ()
    archs = [np.asarray(root[f"{name}/arch"][:]).tolist() for name in names]  # type: ignore[index]
    return list(dict.fromkeys(arch for profile in sorted(archs, key=len, reverse=True) for arch in profile))


def _with_arch(table: pd.DataFrame, order: list[str], source: str) -> tuple[pd.DataFrame, list[str]]:
    """Replace ``index`` by ``arch``; also returns the indices that no architecture has, as text."""
    if "arch" in table.columns:
        return table, []
    if not order:
        raise ValueError(
            f"{source} names architectures by index, but nothing says which is which: profile the space first, pass arch=, or "
            "give a table with a column arch"
        )
    inside = table["index"] < len(order)
    placed = table[inside].assign(arch=lambda rows: [order[i] for i in rows["index"]])
    return placed, [f"index {i}" for i in table["index"][~inside]]


def _replace(root: zarr.Group, location: Location, space: str, table: xr.Dataset) -> None:
    """Write the table under another name, then let it take the place of the old one."""
    if space not in root:
        root.create_group(space)
    if is_remote(location):
        _write(root, f"{space}/accuracy", table)
    else:
        _write(root, f"{space}/accuracy.new", table)
        folder = Path(str(location)) / space
        # Between the two renames the old table is whole under the name accuracy.old, where readers and imports look for it.
        if (folder / "accuracy").exists():
            (folder / "accuracy").rename(folder / "accuracy.old")
        (folder / "accuracy.new").rename(folder / "accuracy")
        recover_accuracy(location, space)
    consolidate(root)


def _write(root: zarr.Group, path: str, table: xr.Dataset) -> None:
    group = root.create_group(path, overwrite=True, attributes={"space": path.split("/")[0], **table.attrs})
    for name, variable in ACCURACY_VARIABLES.items():
        values = table[name].values
        is_text = variable.dtype == "str"
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=str if is_text else variable.dtype,
            chunks=tuple(max(1, size) for size in values.shape),
            compressors=[compressor(is_text=is_text), Crc32cCodec()],
            fill_value=variable.fill,
            dimension_names=variable.dims,
            attributes={"units": variable.units, "doc": variable.doc},
        )
        array[...] = values.astype(object) if is_text else values


def _sha256(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()
