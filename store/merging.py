"""Merge stores that were computed separately: rows are united, and conflicts are reported before anything is written."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

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
    rename_folder,
)
from sweetgrad.store.accuracy_table import load_table, merge_tables, replace_table
from sweetgrad.store.checks import require_sound
from sweetgrad.store.errors import CorruptShardError, SpecMismatchError, StoreError
from sweetgrad.store.format.blocks import COUNTS, Block, is_block
from sweetgrad.store.format.schema import STATUS
from sweetgrad.store.format.spec import MATTERS, values_of
from sweetgrad.store.groups import Store, block_groups
from sweetgrad.store.locks import lock_folder
from sweetgrad.store.profile import Profile
from sweetgrad.store.redaction import redacted, redacted_facts
from sweetgrad.store.root import create_store, now, redact_attributes
from sweetgrad.store.shards import Shard, read_array

_MAX_SHOWN = 10


@dataclass(frozen=True)
class MergedProfile:
    """Result of merging one profile.

    Attributes
    ----------
    name
        Path of the profile in the store.
    rows_from
        Number of rows taken from each source that has the profile, by location, in the given order.
    num_common
        Number of rows in two or more sources, with equal digests.
    num_replaced
        Number of rows that failed in one source and are ok in another, from which they are taken.
    num_failed_in_all
        Number of rows that failed in every source that ran them; the first message is taken.
    differences
        Facts about the runs in which the sources differ, such as the version of torch, each as a sentence.
    """

    name: str
    rows_from: dict[str, int]
    num_common: int
    num_replaced: int
    num_failed_in_all: int
    differences: tuple[str, ...]


@dataclass(frozen=True)
class MergeReport:
    """Result of `merge`: the profiles, and the sources of the accuracies of each space."""

    profiles: tuple[MergedProfile, ...]
    accuracies: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        """Text for display."""
        lines = []
        for profile in self.profiles:
            parts = [f"{count:,} rows from {redacted(source)}" for source, count in profile.rows_from.items()]
            lines.append(
                f"{profile.name}: {', '.join(parts)}; {profile.num_common:,} rows in several sources, all equal"
            )
            if profile.num_replaced:
                lines.append(
                    f"  {profile.num_replaced:,} rows failed in one source and are ok in another, from which they were taken"
                )
            if profile.num_failed_in_all:
                lines.append(f"  {profile.num_failed_in_all:,} rows failed in every source that ran them")
            lines += [f"  {difference}" for difference in profile.differences]
        lines += [
            f"{space}/accuracy: from {', '.join(map(redacted, sources))}" for space, sources in self.accuracies.items()
        ]
        return "\n".join(lines)


def merge(sources: Sequence[Location], dest: str | Path, *, progress: Progress | None = None) -> MergeReport:
    """Merge stores into a new one. The sources are verified first, and not changed.

    A profile in one source is copied unchanged. A profile in several sources must have the same spec in all of them; a row in one
    of them is taken, a row in several must be equal, and *ok* takes precedence over *failed*. The shard size is that of the first
    source. Scores of estimators and accuracies are merged in the same way. The store is written under the name
    ``<dest>.merging``, and renamed when it is complete.

    Parameters
    ----------
    sources
        Two or more locations, as in `open_store`.
    dest
        Path of the new store.
    progress
        Called with the name of the current step, the number of items done, and their total.

    Returns
    -------
    Numbers of rows that were taken from each source.

    Raises
    ------
    SpecMismatchError
        If a profile, or one of its blocks, was measured with other settings; the message has everything that differs.
    LockedError
        If another process is writing to ``dest``.
    StoreError
        If rows, scores or accuracies are in conflict, a source has problems, or ``dest`` exists. Nothing is written.
    ValueError
        If there are fewer than two sources, or ``dest`` is a URL.
    """
    folder = _folder(sources, dest)
    stores = {str(source): Store.open(source) for source in sources}
    held = {where: store.profiles() for where, store in stores.items()}
    paths = {where: [*held[where], *_accuracies(store)] for where, store in stores.items()}
    for source in sources:
        require_sound(source, paths[str(source)], progress=progress)
    names = sorted(set().union(*held.values()))
    holders = {name: [store for where, store in stores.items() if name in held[where]] for name in names}
    plans = [_plan_profile(name, [Profile(store, name) for store in those]) for name, those in holders.items()]
    _require_no_conflict([problem for plan in plans for problem in plan.problems])
    tables = {space: _unite_accuracies(space, stores) for space in _spaces(stores.values())}
    with lock_folder(folder) as lock, new_folder(folder, ".merging") as work:
        for source in sources:  # each group from the first source that has it
            first = [path for path in paths[str(source)] if not (work / path).exists()]
            copy_groups(stores[str(source)].root, first, work, progress=progress)
        _note_history(work, stores.values())
        create_store(work)
        for done, plan in enumerate(plans, start=1):
            _write(plan, work)
            if progress:
                progress("merging", done, len(plans))
        merged = Store.open(work, mode="r+")
        for space, (table, changed, _) in tables.items():
            if changed:
                replace_table(merged, space, table)
        force_tree(work)
        lock.require()
        for path in filter(_is_litter_file, folder.glob("*")):
            path.unlink()  # a folder can only be replaced if it is empty
        rename_folder(work, folder)
    return MergeReport(tuple(plan.report for plan in plans), {space: where for space, (_, _, where) in tables.items()})


def _folder(sources: Sequence[Location], dest: str | Path) -> Path:
    if len(sources) < 2:
        raise ValueError(f"merge needs two or more stores, got {len(sources)}")
    twice = [str(source) for i, source in enumerate(sources) if str(source) in map(str, sources[:i])]
    if twice:
        raise ValueError(f"{redacted(twice[0])} is given twice: give different stores")
    if is_remote(dest):
        raise ValueError(f"merge writes a local folder, got {redacted(dest)}: write it there, then upload it.")
    folder = local_path(dest).resolve()
    if folder.exists() and (not folder.is_dir() or any(not _is_litter_file(path) for path in folder.iterdir())):
        raise StoreError(f"{folder} exists: merge writes a new store and overwrites nothing. Give another path.")
    for source in sources:
        if not is_remote(source) and folder.is_relative_to(local_path(source).resolve()):
            raise ValueError(f"{dest} is inside the source {source}: give a path outside.")
    return folder


def _is_litter_file(path: Path) -> bool:
    return path.is_file() and is_litter(path.name)


def _accuracies(store: Store) -> Iterator[str]:
    yield from (f"{space}/accuracy" for space, group in child_groups(store.root) if "accuracy" in group)


def _spaces(stores: Iterable[Store]) -> list[str]:
    return sorted({path.partition("/")[0] for store in stores for path in _accuracies(store)})


def _require_no_conflict(lines: Sequence[str]) -> None:
    if lines:
        shown = "\n".join(f"  {line}" for line in lines[:_MAX_SHOWN])
        more = f"\n  and {len(lines) - _MAX_SHOWN:,} more" if len(lines) > _MAX_SHOWN else ""
        raise StoreError(
            f"the stores have {len(lines):,} conflicts, so nothing was written:\n{shown}{more}\n"
            "Equal specs must give equal numbers: find out which store is right (`sweetgrad info` shows how each was made), "
            "and merge without the other."
        )


def _unite_accuracies(space: str, stores: Mapping[str, Store]) -> tuple[xr.Dataset, bool, tuple[str, ...]]:
    """The merged table, whether it differs from that of the first source that has one, and the sources that have one."""
    tables = {where: table for where, store in stores.items() if (table := load_table(store, space)) is not None}
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


def _note_history(work: Path, sources: Collection[Store]) -> None:
    root = Store.open(work, mode="r+").root
    # The copied groups may have several formats; all of them are upgraded to the current one next.
    root.attrs["schema_version"] = min(source.version for source in sources)
    text = f"merged {now()} from {', '.join(redacted(source.location) for source in sources)} by sweetgrad {version('sweetgrad')}"
    root.attrs["history"] = f"{root.attrs.get('history', '')}\n{text}".strip()
    redact_attributes(root)


@dataclass(frozen=True)
class _Plan:
    """Position of the source of each row of each block; -1 if no source ran it."""

    name: str
    sources: list[Profile]
    row_from: dict[Block, NDArray[np.int64]]
    trainings: dict[str, dict[str, Any]]
    report: MergedProfile
    problems: list[str]


def _plan_profile(name: str, sources: list[Profile]) -> _Plan:
    """Select the source of each row; conflicts are listed in ``problems``."""
    first = sources[0]
    for other in sources[1:]:
        _require_equal_specs(first, other)
        if not np.array_equal(_layers(first), _layers(other)):
            raise StoreError(
                f"{name} has different layers in {first.location} and in {other.location}: they cannot be merged."
            )
    lean = [source for source in sources if source.rows_by_layer < source.num_archs]
    if lean and len(sources) > 1:
        raise StoreError(
            f"{lean[0].location} is a lean release, in which most rows of {name} have no counts by layer: merge the full data "
            "sets."
        )
    blocks = [COUNTS, *_blocks_of(sources)]
    status = {block: np.stack([_status(source, block) for source in sources]) for block in blocks}
    row_from = {block: _first_best(status[block]) for block in blocks}
    conflicts = [line for block in blocks for line in _conflicts(block, sources, status[block], row_from[block])]
    trainings, other_trainings = _unite_trainings(sources)
    ok, failed = (status[COUNTS] == STATUS["ok"]), (status[COUNTS] == STATUS["failed"])
    report = MergedProfile(
        name=name,
        rows_from={str(s.location): int((row_from[COUNTS] == i).sum()) for i, s in enumerate(sources)},
        num_common=int((ok.sum(axis=0) > 1).sum()),
        num_replaced=int((ok.any(axis=0) & failed.any(axis=0)).sum()),
        num_failed_in_all=int((failed.any(axis=0) & ~ok.any(axis=0)).sum()),
        differences=_differing_facts(sources),
    )
    return _Plan(name, sources, row_from, trainings, report, conflicts + other_trainings)


def _require_equal_specs(a: Profile, b: Profile) -> None:
    differing = a.spec.differences(b.spec)
    if differing:
        raise SpecMismatchError(
            f"profile {a.name} was measured with other settings:\n{_lines_of(differing, a, b)}\n"
            "These are two profiles, which one store cannot have under one name: publish them as two stores."
        )


def _lines_of(differing: Mapping[str, tuple[str, str]], a: Profile, b: Profile) -> str:
    """A line for each difference between two sources."""
    return "\n".join(
        f"  {key}: {here} in {a.location}, {there} in {b.location}" for key, (here, there) in differing.items()
    )


def _blocks_of(sources: Sequence[Profile]) -> list[Block]:
    """Blocks of all sources except the counts, by path; raises `SpecMismatchError` if two sources differ in their settings."""
    found: dict[str, tuple[Block, Profile]] = {}
    for source in sources:
        for block in source.blocks()[1:]:
            first, where = found.setdefault(block.path, (block, source))
            if where is source:
                continue
            differing = first.differences(block, axes=where.axes_of(first), other_axes=source.axes_of(block))
            if differing:
                raise SpecMismatchError(
                    f"block {block.name} of profile {source.name} was measured with other settings:\n"
                    f"{_lines_of(differing, where, source)}\nBlocks of different settings cannot be merged."
                )
    return [found[path][0] for path in sorted(found)]


def _layers(source: Profile) -> NDArray[Any]:
    return read_array(source.group, "layer", source.location)


def _has(source: Profile, block: Block) -> bool:
    return block == COUNTS or block.path in block_groups(source.group)


def _status(source: Profile, block: Block) -> NDArray[np.uint8]:
    return source.status(block) if _has(source, block) else np.zeros(source.num_archs, np.uint8)


def _digests(source: Profile, block: Block) -> NDArray[np.uint64]:
    """Digests of the rows of a block; computed for a source of format 1, which has none for estimators."""
    if not _has(source, block):
        return np.zeros(source.num_archs, np.uint64)
    if block == COUNTS or source.store.version > 1:
        return source.column(block, "digest")
    rows = (
        source.read(block, shard, variables=block.measured) for shard in source.shards()
    )  # moments are as large as counts
    return np.concatenate([block.digests(data["arch"].values, data) for data in rows])


def _first_best(status: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Position of the first source that is ok, otherwise of the first that failed, from statuses (source, arch); -1 if none.

    Examples
    --------
    >>> _first_best(np.array([[0, 2, 2, 1], [0, 0, 1, 1]], np.uint8)).tolist()
    [-1, 0, 1, 0]
    """
    rank = np.select([status == STATUS["ok"], status == STATUS["failed"]], [2, 1], 0)
    return np.where(rank.any(axis=0), rank.argmax(axis=0), -1)


