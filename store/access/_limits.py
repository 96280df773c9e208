"""Limits on what a store may demand of the machine that reads it, and the message of a refusal.

A store or a release can come from anyone. A few bytes of metadata can declare petabytes or billions of strings, or name a codec
that runs code. Nothing that sweetgrad writes comes near these limits (see ``docs/security.md``).
"""

from typing import Any, NoReturn

from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.format.bins import NUM_BINS
from sweetgrad.store.format.schema import KINDS

MAX_DOCUMENT_BYTES = 16 << 20
"""Size of a ``zarr.json``. That of the root contains the consolidated metadata, about 25 kB for each of hundreds of profiles."""
MAX_DEPTH = 32
"""Levels of nested lists and dictionaries in a ``zarr.json``, and of groups in a store."""
MAX_SIZES = {"arch": 50_000_000, "layer": 4096, "kind": len(KINDS), "bin": NUM_BINS}
"""Length of a dimension, by its name."""
MAX_ARRAY_BYTES = 1 << 40
MAX_CHUNK_BYTES = 1 << 30
"""Size of a decoded chunk. (Blosc itself stops at twice that.)"""
MAX_SHARD_BYTES = 4 << 30
MAX_SHARDS = 1_000_000
"""Number of files of one array."""
MAX_CHUNKS_IN_SHARD = 1024
MAX_TEXT_BYTES = 1 << 16
"""Size of a string, averaged over its chunk."""
MAX_DEFLATE_RATIO = 200
"""Deflate can reach 1000. What Blosc has compressed does not shrink, and the metadata of a store shrinks to a thirtieth."""
ADVICE = (
    " No sweetgrad store looks like that, so it was not read: it is damaged or malicious. Download it again from a source that "
    "you trust."
)
"""End of every message of `refuse`."""


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}… ({len(text):,} characters)"


def refuse(where: str, came: str, expected: str) -> NoReturn:
    raise NotAStoreError(f"{where}: {came}; expected {expected}.{ADVICE}")
