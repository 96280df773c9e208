"""The errors of a store in the wrong state; what a caller can fix in a call is a ``ValueError``."""

__all__ = ["CorruptShardError", "NotAStoreError", "SchemaVersionError", "SpecMismatchError", "StoreError"]


class StoreError(Exception):
    """A store is not in the state that the call needs."""


class NotAStoreError(StoreError):
    """The path holds no sweetgrad store, or the store no such profile."""


class SchemaVersionError(StoreError):
    """The store was written in a format that this version of the package does not read."""


class SpecMismatchError(StoreError):
    """The profile was measured with other settings than those asked for."""


class CorruptShardError(StoreError):
    """A shard cannot be decoded, or its content does not have the digest that was stored with it."""
