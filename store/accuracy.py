"""Accuracies of trained networks: imported from a file, stored beside the profiles of their search space."""

import difflib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr
import zarr

from sweetgrad.store.access import Location, child_groups, command_line, is_zip
from sweetgrad.store.accuracy_table import (
    columns,
    load_table,
    merge_tables,
    recover_accuracy,
    replace_table,
    selectors,
    source_entry,
    to_arrays,
)
from sweetgrad.store.benchmarks import tidy
from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.groups import Store, archs_by_profile, archs_of_space
from sweetgrad.store.root import editing, refuse_file
from sweetgrad.store.spaces import Grammar, grammar_of, is_published_order, registered_spaces, unknown_name

_SHOWN = 200


@dataclass(frozen=True)
class ImportReport:
    """Result of an import, counted in rows of the imported table.

    Attributes
    ----------
    matched, unmatched
        Rows whose architecture is, or is not, in the space; the latter are skipped.
    unmatched_examples
        Up to five architectures that are not in the space.
    empty
        Rows without an accuracy, which are skipped.
    duplicated
        Rows that repeat another row with the same value.
    added, unchanged
        Number of keys (arch, dataset, split, epochs) that are new in the store, and that it had with the same value.
    num_archs
        Architectures along the ``arch`` dimension of the stored table.
    selectors
        Selectors for `open_accuracy`, e.g. ``cifar10/test/200``.
    changed
        Whether anything was written.
    index_order
        The list in which the indices of the table were read as positions; empty for a table with architecture strings.
    checked
        Whether architecture strings were checked against a profile in the store or the grammar of the space.
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
    index_order: str
    checked: bool

    def __str__(self) -> str:
        """Text for display."""
        lines = [
            f"{self.matched} rows matched, {self.unmatched} unmatched, {self.duplicated} duplicated, "
            f"{self.empty} without accuracy",
            f"{self.added} accuracies added, {self.unchanged} were already there"
            + ("" if self.changed else ": nothing to do, the store has this table"),
        ]
        if self.unmatched:
            lines.insert(
                1, f"not in the search space: {', '.join(self.unmatched_examples)}{', …' if self.unmatched > 5 else ''}"
            )
        if self.index_order:
            lines.append(f"index was read as the position in {self.index_order}")
        if not self.checked:
            lines.append(
                "architecture strings were not checked: the store has no profile of the space, and its package no canonical_arch"
            )
        return "\n".join(lines)


def import_accuracy(
    location: Location,
    *,
    space: str,
    table: pd.DataFrame,
    arch: Sequence[str] | None = None,
    source: str,
    grammar: Grammar | None = None,
) -> ImportReport:
    """Add a table of accuracies to a store. Importing the same table again changes nothing.

    The new table is written beside the old one and then replaces it by renaming, so that a crash at any moment leaves one of the
    two. A remote store cannot rename, so the table is overwritten in place: import again after a crash.

    Parameters
    ----------
    location
        Local path or writable URL; the store is created if it does not exist.
    space
        Search space, e.g. ``nas-bench-201``: one that is registered or in the store, or whose architectures are in ``arch``.
    table
        As returned by `read_accuracy_file`. Its attribute ``settings`` (training settings), if it has one, is kept.
    arch
        Architecture strings of the space in index order, to which ``index`` refers. None: the order of a profile in the store, if
        its runs recorded a published order. If the store has no profile of the space, these are also its architectures; otherwise
        those of the profiles are.
    source
        Name of the table, kept in the attributes with its SHA-256.
    grammar
        For a space that does not come with the package: returns the canonical string of an architecture, and raises
        ``ValueError`` for a string that is not an architecture.

    Returns
    -------
    Numbers of rows that were matched, skipped and added.

    Raises
    ------
    ValueError
        If the space is unknown, columns are missing, values are not accuracies in %, no row matches, or ``index`` is used and
        it is not known to which list it refers.
    StoreError
        If a key has different values in the table, or in the table and the store: two versions of a benchmark would be mixed.
    """
    table = tidy(table, where=source)
    refuse_file(location)
    if arch is None:
        require_space(location, space)
    with editing(location, create=True) as store:
        return _import(store, space, table, arch, source, grammar_of(space) or grammar)


def require_space(location: Location, space: str) -> None:
    """Raise ``ValueError`` for a search space that is neither registered nor in the store, with the nearest names."""
    known = registered_spaces()
    if space in known:
        return
    try:
        held = [name for name, _ in child_groups(Store.open(location).root)]
    except NotAStoreError:
        held = []
    if space not in held:
        raise unknown_name("search space", space, known, held=held)


def _import(
    store: Store,
    space: str,
    table: pd.DataFrame,
    arch: Sequence[str] | None,
    source: str,
    grammar: Grammar | None,
) -> ImportReport:
    recover_accuracy(store, space)
    stored = load_table(store, space)
    order = archs_of_space(store.root, space) or list(arch or ())
    index_order, unplaced = "", list[str]()
    if "index" in table.columns:
        listed, index_order = (list(arch), "the given list") if arch else _published(store.root, space, source)
        table, unplaced = _with_arch(table, listed)
    held = stored["arch"].values.tolist() if stored else []
    table, malformed = _with_canonical_arch(table, {*order, *held}, grammar)
    new = () if order else (name for name in table["arch"] if name not in malformed)
    axis = list(dict.fromkeys([*order, *held, *new]))
    table, empty = table[table["accuracy"].notna()], int(table["accuracy"].isna().sum())
    known = table["arch"].isin(axis)
    unmatched = [*unplaced, *table["arch"][~known]]
    table, num_matched = table[known], int(known.sum())
    if not num_matched:
        raise ValueError(_no_match(source, space, order, unmatched, malformed))
    arrays = to_arrays(table, axis, source)
    merged, added, unchanged, changed = merge_tables(stored, arrays, axis, space=space, source=source)
    if changed:
        sources = [*(stored.attrs["sources"] if stored else []), source_entry(source, table)]
        replace_table(store, space, merged.assign_attrs(sources=sources))
    return ImportReport(
        matched=num_matched,
        unmatched=len(unmatched),
        unmatched_examples=tuple(name[:_SHOWN] for name in dict.fromkeys(unmatched))[:5],
        empty=empty,
        duplicated=num_matched - added - unchanged,
        added=added,
        unchanged=unchanged,
        num_archs=len(axis),
        selectors=tuple(selectors(merged)),
        changed=changed,
        index_order=index_order,
        checked=bool(order) or grammar is not None,
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
    ``accuracy`` in % and ``train_seconds``, dims (arch, dataset, split, epochs); NaN where the table has no value.

    Raises
    ------
    NotAStoreError
        If the store has no accuracies of the space.
    """
    store = Store.open(location, storage_options=storage_options)
    table = load_table(store, space)
    if table is None:
        location = store.location
        have = ", ".join(path for path, child in child_groups(store.root) if "accuracy" in child)
        there = f" (it has those of {have})" if have else ""
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
        ``dataset/split`` or ``dataset/split/epochs``, e.g. ``cifar10/test``; without epochs, the longest training.

    Returns
    -------
    Accuracies in %, dims ``(arch,)``, in memory; NaN where the table has no value.

    Raises
    ------
    ValueError
        If the table has no such accuracies; the message lists the available ones, the nearest first.
    NotAStoreError
        If the store has no accuracies of the space.
    """
    table = open_accuracies(location, space, storage_options=storage_options)
    there = list(columns(table))
    exact = [key for key in there if _selector(*key) == selector]
    longest = {key[:2]: key for key in there if _selector(*key[:2]) == selector}  # epochs ascend, so the last one stays
    found = [*exact, *longest.values()]
    if not found:
        names = [_selector(*key) for key in there]
        near = difflib.get_close_matches(selector, names, n=len(names), cutoff=0.0) if selector else names
        raise ValueError(f"no accuracies {selector!r} of {space}; available: {', '.join(near)}")
    if len(found) > 1:  # only in stores of versions that allowed such names
        raise ValueError(
            f"{selector!r} of {space} may be {' or '.join(map(str, found))} as (dataset, split, epochs): select from "
            "open_accuracies(), where they are separate, or import one of them under another name"
        )
    dataset, split, epochs = found[0]
    return table["accuracy"].sel(dataset=dataset, split=split, epochs=epochs)


def _selector(*key: object) -> str:
    return "/".join(map(str, key))


def list_archs(location: Location, space: str, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Architectures of a space that a store knows: those of its profiles, then those that have accuracies.

    These are the architectures that a surrogate predicts. Empty if the store has none, or does not exist.
    """
    try:
        store = Store.open(location, storage_options=storage_options)
    except NotAStoreError:
        return []
    stored = load_table(store, space)
    return list(
        dict.fromkeys([*archs_of_space(store.root, space), *(stored["arch"].values.tolist() if stored else ())])
    )


