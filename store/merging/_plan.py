"""Which row of a merged profile comes from which source, and what in the sources contradicts."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sweetgrad.store._blocks import all_shards, columns_of
from sweetgrad.store._reading import read_array
from sweetgrad.store._runs import MATTERS, values_of
from sweetgrad.store.access import Location
from sweetgrad.store.errors import SpecMismatchError, StoreError
from sweetgrad.store.estimators import estimator_variables
from sweetgrad.store.format.digests import column_digests
from sweetgrad.store.format.schema import STATUS, full
from sweetgrad.store.format.spec import ProfileSpec
from sweetgrad.store.groups import estimator_groups, profile_group, profile_names
from sweetgrad.store.upgrade import format_of


@dataclass(frozen=True)
class MergedProfile:
    """What became of one profile.

    Attributes
    ----------
    name
        Path of the profile in the store.
    rows_from
        Rows that were taken from each source that has the profile, by its location, in the order given.
    num_common
        Rows that two or more sources have, with equal digests.
    num_replaced
        Rows that failed in one source and are ok in another: ok was taken.
    num_failed_in_all
        Rows that failed wherever they were run: the first message was taken.
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
class Source:
    """One store to merge, and a profile in it."""

    location: Location
    group: zarr.Group
    attributes: dict[str, Any]
    status: NDArray[np.uint8]
    digest: NDArray[np.uint64]
    version: int


@dataclass(frozen=True)
class Plan:
    """Which source each row of a profile comes from (position among the sources; -1: it was run in none)."""

    name: str
    sources: list[Source]
    row_from: NDArray[np.int64]
    estimators: dict[str, NDArray[np.int64]]
    trainings: dict[str, dict[str, Any]]
    report: MergedProfile
    problems: list[str]


def plan_profile(name: str, stores: Sequence[tuple[Location, zarr.Group]]) -> Plan:
    """Decide where each row comes from; what contradicts is listed in ``problems``."""
    sources = [_source(location, root, name) for location, root in stores if name in set(profile_names(root))]
    first = sources[0]
    for other in sources[1:]:
        _require_equal_specs(name, first, other)
        if not np.array_equal(read_all(first, "layer"), read_all(other, "layer")):
            raise StoreError(
                f"{name} has other layers in {first.location} than in {other.location}: they cannot be merged."
            )
    status = np.stack([source.status for source in sources])
    row_from = _first_best(status)
    problems = _row_conflicts(name, sources, status)
    estimators, more = _plan_estimators(name, sources)
    trainings, other_trainings = _plan_trainings(name, sources)
    ok, failed = (status == STATUS["ok"]), (status == STATUS["failed"])
    report = MergedProfile(
        name=name,
        rows_from={str(s.location): int((row_from == i).sum()) for i, s in enumerate(sources)},
        num_common=int((ok.sum(axis=0) > 1).sum()),
        num_replaced=int((ok.any(axis=0) & failed.any(axis=0)).sum()),
        num_failed_in_all=int((failed.any(axis=0) & ~ok.any(axis=0)).sum()),
        differences=_differences(sources),
    )
    return Plan(name, sources, row_from, estimators, trainings, report, problems + more + other_trainings)


def _require_equal_specs(name: str, a: Source, b: Source) -> None:
    first, second = (ProfileSpec.from_attrs(source.attributes["spec"]) for source in (a, b))
    differing = first.differences(second)
    if differing:
        lines = "\n".join(
            f"  {key}: {here} in {a.location}, {there} in {b.location}" for key, (here, there) in differing.items()
        )
        raise SpecMismatchError(
            f"{name} was measured with different settings:\n{lines}\n"
            "These are two profiles, which one store cannot hold under one name: publish them as two stores."
        )


def _source(location: Location, root: zarr.Group, name: str) -> Source:
    group = profile_group(root, name, location)
    status, digest = (read_array(group, key, location) for key in ("status", "digest"))
    return Source(location, group, dict(group.attrs), status, digest, format_of(root))


def read_all(source: Source, variable: str) -> NDArray[Any]:
    """A whole array of a profile that is small enough: one value an architecture, or fewer."""
    return read_array(source.group, variable, source.location)


