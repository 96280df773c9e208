"""Accuracies of trained networks: imported from a file, stored beside the profiles of their search space."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from sweetgrad.store._accuracy_merge import merge_tables, to_arrays
from sweetgrad.store._accuracy_table import (
    ACCURACY_VARIABLES,
    load_table,
    recover_accuracy,
    replace_table,
    selectors,
    source_entry,
)
from sweetgrad.store._groups import archs_of_space
from sweetgrad.store.access import Location, child_groups, command_line, is_zip, open_root, with_options
from sweetgrad.store.benchmarks import tidy
from sweetgrad.store.claims import exclusively
from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.root import create_root, refuse_file

__all__ = [
    "ACCURACY_VARIABLES",
    "ImportReport",
    "import_accuracy",
    "list_archs",
    "open_accuracies",
    "open_accuracy",
]


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
    refuse_file(location)
    with exclusively(location):
        return _import(location, space, table, arch, source)


def _import(
    location: Location, space: str, table: pd.DataFrame, arch: Sequence[str] | None, source: str
) -> ImportReport:
    root = create_root(location)
    recover_accuracy(location, space)
    stored = load_table(root, location, space)
    order = archs_of_space(root, space) or list(arch or ())
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
        sources = [*(stored.attrs["sources"] if stored else []), source_entry(source, table)]
        replace_table(root, location, space, merged.assign_attrs(sources=sources))
    return ImportReport(
        matched=num_matched,
        unmatched=len(unmatched),
        unmatched_examples=tuple(dict.fromkeys(unmatched))[:5],
        empty=empty,
        duplicated=num_matched - added - unchanged,
        added=added,
        unchanged=unchanged,
        num_archs=len(axis),
        selectors=tuple(selectors(merged)),
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
    table = load_table(root, location, space)
    if table is None:
        have = ", ".join(path for path, child in child_groups(root) if "accuracy" in child)
        there = f" (it has those of: {have})" if have else ""
        first, into = (
            ("a zip file can only be read: unpack it, then ", "FOLDER") if is_zip(location) else ("", location)
        )
        raise NotAStoreError(
            f"{location} has no accuracies of {space!r}{there}: {first}"
            f"`{command_line('accuracy', 'import', into, '--space', space, '--from', 'FILE')}` adds them."
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
    there = list(selectors(table))
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
    stored = load_table(root, location, space)
    return list(dict.fromkeys([*archs_of_space(root, space), *(stored["arch"].values.tolist() if stored else ())]))


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
