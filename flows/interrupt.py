"""Signals that stop a run: it finishes the current networks, then exits; the processes that it started block them."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from rich.console import Console

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; a batch system; a terminal that closes."""

_ECHO_S = {signal.SIGINT: 0.5, signal.SIGTERM: 5.0, signal.SIGHUP: 5.0}


_PRINT_S = 5.0


@contextmanager
def draining(
    stop: threading.Event,
    *,
    console: Console,
    on_stop: Callable[[], None] = lambda: None,
    stopping: str = "finishing the current networks, then writing them",
) -> Iterator[None]:
    """Set ``stop`` at the first SIGINT, SIGTERM or SIGHUP; exit at once when the same signal arrives again.

    Repetitions within a moment count once: ``timeout`` and ``srun`` send it to the program and to its group as well, and
    ``sweetgrad serve`` stops its runs, which may have received it already.

    SIGTERM after SIGINT is no repetition: Ctrl-C on ``sweetgrad serve`` reaches its runs, which it then stops as well.
    A SIGHUP that is ignored when this begins stays ignored, as under ``nohup``.

    Parameters
    ----------
    stop
        Set by the first signal (or by anyone else).
    console
        Where the interruption is reported.
    on_stop
        Called once from a thread of its own when ``stop`` is set.
    stopping
        What happens between the first signal and the end, for the person who waits.
    """

    def listen() -> None:
        with receiver:
            while numbers := receiver.recv(64):
                is_again = [_is_again(signum, seen) for signum in numbers if signum in _STOPPING]
                if all(is_again):
                    continue
                _redirect_closed_terminals(terminals)
                if not stop.is_set():
                    stop.set()
                    console.print(f"\nStopping: {stopping}. Press Ctrl-C again to exit at once.", markup=False)

    def watch() -> None:
        stop.wait()
        if not over.is_set():
            on_stop()

    seen: dict[int, float] = {}
    terminals = [number for number in (1, 2) if os.isatty(number)]
    receiver, sender = socket.socketpair()
    over = threading.Event()
    threads = [threading.Thread(target=target, daemon=True) for target in (listen, watch)]
    for thread in threads:
        thread.start()
    try:
        with _written_to(sender), _handling(_STOPPING, _nothing):
            yield
    finally:
        sender.shutdown(socket.SHUT_WR)
        threads[0].join(timeout=_PRINT_S)  # a terminal may have been stopped by Ctrl-S
        over.set()
        was_set = stop.is_set()
        stop.set()
        threads[1].join()
        sender.close()
        if not was_set:
            stop.clear()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at SIGTERM and SIGHUP as at Ctrl-C, so that processes are ended; exit at a second one."""
    seen: dict[int, float] = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        if not _is_again(signum, seen):
            raise KeyboardInterrupt

    with _handling(_STOPPING, handle):
        yield


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block signals that stop a run in processes that are started meanwhile, now or later, from whichever thread.

    A terminal and a batch system send their signals to all processes of a run, and only its main process can handle them; the
    others end by other means. They are blocked in this thread, and threads and processes inherit that: Dask's event loop is such
    a thread, and all workers, replacements included, descend from it. A signal that arrives meanwhile is handled when all have
    started, since half-started processes cannot be ended; when it arrives again, the process exits at once.
    """
    arrived: dict[int, float] = {}

    def note(signum: int, frame: FrameType | None) -> None:
        _is_again(signum, arrived)

    with _handling(_STOPPING, note):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            resource_tracker.ensure_running()  # whoever starts it gets two of these signals unblocked
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for signum in arrived:
        signal.raise_signal(signum)


@contextmanager
def _handling(signals: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals in this way; in another thread than the main one, which no signal reaches, nothing is changed."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        before = {s: signal.signal(s, handler) for s in signals if not (s == signal.SIGHUP and is_nohup)}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


@contextmanager
def _written_to(sender: socket.socket) -> Iterator[None]:
    """Write the number of every signal to a socket, at once.

    A handler in Python waits for the main thread, which may have begun to wait for something else the moment before; and it may
    not touch what it interrupts, such as a lock. A thread that reads the socket is free of both.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)


def _nothing(signum: int, frame: FrameType | None) -> None:
    """Do nothing, instead of what the signal does by default."""


def _is_again(signum: int, seen: dict[int, float]) -> bool:
    """Whether a signal repeats one of a moment ago; exits at once if it repeats an earlier one."""
    now = time.monotonic()
    is_again = signum in seen
    if now - seen.setdefault(signum, now) > _ECHO_S[signal.Signals(signum)]:
        os._exit(128 + signum)  # workers and server end with us: they watch for it
    return is_again


def _redirect_closed_terminals(terminals: list[int]) -> None:
    """Redirect file descriptors of a closed terminal to nowhere, so that later printing does not fail."""
    for number in terminals:
        if not os.isatty(number):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
