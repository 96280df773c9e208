"""Locks that admit one writer at a time: to a shard, to the metadata of a store, and to a folder that is being replaced.

A lock is a small file that names its holder, such as ``<profile>/status/claims/3.json`` for shard 3 (inside an array,
where zarr never lists files). It is *acquired* by creating the file, which fails if the file exists. While the lock is
held, its holder *renews* it by incrementing a counter in ``3.<attempt>.beat``. A holder is *dead* if its process ended
on this machine, and *expired* if its counter has not changed for `LEASE_S` seconds of the observer's own clock. Then
others may take the lock over. Before each write, a holder checks that it still holds the lock (a *fence*,
`Lock.require`): a process that was stopped for longer than its lease and then continues is fenced, and writes nothing.

**Only one process can take a lock over.** The file of a dead holder is neither deleted nor overwritten, since two waiters
could do so one after the other. Instead, a successor creates ``3.<attempt of the dead holder>.next``, which again fails
if the file exists, so only one of any number of waiters succeeds. A lock is therefore a chain of files, each created
once and never changed, and its holder is named in the last one. Attempts are unique, and so are the file names.
*Releasing* deletes the first file, then the others.

Possible races, and why they are harmless:

- A waiter reads the chain while the holder releases it, and appends its file to a chain that no longer exists. After
  appending, it reads the first file again: if that has changed or is missing, it deletes its own file and starts again.
  The first file is deleted first, so the others exist as long as it does.
- A fenced holder resumes while its successor releases the lock. It checks for its own successor first and for the first
  file afterwards. If the successor has already released the lock, the first file is missing too.
- A process that is killed during a release leaves files that belong to no lock. Nothing reads them; `orphans` finds them,
  and ``verify --repair`` deletes them.
- A holder that is stopped between the check and the deletion of the first file, while the lock is taken over, deletes its
  successor's lock. The successor is fenced and stops: work is lost, but no data.
- A server that ignores conditions on writes lets two waiters create the same file. The one whose content was overwritten
  is fenced.

What remains is the time between a check and the single write that follows it. Where that write could destroy something,
it is designed not to: groups are only created where none exists (`sweetgrad.store.groups.put_group`), and folders are
moved aside, checked, and only then deleted.
"""

import datetime as dt
import hashlib
import json
import logging
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
_PAUSES_S = (0.05, 1.0)  # between two checks of a lock that is held: first, and longest
_MAX_BYTES = 4096  # largest size of a lock file
_IS_LOCK = re.compile(r"[0-9]{1,9}\.json")
_IS_ATTEMPT = re.compile(r"[0-9a-f]{32}")
_IS_PART = re.compile(r"(?P<stem>.+)\.[0-9a-f]{32}\.(beat|next)")
_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_TEXT = 255

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """The attempt that holds a lock.

    Attributes
    ----------
    run
        Identifier of the run; attempts of one run may take shards over from each other.
    host, pid
        Machine and process, for display.
    machine, process
        The same, uniquely: boot and process namespace; process number and start time, since process numbers are reused.
    since
        When the lock was acquired (UTC).
    attempt
        Unique identifier of every acquired lock.
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
        """Whether the process is known to have ended; False if it runs on another machine, where this is not known."""
        return self.machine == _machine() and _process(self.pid) != self.process

    @property
    def is_alive_here(self) -> bool:
        """Whether the process runs on this machine and is alive."""
        return self.machine == _machine() and _process(self.pid) == self.process

    def __str__(self) -> str:
        """Description for messages."""
        return f"process {self.pid} on {self.host}, since {self.since}" if self.machine else _UNKNOWN


_UNKNOWN = "a process on an unknown machine (its lock file cannot be read)"


@dataclass(frozen=True)
class Lock:
    """A lock that an attempt holds or has held; ``before`` are its previous holders since it was last free, oldest first."""

    store: Store
    key: str
    holder: Holder
    before: tuple[Holder, ...] = ()

    @property
    def is_again(self) -> bool:
        """Whether it was taken over from an earlier attempt of the same run."""
        return bool(self.before) and self.before[-1].run == self.holder.run

    def require(self) -> None:
        """Raise `FencedError` unless this attempt still holds the lock. Call it before every write."""
        sync(self.fence())

    async def fence(self) -> None:
        """Coroutine version of `require`, for the argument ``fence`` of `sweetgrad.store.access.zarr_store`."""
        successor = await _load(self.store, _next_key(self.key, self.holder))  # first: see the module docstring
        first = await _load(self.store, self.key)
        if successor is not None or first is None or first.attempt != (*self.before, self.holder)[0].attempt:
            raise FencedError(
                f"{self.key} was taken over by {successor or first or 'another process'}: this attempt (process "
                f"{self.holder.pid} on {self.holder.host}) was taken for dead and writes nothing more. No action is needed: the "
                "other process writes the data."
            )

    def renew(self, count: int) -> None:
        """Renew the lock; ``count`` must be a new value."""
        _set(self.store, _beat_key(self.key, self.holder), str(count).encode())

    def release(self) -> None:
        """Release the lock if it is still held; the counter is deleted in any case."""
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
    """Checks whether holders renew their locks, by the clock of this process; use one instance for all checks."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[bytes, bytes, float]] = {}

    def is_expired(self, store: Store, key: str, holder: Holder) -> bool:
        """Check a lock: whether it was not renewed for `LEASE_S` seconds, or its process is known to have ended."""
        beat, now = _get(store, _beat_key(key, holder)) or b"", time.monotonic()
        first, last, since = self._seen.get(holder.attempt, (beat, beat, now))
        since = since if beat == last else now
        self._seen[holder.attempt] = (first, beat, since)
        return holder.is_dead or now - since > LEASE_S

    def is_renewed(self, holder: Holder) -> bool:
        """Whether a lock was renewed between two checks, or its process is known to be alive."""
        first, last, _ = self._seen.get(holder.attempt, (b"", b"", 0.0))
        return holder.is_alive_here or first != last


