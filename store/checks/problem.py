"""The problems that a check finds, and their repairs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import zarr
from numpy.typing import NDArray

from sweetgrad.store.access import Location, RefusedChunkError, command_line
from sweetgrad.store.errors import CorruptShardError, NotAStoreError
from sweetgrad.store.groups import Store
from sweetgrad.store.shards import Shard, all_shards

DAMAGE = (CorruptShardError, NotAStoreError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""Errors that zarr raises for damaged metadata or data; a full disk or a lost network (OSError) is not damage."""


NodeKind = Literal["profile", "unfinished profile", "accuracy", "accuracy leftover", "training", "group"]


@dataclass(frozen=True)
class Node:
    """One group below the root. ``error`` says why its ``zarr.json`` cannot be used; empty if it can."""

    path: str
    kind: NodeKind
    attributes: dict[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a store.

    Attributes
    ----------
    profile
        Path of the profile (or other group) in the store; empty if it concerns the store as a whole.
    shard
        Index of the shard; None if the problem is not inside one.
    rows
        Positions of the affected architectures; empty if it does not concern single rows.
    what
        The variable, what is wrong with it, and what to do.
    repairable
        Whether ``verify(…, repair=True)`` deals with it.
    """

    profile: str
    shard: int | None
    rows: tuple[int, ...]
    what: str
    repairable: bool

    def __str__(self) -> str:
        """The problem in one line."""
        shard = None if self.shard is None else f"shard {self.shard}"
        rows = f"rows {_ranges(self.rows)}" if self.rows else None
        return ": ".join([", ".join(part for part in (self.profile or "store", shard, rows) if part), self.what])


def reason(error: BaseException) -> str:
    """Why something could not be read: the original message, without the advice to the reader."""
    cause = error.__cause__ or error
    return cause.what if isinstance(cause, RefusedChunkError) else str(cause)


@dataclass
class TableCheck:
    """Findings of the check of a profile or a table of trainings. Repairs run after all checks, in order, each once.

    ``arch`` are the architecture strings; None if they cannot be read.
    """

    store: Store
    node: Node
    shard_size: int = 0
    num_archs: int = 0
    arch: NDArray[Any] | None = None
    problems: list[Problem] = field(default_factory=list)
    repairs: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def root(self) -> zarr.Group:
        """Root of the store."""
        return self.store.root

    @property
    def location(self) -> Location:
        """Location of the store."""
        return self.store.location

    @property
    def name(self) -> str:
        """Path of the table in the store."""
        return self.node.path

    @property
    def group(self) -> zarr.Group:
        """The table's group, opened again, since a repair may have changed it."""
        group = self.root[self.name]
        assert isinstance(group, zarr.Group)
        return group

    @property
    def shards(self) -> list[Shard]:
        """All shards; none if the shard size cannot be read."""
        return all_shards(self.num_archs, self.shard_size) if self.shard_size else []

    def add(
        self,
        what: str,
        *,
        shard: int | None = None,
        rows: tuple[int, ...] = (),
        repair: Callable[[], None] | None = None,
        key: str = "",
        command: str = "profile",
    ) -> None:
        """Record a problem and, if it can be repaired, its repair; ``command`` measures the rows of a cleared shard again."""
        if repair:
            does = (
                "repairs it"
                if shard is None
                else f"clears the shard, and the next `sweetgrad {command}` measures it again"
            )
            what = f"{what} `{command_line('verify', self.location, '--repair')}` {does}."
        self.problems.append(Problem(self.name, shard, rows, what, repair is not None))
        if repair:
            self.repairs[key or f"{len(self.repairs)}"] = repair


def _ranges(rows: tuple[int, ...]) -> str:
    """Rows as ranges, at most five of them: ``0-3, 7``."""
    starts = [i for i in range(len(rows)) if i == 0 or rows[i] != rows[i - 1] + 1]
    ends = [*[i - 1 for i in starts[1:]], len(rows) - 1]
    texts = [f"{rows[a]}" if a == b else f"{rows[a]}-{rows[b]}" for a, b in zip(starts, ends, strict=True)]
    rest = f" and {len(rows) - starts[5]} more" if len(starts) > 5 else ""
    return ", ".join(texts[:5]) + rest
