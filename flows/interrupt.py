"""Ctrl-C in two steps: finish what is in hand, then leave."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

__all__ = ["draining"]


@contextmanager
def draining(
    stop: threading.Event,
    *,
    console: Console,
    on_stop: Callable[[], None] = lambda: None,
    stopping: str = "finishing the networks in hand, then writing them",
) -> Iterator[None]:
    """Set ``stop`` at the first SIGINT or SIGTERM; leave the process at once when the same comes again.

    SIGTERM after SIGINT asks for nothing new: Ctrl-C on ``sweetgrad serve`` reaches its runs, which it then tells to end as well.

    Parameters
    ----------
    stop
        Set by the first signal (or by anyone else).
    console
        Where to say what goes on.
    on_stop
        Called once from a thread of its own when ``stop`` is set: a signal handler must not wait for a lock that the code it
        interrupted may hold.
    stopping
        What happens between the first signal and the end, for the person who waits.
    """

    def watch() -> None:
        stop.wait()
        if not over.is_set():
            on_stop()

    def handle(signum: int, frame: FrameType | None) -> None:
        if signum in seen:
            os._exit(128 + signum)  # workers and server end with us: they watch for it
        seen.add(signum)
        if stop.is_set():
            return
        console.print(f"\n[bold]Stopping[/]: {stopping}. Press Ctrl-C again to leave at once.")
        stop.set()

    seen: set[int] = set()
    over = threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    in_main = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)} if in_main else {}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        over.set()
        was_set = stop.is_set()
        stop.set()
        watcher.join()
        if not was_set:
            stop.clear()
