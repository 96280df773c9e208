"""One round: its folder, its store, and the real ``sweetgrad profile`` processes that run on it."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MARK = "SWEETGRAD_SOAK"
"""Environment variable by which every process of a round is found, whoever its parent is by now."""

SETTLE_S = 60.0
"""Seconds within which every process of a run must be gone once its flow is."""

_ROLES = {
    "sweetgrad.flows.server.program": "server",
    "sweetgrad.flows.cli": "flow",
    "multiprocessing.resource_tracker": "tracker",
    "multiprocessing.spawn": "worker",
    "dask scheduler": "scheduler",
    "dask worker": "nanny",
}


class BrokenPromiseError(Exception):
    """Something that sweetgrad promises did not hold."""


@dataclass(frozen=True)
class Setting:
    """What all rounds share.

    Attributes
    ----------
    folder
        Where everything lies: ``undisturbed.zarr``, ``partial.zarr`` (half of its rows) and a folder for every round.
    archs, batch_size, shard_size
        Of the profile.
    rows_s
        Seconds that an undisturbed run took from its first rows to its last.
    limit_s
        Seconds after which a run counts as hanging.
    """

    folder: Path
    archs: str
    batch_size: int
    shard_size: int
    rows_s: float
    limit_s: float

    @property
    def undisturbed(self) -> Path:
        return self.folder / "undisturbed.zarr"

    @property
    def partial(self) -> Path:
        return self.folder / "partial.zarr"

    def arguments(self, archs: str | None = None) -> list[str]:
        """Options of ``sweetgrad profile``."""
        numbers = ["--batch-size", str(self.batch_size), "--shard-size", str(self.shard_size)]
        columns = ["--estimators", "grad_norm", "--blocks", "moments,activations,tensor_sums,noise_pass"]
        return ["--dataset", "digits", "--device", "cpu", "--archs", archs or self.archs, *numbers, *columns]


@dataclass
class Program:
    """A process that was started, and the file that its output goes to."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Round:
    """One round. ``notes`` say what was done, for the line that is printed; ``chance`` decides everything that is random."""

    setting: Setting
    fault: str
    seed: int
    folder: Path
    notes: dict[str, Any] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    store: Path = Path()
    num_started: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.store = self.folder / "store.zarr"

    def begin_store(self) -> None:
        """A store that is not there yet, or one that holds part of the rows."""
        self.notes["from"] = self.chance.choice(["nothing", "part"])
        if self.notes["from"] == "nothing":
            return
        partial = self.setting.partial
        if not partial.exists():  # made by the first round that asks for it
            start, stop = (int(number) for number in self.setting.archs.split(":"))
            complete(self, self.start(archs=f"{start}:{start + (stop - start) // 2 + 1}"))
            self.wait_until_gone()
            shutil.copytree(self.store, partial.with_suffix(".new"), dirs_exist_ok=True)
            partial.with_suffix(".new").rename(partial)
            shutil.rmtree(self.store)
        shutil.copytree(partial, self.store)

    def start(self, *, workers: int = 2, scheduler: str | None = None, archs: str | None = None) -> Program:
        """Start ``sweetgrad profile`` in a session of its own, as a terminal would."""
        place = ["--workers", str(workers)] if scheduler is None else ["--scheduler", scheduler]
        program = ["sweetgrad.flows.cli", "profile", str(self.store), *self.setting.arguments(archs), *place]
        return self.start_python(["-m", *program], name="profile")

    def start_python(self, arguments: Sequence[str], *, name: str) -> Program:
        """Start a Python program that carries the mark of this round."""
        self.num_started += 1
        log = self.folder / f"{self.num_started}-{name}.log"
        environment = {
            **os.environ,
            MARK: self.mark,
            "PREFECT_HOME": os.environ.get("PREFECT_HOME") or str(self.setting.folder / "prefect"),
            "PYTHONFAULTHANDLER": "1",  # SIGABRT prints what every thread was doing
            "COLUMNS": "200",
        }
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
            )
        return Program(process, log)

    def family(self, *roles: str) -> list[psutil.Process]:
        """Processes of this round that are alive, those of some roles if any are named."""
        return [process for process in _marked(self.mark) if not roles or role(process) in roles]

    def wait_for_rows(self, *programs: Program) -> bool:
        """Wait until new rows are written, then for a random part of the time that the rest takes; whether all still run."""
        before = set(row_files(self.setting.partial)) if self.notes.get("from") == "part" else set()
        deadline = time.monotonic() + self.setting.limit_s
        while all(program.is_running for program in programs) and len(set(row_files(self.store)) - before) == 0:
            if time.monotonic() > deadline:
                self.dump_and_end(f"no rows after {self.setting.limit_s:.0f} s")
            time.sleep(0.05)
        share = 0.4 if before else 0.8
        delay_s = self.chance.uniform(0, share * self.setting.rows_s)
        self.notes["after_s"] = round(delay_s, 2)
        time.sleep(delay_s)
        return all(program.is_running for program in programs)

    def wait(self, program: Program) -> int:
        """Exit status of a program, which must end within the limit."""
        try:
            return program.process.wait(timeout=self.setting.limit_s)
        except subprocess.TimeoutExpired:
            self.dump_and_end(f"{program.log.name}: still running after {self.setting.limit_s:.0f} s")
            raise AssertionError from None

    def wait_until_gone(self) -> None:
        """Wait until no process of this round is left; one that stays is a broken promise."""
        deadline = time.monotonic() + SETTLE_S
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            self.notes["processes_left"] = [describe(process) for process in left]
            self.dump_and_end(f"{len(left)} processes were left behind {SETTLE_S:.0f} s after the run")

    def dump_and_end(self, what: str) -> None:
        """Let every process print its threads into its log, end it, and raise."""
        family = sorted(self.family(), key=lambda process: role(process) == "flow")
        self.notes["alive"] = [describe(process) for process in family]
        for process in family:  # the flow last: the others end when it does
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGABRT)
                process.wait(timeout=5)
        self.end()
        raise BrokenPromiseError(f"{what}; see the logs in {self.folder} for what each thread was doing")

    def end(self) -> None:
        """Kill whatever is left of this round."""
        for _ in range(20):  # a nanny may start another worker in between
            family = self.family()
            if not family:
                return
            for process in family:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(family, timeout=5)