@contextmanager
def lock_shard(
    location: Location, name: str, index: int, *, run: str, expired: frozenset[str] = frozenset(), watch: bool = False
) -> Iterator[Lock]:
    """Context manager that holds and renews the lock of a shard.

    Parameters
    ----------
    location, name, index
        Store, profile, and index of the shard.
    run
        Identifier of the run. An earlier attempt of the same run is fenced, since the scheduler has given it up.
    expired
        Attempts of other runs that are known to be dead (`find_expired`); ended processes of this machine are detected.
    watch
        Whether to wait until a holder on another machine renews the lock or its lease expires, instead of raising at once.

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
    """Context manager that holds the lock of the metadata of a store; waits until the lock is free."""
    store, watched = _lock_files(location), LeaseWatch()

    def may_take_over(holder: Holder) -> bool:
        return watched.is_expired(store, _STORE_KEY, holder)

    with _held(_wait(store, _STORE_KEY, uuid.uuid4().hex, may_take_over, refuse=_never)) as lock:
        yield lock


@contextmanager
def lock_folder(folder: Path) -> Iterator[Lock]:
    """Context manager that holds the lock of a folder, in a file beside it.

    Raises
    ------
    LockedError
        If another process is writing to the folder. There is no waiting, since its result would be replaced at once.
    """
    store, key, watched = LocalStore(folder.parent), f"{folder.name}.claim", LeaseWatch()

    def may_take_over(holder: Holder) -> bool:
        return watched.is_expired(store, key, holder)

    try:
        lock = _wait(store, key, uuid.uuid4().hex, may_take_over, refuse=watched.is_renewed)
    except LockedError as error:
        raise LockedError(
            f"{folder} is being written by {error.holder}; expected exclusive access. Nothing was written: wait for that "
            f"process, or, if it has ended, delete {folder.parent / key}.",
            error.holder,
        ) from error
    with _held(lock):
        yield lock


def list_locks(location: Location, name: str) -> dict[str, Holder]:
    """Holders of the locks of a profile's shards, by key in the store; locks that are being released are omitted."""
    store = zarr_store(location, read_only=True)
    return {key: chain[-1] for key in _lock_keys(store, name) if (chain := _chain(store, key))}


def find_expired(location: Location, name: str, watch: LeaseWatch) -> frozenset[str]:
    """Attempts whose locks of a profile's shards may be taken over; pass the same ``watch`` in every call."""
    store = zarr_store(location, read_only=True)
    return frozenset(
        holder.attempt for key, holder in list_locks(location, name).items() if watch.is_expired(store, key, holder)
    )


def delete_lock(location: Location, key: str) -> None:
    """Delete the lock of a dead holder safely, by taking it over and releasing it."""
    with suppress(LockedError):
        _acquire(_lock_files(location), key, uuid.uuid4().hex, lambda holder: holder.is_dead).release()