def _published(root: zarr.Group, space: str, source: str) -> tuple[list[str], str]:
    """The list to which the indices of a table refer, and its description: the order of a profile, if it is published.

    A profile that was created without the list of its benchmark has an order to which no table refers.
    """
    instead = (
        "name the list that they refer to (--space-file FILE, arch= in Python), or give a table with a column arch"
    )
    profiles = archs_by_profile(root, space)
    if not profiles:
        raise ValueError(f"{source} names architectures by index, but their order is not known: {instead}")
    recorded = {name: _recorded_orders(root[name].attrs.get("runs")) for name in profiles}
    published = [name for name in profiles if is_published_order(recorded[name])]
    if not published:
        name = max(profiles, key=lambda name: len(profiles[name]))
        order = ", ".join(dict.fromkeys(filter(None, recorded[name]))) or "of unknown origin"
        raise ValueError(
            f"{source} names architectures by index, but the order of the profile {name} is {order}, and no table refers to "
            f"that: {instead}"
        )
    longest = max(published, key=lambda name: len(profiles[name]))
    for name in published:
        if profiles[name] != profiles[longest][: len(profiles[name])]:
            raise ValueError(
                f"{source} names architectures by index, but the profiles {name} and {longest} have different orders: {instead}"
            )
    order = next(order for order in recorded[longest] if is_published_order([order]))
    return profiles[longest], f"{order} (profile {longest})"


