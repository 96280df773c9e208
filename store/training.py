"""Trainings of our own: ``<space>/training/<label>/seed<seed>``, written one by one, then brought into the accuracy table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store._accuracy_merge import to_arrays
from sweetgrad.store._accuracy_table import load_table, recover_accuracy, replace_table, source_entry
from sweetgrad.store._blocks import digests_of, stamp, write_rows
from sweetgrad.store._planning import Shard, is_done, rows_by_shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.access import Location, child_groups, command_line, open_root, with_options
from sweetgrad.store.errors import NotAStoreError, SpecMismatchError
from sweetgrad.store.format.arrays import create_array, write_archs, write_array
from sweetgrad.store.format.schema import DIGEST, STATUS, Variable
from sweetgrad.store.groups import archs_of_space, put_group, stage_group
from sweetgrad.store.locks import Lock
from sweetgrad.store.root import append_run, editing, now

TRAINING = "training"
"""Name of the group of a search space that holds its trainings."""

SHARD_SIZE = 25
"""Architectures that one worker trains one after another, each of them written when it is done."""

_TABLE = (
    Variable("accuracy", ("arch", "split"), "float64", "%", "Accuracy after training; NaN unless status is 1.", np.nan),
    Variable("train_seconds", ("arch",), "float64", "s", "Wall time of the training, without judging it.", np.nan),
    Variable("loss", ("arch",), "float32", "nat", "Mean loss over the last epoch.", np.nan),
    Variable("message", ("arch",), "str", "", "Why the training failed; empty unless status is 2.", ""),
    DIGEST,
    Variable("status", ("arch",), "uint8", "1", f"{STATUS}; failed: the loss was not finite. Written last."),
    Variable("arch", ("arch",), "str", "", "Canonical architecture string of the search space.", "", "coord"),
    Variable("arch_index", ("arch",), "int32", "1", "Position in the search space.", 0, "coord"),
    Variable("split", ("split",), "str", "", "Part of the data set that the accuracy is of.", "", "coord"),
)
TRAINING_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
"""Name to `Variable` of a group of trainings; those with the role ``row`` in the order in which they are written."""


def create_training(
    location: Location,
    *,
    space: str,
    label: str,
    seed: int,
    arch: Sequence[str],
    splits: Sequence[str],
    settings: Mapping[str, Any],
) -> str:
    """Create an empty group of trainings with a row for every architecture, or check that the one there has these settings.

    Parameters
    ----------
    location
        Local path or writable URL; the store is made if it is not there.
    space, label, seed
        Search space; the data set's name in the accuracy table; seed of initialisation and order of batches.
    arch, splits
        Architectures of the whole space, in index order; parts of the data set that accuracies are of.
    settings
        JSON-ready: everything that the accuracies depend on, above all the recipe.

    Returns
    -------
    Path of the group in the store.

    Raises
    ------
    SpecMismatchError
        If the group is there with other settings or architectures; every difference is named.
    """
    name = f"{space}/{TRAINING}/{label}/seed{seed}"
    with editing(location, create=True) as root:
        group = root.get(name)
        if isinstance(group, zarr.Group) and "settings" in group.attrs:
            _require_equal(group, settings, arch, where=f"{location}: {name}")
            return name
        staged = stage_group({"settings": dict(settings), "created": now(), "runs": []})
        sizes = {"arch": len(arch), "split": len(splits)}
        for variable in TRAINING_VARIABLES.values():
            create_array(staged, variable, sizes=sizes, shard_size=SHARD_SIZE)
        write_archs(staged, arch)
        write_array(staged, "split", slice(None), np.array(splits, dtype=object))
        put_group(root, name, staged)
    return name


def _require_equal(group: zarr.Group, settings: Mapping[str, Any], arch: Sequence[str], *, where: str) -> None:
    stored, asked = _flat(dict(group.attrs["settings"])), _flat(settings)  # type: ignore[arg-type]
    lines = [
        f"  {key}: stored {stored.get(key)!r}, asked {asked.get(key)!r}"
        for key in sorted({*stored, *asked})
        if stored.get(key) != asked.get(key)
    ]
    if np.asarray(group["arch"][:]).tolist() != list(arch):  # type: ignore[index]
        lines.append("  architectures: another list, or another order (give the same --space-file)")
    if lines:
        raise SpecMismatchError(
            f"{where} was made with other settings:\n" + "\n".join(lines) + "\n"
            "Ask for the same, or keep these accuracies apart under another --label."
        )


def _flat(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Settings that hold settings as one dictionary, with keys such as ``recipe.epochs``, so that a difference is one value."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return found


def record_training_run(location: Location, name: str, facts: Mapping[str, Any]) -> None:
    """Append facts about a run that is about to train to the attribute ``runs``, with the time."""
    with editing(location) as root:
        append_run(_group(root, name, location), facts)


def plan_trainings(location: Location, name: str, rows: Sequence[int], *, retry_failed: bool = False) -> list[Shard]:
    """Group the rows that still have to be trained by shard; arguments as in `sweetgrad.store.plan_shards`."""
    group = _group(open_root(location), name, location)
    done = is_done(_read(group, "status", location), retry_failed=retry_failed)
    to_run = np.zeros(len(done), dtype=bool)
    to_run[np.asarray(rows, dtype=np.int64)] = True
    return rows_by_shard(to_run & ~done, SHARD_SIZE)


def replan_trainings(location: Location, name: str, shard: Shard, *, retry_failed: bool = False) -> Shard:
    """The shard without the rows that were trained since it was planned."""
    status = _read(_group(open_root(location), name, location), "status", location, shard=shard)
    return shard.without(is_done(status, retry_failed=retry_failed))


def write_training(location: Location, name: str, row: int, values: Mapping[str, Any], *, lock: Lock | None) -> None:
    """Write what one training gave, ``status`` last, and its digest; the caller holds the lock of its shard.

    Parameters
    ----------
    location, name, row
        Group of trainings, and position of the architecture in it.
    values
        ``accuracy`` (one for each split), ``train_seconds``, ``loss``, ``message``, ``status``.
    lock
        As in `sweetgrad.store.write_shard`.
    """
    group = _group(open_root(location, mode="r+"), name, location)
    variables = [variable for variable in TRAINING_VARIABLES.values() if variable.role == "row"]
    start = row // SHARD_SIZE * SHARD_SIZE
    num_archs: int = group["status"].shape[0]  # type: ignore[union-attr]
    shard = Shard(row // SHARD_SIZE, start, min(start + SHARD_SIZE, num_archs), (row,))
    position = np.array([row - start])
    rows = {key: np.asarray([value]) for key, value in values.items()}
    rows["digest"] = digests_of(_read(group, "arch", location, shard=shard)[position], variables, rows)
    write_rows(group, variables, shard, rows, position=position, location=location, lock=lock)


def open_training(location: Location, name: str, *, storage_options: dict[str, Any] | None = None) -> xr.Dataset:
    """A group of trainings, in memory; variables as in `TRAINING_VARIABLES` but for the digest, attributes as in the store.

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
    location = with_options(location, storage_options)
    group = _group(open_root(location), name, location)
    variables = {key: variable for key, variable in TRAINING_VARIABLES.items() if key != "digest"}
    data = {key: (variable.dims, _read(group, key, location)) for key, variable in variables.items()}
    coords = {key: data.pop(key) for key, variable in variables.items() if variable.role == "coord"}
    coords["arch"] = (("arch",), coords["arch"][1].astype(object))
    return xr.Dataset(data, coords=coords, attrs=dict(group.attrs))


