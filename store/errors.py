"""The errors of a store in the wrong state, and what to do where an optional package is missing.

What a caller can fix in a call is a ``ValueError``.
"""

import shlex
from importlib.metadata import requires

from sweetgrad.store.redaction import redacted


class StoreError(Exception):
    """A store is not in the state that the call needs. Its message holds no credentials, whatever URL is in it."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class NotAStoreError(StoreError):
    """The path holds no sweetgrad store, or the store no such profile."""


class SchemaVersionError(StoreError):
    """The store was written in a format that this version of the package does not read."""


class SpecMismatchError(StoreError):
    """The profile was measured with other settings than those asked for."""


class CorruptShardError(StoreError):
    """A shard cannot be decoded, or its content does not have the digest that was stored with it."""


class LockedError(StoreError):
    """Somebody else holds the lock; ``holder`` says who."""

    def __init__(self, message: str, holder: object = None) -> None:
        super().__init__(message)
        self.holder = holder


class FencedError(StoreError):
    """The lock was taken over by another attempt, and this one must not write any more."""


class UnreachableStoreError(StoreError):
    """A store at a URL did not answer, or refused, or answered what cannot be used."""


def how_to_install(extra: str) -> str:
    """The command that installs what an extra of sweetgrad needs.

    It names the packages and not ``sweetgrad[extra]``: sweetgrad may come from a checkout or a wheel, and be on no index.

    Examples
    --------
    >>> how_to_install("images")
    "pip install 'pillow>=11'"
    """
    parts = [line.partition(";") for line in requires("sweetgrad") or ()]
    packages = [name.strip() for name, _, marker in parts if f'extra == "{extra}"' in marker]
    return f"pip install {shlex.join(packages)}"
