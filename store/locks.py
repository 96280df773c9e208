"""One writer at a time: the lock of a shard, of a store's metadata, and of a folder that is written beside its name.

A lock is a small file that names its holder, such as ``<profile>/status/claims/3.json`` for shard 3 (inside an array,
where no reader of zarr lists). It is *acquired* by creating the file, which succeeds only where there is none. While it
is held, its holder *renews* it: a counter in ``3.<attempt>.beat`` goes up. A holder is dead if its process ended on
this machine, and *expired* if its counter stood still for `LEASE_S` seconds of the observer's own clock. Then others
may take the lock over. A holder asks before each write whether the lock is still its own (a *fence*, `Lock.require`):
one that was stopped for longer than its lease and goes on finds itself fenced, and writes nothing.

**Taking over admits one.** The file of a dead holder is neither deleted nor overwritten, as two waiters that found it
dead would do one after the other. Its successor creates ``3.<attempt of the dead holder>.next``, which again succeeds
only where there is none: of any number of waiters, one. So a lock is a chain of files, each created once and never
changed, and its holder is the last of them. No attempt is ever used again, so neither is a name. *Releasing* deletes
the first file, then the rest.

What can come between, and why it does no harm:

- A waiter reads the chain while its holder releases it, and appends itself to what is no longer there. After appending
  it looks at the first file again: if that is another or gone, it deletes its own file and begins anew. The first file
  goes first, so what follows it is there as long as it is.
- A fenced holder wakes up while its successor releases. It looks for its own successor first and at the first file
  after that. Had the successor come and gone, the first file would be gone, too.
- A kill in the middle of a release leaves files that belong to no lock any more. Nothing reads them; `orphans` finds
  them, and ``verify --repair`` deletes them.
- A holder that is stopped between looking and deleting the first file of a chain that was taken over meanwhile deletes
  its successor's lock. That one finds itself fenced and stops: work is lost, and no data.
- A server that ignores conditions on writes lets two waiters create one file. The one whose content was overwritten is
  fenced.

What remains is the time between a look and the one write that follows it. Where that write would destroy something, it
is made such that it cannot: groups are created only where nothing is (`sweetgrad.store.groups.put_group`) and folders
are moved aside, looked at, and only then deleted.
"""

import datetime as dt
import hashlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.buffer import cpu, default_buffer_prototype
from zarr.storage import LocalStore

from sweetgrad.store.access import Location, zarr_store
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.errors import CorruptShardError, FencedError, LockedError, StoreError

LEASE_S = 60.0
"""Seconds without renewal after which a lock may be taken over; it is renewed four times as often."""

_STORE_KEY = "store.claim"
_TRIES = 100
_PAUSES_S = (0.05, 1.0)  # between two looks at a lock that somebody holds: first, and longest
_MAX_BYTES = 4096  # of a file that names a holder
_IS_CLAIM = re.compile(r"[0-9]{1,9}\.json")
_IS_ATTEMPT = re.compile(r"[0-9a-f]{32}")
_IS_PART = re.compile(r"(?P<stem>.+)\.[0-9a-f]{32}\.(beat|next)")
_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_TEXT = 255