def _conflicts(
    block: Block, sources: Sequence[Profile], status: NDArray[np.uint8], row_from: NDArray[np.int64]
) -> Iterator[str]:
    """Rows that two sources measured with different results. A failure is not a result: its messages may differ."""
    ok = status == STATUS["ok"]
    if not (ok.sum(axis=0) > 1).any():
        return
    # Scores that are equal when printed may differ in bits, and the score of moments and activations does not cover the arrays.
    digest = np.stack([_digests(source, block) for source in sources])
    best = np.maximum(row_from, 0)
    arch = sources[0].arch()
    for other, row in np.argwhere(ok & (digest != np.take_along_axis(digest, best[None], axis=0))).tolist():
        two = best[row], other
        values = [_score(sources[i], block, row) for i in two]
        if values[0] == values[1]:
            values = [f"digest {digest[i, row]:016x}" for i in two]
        places = [f"{value} in {sources[i].location}" for value, i in zip(values, two, strict=True)]
        kind = "block" if is_block(block) else "estimator"
        what = f"row {row} ({arch[row]})" if block == COUNTS else f"{kind} {block.name}, row {row}"
        yield f"{sources[0].name}, {what}: {', '.join(places)}"


def _score(source: Profile, block: Block, row: int) -> str:
    """The score of a row; empty if the block has none."""
    if "score" not in block.measured:
        return ""
    return repr(source.column(block, "score")[row].item())


