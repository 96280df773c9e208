"""Who is writing which shard: small objects in the store that keep two runs, and two attempts of one run, out of one shard.

A claim of shard 3 is ``<profile>/status/claims/3.json``. It lies inside an array, where no reader of zarr lists; it names the
attempt that holds it, and is written once. As long as the attempt lives it rewrites ``3.<attempt>.beat`` beside it. Whoever
takes a claim over writes a new attempt into it; the old one finds that out before its next write, and stops (a fence).
"""

import datetime as dt
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from zarr.abc.store import Store
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync

from sweetgrad.store.access import Location, zarr_store
from sweetgrad.store.errors import ClaimedError, FencedError

__all__ = ["LEASE_S", "Claim", "Holder", "claim_shard", "claims", "delete_claim", "exclusively", "find_expired", "take"]

LEASE_S = 60.0
"""Seconds without a sign of life after which a holder on another machine counts as dead."""

_BEAT_EVERY_S = LEASE_S / 4
_LOCK = "store.claim"
_IS_CLAIM = re.compile(r"[0-9]{1,9}\.json")


@dataclass(frozen=True)
class Holder:
    """The attempt that holds a claim.

    Attributes
    ----------
    run
        Identifier of the run; attempts of one run may take shards over from each other.
    host, pid
        Where it runs, for people.
    machine, process
        The same, exactly: boot and process namespace; process number and its start, so that a number used again is no life.
    since
        When the claim was taken (UTC).
    attempt
        Unique to every claim taken.
    """

    run: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    machine: str = field(default_factory=lambda: _machine())
    process: str = field(default_factory=lambda: _process(os.getpid()))
    since: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended; False where it runs on another machine, which tells nothing."""
        return self.machine == _machine() and _process(self.pid) != self.process

    def __str__(self) -> str:
        """For messages."""
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Claim:
    """A claim that an attempt holds, or once held; ``is_again`` if it was taken from an earlier attempt of the same run."""

    store: Store
    key: str
    holder: Holder
    is_again: bool = False

    def require(self) -> None:
        """Raise `FencedError` unless this attempt still holds the claim: to be called before every write."""
        found = _read(self.store, self.key)
        if found is None or found.attempt != self.holder.attempt:
            raise FencedError(
                f"{self.key} was taken over by {found or 'nobody any more'}: this attempt (process {self.holder.pid} on "
                f"{self.holder.host}) was thought dead and writes nothing more. Nothing is to be done: the other one writes it."
            )

    def release(self) -> None:
        """Give the claim back, if it is still held; the sign of life goes in any case."""
        sync(self.store.delete(_beat_key(self.key, self.holder)))
        with suppress(FencedError):
            self.require()
            sync(self.store.delete(self.key))


@contextmanager
def claim_shard(
    location: Location, name: str, index: int, *, run: str, expired: frozenset[str] = frozenset()
) -> Iterator[Claim]:
    """Hold the claim of a shard, with signs of life, for the length of the context.

    Parameters
    ----------
    location, name, index
        Store, profile, and index of the shard.
    run
        Identifier of the run. An earlier attempt of the same run is fenced off: whoever hands out the work has given it up.
    expired
        Attempts of other runs that are known to be dead (`find_expired`); those of ended processes of this machine are known.

    Raises
    ------
    ClaimedError
        If another run holds the shard.
    """
    store = zarr_store(location, read_only=False)
    claim = Claim(store, f"{_folder(name)}/{index}.json", Holder(run))
    before = take(claim, may_replace=lambda found: found.run == run or found.is_dead or found.attempt in expired)
    claim = replace(claim, is_again=before is not None and before.run == run)
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(claim, over), daemon=True)
    heart.start()
    try:
        yield claim
    finally:
        over.set()
        heart.join()
        # A store that cannot be reached keeps the claim, which ends with this process or its lease.
        with suppress(OSError):
            claim.release()


def claims(location: Location, name: str) -> dict[str, Holder]:
    """Claims of a profile's shards: key in the store to holder; those that vanish meanwhile are left out."""
    store = zarr_store(location, read_only=True)
    return {key: found for key in _claim_keys(store, name) if (found := _read(store, key)) is not None}