def _first_best(status: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Position of the first source that is ok or else failed, of statuses (source, arch); -1 where there is none.

    Examples
    --------
    >>> _first_best(np.array([[0, 2, 2, 1], [0, 0, 1, 1]], np.uint8)).tolist()
    [-1, 0, 1, 0]
    """
    rank = np.select([status == STATUS["ok"], status == STATUS["failed"]], [2, 1], 0)
    return np.where(rank.any(axis=0), rank.argmax(axis=0), -1)


def _row_conflicts(name: str, sources: Sequence[Source], status: NDArray[np.uint8]) -> list[str]:
    """Rows that two sources measured with different results. A failure is no result: the messages may differ."""
    arch = read_all(sources[0], "arch")
    lines = []
    for (i, a), (j, b) in itertools.combinations(enumerate(sources), 2):
        both = (status[i] == STATUS["ok"]) & (status[j] == STATUS["ok"])
        lines += [
            f"{name}, row {row} ({arch[row]}): digest {a.digest[row]:016x} in {a.location}, {b.digest[row]:016x} in {b.location}"
            for row in np.flatnonzero(both & (a.digest != b.digest))
        ]
    return lines


def _plan_estimators(name: str, sources: Sequence[Source]) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Where each score comes from, by estimator, and scores that contradict each other."""
    found: dict[str, NDArray[np.int64]] = {}
    lines = []
    for estimator in sorted({each for source in sources for each, _ in estimator_groups(source.group)}):
        status = np.stack([scores_of(source, estimator, "status") for source in sources])
        # The score of moments and activations says nothing about them, and equal scores may have other bits.
        digest = np.stack([_digests(source, estimator) for source in sources])
        score = np.stack([scores_of(source, estimator, "score") for source in sources])
        found[estimator] = _first_best(status)
        ok = status == STATUS["ok"]
        best = np.maximum(found[estimator], 0)
        differ = ok & (digest != np.take_along_axis(digest, best[None], axis=0))
        for i, row in np.argwhere(differ):
            first = int(best[row])
            a, b = (repr(score[j, row].item()) for j in (first, i))
            if a == b:
                a, b = (f"digest {digest[j, row]:016x}" for j in (first, i))
            lines.append(
                f"{name}, estimator {estimator}, row {row}: {a} in {sources[first].location}, {b} in {sources[i].location}"
            )
    return found, lines


def _plan_trainings(name: str, sources: Sequence[Source]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What each estimator that trains was trained as, and estimators that were trained as different things."""
    found: dict[str, dict[str, Any]] = {}
    lines = []
    for source in sources:
        for estimator, group in estimator_groups(source.group):
            training = group.attrs.get("training")
            if not isinstance(training, dict):
                continue
            first = found.setdefault(estimator, training)
            if (a := first.get("weights_sha256")) != (b := training.get("weights_sha256")):
                lines.append(
                    f"{name}, estimator {estimator}: scores of two trainings, of weights {a} and {b} ({source.location})"
                )
    return found, lines


def _digests(source: Source, estimator: str) -> NDArray[np.uint64]:
    """Digests of the rows of an estimator, computed where the source is of format 1, which kept none."""
    if source.version > 1 or estimator not in dict(estimator_groups(source.group)):
        return scores_of(source, estimator, "digest")
    digest = np.zeros(len(source.status), np.uint64)
    group: Any = source.group[f"estimators/{estimator}"]
    for shard in all_shards(len(digest), int(source.attributes["shard_size"])):  # moments are as large as counts
        arch = read_array(source.group, "arch", source.location, shard=shard)
        columns = columns_of(group, source.location, shard=shard)
        digest[shard.start : shard.stop] = column_digests(arch, columns)
    return digest


def scores_of(source: Source, estimator: str, key: str) -> NDArray[Any]:
    """One array of an estimator; fill values if the source does not have it."""
    groups = dict(estimator_groups(source.group))
    if estimator not in groups or (key == "message" and key not in groups[estimator]):  # of before there were messages
        variable = estimator_variables(estimator)[key]
        return full(variable, {"arch": len(source.status)})
    return read_all(source, f"estimators/{estimator}/{key}")


def _differences(sources: Sequence[Source]) -> tuple[str, ...]:
    """Facts about the runs that may move the last bit of a gradient, where they are not the same in all sources."""
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
