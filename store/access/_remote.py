"""Stores at a URL: storage options, time limits, and requests that are retried before they raise a clear error."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import FsspecStore, WrapperStore

from sweetgrad.store.access._retry import persist, status_of
from sweetgrad.store.errors import NotAStoreError, StoreError, UnreachableStoreError, how_to_install
from sweetgrad.store.redaction import redacted, redacted_cause, secrets_in, secrets_of

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
TRIES = 6
PAUSE_S = 0.5
"""Defaults of the storage options ``connect_timeout``, ``read_timeout`` (for every wait for bytes), ``tries``, ``pause``."""
_MAX_NUMBER = 1e9


@dataclass(frozen=True)
class RemoteStore:
    """A store at a URL with storage options, accepted wherever the package takes a location.

    Attributes
    ----------
    url
        As in `open_store`.
    storage_options
        Options of the fsspec file system (``endpoint_url``, ``key``, ``anon``, …) and, for every file system,
        ``connect_timeout`` and ``read_timeout`` (s), ``tries``, and ``pause`` (s, before the second try; doubled for each
        further one).

    Examples
    --------
    >>> store = RemoteStore("s3://bucket/nb201.zarr", {"endpoint_url": "http://127.0.0.1:9000"})
    >>> str(store)
    's3://bucket/nb201.zarr'
    >>> RemoteStore("https://me:pass@host/nb201.zarr?sig=0a1b2c")
    RemoteStore('https://***@host/nb201.zarr?***')
    """

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """The URL, without the options and without the credentials in it: what messages and the history of a store show."""
        return redacted(self.url)

    def __repr__(self) -> str:
        return f"RemoteStore({str(self)!r})"

    def redacted(self, text: object) -> str:
        """Text without the credentials in URLs, nor the secrets among the options."""
        return redacted(text, secrets=(*secrets_of(self.storage_options), *secrets_in(self.url)))


class AtMost(RangeByteRequest):
    """A range in which the file may end: an upper limit that is part of the request."""


class RetryingStore(WrapperStore[FsspecStore]):
    """A file system at a URL whose requests are retried when the network or the server fails.

    zarr reads a missing file as fill values. Here a file counts as missing only if the server says so (404); any other failure
    of a request raises `UnreachableStoreError`.
    """

    def __init__(self, store: FsspecStore, remote: RemoteStore, *, tries: int, pause_s: float) -> None:
        super().__init__(store)
        self._remote = remote
        self._tries, self._pause_s = tries, pause_s

    def _with_store(self, store: FsspecStore) -> "RetryingStore":
        return RetryingStore(store, self._remote, tries=self._tries, pause_s=self._pause_s)

    def __reduce__(self) -> Any:
        # Connections cannot be sent to other processes, which open their own.
        return open_remote, (self._remote, self.read_only)

    def __str__(self) -> str:
        return str(self._remote)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        last = self._tries - 1

        async def read(attempt: int) -> Buffer | None:
            try:
                found = await self._store.get(key, prototype, byte_range)
            except Exception as error:
                if status_of(error) != 416:  # the range begins after the end: the file is too short
                    raise
                found = prototype.buffer.from_bytes(b"")
            asked = _length(byte_range)
            if found is None or asked is None:
                return found
            if len(found) > asked:
                raise UnreachableStoreError(
                    f"{self._remote}/{key}: expected the {asked} bytes that were requested; the server sent the whole file "
                    f"({len(found)} bytes). It does not support Range requests (nor does `python -m http.server`): serve the "
                    "store with nginx, or download it."
                )
            # A file that stays too short is damaged: the check of its checksum says so, and names the shard.
            may_be_short = not isinstance(byte_range, RangeByteRequest) or isinstance(byte_range, AtMost)
            if not may_be_short and len(found) < asked and attempt < last:
                raise ConnectionError(f"expected {asked} bytes, got {len(found)}")
            return found

        return await self._try(read, key)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, each) for key, each in key_ranges)))

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for request in requests:
            yield request[0], await self.get(*request)

    async def exists(self, key: str) -> bool:
        # For http, fsspec also reports a file as missing when the server fails.
        strict = {"strict": True} if _is_http(self._remote.url) else {}
        path = f"{self._store.path}/{key}"

        async def ask(_: int) -> bool:
            try:
                return bool(await self._store.fs._exists(path, **strict))
            except FileNotFoundError:
                return False

        return await self._try(ask, key)

    async def getsize(self, key: str) -> int:
        return await self._try(lambda _: self._store.getsize(key), key)

    async def set(self, key: str, value: Buffer) -> None:
        await self._write(lambda _: self._store.set(key, value), key)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Create a file atomically, or keep the existing one.

        The caller must read the file to see whose it is: after a lost response, the next try finds the file of the first.
        """
        self._store._check_writable()
        path = f"{self._store.path}/{key}"

        async def create(_: int) -> None:
            # Not every server supports conditional writes: one that ignores the condition must not overwrite an older file.
            if await self._store.fs._exists(path):
                return
            with suppress(FileExistsError):
                await self._store.fs._pipe_file(path, value.to_bytes(), mode="create")

        await self._write(create, key)

    async def delete(self, key: str) -> None:
        await self._write(lambda _: self._store.delete(key), key)

    async def delete_dir(self, prefix: str) -> None:
        await self._write(lambda _: self._store.delete_dir(prefix), prefix)

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in await self._names(self._store.list_prefix, prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for key in await self._names(self._store.list_dir, prefix):
            yield key

    async def is_empty(self, prefix: str) -> bool:
        return not await self._names(self._store.list_dir, prefix)

    async def _names(self, names: Callable[[str], AsyncIterator[str]], prefix: str) -> tuple[str, ...]:
        async def collect(_: int) -> tuple[str, ...]:
            return tuple([name async for name in names(prefix)])

        return await self._try(collect, prefix)

    async def _write(self, action: Callable[[int], Awaitable[T]], key: str) -> T:
        try:
            return await self._try(action, key)
        except FileNotFoundError as error:
            raise NotAStoreError(
                f"{self._remote}: expected an existing bucket or folder, found none ({error}). Create the bucket first, or check "
                "its name."
            ) from redacted_cause(error, self._remote.redacted)

    async def _try(self, action: Callable[[int], Awaitable[T]], key: str) -> T:
        address = "address (endpoint_url)" if _is_s3(self._remote.url) else "address"
        try:
            return await persist(
                action,
                what=f"{self._remote}/{key}",
                address=address,
                tries=self._tries,
                pause_s=self._pause_s,
                redact=self._remote.redacted,
            )
        except (StoreError, OSError, MemoryError):
            raise
        except Exception as error:
            # Most options and addresses are checked only with the first request, by other libraries.
            raise StoreError(
                f"{self._remote}: its address or its storage options were refused: "
                f"{type(error).__name__}: {self._remote.redacted(error)}. Check both: storage options are those of the "
                "file system of the URL (fsspec), e.g. endpoint_url=http://127.0.0.1:9000."
            ) from redacted_cause(error, self._remote.redacted)


def open_remote(remote: RemoteStore, read_only: bool) -> RetryingStore:
    """Open the file system of a URL, with time limits; no request is made yet.

    Raises
    ------
    ImportError
        If its library is not installed.
    StoreError
        If it cannot be written to and ``read_only`` is False.
    """
    if _is_http(remote.url) and not read_only:
        raise StoreError(
            f"{remote} can only be read: write to a folder or to an object store (s3://…), then serve that."
        )
    options = dict(remote.storage_options)
    _check_kinds(options)
    tries = int(_pop_number(options, "tries", TRIES, at_least=1))
    pause_s = _pop_number(options, "pause", PAUSE_S, at_least=0)
    connect_s = _pop_number(options, "connect_timeout", CONNECT_TIMEOUT_S, at_least=0.001)
    read_s = _pop_number(options, "read_timeout", READ_TIMEOUT_S, at_least=0.001)
    try:
        options = _with_limits(remote.url, options, connect_s, read_s)
        store = FsspecStore.from_url(remote.url, storage_options=options, read_only=read_only)
    except ImportError as error:
        raise ImportError(
            f"{remote} needs a package that is not installed ({remote.redacted(error)}): {how_to_install('cloud')}"
        ) from redacted_cause(error, remote.redacted)
    except (ValueError, TypeError, AttributeError) as error:  # a protocol that fsspec does not know, or a wrong option
        raise ValueError(
            f"{remote}: expected a local path, or a URL such as s3://…, https://… or zip::https://… with valid options: "
            f"{remote.redacted(error)}"
        ) from redacted_cause(error, remote.redacted)
    if _is_s3(remote.url):
        store.fs.retries = 1  # tries are counted in one place, so that their time is bounded
    store.path = store.path.rstrip("/")
    return RetryingStore(store, remote, tries=tries, pause_s=pause_s)


_KINDS: dict[str, tuple[type, str]] = {
    "anon": (bool, "true or false"),
    "client_kwargs": (Mapping, 'a table such as {"region_name": "eu-west-1"}'),
    "config_kwargs": (Mapping, 'a table such as {"proxies": {}}'),
    "endpoint_url": (str, "an address such as http://127.0.0.1:9000"),
    "key": (str, "text"),
    "secret": (str, "text"),
    "token": (str, "text"),
}
"""Options whose values have the same type in every file system: a wrong type fails late, or is misunderstood."""


def _check_kinds(options: Mapping[str, Any]) -> None:
    for key, (kind, expected) in _KINDS.items():
        value = options.get(key)
        if value is not None and not isinstance(value, kind):
            got = type(value).__name__ if kind is str else repr(value)  # text may be a secret
            raise ValueError(f"the storage option {key} must be {expected}, got {got}")


def _pop_number(options: dict[str, Any], key: str, default: float, *, at_least: float) -> float:
    value = options.pop(key, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not at_least <= value < _MAX_NUMBER:
        raise ValueError(f"the storage option {key} must be a number, {at_least:g} or more, got {value!r}")
    return float(value)


def _with_limits(url: str, options: dict[str, Any], connect_s: float, read_s: float) -> dict[str, Any]:
    """Options with default time limits; listings are not cached, since other processes write too."""
    if _is_s3(url):
        limits = {
            "connect_timeout": connect_s,
            "read_timeout": read_s,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        }
        config = {**limits, **options.get("config_kwargs", {})}
        # With concurrent reads of one file, s3fs asks for its size before every read: two requests instead of one.
        return {"use_listings_cache": False, "max_concurrency": 1, **options, "config_kwargs": config}
    if _is_http(url):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)
        return {**options, "client_kwargs": {"timeout": timeout, **options.get("client_kwargs", {})}}
    return options


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _is_s3(url: str) -> bool:
    return url.startswith(("s3://", "s3a://"))


def _length(byte_range: ByteRequest | None) -> int | None:
    """Number of bytes that are requested; None if there is no limit."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.end - byte_range.start
    return byte_range.suffix if isinstance(byte_range, SuffixByteRequest) else None
