"""Join stores that different people computed: rows are united, and what contradicts is named before anything is written."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store._accuracy_merge import merge_tables
from sweetgrad.store._accuracy_table import load_table, replace_table
from sweetgrad.store._planning import Shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.access import (
    Location,
    Progress,
    child_groups,
    command_line,
    copy_groups,
    force_tree,
    is_litter,
    is_remote,
    local_path,
    new_folder,
    open_root,
    rename_folder,
)
from sweetgrad.store.checks import require_sound
from sweetgrad.store.errors import CorruptShardError, StoreError
from sweetgrad.store.estimators import DETAILS, ESTIMATOR_VARIABLES, create_estimators, record_training
from sweetgrad.store.groups import profile_names
from sweetgrad.store.locks import lock_folder
from sweetgrad.store.merging._plan import MergedProfile, Plan, Source, plan_profile, read_all, scores_of
from sweetgrad.store.profiles import finalise_profile
from sweetgrad.store.redaction import redacted, redacted_facts
from sweetgrad.store.root import create_store, now, redact_attributes
from sweetgrad.store.shards import read_shard, write_estimators, write_shard
from sweetgrad.store.upgrade import format_of

_MAX_SHOWN = 10


@dataclass(frozen=True)
class MergeReport:
    """What `merge` wrote: profiles, and for each space with accuracies, the locations that they came from."""

    profiles: tuple[MergedProfile, ...]
    accuracies: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        """Sentences for a person."""
        lines = []
        for profile in self.profiles:
            parts = [f"{count:,} rows of {redacted(source)}" for source, count in profile.rows_from.items()]
            lines.append(f"{profile.name}: {', '.join(parts)}; {profile.num_common:,} rows in several, all equal")
            if profile.num_replaced:
                lines.append(f"  {profile.num_replaced:,} rows failed in one and are ok in another: ok was taken")
            if profile.num_failed_in_all:
                lines.append(f"  {profile.num_failed_in_all:,} rows failed wherever they were run")
            lines += [f"  {difference}" for difference in profile.differences]
        lines += [
            f"{space}/accuracy: of {', '.join(map(redacted, sources))}" for space, sources in self.accuracies.items()
        ]
        return "\n".join(lines)


def merge(sources: Sequence[Location], dest: str | Path, *, progress: Progress | None = None) -> MergeReport:
    """Join stores into a new one. The sources are verified first, and only read.

    A profile in one source is copied as it is. One in several must have the same spec; a row that one of them has is taken, a row
    that several have must be equal, and *ok* beats *failed*. The size of its shards is that of the first. Scores of estimators
    and accuracies are united likewise. The store is written under the name ``<dest>.merging``, and renamed when it is whole.

    Parameters
    ----------
    sources
        Two or more locations, as in `open_store`.
    dest
        Path of the new store.
    progress
        Called with what is being done, how much of it is done, and how much there is.

    Returns
    -------
    What was taken from where.

    Raises
    ------
    SpecMismatchError
        If a profile was measured with different settings; every differing field is named.
    LockedError
        If another program is writing ``dest``.
    StoreError
        If rows, scores or accuracies contradict each other, a source has problems, or ``dest`` exists. Nothing is written.
    ValueError
        If there are fewer than two sources, or ``dest`` is a URL.
    """
    folder = _folder(sources, dest)
    roots = {str(source): open_root(source) for source in sources}
    paths = {where: [*profile_names(root), *_accuracies(root)] for where, root in roots.items()}
    for source in sources:
        require_sound(source, paths[str(source)], progress=progress)
    names = sorted({name for root in roots.values() for name in profile_names(root)})
    plans = [plan_profile(name, [(source, roots[str(source)]) for source in sources]) for name in names]
    _require_no_conflict([problem for plan in plans for problem in plan.problems])
    tables = {space: _unite_accuracies(space, roots, sources) for space in _spaces(roots)}
    with lock_folder(folder) as lock, new_folder(folder, ".merging") as work:
        for source in sources:  # each group from the first source that has it
            first = [path for path in paths[str(source)] if not (work / path).exists()]
            copy_groups(roots[str(source)], first, work, progress=progress)
        _note_history(work, sources)
        create_store(work)
        for done, plan in enumerate(plans, start=1):
            _write(plan, work)
            if progress:
                progress("merging", done, len(plans))
        root = open_root(work, mode="r+")
        for space, (table, changed, _) in tables.items():
            if changed:
                replace_table(root, space, table)
        force_tree(work)
        lock.require()
        for path in filter(_is_litter_file, folder.glob("*")):
            path.unlink()  # the place of a folder that is not empty cannot be taken
        rename_folder(work, folder)
    return MergeReport(tuple(plan.report for plan in plans), {space: where for space, (_, _, where) in tables.items()})


def _folder(sources: Sequence[Location], dest: str | Path) -> Path:
    if len(sources) < 2:
        raise ValueError(f"merge joins two stores or more, got {len(sources)}")
    twice = [str(source) for i, source in enumerate(sources) if str(source) in map(str, sources[:i])]
    if twice:
        raise ValueError(f"{redacted(twice[0])} is given twice: name different stores")
    if is_remote(dest):
        raise ValueError(f"merge writes a local folder, got {redacted(dest)}: write it there, then upload it.")
    folder = local_path(dest).resolve()
    if folder.exists() and (not folder.is_dir() or any(not _is_litter_file(path) for path in folder.iterdir())):
        raise StoreError(f"{folder} exists: merge writes a new store. Give another path, and nothing is overwritten.")
    for source in sources:
        if not is_remote(source) and folder.is_relative_to(local_path(source).resolve()):
            raise ValueError(f"{dest} lies inside the source {source}: give a path outside.")
    return folder


def _is_litter_file(path: Path) -> bool:
    return path.is_file() and is_litter(path.name)


def _accuracies(root: zarr.Group) -> Iterator[str]:
    yield from (f"{space}/accuracy" for space, group in child_groups(root) if "accuracy" in group)


def _spaces(roots: dict[str, zarr.Group]) -> list[str]:
    return sorted({path.partition("/")[0] for root in roots.values() for path in _accuracies(root)})


def _require_no_conflict(lines: Sequence[str]) -> None:
    if lines:
        shown = "\n".join(f"  {line}" for line in lines[:_MAX_SHOWN])
        more = f"\n  and {len(lines) - _MAX_SHOWN:,} more" if len(lines) > _MAX_SHOWN else ""
        raise StoreError(
            f"the stores contradict each other in {len(lines):,} places, so nothing was written:\n{shown}{more}\n"
            "Equal specs must give equal numbers: find out which store is right (`sweetgrad info` says what each was made with), "
            "and merge without the other."
        )


def _unite_accuracies(
    space: str, roots: dict[str, zarr.Group], sources: Sequence[Location]
) -> tuple[xr.Dataset, bool, tuple[str, ...]]:
    """The united table, whether it differs from that of the first source that has one, and the sources that have one."""
    tables = {str(s): table for s in sources if (table := load_table(roots[str(s)], s, space)) is not None}
    axis = list(dict.fromkeys(arch for table in tables.values() for arch in table["arch"].values.tolist()))
    (_, first), *rest = tables.items()
    merged, changed = first, False
    for where, table in rest:
        merged, _, _, differs = merge_tables(merged, table, axis, space=space, source=f"that in {where}")
        changed |= differs
    entries = [entry for table in tables.values() for entry in table.attrs.get("sources", ())]
    known = {entry.get("sha256"): entry for entry in reversed(entries)}
    kept = [entry for entry in entries if known[entry.get("sha256")] is entry]
    return merged.assign_attrs(sources=kept), changed or kept != first.attrs.get("sources"), tuple(tables)


def _note_history(work: Path, sources: Sequence[Location]) -> None:
    root = open_root(work, mode="r+")
    # What was copied may be of several formats; all of it is brought to the present one next.
    root.attrs["schema_version"] = min(format_of(open_root(source)) for source in sources)
    text = f"merged {now()} from {', '.join(map(redacted, sources))} by sweetgrad {version('sweetgrad')}"
    root.attrs["history"] = f"{root.attrs.get('history', '')}\n{text}".strip()
    redact_attributes(root)


def _write(plan: Plan, work: Path) -> None:
    """Write into the copy of the first source's profile what the others have, and stamp it."""
    create_estimators(work, plan.name, list(plan.estimators))
    for estimator, training in plan.trainings.items():
        record_training(work, plan.name, estimator, training)
    for i, source in enumerate(plan.sources[1:], start=1):
        _write_rows(plan, work, source, np.flatnonzero(plan.row_from == i))
        for estimator, score_from in plan.estimators.items():
            _write_scores(plan, work, source, estimator, np.flatnonzero(score_from == i))
    _unite_attributes(plan, work)
    finalise_profile(work, plan.name)