def _unite_trainings(sources: Sequence[Profile]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Training of each trained estimator, and estimators whose sources have different trainings."""
    united: dict[str, dict[str, Any]] = {}
    lines = []
    for source in sources:
        for estimator, training in source.trained_estimators().items():
            first = united.setdefault(estimator, training)
            if (a := first.get("weights_sha256")) != (b := training.get("weights_sha256")):
                lines.append(
                    f"{source.name}, estimator {estimator}: scores of two trainings, of weights {a} and {b} ({source.location})"
                )
    return united, lines


def _differing_facts(sources: Sequence[Profile]) -> tuple[str, ...]:
    """Facts about the runs that may change the last bit of a gradient, if they differ between the sources."""
    lines = []
    for key in MATTERS:
        values = [values_of(s.attributes.get("runs", ()), key) for s in sources]
        if any(value != values[0] for value in values):
            texts = [
                f"{', '.join(sorted(value)) or 'unknown'} in {s.location}"
                for value, s in zip(values, sources, strict=True)
            ]
            lines.append(f"{key} differs: {'; '.join(texts)}")
    return tuple(lines)


def _write(plan: _Plan, work: Path) -> None:
    """Add the rows of the other sources to the copy of the first source's profile, and stamp it."""
    merged = Profile.open(work, plan.name)
    for block in plan.row_from:
        if block != COUNTS:
            holder = next(source for source in plan.sources if _has(source, block))
            merged.add_blocks([block], axes=holder.axes_of(block))
    for estimator, training in plan.trainings.items():
        merged.record_training(estimator, training)
    for block, row_from in plan.row_from.items():
        for number, source in enumerate(plan.sources[1:], start=1):
            _copy_rows(block, source, merged, np.flatnonzero(row_from == number))
    _unite_attributes(plan, work)
    merged.finalise()


def _copy_rows(block: Block, source: Profile, merged: Profile, rows: NDArray[np.int64]) -> None:
    """Copy rows of a block in the shards of the merged profile, which are those of the first source."""
    for shard in merged.shards_of(rows.tolist()):
        inside = np.array(shard.rows)
        data = source.read(block, shard, variables=block.measured).assign_coords(
            arch_index=("arch", np.arange(shard.start, shard.stop))
        )
        merged.write(shard, {block: data.isel(arch=inside - shard.start)})
        if block == COUNTS:
            _require_digests(source, merged, shard, inside - shard.start)


def _require_digests(source: Profile, merged: Profile, shard: Shard, position: NDArray[np.int64]) -> None:
    """Raise if the written rows do not have the digests of the source."""
    stored, written = (each.column(COUNTS, "digest", shard) for each in (source, merged))
    if not np.array_equal(written[position], stored[position]):
        raise CorruptShardError(
            f"{source.location}: {source.name}, rows {shard.start} to {shard.stop - 1}: the content does not match the digests "
            f"stored with it. `{command_line('verify', source.location, '--repair')}` clears them. Nothing was written."
        )


def _unite_attributes(plan: _Plan, work: Path) -> None:
    runs = [redacted_facts(run) for source in plan.sources for run in source.attributes.get("runs", ())]
    unique: list[Any] = list({json.dumps(run, sort_keys=True): run for run in runs}.values())
    unique.sort(key=lambda run: str(run.get("started", "")))
    created = min(str(source.attributes.get("created", "")) for source in plan.sources)
    group = Store.open(work, mode="r+").profile_group(plan.name)
    group.update_attributes({"runs": unique, "created": created})
