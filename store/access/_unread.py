"""What zarr still reads when a program ends is not read any more.

zarr reads the chunks of an array side by side. If one is damaged, or Ctrl-C interrupts, the others go on in the background. A
program that ends then, as ours does with an error, would end with two lines of asyncio for every chunk that nobody waits for.
"""

import asyncio
import threading

from zarr.core import sync

__all__: list[str] = []

_PATIENCE_S = 5.0


def _cancel_reads() -> None:
    loop = sync.loop[0]
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


# `atexit` would be too late: by then the threads that do the reading refuse work, and every read has failed with that.
threading._register_atexit(_cancel_reads)  # type: ignore[attr-defined]
