"""Progress of every profile, and everything that a store says about itself, as plain data for printing."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.access import (
    Location,
    check_num_shards,
    child_groups,
    is_remote,
    local_path,
    making_sense,
)
from sweetgrad.store.accuracy_table import load_table, selectors
from sweetgrad.store.format.blocks import COUNTS, Block, is_block
from sweetgrad.store.format.schema import STATUS, count_status
from sweetgrad.store.format.spec import ProfileSpec
from sweetgrad.store.groups import Store
from sweetgrad.store.profile import Profile
from sweetgrad.store.redaction import redacted
from sweetgrad.store.shards import read_array


@dataclass(frozen=True)
class Failure:
    """Architectures with the same failure: the first line of their message, their number, and the first of them."""

    message: str
    count: int
    example: str


@dataclass(frozen=True)
class ProfileStatus:
    """Progress of a profile.

    Attributes
    ----------
    name
        Path of the profile in the store.
    num_archs, num_ok, num_failed, num_not_run
        Architectures in the profile, and how many of them have each status.
    num_shards, num_shards_complete, num_shards_started
        Number of shards, of those without rows left to run, and of those with some rows but not all.
    failures
        Failed architectures by message, the most frequent first.
    """

    name: str
    num_archs: int
    num_ok: int
    num_failed: int
    num_not_run: int
    num_shards: int
    num_shards_complete: int
    num_shards_started: int
    failures: tuple[Failure, ...]

    @property
    def complete(self) -> bool:
        """Whether all architectures were run."""
        return self.num_not_run == 0


@dataclass(frozen=True)
class BlockStatus:
    """Progress of an estimator or a block of a profile.

    Attributes
    ----------
    declared
        Its variables, and the settings with which it was measured.
    num_ok, num_failed, num_not_run
        How many architectures have each status.
    """

    declared: Block
    num_ok: int
    num_failed: int
    num_not_run: int

    @property
    def name(self) -> str:
        """Its name."""
        return self.declared.name


@dataclass(frozen=True)
class ProfileInfo:
    """What a profile says about itself.

    Attributes
    ----------
    status, spec
        Progress and settings.
    layers
        Layer names from input to output.
    shard_size
        Architectures in a shard.
    rows_by_layer
        Number of rows, from the first on, that have counts by layer: all, except in a lean release.
    created, runs
        Time of creation, and the provenance of every run that wrote to it.
    content_digest
        SHA-256 of all rows at the end of the last run; None before the end of the first run.
    num_bytes, bytes_per_arch
        Size on disk, and per measured architecture; None for a remote or zipped store (or if none is measured).
    estimators, blocks
        Estimators and blocks of statistics that are stored with it.
    """

    status: ProfileStatus
    spec: ProfileSpec
    layers: tuple[str, ...]
    shard_size: int
    rows_by_layer: int
    created: str
    runs: tuple[dict[str, Any], ...]
    content_digest: str | None
    num_bytes: int | None
    bytes_per_arch: float | None
    estimators: tuple[BlockStatus, ...]
    blocks: tuple[BlockStatus, ...]


@dataclass(frozen=True)
class AccuracyInfo:
    """The accuracy table of a search space: selectors for `open_accuracy`, and the imported files."""

    space: str
    num_archs: int
    selectors: tuple[str, ...]
    sources: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class StoreInfo:
    """Attributes of a store (format version, licence, citation, …), its size on disk (None if unknown) and its content."""

    location: str
    attributes: dict[str, Any]
    num_bytes: int | None
    profiles: tuple[ProfileInfo, ...]
    accuracies: tuple[AccuracyInfo, ...]

    def profile(self, name: str) -> ProfileInfo:
        """The profile of this name; ``KeyError`` if there is none."""
        return {each.status.name: each for each in self.profiles}[name]


def status(location: Location, *, storage_options: dict[str, Any] | None = None) -> list[ProfileStatus]:
    """Progress of every profile of a store, sorted by name. Reads the small array ``status``, and the messages of failed rows.

    Raises
    ------
    NotAStoreError, SchemaVersionError
        If there is no store, or its format cannot be read.
    CorruptShardError
        If a status cannot be decoded.
    """
    store = Store.open(location, storage_options=storage_options)
    with making_sense(store.location):
        return [_profile_status(Profile(store, name)) for name in store.profiles()]


def info(location: Location, name: str | None = None, *, storage_options: dict[str, Any] | None = None) -> StoreInfo:
    """Everything that a store, or one profile of it, says about itself.

    Parameters
    ----------
    location, storage_options
        As in `open_store`.
    name
        Profile; None: all of them.

    Raises
    ------
    NotAStoreError
        If there is no such store, or no such profile in it.
    CorruptShardError
        If a status or an accuracy table cannot be decoded.
    """
    store = Store.open(location, storage_options=storage_options)
    with making_sense(store.location):
        return _info(store, name)


def _info(store: Store, name: str | None) -> StoreInfo:
    profiles = tuple(_profile_info(Profile(store, each)) for each in (store.profiles() if name is None else [name]))
    spaces = [path for path, _ in child_groups(store.root)] if name is None else [profiles[0].spec.space]
    tables = {space: load_table(store, space) for space in spaces}
    return StoreInfo(
        location=redacted(store.location),
        attributes=dict(store.root.attrs),
        num_bytes=_size(store.location),
        profiles=profiles,
        accuracies=tuple(
            AccuracyInfo(space, table.sizes["arch"], tuple(selectors(table)), tuple(table.attrs.get("sources", ())))
            for space, table in tables.items()
            if table is not None
        ),
    )


def _profile_status(profile: Profile) -> ProfileStatus:
    values = profile.status()
    counts = count_status(values)
    where = f"{profile.location}: {profile.name}"
    size = check_num_shards(values.size, profile.attributes.get("shard_size"), where=where)
    shards = [values[i : i + size] for i in range(0, values.size, size)]
    run = [int((shard != STATUS["not run"]).sum()) for shard in shards]
    return ProfileStatus(
        name=profile.name,
        num_archs=int(values.size),
        num_ok=counts["ok"],
        num_failed=counts["failed"],
        num_not_run=counts["not run"],
        num_shards=len(shards),
        num_shards_complete=sum(n == shard.size for n, shard in zip(run, shards, strict=True)),
        num_shards_started=sum(0 < n < shard.size for n, shard in zip(run, shards, strict=True)),
        failures=_failures(profile, values) if counts["failed"] else (),
    )


def _failures(profile: Profile, values: NDArray[np.uint8]) -> tuple[Failure, ...]:
    failed = values == STATUS["failed"]
    lines = [(str(text).splitlines() or [""])[0] for text in profile.column(COUNTS, "message")[failed]]
    first = {line: str(name) for line, name in reversed(list(zip(lines, profile.arch()[failed], strict=True)))}
    return tuple(Failure(line, count, first[line]) for line, count in Counter(lines).most_common())


def _profile_info(profile: Profile) -> ProfileInfo:
    attributes = profile.attributes
    how_far = _profile_status(profile)
    num_bytes = _size(profile.location, profile.name)
    measured = how_far.num_ok + how_far.num_failed
    others = profile.blocks()[1:]
    return ProfileInfo(
        status=how_far,
        spec=profile.spec,
        layers=tuple(str(name) for name in read_array(profile.group, "layer", profile.location)),
        shard_size=int(attributes["shard_size"]),
        rows_by_layer=profile.rows_by_layer,
        created=attributes.get("created", ""),
        runs=tuple(attributes.get("runs", ())),
        content_digest=attributes.get("content_digest"),
        num_bytes=num_bytes,
        bytes_per_arch=num_bytes / measured if num_bytes is not None and measured else None,
        estimators=tuple(_block_status(profile, block) for block in others if not is_block(block)),
        blocks=tuple(_block_status(profile, block) for block in others if is_block(block)),
    )


def _block_status(profile: Profile, block: Block) -> BlockStatus:
    counts = count_status(profile.status(block))
    return BlockStatus(block, counts["ok"], counts["failed"], counts["not run"])


def _size(location: Location, path: str = "") -> int | None:
    folder = local_path(location) / path if not is_remote(location) else None
    if folder is None or not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