def orphans(location: Location, name: str = "") -> list[str]:
    """Keys of files that a process killed during a release left: of the locks of a profile's shards, or of the store itself."""
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
    """Acquire a lock as soon as it is free or may be taken over; raises `LockedError` if ``refuse`` is true of its holder."""
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
    """Acquire a lock that is free or may be taken over; otherwise raise `LockedError`."""
    for _ in range(_TRIES):
        chain = _chain(store, key)
        if chain and not may_take_over(chain[-1]):
            raise LockedError(f"{key} is held by {chain[-1]}", chain[-1])
        lock = Lock(store, key, Holder(run), before=tuple(chain))
        own = lock._own_key
        sync(store.set_if_not_exists(own, cpu.Buffer.from_bytes(json.dumps(asdict(lock.holder)).encode())))
        created = _read(store, own)
        if created is None or created.attempt != lock.holder.attempt:
            continue  # another process was first, or has deleted the chain in the meantime
        try:
            lock.require()
        except FencedError:
            if own != key and not _chain_begins(store, lock):
                _delete(store, own)
            continue
        if chain:
            _logger.info("%s: took over the lock of %s", key, chain[-1])
        return lock
    raise StoreError(
        f"{key} can be neither created nor read; expected a lock file, or no file. If no other run is writing to the store, "
        "delete what is there (it may be a folder or a link)."
    )


@contextmanager
def _held(lock: Lock) -> Iterator[Lock]:
    """Context manager that renews a lock and releases it at the end."""
    over = threading.Event()
    heart = threading.Thread(target=_renew, args=(lock, over), daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        over.set()
        heart.join()
        # A store that cannot be reached keeps the lock, which expires with this process or its lease.
        with suppress(OSError, StoreError):
            lock.release()


def _renew(lock: Lock, over: threading.Event) -> None:
    count = 0
    while not over.wait(LEASE_S / 4):
        with suppress(Exception):  # a store that cannot be reached now may be available the next time
            lock.renew(count)
        count += 1


def _chain(store: Store, key: str) -> list[Holder]:
    """Holders of a lock since it was last free, the current one last; empty if it is free."""
    chain: list[Holder] = []
    attempts: set[str] = set()
    holder = _read(store, key)
    while holder is not None and holder.attempt not in attempts:  # forged files may form a cycle
        chain.append(holder)
        attempts.add(holder.attempt)
        holder = _read(store, _next_key(key, holder))
    return chain


def _chain_begins(store: Store, lock: Lock) -> bool:
    """Whether the first file of the chain to which a lock was appended still exists."""
    first = _read(store, lock.key)
    return first is not None and first.attempt == lock.before[0].attempt


def _folder(name: str) -> str:
    return f"{name}/status/claims"


def _lock_files(location: Location) -> Store:
    """The store for lock files, whose writes are not flushed, since locks are meaningless after a system crash."""
    return zarr_store(location, read_only=False, durable=False)


def _stem(key: str) -> str:
    return key.removesuffix(".json").removesuffix(".claim")


def _beat_key(key: str, holder: Holder) -> str:
    return f"{_stem(key)}.{holder.attempt}.beat"


def _next_key(key: str, holder: Holder) -> str:
    return f"{_stem(key)}.{holder.attempt}.next"


def _lock_keys(store: Store, name: str) -> list[str]:
    folder = _folder(name)
    return [f"{folder}/{key}" for key in sorted(_list(store, folder)) if _IS_LOCK.fullmatch(key)]


def _list(store: Store, folder: str) -> set[str]:
    async def names() -> set[str]:
        return {name async for name in store.list_dir(folder)}

    return sync(names())


def _read(store: Store, key: str) -> Holder | None:
    return sync(_load(store, key))


async def _load(store: Store, key: str) -> Holder | None:
    try:
        found = await store.get(key, default_buffer_prototype())
    except CorruptShardError:  # too large
        return _parse(b"")
    return None if found is None else _parse(found.to_bytes())


def _get(store: Store, key: str) -> bytes | None:
    with suppress(CorruptShardError):  # too large
        found = sync(store.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()
    return None


def _set(store: Store, key: str, data: bytes) -> None:
    sync(store.set(key, cpu.Buffer.from_bytes(data)))


def _delete(store: Store, key: str) -> None:
    with suppress(FileNotFoundError):
        sync(store.delete(key))


def _parse(data: bytes) -> Holder:
    """The holder that a lock file names. A foreign file locks out others until its lease expires.

    Its strings are used in messages, and its attempt in the name of a file, so only strings in our own format are accepted.
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
    """Boot of this machine and namespace of its process numbers; the host name if these are not available."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname() or "unknown"


def _process(pid: int) -> str:
    """Unique identifier of a process on this machine; empty if there is no such process."""
    if Path("/proc/self").exists():
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if state in "ZX" else f"{pid} {fields[18]}"  # start time, in clock ticks since boot
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        pass
    return str(pid)
