"""Architectures that a search comes to, run one by one: each is a row of a profile that grows, and is never run again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis import score
from sweetgrad.analysis.intervals import Interval
from sweetgrad.profiling import Batch, Network, SearchSpace, make_spec, profile_shard
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.store import (
    COUNTS,
    STATUS,
    Location,
    Lock,
    Profile,
    ProfileSpec,
    create_profile,
    stored_archs,
)

__all__ = ["Evaluations", "SearchedSpace", "searched_variant"]

_SHARD_SIZE = 25
"""Small, since a shard is written anew with every architecture: 25 rows take about 0.1 s."""


def searched_variant(variant: str) -> str:
    """Variant of a space as a search sees it.

    Examples
    --------
    >>> searched_variant("c16-n8"), searched_variant("")
    ('c16-n8-search', 'search')
    """
    return "-".join(part for part in (variant, "search") if part)


class SearchedSpace:
    """A space as a search sees it: the architectures that it came to, in that order, a list that grows.

    Its profile has ``search`` in its name, beside the profile of the space's own list.
    """

    open_ended = True

    def __init__(self, space: SearchSpace, archs: list[str]) -> None:
        self.space, self.archs = space, archs
        self.name, self.init = space.name, space.init
        self.variant = searched_variant(space.variant)
        self.layer_names, self.input_size = space.layer_names, space.input_size
        self.options: Mapping[str, Any] = getattr(space, "options", {})
        self.version: int = getattr(space, "version", 1)
        # Other forms of a network, which estimators ask for where there are any.
        for form in ("build_literal", "build_thin"):
            if hasattr(space, form):
                setattr(self, form, getattr(space, form))

    def __len__(self) -> int:
        """Architectures so far."""
        return len(self.archs)

    def arch_id(self, index: int) -> str:
        """String of an architecture."""
        return self.archs[index]

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build a network, as the space itself does."""
        return self.space.build(arch_id, in_channels=in_channels, num_classes=num_classes)


class Evaluations:
    """The profile of a search.

    Attributes
    ----------
    name
        Of the profile.
    num_run
        Networks that were run, and not found in the store.
    """

    def __init__(self, location: Location, space: SearchSpace, batch: Batch, *, seed: int, device: str) -> None:
        self._location, self._batch = location, batch
        self._searched = SearchedSpace(space, [])
        self._seed, self._device = seed, device
        self.name = self._spec().profile_name
        self.num_run = 0
        self._row: dict[str, int] = {}
        self._done: set[int] = set()
        self._lock: Lock | None = None

    @contextmanager
    def writing(self, first: Sequence[str], facts: Mapping[str, Any], *, run: str) -> Iterator[tuple[str, ...]]:
        """Open the profile, or make it with these architectures, and be the only one to write to it.

        Yields
        ------
        What earlier runs had otherwise, as `Profile.record_run` returns it.

        Raises
        ------
        LockedError
            If another search writes to it.
        SpecMismatchError
            If it was measured with other settings.
        """
        self._searched.archs[:] = stored_archs(self._location, self.name) or first
        self._profile = self._create()
        # The first shard's lock stands for the whole profile: to grow, one must be alone, too.
        with self._profile.lock(0, run=run, watch=True) as self._lock:
            self._searched.archs[:] = stored_archs(self._location, self.name)  # another search may have just ended
            self._row = {arch: row for row, arch in enumerate(self._searched.archs)}
            self._profile = self._create()
            self._done = set(np.flatnonzero(self._profile.status() != STATUS["not run"]).tolist())
            differences = self._profile.record_run(facts)
            try:
                yield differences
            finally:
                self._profile.finalise()

    def run(self, arch: str) -> int:
        """Row of an architecture, whose network is run if it was not before."""
        row = self._row.get(arch)
        if row is None:
            row = self._row[arch] = len(self._row)
            self._searched.archs.append(arch)
            self._profile = self._create()
        if row not in self._done:
            for shard in self._profile.plan([row]):
                profile_shard(self._profile, shard, self._searched, self._batch, self._spec(), lock=self._lock)
            self._done.add(row)
            self.num_run += 1
        return row

    def score(self, row: int, interval: Interval) -> float:
        """Score of a row that was run; minus infinity if its network failed, so that it is nobody's parent."""
        (shard,) = self._profile.shards_of([row])
        rows = self._profile.read(COUNTS, shard, variables=["grad_count_network", "status"])
        value = float(score(rows.isel(arch=[row - shard.start]), interval)[0])
        return -np.inf if np.isnan(value) else value

    def open(self) -> xr.Dataset:
        """The profile as it is now."""
        return self._profile.dataset(chunks=None)

    def _create(self) -> Profile:
        """The profile, made or lengthened if it has not all architectures."""
        return create_profile(
            self._location,
            self._spec(),
            arch=ArchIds(self._searched),
            layers=self._searched.layer_names,
            shard_size=_SHARD_SIZE,
            may_grow=True,
        )

    def _spec(self) -> ProfileSpec:
        return make_spec(self._searched, self._batch, seed=self._seed, device=self._device)
