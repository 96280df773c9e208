"""The work of a run, shard by shard: which shards are left, the function that runs one, and what is done at the end."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sweetgrad.flows.cluster.worker import run_shard, run_trainings
from sweetgrad.profiling import Batch, SearchSpace, profile_architectures
from sweetgrad.profiling.training import TrainingConfig
from sweetgrad.store import Block, Profile, ProfileSpec, Shard, Table, Trainings
from sweetgrad.store.training import collect_trainings

_NUM_TRIED = 6


class Work(Protocol):
    """Work that is dispatched shard by shard, whatever is done to the architectures of a shard."""

    @property
    def table(self) -> Table:
        """Whose shards are run."""
        ...

    @property
    def rows(self) -> Sequence[int]:
        """Positions of the requested architectures."""
        ...

    @property
    def command(self) -> str:
        """Command that resumes it."""
        ...

    @property
    def id(self) -> str:
        """Identifies the run."""
        ...

    @property
    def verb(self) -> str:
        """``profile`` or ``train``."""
        ...

    @property
    def doing(self) -> str:
        """``profiling`` or ``training``."""
        ...

    @property
    def stopping(self) -> str:
        """What happens to the current architectures after Ctrl-C, in words."""
        ...

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that Prefect finds the run by."""
        ...

    def shards_to_do(self) -> list[Shard]:
        """Shards with rows that still have to run."""
        ...

    def call(self, shard: Shard) -> tuple[Callable[..., int], tuple[Any, ...]]:
        """The function that a worker runs for a shard, and its arguments but for ``run_id`` and ``expired``."""
        ...

    def finish(self) -> None:
        """Finish up once, when a run ends, however it ends."""
        ...


@dataclass(frozen=True)
class ProfileWork:
    """The work of a run that profiles, loaded and checked; ``asked`` holds a block for each of its estimators and blocks."""

    table: Profile
    rows: Sequence[int]
    space: SearchSpace
    batch: Batch
    spec: ProfileSpec
    estimators: tuple[str, ...]
    blocks: tuple[str, ...]
    asked: tuple[Block, ...]
    retry_failed: bool
    command: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    verb: str = "profile"
    doing: str = "profiling"
    stopping: str = "finishing the current networks, then writing them"

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.spec.device

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that Prefect finds the run by."""
        return (self.spec.space, self.spec.dataset, f"seed-{self.spec.seed}", self.spec.device)

    def shards_to_do(self) -> list[Shard]:
        """Shards with rows that still have to run."""
        return self.table.plan(self.rows, self.asked, retry_failed=self.retry_failed)

    def call(self, shard: Shard) -> tuple[Callable[..., int], tuple[Any, ...]]:
        """As in `Work`."""
        settings = (self.space, self.batch, self.spec, self.estimators, self.blocks, self.retry_failed)
        return run_shard, (self.table, shard, *settings)

    def try_out(self) -> None:
        """Measure a few of the architectures in this process, and store nothing."""
        tried = {self.rows[place] for place in np.linspace(0, len(self.rows) - 1, _NUM_TRIED).astype(int)}
        profile_architectures(
            self.space, sorted(tried), self.batch, self.spec, estimators=self.estimators, blocks=self.blocks
        )

    def finish(self) -> None:
        """Finalise the profile."""
        self.table.finalise()


@dataclass(frozen=True)
class TrainingWork:
    """The work of a run that trains with one seed, loaded and checked."""

    table: Trainings
    rows: Sequence[int]
    config: TrainingConfig
    label: str
    retry_failed: bool
    command: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    verb: str = "train"
    doing: str = "training"
    stopping: str = "abandoning the current trainings after their epoch; finished ones are written"

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.config.device

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that Prefect finds the run by."""
        return (self.config.space.name, self.config.dataset, f"seed-{self.config.seed}", self.config.device)

    def shards_to_do(self) -> list[Shard]:
        """Shards with trainings that still have to run."""
        return self.table.plan(self.rows, retry_failed=self.retry_failed)

    def call(self, shard: Shard) -> tuple[Callable[..., int], tuple[Any, ...]]:
        """As in `Work`."""
        return run_trainings, (self.table, shard, self.config, self.retry_failed)

    def finish(self) -> None:
        """Copy the results into the accuracy table."""
        collect_trainings(self.table.location, space=self.config.space.name, label=self.label)


def num_rows(shards: Sequence[Shard]) -> int:
    """Architectures that shards have to run."""
    return sum(len(shard.rows) for shard in shards)
