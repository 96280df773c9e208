"""Requests that are retried before they raise a clear error."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sweetgrad.store.errors import StoreError, UnreachableStoreError
from sweetgrad.store.redaction import redacted, redacted_cause

T = TypeVar("T")

_LONGEST_PAUSE_S = 10.0
_MISTAKE = re.compile("Invalid|Unknown|Unsupported|Config|Profile|Param|NoRegion|NonHttp")
"""Beginnings of the names of botocore and aiohttp errors for requests that cannot be made, as opposed to failed ones."""
_logger = logging.getLogger(__name__)


async def persist(
    action: Callable[[int], Awaitable[T]],
    *,
    what: str,
    address: str,
    tries: int,
    pause_s: float,
    redact: Callable[[str], str] = redacted,
) -> T:
    """Retry an action until it succeeds, cannot succeed, or has used up its tries.

    Parameters
    ----------
    action
        Called with the number of the attempt, from 0.
    what, address
        For messages: what is requested, and what its address is called.
    tries, pause_s
        Largest number of tries, and the pause before the second one, which is doubled for each further one.
    redact
        Removes credentials from the message of an error.

    Raises
    ------
    UnreachableStoreError
        If the server denied access, or the last try failed.
    """
    begun = time.monotonic()
    for attempt in range(tries):
        try:
            return await action(attempt)
        except StoreError:
            raise
        except FileNotFoundError as error:
            if redact(str(error)) == str(error):
                raise
            raise FileNotFoundError(redact(str(error))) from None
        except Exception as error:
            if not _is_remote_error(error):
                raise
            words = redact(_words(error))
            if _is_refusal(error):
                raise UnreachableStoreError(
                    f"{what}: access denied by the server: {words}. Check the "
                    "credentials (environment, ~/.aws, or storage options such as key, secret, anon) and their permissions."
                ) from redacted_cause(error, redact)
            if attempt == tries - 1:
                raise UnreachableStoreError(
                    f"{what}: expected an answer, got {words} ({tries} tries in {time.monotonic() - begun:.0f} s). "
                    f"Check the {address} and the network, then repeat the command: what was written before is safe. To "
                    "wait longer, increase the storage options tries, connect_timeout and read_timeout."
                ) from redacted_cause(error, redact)
            _logger.info("%s: %s; trying again", what, words)
            await asyncio.sleep(_pause(attempt, pause_s))
    raise AssertionError("tries is at least 1")


def _is_remote_error(error: Exception) -> bool:
    """Whether it comes from the network or the server; anything else is a bug, or a mistake in the options."""
    if _MISTAKE.match(type(error).__name__):
        return False
    libraries = ("aiohttp", "botocore", "aiobotocore", "fsspec", "s3fs", "gcsfs")
    return isinstance(error, OSError | asyncio.TimeoutError) or type(error).__module__.partition(".")[0] in libraries


def _is_refusal(error: Exception) -> bool:
    """Whether another try would fail in the same way."""
    if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
        return True
    status = status_of(error)
    return status is not None and 400 <= status < 500 and status not in (408, 416, 429)


def status_of(error: Exception) -> int | None:
    status = getattr(error, "status", None)  # aiohttp.ClientResponseError
    return status if isinstance(status, int) else None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _pause(attempt: int, first_s: float) -> float:
    """Seconds before the next try, doubled each time, with random jitter so that many workers do not retry at once."""
    longest = min(_LONGEST_PAUSE_S, first_s * 2.0**attempt)
    return longest * random.uniform(0.5, 1)