def role(process: psutil.Process) -> str:
    """What a process is to the run: flow, worker, server, tracker (of multiprocessing), scheduler, nanny; or its name."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return "gone"
    return next((found for text, found in _ROLES.items() if text in words), words[:60])


def describe(process: psutil.Process) -> str:
    """One line about a process."""
    with suppress(psutil.Error):
        seconds = sum(process.cpu_times()[:2])
        return f"{role(process)} {process.pid} ({process.status()}, {seconds:.1f} s of CPU, parent {process.ppid()})"
    return f"{process.pid} (gone)"


def kill(process: psutil.Process) -> bool:
    """Kill -9; whether it was still there."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def complete(round_: Round, program: Program) -> None:
    """Require that a run ends with status 0."""
    code = round_.wait(program)
    if code:
        raise BrokenPromiseError(f"{program.log.name} ended with {code}: {program.output[-1500:]}")


def require_error(program: Program, code: int, *words: str) -> None:
    """Require that a run that failed says why, in one of these words, and how to go on."""
    said = " ".join(program.output.split())
    if code != 1 or "error:" not in said or not all(word in said for word in words):
        wanted = " and ".join(repr(word) for word in words)
        raise BrokenPromiseError(
            f"{program.log.name} ended with {code} and without a clear error (wanted {wanted or 'any'}): {program.output[-1500:]}"
        )


@contextmanager
def ended_afterwards(round_: Round) -> Iterator[None]:
    """Whatever happens, no process of the round survives it."""
    try:
        yield
    finally:
        round_.end()


Fault = Callable[[Round], None]


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def row_files(store: Path) -> Iterator[tuple[str, int]]:
    """Files that say which rows are done, and when each was written: cheaper to look at than to read."""
    for path in store.glob("*/*/*/status/c/*"):
        if path.suffix != ".partial":
            with suppress(FileNotFoundError):
                yield path.name, path.stat().st_mtime_ns