@dataclass(frozen=True)
class Holder:
    """The attempt that holds a lock.

    Attributes
    ----------
    run
        Identifier of the run; attempts of one run may take shards over from each other.
    host, pid
        Where it runs, for people.
    machine, process
        The same, exactly: boot and process namespace; process number and its start, so that a number used again is no life.
    since
        When the lock was acquired (UTC).
    attempt
        Unique to every lock acquired.
    """

    run: str
    host: str = field(default_factory=lambda: _NOT_IN_HOST.sub("_", socket.gethostname())[:_LONGEST_TEXT] or "unknown")
    pid: int = field(default_factory=os.getpid)
    machine: str = field(default_factory=lambda: _machine())
    process: str = field(default_factory=lambda: _process(os.getpid()))
    since: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended; False where it runs on another machine, which tells nothing."""
        return self.machine == _machine() and _process(self.pid) != self.process

    @property
    def is_alive_here(self) -> bool:
        """Whether the process is known to be alive, since it runs on this machine."""
        return self.machine == _machine() and _process(self.pid) == self.process

    def __str__(self) -> str:
        """For messages."""
        return f"process {self.pid} on {self.host}, since {self.since}" if self.machine else _UNKNOWN


_UNKNOWN = "a process on an unknown machine (its lock file cannot be read)"


@dataclass(frozen=True)
class Lock:
    """A lock that an attempt holds, or once held; ``before`` are those who held it since it was last free, oldest first."""

    store: Store
    key: str
    holder: Holder
    before: tuple[Holder, ...] = ()

    @property
    def is_again(self) -> bool:
        """Whether it was taken over from an earlier attempt of the same run."""
        return bool(self.before) and self.before[-1].run == self.holder.run

    def require(self) -> None:
        """Raise `FencedError` unless this attempt still holds the lock: to be called before every write."""
        sync(self.fence())

    async def fence(self) -> None:
        """As `require`, for a store that asks before it writes (`sweetgrad.store.access.zarr_store`)."""
        successor = await _load(self.store, _next_key(self.key, self.holder))  # first: see above
        first = await _load(self.store, self.key)
        if successor is not None or first is None or first.attempt != (*self.before, self.holder)[0].attempt:
            raise FencedError(
                f"{self.key} was taken over by {successor or first or 'no one any more'}: this attempt (process "
                f"{self.holder.pid} on {self.holder.host}) was thought dead and writes nothing more. Nothing is to be done: the "
                "other one writes it."
            )

    def renew(self, count: int) -> None:
        """Give a sign of life; ``count`` is one that this lock has not had."""
        _set(self.store, _beat_key(self.key, self.holder), str(count).encode())

    def release(self) -> None:
        """Give the lock back, if it is still held; the sign of life goes in any case."""
        with suppress(FencedError):
            self.require()
            for key in (self.key, *(_next_key(self.key, holder) for holder in self.before)):
                _delete(self.store, key)
        for holder in (*self.before, self.holder):
            _delete(self.store, _beat_key(self.key, holder))

    @property
    def _own_key(self) -> str:
        return _next_key(self.key, self.before[-1]) if self.before else self.key


class LeaseWatch:
    """Watches whether holders renew their locks, by the clock of this process; one for as long as it is watched."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[bytes, bytes, float]] = {}

    def is_expired(self, store: Store, key: str, holder: Holder) -> bool:
        """Look at a lock: whether it was not renewed for `LEASE_S` seconds, or its process is known to have ended."""
        beat, now = _get(store, _beat_key(key, holder)) or b"", time.monotonic()
        first, last, since = self._seen.get(holder.attempt, (beat, beat, now))
        since = since if beat == last else now
        self._seen[holder.attempt] = (first, beat, since)
        return holder.is_dead or now - since > LEASE_S

    def is_renewed(self, holder: Holder) -> bool:
        """Whether a lock was renewed between two looks, or its process is known to be alive."""
        first, last, _ = self._seen.get(holder.attempt, (b"", b"", 0.0))
        return holder.is_alive_here or first != last


@contextmanager
def lock_shard(
    location: Location, name: str, index: int, *, run: str, expired: frozenset[str] = frozenset(), watch: bool = False
) -> Iterator[Lock]:
    """Hold the lock of a shard, renewed, for the length of the context.

    Parameters
    ----------
    location, name, index
        Store, profile, and index of the shard.
    run
        Identifier of the run. An earlier attempt of the same run is fenced off: whoever hands out the work has given it up.
    expired
        Attempts of other runs that are known to be dead (`find_expired`); those of ended processes of this machine are known.
    watch
        Whether a holder on another machine is watched until it renews the lock or its lease is over, and not refused at once.

    Raises
    ------
    LockedError
        If another run holds the shard.
    """
    store, key, watched = _lock_files(location), f"{_folder(name)}/{index}.json", LeaseWatch() if watch else None

    def may_take_over(holder: Holder) -> bool:
        if holder.run == run or holder.is_dead or holder.attempt in expired:
            return True
        return watched is not None and watched.is_expired(store, key, holder)

    with _held(_wait(store, key, run, may_take_over, refuse=watched.is_renewed if watched else _always)) as lock:
        yield lock


@contextmanager
def lock_store(location: Location) -> Iterator[Lock]:
    """Be the only one, of all processes that ask, to change the metadata of a store; waits for its turn."""
    store, watched = _lock_files(location), LeaseWatch()

    def may_take_over(holder: Holder) -> bool:
        return watched.is_expired(store, _STORE_KEY, holder)

    with _held(_wait(store, _STORE_KEY, uuid.uuid4().hex, may_take_over, refuse=_never)) as lock:
        yield lock


