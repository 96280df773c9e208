"""Private parts of zarr that sweetgrad needs; no other module imports ``zarr.core``.

- `sync`: runs a coroutine on zarr's own event loop. Stores have asynchronous methods only.
- `ArrayV3Metadata`, `GroupMetadata`: parse a ``zarr.json`` without opening it, to tell damaged metadata from good.
- `_cancel_reads`: zarr reads the chunks of an array concurrently. If one is damaged, or Ctrl-C interrupts, the other reads
  continue in the background. If the program then exits, asyncio would print two lines for every chunk that is not awaited.
"""

import asyncio
import threading

from zarr.core import sync as _sync
from zarr.core.group import GroupMetadata as GroupMetadata
from zarr.core.metadata.v3 import ArrayV3Metadata as ArrayV3Metadata
from zarr.core.sync import sync as sync

_PATIENCE_S = 5.0


def _cancel_reads() -> None:
    loop = _sync.loop[0]
    if loop is None or not loop.is_running():
        return
    try:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(timeout=_PATIENCE_S)
    except TimeoutError:
        return  # a read that cannot be cancelled must not keep a program from ending


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


# `atexit` would be too late: by then the reader threads accept no more work, and every read has failed.
threading._register_atexit(_cancel_reads)  # type: ignore[attr-defined]