def stamp_training(location: Location, name: str) -> None:
    """Stamp a group of trainings as `sweetgrad.store.finalise_profile` does a profile."""
    with editing(location) as root:
        stamp(_group(root, name, location), location, shard_size=SHARD_SIZE)


def collect_trainings(location: Location, *, space: str, label: str) -> int:
    """Bring the trainings of a label into the accuracy table: ``<label>/seed<seed>`` each, and their mean as ``<label>``.

    Accuracies that the table has under these names are replaced for the architectures that were trained, since the mean changes
    when a seed is added; all others stay.

    Returns
    -------
    Architectures with at least one training that did not fail.
    """
    with editing(location) as root:
        table = _tidy(root, location, space, label)
        if table.empty:
            return 0
        recover_accuracy(root, space)
        stored = load_table(root, location, space)
        source = f"sweetgrad train, label {label}"
        archs = archs_of_space(root, space) or table.attrs["arch"]
        axis = list(dict.fromkeys([*archs, *table["arch"], *(stored["arch"].values.tolist() if stored else ())]))
        new = to_arrays(table, axis, source)
        merged = new if stored is None else new.combine_first(stored).reindex(arch=axis)
        others = [each for each in (stored.attrs["sources"] if stored else []) if each["source"] != source]
        for name in _seed_groups(root, space, label):
            stamp(_group(root, name, location), location, shard_size=SHARD_SIZE)
        replace_table(root, space, merged.assign_attrs(sources=[*others, source_entry(source, table)]))
    return int(table["arch"].nunique())


def _tidy(root: zarr.Group, location: Location, space: str, label: str) -> pd.DataFrame:
    """One row for every (architecture, seed or mean, split)."""
    parts, settings, archs = [], {}, []
    for name in _seed_groups(root, space, label):
        data = open_training(location, name)
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


def _seed_groups(root: zarr.Group, space: str, label: str) -> Iterator[str]:
    group = root.get(f"{space}/{TRAINING}/{label}")
    if isinstance(group, zarr.Group):
        yield from (child.path for _, child in sorted(child_groups(group)) if "settings" in child.attrs)


def _group(root: zarr.Group, name: str, location: Location) -> zarr.Group:
    group = root.get(name)
    if not isinstance(group, zarr.Group) or "settings" not in group.attrs:
        raise NotAStoreError(f"{location} has no trainings {name!r}; `{command_line('train', location)}` makes them.")
    return group


def _read(group: zarr.Group, variable: str, location: Location, *, shard: Shard | None = None) -> NDArray[Any]:
    repair = command_line("verify", location, "--repair")
    advice = f"`{repair}` clears it; the next `{command_line('train', location)}` makes it again."
    return read_array(group, variable, location, shard=shard, advice=advice)
