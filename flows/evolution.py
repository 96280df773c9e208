"""A search by evolution in progress: each architecture that it visits is a row of a profile that grows, and is run once."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console

from sweetgrad.analysis import score
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.search import Draws, regularised_evolution
from sweetgrad.flows.runs.progress import Counter
from sweetgrad.profiling import Batch, Network, SearchSpace, load_space, make_spec, profile_shard, registry
from sweetgrad.profiling.architectures import ArchIds, task_of
from sweetgrad.store import (
    COUNTS,
    STATUS,
    Location,
    Lock,
    Profile,
    ProfileSpec,
    create_profile,
    parse_genotype,
    stored_archs,
)

_SHARD_SIZE = 25
"""Small, since a shard is rewritten with every architecture: 25 rows take about 0.1 s."""


def searched_variant(variant: str) -> str:
    """Variant of a space as a search sees it.

    Examples
    --------
    >>> searched_variant("c16-n8"), searched_variant("")
    ('c16-n8-search', 'search')
    """
    return "-".join(part for part in (variant, "search") if part)


class SearchedSpace:
    """A space as a search sees it: a growing list of the architectures that it visited, in that order.

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
        self.task = task_of(space)
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


def rebuild_space(
    spec: ProfileSpec, archs: list[str], table: str | Path | None, *, space: str | None = None
) -> SearchSpace:
    """The space of a profile with these architectures: its own list as far as the profile has grown, or those of a search.

    ``space`` is its registered name or ``FILE.py:NAME``; by default the name in the spec.
    """
    name = space or spec.space
    options = dict(spec.space_options)
    if table is None and getattr(registry.load("spaces", name), "open_ended", False):
        options["num_archs"] = len(archs)
    rebuilt = load_space(name, table=table, options=options)
    return SearchedSpace(rebuilt, archs) if spec.variant == searched_variant(rebuilt.variant) else rebuilt


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
        """Score of a row that was run; minus infinity if its network failed, so that it is never a parent."""
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


class Search:
    """One search in progress.

    Attributes
    ----------
    archs, rows, scores
        Of each cycle so far: the architecture, its row in the profile, and its score, minus infinity where its network failed.
    """

    def __init__(
        self,
        evaluations: Evaluations,
        space: SearchSpace,
        interval: Interval,
        *,
        on_cycle: Callable[[], None],
        console: Console,
    ) -> None:
        self._evaluations, self._space, self._interval = evaluations, space, interval
        self._on_cycle, self._console = on_cycle, console
        self.archs: list[str] = []
        self.rows: list[int] = []
        self.scores: list[float] = []

    def evolve(self, draws: Draws, stop: threading.Event, *, cycles: int, population: int, tournament: int) -> None:
        """Go on until so many cycles are done, or ``stop`` is set; ``population`` and ``tournament`` as in `evolve`."""
        space: Any = self._space  # that it has `mutate` was checked before

        def first() -> NDArray[np.int64]:
            return self._cycle(space.arch_id(int(draws.integers(1, len(space))[0, 0])))

        def mutant(parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
            return self._cycle(space.mutate(self.archs[parent[0]], draws.streams[0])), 0.0

        regularised_evolution(
            draws,
            first=first,
            mutant=mutant,
            train=lambda child, _: self._fitness(self.archs[child[0]]),
            is_active=lambda: len(self.rows) < cycles and not stop.is_set(),
            population=population,
            tournament=tournament,
        )

    def history(self) -> xr.Dataset:
        """As in `Evolution`."""
        values = np.array(self.scores)
        is_new = [row not in self.rows[:cycle] for cycle, row in enumerate(self.rows)]
        return xr.Dataset(
            {
                "arch": ("cycle", np.array(self.archs, dtype=object)),
                "score": ("cycle", np.where(np.isfinite(values), values, np.nan)),
                "is_new": ("cycle", is_new),
            }
        )

    def _cycle(self, arch: str) -> NDArray[np.int64]:
        """Number an architecture by the cycle in which the search visits it."""
        self.archs.append(arch)
        return np.array([len(self.archs) - 1])

    def _fitness(self, arch: str) -> NDArray[np.float64]:
        row = self._evaluations.run(arch)
        value = self._evaluations.score(row, self._interval)
        if value > max(self.scores, default=-np.inf):
            self._console.print(f"cycle {len(self.scores) + 1}: score {value:,.0f}", markup=False)
        self.rows.append(row)
        self.scores.append(value)
        self._on_cycle()
        return np.array([value])


def run_sample(evaluations: Evaluations, archs: Sequence[str], *, stop: threading.Event, count: Counter) -> list[int]:
    """Rows of the random architectures, whose networks are run if they were not before."""
    rows: list[int] = []
    for arch in archs:
        if stop.is_set():
            raise RuntimeError(
                f"stopped after {len(rows)} of {len(archs)} random architectures, which are written: the same command resumes"
            )
        rows.append(evaluations.run(arch))
        count(1)
    return rows


def require_genotype(arch: str, space: str) -> None:
    """Raise ``ValueError`` if an architecture is not a genotype, as drawings and surrogates need it."""
    try:
        parse_genotype(arch)
    except ValueError as error:
        raise ValueError(
            f"results of {space} cannot be drawn or passed to a surrogate, since {arch!r} is not a genotype: "
            "omit --plot and --surrogate"
        ) from error


def require_measured(random: xr.Dataset, space: str) -> None:
    """Raise ``ValueError`` if fewer than two of the random architectures were measured: no interval follows from them."""
    status = random["status"].values
    if (status == STATUS["ok"]).sum() < 2:
        failed = np.flatnonzero(status != STATUS["ok"])[0]
        raise ValueError(
            f"{(status != STATUS['ok']).sum()} of {len(status)} random networks of {space} failed on these images, the first "
            f"with: {random['message'].values[failed]}"
        )
