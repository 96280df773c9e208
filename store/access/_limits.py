"""What a store may ask of the machine that reads it, in numbers, and the words of a refusal.

A store, or a release of one, comes from anybody. Metadata of a few bytes can declare petabytes, name a codec that runs code, or
promise texts by the billion. Nothing that sweetgrad writes comes near these limits (see ``docs/security.md``).
"""

from typing import Any, NoReturn

from sweetgrad.store.errors import NotAStoreError
from sweetgrad.store.format.bins import NUM_BINS
from sweetgrad.store.format.schema import KINDS

MAX_DOCUMENT_BYTES = 16 << 20
"""A ``zarr.json``; the root's holds the consolidated metadata, some 25 kB for each profile: hundreds of them."""
MAX_DEPTH = 32
"""Lists and dictionaries inside each other in a ``zarr.json``, and groups inside each other in a store."""
MAX_SIZES = {"arch": 50_000_000, "layer": 4096, "kind": len(KINDS), "bin": NUM_BINS}
"""Length of a dimension, by its name."""
MAX_ARRAY_BYTES = 1 << 40
MAX_CHUNK_BYTES = 1 << 30
"""A chunk, decoded. (Blosc itself stops at twice that.)"""
MAX_SHARD_BYTES = 4 << 30
MAX_SHARDS = 1_000_000
"""Files of one array."""
MAX_CHUNKS_IN_SHARD = 1024
MAX_TEXT_BYTES = 1 << 16
"""A text, on the average of its chunk."""
MAX_DEFLATE_RATIO = 200
"""Deflate alone gets to 1000; what Blosc has compressed does not shrink, and the metadata of a store shrinks to a thirtieth."""
ADVICE = (
    " No sweetgrad store looks like that, and nothing of it was read: it is damaged or malicious. Get it again from someone you "
    "trust."
)
"""End of every refusal of a reader."""


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}… ({len(text):,} characters)"


def refuse(where: str, came: str, expected: str) -> NoReturn:
    raise NotAStoreError(f"{where}: {came}; expected {expected}.{ADVICE}")