@contextmanager
def lock_folder(folder: Path) -> Iterator[Lock]:
    """Be the only one to write a folder, by a lock beside it.

    Raises
    ------
    LockedError
        If another program is writing it. It is not waited for: what it writes would be replaced at once.
    """
    store, key, watched = LocalStore(folder.parent), f"{folder.name}.claim", LeaseWatch()

    def may_take_over(holder: Holder) -> bool:
        return watched.is_expired(store, key, holder)

    try:
        lock = _wait(store, key, uuid.uuid4().hex, may_take_over, refuse=watched.is_renewed)
    except LockedError as error:
        raise LockedError(
            f"{folder} is being written by {error.holder}; expected to be alone with it. Nothing was written: wait for that "
            f"process, or, if it has ended, delete {folder.parent / key}.",
            error.holder,
        ) from error
    with _held(lock):
        yield lock


def list_locks(location: Location, name: str) -> dict[str, Holder]:
    """Locks of a profile's shards: key in the store to holder; those that are released meanwhile are left out."""
    store = zarr_store(location, read_only=True)
    return {key: chain[-1] for key in _claim_keys(store, name) if (chain := _chain(store, key))}


def find_expired(location: Location, name: str, watch: LeaseWatch) -> frozenset[str]:
    """Attempts whose locks of a profile's shards may be taken over; ``watch`` is the same from call to call."""
    store = zarr_store(location, read_only=True)
    return frozenset(
        holder.attempt for key, holder in list_locks(location, name).items() if watch.is_expired(store, key, holder)
    )


def delete_lock(location: Location, key: str) -> None:
    """Delete the lock of a dead holder, in the one way that harms nobody: by taking it over and releasing it."""
    with suppress(LockedError):
        _acquire(_lock_files(location), key, uuid.uuid4().hex, lambda holder: holder.is_dead).release()


def orphans(location: Location, name: str = "") -> list[str]:
    """Keys of what a kill in the middle of a release left, of the locks of a profile's shards or of the store itself."""
    folder = _folder(name) if name else ""
    names = _list(zarr_store(location, read_only=True), folder)
    parts = [(part, match["stem"]) for part in sorted(names) if (match := _IS_PART.fullmatch(part))]
    return [
        f"{folder}/{part}".lstrip("/")
        for part, stem in parts
        if f"{stem}.json" not in names and f"{stem}.claim" not in names
    ]


def _wait(
    store: Store, key: str, run: str, may_take_over: Callable[[Holder], bool], *, refuse: Callable[[Any], bool]
) -> Lock:
    """Acquire a lock as soon as it is free or may be taken over; `LockedError` once its holder is one to refuse for."""
    pause_s, longest_s = _PAUSES_S
    while True:
        try:
            return _acquire(store, key, run, may_take_over)
        except LockedError as error:
            if refuse(error.holder):
                raise
        time.sleep(pause_s)
        pause_s = min(longest_s, 1.5 * pause_s)


def _always(holder: object) -> bool:
    return True


def _never(holder: object) -> bool:
    return False


def _acquire(store: Store, key: str, run: str, may_take_over: Callable[[Holder], bool]) -> Lock:
    """Acquire a lock that is free, or whose holder may be replaced; `LockedError` if it may not."""
    for _ in range(_TRIES):
        chain = _chain(store, key)
        if chain and not may_take_over(chain[-1]):
            raise LockedError(f"{key} is held by {chain[-1]}", chain[-1])
        lock = Lock(store, key, Holder(run), before=tuple(chain))
        own = lock._own_key
        sync(store.set_if_not_exists(own, cpu.Buffer.from_bytes(json.dumps(asdict(lock.holder)).encode())))
        created = _read(store, own)
        if created is None or created.attempt != lock.holder.attempt:
            continue  # another was first, or has deleted the chain meanwhile
        try:
            lock.require()
        except FencedError:
            if own != key and not _chain_begins(store, lock):
                _delete(store, own)
            continue
        return lock
    raise StoreError(
        f"{key} can be neither created nor read; expected a file that names a process, or none. Delete what is there (it may "
        "be a folder or a link), if no other run writes to the store."
    )


