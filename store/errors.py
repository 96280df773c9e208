"""Errors for a store in the wrong state, and installation advice for optional packages.

Wrong arguments of a call raise ``ValueError`` instead.
"""

import shlex
from importlib.metadata import requires

from sweetgrad.store.redaction import redacted


class StoreError(Exception):
    """A store is not in the state that the call needs. Credentials in URLs are removed from the message."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class NotAStoreError(StoreError):
    """The location is not a sweetgrad store, or the store has no such profile."""


class SchemaVersionError(StoreError):
    """The store has a format that this version of the package cannot read."""


class SpecMismatchError(StoreError):
    """The profile was measured with other settings than the requested ones."""


class CorruptShardError(StoreError):
    """A shard cannot be decoded, or its content does not match its stored digest."""


class LockedError(StoreError):
    """The lock is held by ``holder``."""

    def __init__(self, message: str, holder: object = None) -> None:
        super().__init__(message)
        self.holder = holder


class FencedError(StoreError):
    """The lock was taken over by another attempt, so this one must not write any more."""


class UnreachableStoreError(StoreError):
    """A store at a URL did not respond, denied access, or sent an unusable response."""


def how_to_install(extra: str) -> str:
    """The command that installs the packages of an extra of sweetgrad.

    It names the packages, not ``sweetgrad[extra]``, since sweetgrad may be installed from a checkout or a wheel.

    Examples
    --------
    >>> how_to_install("images")
    "pip install 'pillow>=11'"
    """
    parts = [line.partition(";") for line in requires("sweetgrad") or ()]
    packages = [name.strip() for name, _, marker in parts if f'extra == "{extra}"' in marker]
    return f"pip install {shlex.join(packages)}"
