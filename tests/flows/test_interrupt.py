"""Ctrl-C, and what batch systems and terminals send, on real processes. What kills them is in tests/soak/."""

import fcntl
import io
import os
import pty
import queue
import signal
import subprocess
import sys
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from sweetgrad.flows import interrupt
from sweetgrad.flows.interrupt import draining, interruptible, signals_blocked
from sweetgrad.store import NotAStoreError, status, verify

PROFILE = [sys.executable, "-m", "sweetgrad.flows.cli", "profile"]
SMALL = [
    "--dataset",
    "digits",
    "--batch-size",
    "8",
    "--device",
    "cpu",
    "--archs",
    "0:2000",
    "--shard-size",
    "5",
    "--workers",
    "1",
]


@pytest.fixture(autouse=True)
def _hears_hangups():
    """Also where the tests were started by ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def num_done(store: Path) -> int:
    try:
        return sum(profile.num_ok for profile in status(store))
    except NotAStoreError:
        return 0


def start_and_wait_for_rows(store: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A run in a session of its own, as a terminal would start it, that has written its first shard."""
    process = subprocess.Popen(
        [*PROFILE, str(store), *SMALL], stderr=subprocess.PIPE, env=environment, start_new_session=True, text=True
    )
    while process.poll() is None and num_done(store) == 0:
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[1]
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_profile__first_signal_to_the_group_writes_what_is_in_hand(number, command, tmp_path):
    store = tmp_path / "s.zarr"
    # Without PREFECT_API_URL the run has a server of its own, which must end with it.
    environment = {key: value for key, value in command.items() if key != "PREFECT_API_URL"}
    process = start_and_wait_for_rows(store, environment)
    family = psutil.Process(process.pid).children(recursive=True)
    (server,) = [child for child in family if "sweetgrad.flows.server.program" in " ".join(child.cmdline())]
    before = num_done(store)
    # A terminal sends it to the whole group, workers included; a batch system to the server as well, and some twice.
    os.killpg(process.pid, number)
    server.send_signal(number)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Stopping: finishing the current networks" in errors
    done = num_done(store)
    assert f"{done} architectures profiled and written, {2000 - done} left. Run the same command to resume." in errors
    assert before < done
    assert verify(store) == []
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_profile__second_ctrl_c_leaves_at_once_and_nothing_behind(command, tmp_path):
    process = start_and_wait_for_rows(tmp_path / "s.zarr", command)
    family = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in family if "spawn_main" in " ".join(child.cmdline())]
    for worker in workers:
        worker.suspend()  # so that the run cannot end by itself meanwhile
    os.killpg(process.pid, signal.SIGINT)
    while "Stopping" not in (line := process.stderr.readline()):
        assert line
    time.sleep(interrupt._ECHO_S[signal.SIGINT])
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    for worker in workers:
        worker.resume()
    process.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=20)[1] == []
    left = (".partial was left", "which has ended; the next run takes the lock over")
    assert [p for p in verify(tmp_path / "s.zarr") if not any(words in p.what for words in left)] == []


def blocked(pid: int) -> set[int]:
    """Signals that a process, whose one thread it is, does not hear."""
    (mask,) = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigBlk" in line]
    return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_signals_blocked__hears_nothing_of_what_is_started_later_by_the_threads_that_were():
    """As Dask's event loop starts a worker in place of one that died."""
    with ThreadPoolExecutor(1) as loop:
        with signals_blocked():
            loop.submit(int).result()
        late = loop.submit(subprocess.Popen, ["sleep", "60"]).result()
    ordinary = subprocess.Popen(["sleep", "60"])
    try:
        assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= blocked(late.pid)
        assert not {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} & blocked(ordinary.pid)
        late.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            late.wait(timeout=0.2)
    finally:
        for process in (late, ordinary):
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_blocked__a_signal_meanwhile_is_handled_when_all_have_started(number):
    started = []

    def start() -> None:
        with interruptible(), signals_blocked():
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            started.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert started


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_draining__leaves_at_a_second_signal_but_not_at_the_echo_of_the_first(number, monkeypatch):
    left, heard, stop, console = queue.SimpleQueue(), queue.SimpleQueue(), threading.Event(), quiet()
    is_again = interrupt._is_again

    def is_again_and_heard(signum, seen):
        result = is_again(signum, seen)
        heard.put(signum)
        return result

    monkeypatch.setattr(interrupt.os, "_exit", left.put)
    monkeypatch.setattr(interrupt, "_is_again", is_again_and_heard)
    with draining(stop, console=console):
        for _ in range(2):
            os.kill(os.getpid(), number)
            assert heard.get(timeout=60) == number
        assert stop.wait(60)
        assert left.empty()
        monkeypatch.setitem(interrupt._ECHO_S, number, 0)
        os.kill(os.getpid(), number)
        assert left.get(timeout=60) == 128 + number
    assert console.file.getvalue().count("Stopping") == 1


def test_draining__a_run_under_nohup_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with draining(threading.Event(), console=quiet()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_draining__hears_a_signal_that_does_not_wake_the_main_thread():
    """As one that comes just before the main thread begins to wait, or that the system gives to another thread."""
    stop = threading.Event()
    with draining(stop, console=quiet()):
        threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
        assert stop.wait(10)


def test_draining__may_interrupt_whoever_holds_the_lock_of_its_event():
    """As `threading.Event.wait` does for a moment in the thread that the handler runs in."""
    stop = threading.Event()
    with draining(stop, console=quiet()):
        with stop._cond:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert stop.wait(60)


ON_A_TERMINAL = """
import sys, threading
from pathlib import Path
from rich.console import Console
from sweetgrad.flows.interrupt import draining
console, stop = Console(stderr=True), threading.Event()
with draining(stop, console=console):
    console.print("ready")
    assert stop.wait(60)
    console.print("lost")
print("lost as well")
sys.stdout.flush()
Path(sys.argv[1]).write_text("drained")
"""


def test_draining__goes_on_when_its_terminal_closes(tmp_path):
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(tmp_path / "end")],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its own, so that the kernel tells it by SIGHUP
    )
    os.close(terminal)
    assert b"ready" in os.read(main, 1000)
    os.close(main)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "end").read_text() == "drained"