def _recorded_orders(runs: object) -> list[str]:
    """The orders of the architectures that the runs of a profile recorded; empty strings for older runs."""
    return [str(run.get("arch_order", "")) for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []


def _with_arch(table: pd.DataFrame, listed: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Replace ``index`` by ``arch``; also returns the indices without an architecture, as strings."""
    inside = table["index"] < len(listed)
    placed = table[inside].assign(arch=lambda rows: [listed[i] for i in rows["index"]])
    return placed, [f"index {i}" for i in table["index"][~inside]]


def _with_canonical_arch(
    table: pd.DataFrame, known: Container[str], grammar: Grammar | None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Replace architectures by their canonical strings; also returns strings that are not in the space, each with the reason."""
    canonical: dict[str, str] = {}
    malformed: dict[str, str] = {}
    for name in table["arch"].unique() if grammar is not None else ():
        try:
            canonical[name] = name if name in known or grammar is None else grammar(name)
        except ValueError as error:
            malformed[name] = str(error)
    return table.assign(arch=table["arch"].map(lambda name: canonical.get(name, name)).astype(object)), malformed


def _no_match(source: str, space: str, order: list[str], unmatched: list[str], malformed: dict[str, str]) -> str:
    shown = ", ".join(dict.fromkeys(name[:_SHOWN] for name in unmatched[:2])) or "no accuracy at all"
    why = f"which has e.g. {', '.join(order[:2])}; the table has e.g. {shown}"
    if not order and malformed:
        why = f"the first is not one ({next(iter(malformed.values()))})"
    return f"{source}: no row matches an architecture of {space}: {why}"
