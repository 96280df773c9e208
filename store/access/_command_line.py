"""Command lines in messages, which can be copied and run."""

import json
import shlex
from pathlib import Path
from typing import Any

from sweetgrad.store.access._remote import RemoteStore
from sweetgrad.store.redaction import REDACTED, redacted, secrets_of


def command_line(*words: "str | Path | RemoteStore") -> str:
    """A line such as ``sweetgrad verify STORE --repair``, quoted for a shell, without credentials.

    Parameters
    ----------
    words
        Arguments after ``sweetgrad``; the storage options of a `RemoteStore` are appended.

    Examples
    --------
    >>> command_line("verify", "my store.zarr", "--repair")
    "sweetgrad verify 'my store.zarr' --repair"
    >>> command_line("info", RemoteStore("s3://bucket/nb201.zarr", {"secret": "0a1b2c", "anon": False}))
    "sweetgrad info s3://bucket/nb201.zarr --storage-option 'secret=***' --storage-option anon=false"
    """
    options = [
        part
        for word in words
        if isinstance(word, RemoteStore)
        for key, value in word.storage_options.items()
        for part in ("--storage-option", f"{key}={_shown(key, value)}")
    ]
    return shlex.join(["sweetgrad", *map(redacted, words), *options])


def _shown(key: str, value: Any) -> str:
    if secrets_of({key: value}):
        return REDACTED
    return redacted(value) if isinstance(value, str) else json.dumps(value, default=str)