def _write_rows(plan: Plan, work: Path, source: Source, rows: NDArray[np.int64]) -> None:
    for shard, inside in _by_shard(plan, rows):
        stored = read_shard(source.location, plan.name, shard)
        block = stored.assign_coords(arch_index=("arch", np.arange(shard.start, shard.stop)))
        write_shard(work, plan.name, shard, block.isel(arch=inside - shard.start))
        written = read_shard(work, plan.name, shard, variables=["digest"])["digest"].values
        if not np.array_equal(written[inside - shard.start], source.digest[inside]):
            raise CorruptShardError(
                f"{source.location}: {plan.name}, rows {shard.start} to {shard.stop - 1} have not the digests that are stored "
                f"with them. `{command_line('verify', source.location, '--repair')}` clears them. Nothing was written."
            )


def _write_scores(plan: Plan, work: Path, source: Source, estimator: str, rows: NDArray[np.int64]) -> None:
    arch = read_all(source, "arch")
    keys = [key for key in ESTIMATOR_VARIABLES if key != "digest"] if rows.size else []
    values = {key: scores_of(source, estimator, key) for key in keys}
    for shard, inside in _by_shard(plan, rows):
        data: dict[str, Any] = {key: (("arch", "estimator"), value[inside][:, None]) for key, value in values.items()}
        for key, variable in DETAILS.get(estimator, {}).items():  # as large as counts: never whole in memory
            block = read_array(source.group, f"estimators/{estimator}/{key}", source.location, shard=shard)
            data[key] = variable.dims, block[inside - shard.start]
        coords = {"arch": arch[inside], "arch_index": ("arch", inside), "estimator": [estimator]}
        write_estimators(work, plan.name, shard, xr.Dataset(data, coords=coords))


def _by_shard(plan: Plan, rows: NDArray[np.int64]) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
    """Rows by the shards of the merged profile, which are those of the first source, whatever the others have."""
    size, total = int(plan.sources[0].attributes["shard_size"]), len(plan.row_from)
    for index in np.unique(rows // size).tolist():
        inside = rows[rows // size == index]
        yield Shard(index, index * size, min((index + 1) * size, total), tuple(inside.tolist())), inside


def _unite_attributes(plan: Plan, work: Path) -> None:
    runs = [redacted_facts(run) for source in plan.sources for run in source.attributes.get("runs", ())]
    unique: list[Any] = list({json.dumps(run, sort_keys=True): run for run in runs}.values())
    unique.sort(key=lambda run: str(run.get("started", "")))
    created = min(str(source.attributes.get("created", "")) for source in plan.sources)
    open_root(work, mode="r+")[plan.name].update_attributes({"runs": unique, "created": created})