def find_expired(location: Location, name: str, seen: dict[str, tuple[str, float]]) -> frozenset[str]:
    """Attempts that gave no sign of life for `LEASE_S` seconds of this process's own clock.

    Parameters
    ----------
    location, name
        Store and profile.
    seen
        What earlier calls saw, kept by the caller and updated here: attempt to (last beat, when it was first seen).
    """
    store = zarr_store(location, read_only=True)
    now, expired = time.monotonic(), set()
    for key, holder in claims(location, name).items():
        beat = _get(store, _beat_key(key, holder)) or b""
        last, since = seen.get(holder.attempt, (None, now))
        if beat.decode() != last:
            last, since = beat.decode(), now
        seen[holder.attempt] = (str(last), since)
        if holder.is_dead or now - since > LEASE_S:
            expired.add(holder.attempt)
    return frozenset(expired)


def delete_claim(store: Store, key: str, holder: Holder) -> None:
    """Delete a claim and, before it, its sign of life: cut off in between, it leaves what is found."""
    for each in (_beat_key(key, holder), key):
        sync(store.delete(each))


@contextmanager
def exclusively(location: Location) -> Iterator[None]:
    """Be the only one, of all processes that ask, to change the metadata of a store; waits for its turn.

    A holder that ended counts as gone at once on this machine, and after `LEASE_S` seconds on any other.
    """
    claim = Claim(zarr_store(location, read_only=False), _LOCK, Holder(run=uuid.uuid4().hex))
    first_seen: dict[str, float] = {}

    def may_replace(found: Holder) -> bool:
        since = first_seen.setdefault(found.attempt, time.monotonic())
        return found.is_dead or time.monotonic() - since > LEASE_S

    while True:
        try:
            take(claim, may_replace=may_replace)
            break
        except ClaimedError:
            time.sleep(0.05)
    try:
        yield
    finally:
        claim.release()


def take(claim: Claim, *, may_replace: Callable[[Holder], bool]) -> Holder | None:
    """Write a claim, or raise `ClaimedError`; gives the holder that it was taken from, if there was one."""
    while True:
        if _create(claim.store, claim.key, claim.holder):
            return None
        found = _read(claim.store, claim.key)
        if found is None:
            continue  # given back in between
        if found.attempt == claim.holder.attempt:
            return None  # created by a request whose answer was lost
        if not may_replace(found):
            raise ClaimedError(f"{claim.key} is held by {found}", found)
        with suppress(FileNotFoundError):
            sync(claim.store.delete(_beat_key(claim.key, found)))
        _set(claim.store, claim.key, _as_bytes(claim.holder))
        return found  # of two that replace a dead holder at once, the first finds itself fenced


def _beat(claim: Claim, over: threading.Event) -> None:
    number = 0
    while not over.is_set():
        with suppress(Exception):  # a store that cannot be reached now may be reached at the next beat
            _set(claim.store, _beat_key(claim.key, claim.holder), str(number).encode())
        number += 1
        over.wait(_BEAT_EVERY_S)


def _folder(name: str) -> str:
    return f"{name}/status/claims"


def _beat_key(key: str, holder: Holder) -> str:
    return f"{key.removesuffix('.json')}.{holder.attempt}.beat"


def _claim_keys(store: Store, name: str) -> list[str]:
    async def keys() -> list[str]:
        return sorted(
            [f"{_folder(name)}/{key}" async for key in store.list_dir(_folder(name)) if _IS_CLAIM.fullmatch(key)]
        )

    return sync(keys())


def _create(store: Store, key: str, holder: Holder) -> bool:
    """Create an object only if it is not there, in one step; whether it was created."""
    sync(store.set_if_not_exists(key, cpu.Buffer.from_bytes(_as_bytes(holder))))
    found = _read(store, key)
    return found is not None and found.attempt == holder.attempt


def _read(store: Store, key: str) -> Holder | None:
    data = _get(store, key)
    return None if data is None else _from_bytes(data)


def _get(store: Store, key: str) -> bytes | None:
    found = sync(store.get(key, default_buffer_prototype()))
    return None if found is None else found.to_bytes()


def _set(store: Store, key: str, data: bytes) -> None:
    sync(store.set(key, cpu.Buffer.from_bytes(data)))


def _as_bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _from_bytes(data: bytes) -> Holder:
    try:
        return Holder(**json.loads(data))
    except (ValueError, TypeError):  # not written by us: it holds others off until its lease is over
        return Holder(run="", host="an unknown machine", pid=0, machine="", process="", since="?", attempt="unreadable")


def _machine() -> str:
    """Boot of this machine and namespace of its process numbers; the host name where there is no such thing."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _process(pid: int) -> str:
    """Identity of a process of this machine; empty if there is none."""
    if Path("/proc/self").exists():
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if state in "ZX" else f"{pid} {fields[18]}"  # when it started, in clock ticks since boot
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return str(pid)