@contextmanager
def _held(lock: Lock) -> Iterator[Lock]:
    """Renew a lock for the length of the context, then release it."""
    over = threading.Event()
    heart = threading.Thread(target=_renew, args=(lock, over), daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        over.set()
        heart.join()
        # A store that cannot be reached keeps the lock, which ends with this process or its lease.
        with suppress(OSError, StoreError):
            lock.release()


def _renew(lock: Lock, over: threading.Event) -> None:
    count = 0
    while not over.wait(LEASE_S / 4):
        with suppress(Exception):  # a store that cannot be reached now may be reached the next time
            lock.renew(count)
        count += 1


def _chain(store: Store, key: str) -> list[Holder]:
    """Those who held a lock since it was last free, its holder last; none if it is free."""
    chain: list[Holder] = []
    attempts: set[str] = set()
    holder = _read(store, key)
    while holder is not None and holder.attempt not in attempts:  # forged files may lead in a circle
        chain.append(holder)
        attempts.add(holder.attempt)
        holder = _read(store, _next_key(key, holder))
    return chain


def _chain_begins(store: Store, lock: Lock) -> bool:
    """Whether the first file of the chain that a lock was appended to is still there."""
    first = _read(store, lock.key)
    return first is not None and first.attempt == lock.before[0].attempt


def _folder(name: str) -> str:
    return f"{name}/status/claims"


def _lock_files(location: Location) -> Store:
    """Locks mean nothing after a crash of the system, and are not forced onto the disk."""
    return zarr_store(location, read_only=False, durable=False)


def _stem(key: str) -> str:
    return key.removesuffix(".json").removesuffix(".claim")


def _beat_key(key: str, holder: Holder) -> str:
    return f"{_stem(key)}.{holder.attempt}.beat"


def _next_key(key: str, holder: Holder) -> str:
    return f"{_stem(key)}.{holder.attempt}.next"


def _claim_keys(store: Store, name: str) -> list[str]:
    folder = _folder(name)
    return [f"{folder}/{key}" for key in sorted(_list(store, folder)) if _IS_CLAIM.fullmatch(key)]


def _list(store: Store, folder: str) -> set[str]:
    async def names() -> set[str]:
        return {name async for name in store.list_dir(folder)}

    return sync(names())


def _read(store: Store, key: str) -> Holder | None:
    return sync(_load(store, key))


async def _load(store: Store, key: str) -> Holder | None:
    try:
        found = await store.get(key, default_buffer_prototype())
    except CorruptShardError:  # larger than anything that is read
        return _parse(b"")
    return None if found is None else _parse(found.to_bytes())


def _get(store: Store, key: str) -> bytes | None:
    with suppress(CorruptShardError):  # larger than anything that is read
        found = sync(store.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()
    return None


def _set(store: Store, key: str, data: bytes) -> None:
    sync(store.set(key, cpu.Buffer.from_bytes(data)))


def _delete(store: Store, key: str) -> None:
    with suppress(FileNotFoundError):
        sync(store.delete(key))


def _parse(data: bytes) -> Holder:
    """The holder that a file names. One that nobody of us wrote holds others off until its lease is over.

    Its texts become messages, and its attempt the name of a file: they are what we write, or nothing.
    """
    unknown = Holder("", "unknown", 0, "", "", "?", attempt=hashlib.sha256(data).hexdigest()[:32])
    if len(data) > _MAX_BYTES:
        return unknown
    try:
        holder = Holder(**json.loads(data))
        texts = (holder.run, holder.host, holder.machine, holder.process, holder.since, holder.attempt)
        dt.datetime.fromisoformat(holder.since)
    except (ValueError, TypeError, RecursionError):
        return unknown
    is_ours = (
        all(isinstance(text, str) and len(text) <= _LONGEST_TEXT and text.isprintable() for text in texts)
        and type(holder.pid) is int
        and 0 < holder.pid < 1 << 31
        and holder.machine != ""
        and not _NOT_IN_HOST.search(holder.host)
        and _IS_ATTEMPT.fullmatch(holder.attempt) is not None
    )
    return holder if is_ours else unknown


def _machine() -> str:
    """Boot of this machine and namespace of its process numbers; the host name where there is no such thing."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname() or "unknown"


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
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        pass
    return str(pid)
