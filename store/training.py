"""Our own trainings in ``<space>/training/<label>/seed<seed>``, written one by one, then collected in the accuracy table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from sweetgrad.store.access import Location, child_groups, command_line
from sweetgrad.store.accuracy_table import load_table, recover_accuracy, replace_table, source_entry, to_arrays
from sweetgrad.store.errors import NotAStoreError, SpecMismatchError
from sweetgrad.store.format.arrays import create_array, write_archs, write_array
from sweetgrad.store.format.blocks import TRAINING
from sweetgrad.store.format.schema import STATUS, Variable
from sweetgrad.store.groups import Store, archs_of_space, put_group, stage_group
from sweetgrad.store.locks import Lock
from sweetgrad.store.root import append_run, editing, now
from sweetgrad.store.shards import Table, read_array

TRAINING_FOLDER = "training"
"""Name of the group of a search space that holds its trainings."""

SHARD_SIZE = 25
"""Architectures that a worker trains one after another; each is written as soon as it is done."""

TRAINING_COORDINATES = (
    Variable("arch", ("arch",), "str", "", "Canonical architecture string of the search space.", "", "coord"),
    Variable("arch_index", ("arch",), "int32", "1", "Position in the search space.", 0, "coord"),
    Variable("split", ("split",), "str", "", "Part of the data set that the accuracy is of.", "", "coord"),
)
TRAINING_VARIABLES: dict[str, Variable] = {v.name: v for v in (*TRAINING.variables, *TRAINING_COORDINATES)}
"""Variables of a table of trainings, by name."""


class Trainings(Table):
    """The opened trainings of a search space with one recipe and seed: a table with a row for every architecture."""

    @staticmethod
    def _find(store: Store, name: str) -> zarr.Group:
        group = store.root.get(name)
        if not isinstance(group, zarr.Group) or "settings" not in group.attrs:
            raise NotAStoreError(
                f"{store.location} has no trainings {name!r}; `{command_line('train', store.location)}` creates them."
            )
        return group

    def write_row(self, row: int, values: Mapping[str, Any], *, lock: Lock | None = None) -> None:
        """Write the result of one training.

        Parameters
        ----------
        row
            Position of the architecture.
        values
            ``accuracy`` (one for each split), ``train_seconds``, ``loss``, ``message``, ``status``.
        lock
            As in `Table.write`.
        """
        (shard,) = self.shards_of([row])
        data = {v.name: (v.dims, np.asarray([values[v.name]])) for v in TRAINING.variables if v.name in values}
        coords = {"arch": self.arch(shard)[[row - shard.start]], "arch_index": ("arch", [row])}
        self.write(shard, {TRAINING: xr.Dataset(data, coords)}, lock=lock)

    def record_run(self, facts: Mapping[str, Any]) -> None:
        """Append facts about a run that is about to train, and the time, to the attribute ``runs``."""
        with editing(self.location) as store:
            append_run(self._find(store, self.name), facts)

    def finalise(self) -> None:
        """Stamp the table, as `Profile.finalise` does for a profile."""
        with editing(self.location) as store:
            Trainings(store, self.name).stamp()

    def dataset(self) -> xr.Dataset:
        """The table without its digests, in memory; see `open_training`."""
        data = self.read(TRAINING, variables=TRAINING.measured).drop_vars("arch")
        stored = {v.name: read_array(self.group, v.name, self.location, command="train") for v in TRAINING_COORDINATES}
        coords: dict[str, Any] = {v.name: (v.dims, stored[v.name]) for v in TRAINING_COORDINATES}
        coords["arch"] = (("arch",), stored["arch"].astype(object))
        return data.assign_coords(coords).assign_attrs(self.attributes)


def create_training(
    location: Location,
    *,
    space: str,
    label: str,
    seed: int,
    arch: Sequence[str],
    splits: Sequence[str],
    settings: Mapping[str, Any],
) -> Trainings:
    """Create an empty table of trainings with a row for every architecture, or check that the existing one has these settings.

    Parameters
    ----------
    location
        Local path or writable URL; the store is created if it does not exist.
    space, label, seed
        Search space; the data set's name in the accuracy table; seed of initialisation and order of batches.
    arch, splits
        Architectures of the whole space, in index order; parts of the data set for which accuracies are recorded.
    settings
        Everything on which the accuracies depend, in particular the recipe; JSON-ready.

    Returns
    -------
    The opened table.

    Raises
    ------
    SpecMismatchError
        If the group exists with other settings or architectures; the message has every difference.
    """
    name = f"{space}/{TRAINING_FOLDER}/{label}/seed{seed}"
    with editing(location, create=True) as store:
        group = store.root.get(name)
        if isinstance(group, zarr.Group) and "settings" in group.attrs:
            _require_equal(group, settings, arch, where=f"{location}: {name}")
            return Trainings.open(location, name)
        staged = stage_group({"settings": dict(settings), "created": now(), "runs": []})
        sizes = {"arch": len(arch), "split": len(splits)}
        for variable in TRAINING_VARIABLES.values():
            create_array(staged, variable, sizes=sizes, shard_size=SHARD_SIZE)
        write_archs(staged, arch)
        write_array(staged, "split", slice(None), np.array(splits, dtype=object))
        put_group(store.root, name, staged)
    return Trainings.open(location, name)


def _require_equal(group: zarr.Group, settings: Mapping[str, Any], arch: Sequence[str], *, where: str) -> None:
    stored, asked = _flat(dict(group.attrs["settings"])), _flat(settings)  # type: ignore[arg-type]
    lines = [
        f"  {key}: stored {stored.get(key)!r}, requested {asked.get(key)!r}"
        for key in sorted({*stored, *asked})
        if stored.get(key) != asked.get(key)
    ]
    if np.asarray(group["arch"][:]).tolist() != list(arch):  # type: ignore[index]
        lines.append("  architectures: another list, or another order (give the same --space-file)")
    if lines:
        raise SpecMismatchError(
            f"{where} was made with other settings:\n" + "\n".join(lines) + "\n"
            "Use the stored settings, or keep these accuracies separate under another --label."
        )


def _flat(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Flatten nested settings to keys such as ``recipe.epochs``, so that a difference is a single value."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return found


def open_training(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """Open a table of trainings in memory: the variables of `TRAINING_VARIABLES` except the digest, attributes as in the store.

    Parameters
    ----------
    location, storage_options
        As in `open_store`.
    name
        Path of the group in the store, e.g. ``nas-bench-201/training/digits/seed0``.

    Raises
    ------
    NotAStoreError
        If there is no such group.
    CorruptShardError
        If a file of it cannot be decoded.
    """
    return Trainings.open(location, name, storage_options=storage_options).dataset()


def collect_trainings(location: Location, *, space: str, label: str) -> int:
    """Collect the trainings of a label in the accuracy table: each as ``<label>/seed<seed>``, and their mean as ``<label>``.

    Existing accuracies with these names are replaced for the architectures that were trained, since the mean changes when a seed
    is added; all others are kept.

    Returns
    -------
    Number of architectures with at least one training that did not fail.
    """
    with editing(location) as store:
        table = _tidy(store, space, label)
        if table.empty:
            return 0
        recover_accuracy(store, space)
        stored = load_table(store, space)
        source = f"sweetgrad train, label {label}"
        archs = archs_of_space(store.root, space) or table.attrs["arch"]
        axis = list(dict.fromkeys([*archs, *table["arch"], *(stored["arch"].values.tolist() if stored else ())]))
        new = to_arrays(table, axis, source)
        merged = new if stored is None else new.combine_first(stored).reindex(arch=axis)
        others = [each for each in (stored.attrs["sources"] if stored else []) if each["source"] != source]
        for name in _seed_groups(store, space, label):
            Trainings(store, name).stamp()
        replace_table(store, space, merged.assign_attrs(sources=[*others, source_entry(source, table)]))
    return int(table["arch"].nunique())


def _tidy(store: Store, space: str, label: str) -> pd.DataFrame:
    """Tidy table with one row for every (architecture, seed or mean, split)."""
    parts, settings, archs = [], {}, []
    for name in _seed_groups(store, space, label):
        data = Trainings(store, name).dataset()
        seed = name.rpartition("/")[2]
        settings = {key: value for key, value in data.attrs["settings"].items() if key != "seed"}
        archs = data["arch"].values.tolist()
        trained = data.isel(arch=data["status"].values == STATUS["ok"])
        parts += [
            pd.DataFrame(
                {
                    "arch": trained["arch"].values,
                    "dataset": f"{label}/{seed}",
                    "split": split,
                    "epochs": int(settings["recipe"]["epochs"]),
                    "accuracy": trained["accuracy"].sel(split=split).values,
                    "seconds": trained["train_seconds"].values,
                }
            )
            for split in trained["split"].values.tolist()
        ]
    each = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["arch"])
    if each.empty:
        return each
    mean = each.groupby(["arch", "split", "epochs"], as_index=False)[["accuracy", "seconds"]].mean()
    table = pd.concat([each, mean.assign(dataset=label)], ignore_index=True)
    table.attrs.update(settings=settings, arch=archs)
    return table


def _seed_groups(store: Store, space: str, label: str) -> Iterator[str]:
    group = store.root.get(f"{space}/{TRAINING_FOLDER}/{label}")
    if isinstance(group, zarr.Group):
        yield from (child.path for _, child in sorted(child_groups(group)) if "settings" in child.attrs)
