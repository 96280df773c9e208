"""The errors of a store in the wrong state; what a caller can fix in a call is a ``ValueError``."""

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
