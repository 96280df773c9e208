"""Faults of processes: killed, interrupted, stopped for a while, two runs at once."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict

import psutil
from _check import require_only_leftovers
from _runs import BrokenPromiseError, Program, Round, complete, describe, kill, require_error, role

from sweetgrad.store.locks import LEASE_S, Holder


def kill_worker(round_: Round) -> None:
    """Kill one worker, or two one after the other. The run replaces it and ends as if nothing had happened."""
    round_.begin_store()
    program = round_.start()
    round_.wait_for_rows(program)
    killed = 0
    for _ in range(round_.chance.choice([1, 1, 2])):
        killed += _kill_one(round_, program, "worker")
        time.sleep(round_.chance.uniform(0, 1))
    round_.notes["killed"] = killed
    complete(round_, program)


def kill_flow(round_: Round) -> None:
    """Kill the program itself. Workers and server end with it."""
    round_.begin_store()
    program = round_.start()
    round_.notes["killed"] = int(round_.wait_for_rows(program) and kill(psutil.Process(program.pid)))
    round_.wait(program)


def kill_server(round_: Round) -> None:
    """Kill the Prefect server of the run. The run goes on without it, or ends with an error."""
    round_.begin_store()
    program = round_.start()
    round_.wait_for_rows(program)
    round_.notes["killed"] = _kill_one(round_, program, "server")
    _end_or_say_why(round_, program)


def kill_random(round_: Round) -> None:
    """Kill any process of the run."""
    round_.begin_store()
    program = round_.start()
    round_.wait_for_rows(program)
    round_.notes["killed"] = _kill_one(round_, program)
    if round_.notes.get("victim") == "flow":
        round_.wait(program)
    else:
        _end_or_say_why(round_, program)


def kill_scheduler(round_: Round) -> None:
    """Kill the scheduler of a cluster that runs by itself. The run says so and ends; the restarted cluster takes the rest."""
    round_.begin_store()
    port = _free_port()
    url = f"tcp://127.0.0.1:{port}"
    scheduler = _start_scheduler(round_, port)
    _start_workers(round_, url)
    program = round_.start(scheduler=url)
    round_.notes["killed"] = int(round_.wait_for_rows(program) and kill(psutil.Process(scheduler.pid)))
    code = round_.wait(program)
    if code:
        require_error(program, code, "the Dask scheduler is gone", "run the same command again")
    round_.notes["ended_with"] = code
    _require_gone(round_, "flow", "server")
    scheduler.process.kill()
    scheduler.process.wait()
    if round_.chance.random() < 0.5:
        _end_all(round_, "nanny", "worker")  # else they are left to find the new scheduler, or not
    _start_scheduler(round_, port)
    round_.notes["old_workers"] = len(round_.family("nanny"))
    _start_workers(round_, url)
    complete(round_, round_.start(scheduler=url))
    _require_gone(round_, "flow", "server")
    round_.end()


def interrupt(round_: Round) -> None:
    """SIGINT, SIGTERM or SIGHUP, to the program or to its whole group as a terminal and a batch system do; or SIGINT twice."""
    round_.begin_store()
    name = round_.chance.choice(["SIGINT", "SIGINT", "SIGTERM", "SIGHUP"])
    how = name + round_.chance.choice(["", " to the group", " twice" if name == "SIGINT" else " to the group"])
    round_.notes["how"] = how
    program = round_.start()
    if running := round_.wait_for_rows(program):
        signum = signal.Signals[name]
        (os.killpg if how.endswith("to the group") else os.kill)(program.pid, signum)
        if how == "SIGINT twice":
            time.sleep(round_.chance.uniform(0, 1))
            if program.is_running:
                os.kill(program.pid, signum)
    round_.notes["killed"] = int(running)
    _require_drained(round_, program, how, leaves_locks=how == "SIGINT twice")


def outlive_lease(round_: Round) -> None:
    """Stop a whole run, or one of its workers, for longer than its lease, while another does its work; then let it go on."""
    round_.begin_store()
    first = round_.start()
    round_.notes["killed"] = 0
    if not round_.wait_for_rows(first):
        complete(round_, first)
        return
    whole = round_.chance.random() < 0.7
    chosen = None if whole else _choose(round_, "worker")
    victims = round_.family() if chosen is None else [chosen]
    round_.notes |= {"killed": 1, "victim": "the whole run" if whole else "worker", "stopped": len(victims)}
    for victim in victims:
        victim.suspend()
    try:
        second = round_.start(workers=1)
        time.sleep(LEASE_S * round_.chance.uniform(1.2, 1.5))
        complete(round_, second)
    finally:
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.resume()
    complete(round_, first)


def dead_lock(round_: Round) -> None:
    """Three runs at once, on a store that does not even have its profile, beside the lock of a process that died with it."""
    if round_.chance.random() < 0.5:
        round_.store.mkdir()
        holder = Holder(run="of the dead", process="none")
        (round_.store / "store.claim").write_text(json.dumps(asdict(holder)))
    else:  # a real one: killed while it held the lock
        program = round_.start()
        while program.is_running and not (round_.store / "store.claim").exists():
            time.sleep(0.001)
        kill(psutil.Process(program.pid))
        round_.wait(program)
    round_.notes |= {"killed": 1, "lock_left": (round_.store / "store.claim").exists()}
    for program in [round_.start(workers=1) for _ in range(3)]:
        complete(round_, program)


def pause(round_: Round) -> None:
    """Stop a process for some seconds, then let it go on."""
    round_.begin_store()
    program = round_.start()
    round_.wait_for_rows(program)
    paused = _choose(round_, "worker", "server", "flow")
    round_.notes["killed"] = 0
    if paused is not None and program.is_running:
        round_.notes |= {"victim": role(paused), "killed": 1}
        paused.suspend()
        try:
            time.sleep(round_.chance.uniform(1, 6))
        finally:
            paused.resume()
    complete(round_, program)


def two_runs(round_: Round) -> None:
    """Two runs on one store, started together or one after the other; sometimes one is killed."""
    round_.begin_store()
    kills, apart = round_.chance.random() < 0.5, round_.chance.random() < 0.5
    first = round_.start(workers=round_.chance.choice([1, 2]))
    if apart:
        round_.wait_for_rows(first)
    second = round_.start(workers=1)
    round_.notes |= {"started": "apart" if apart else "together", "killed": 0}
    survivors = [first, second]
    if kills:
        victim = round_.chance.choice(survivors)
        if round_.wait_for_rows(first, second) and kill(psutil.Process(victim.pid)):
            round_.notes |= {"killed": 1, "victim": "first" if victim is first else "second"}
            survivors.remove(victim)
            round_.wait(victim)
    for program in survivors:
        complete(round_, program)


def _choose(round_: Round, *roles: str) -> psutil.Process | None:
    """One process of the family, by chance; roles first, so that two workers do not count for twice one server."""
    family = round_.family(*roles)
    present = sorted({role(process) for process in family} - {"gone"})
    if not present:
        return None
    chosen = round_.chance.choice(present)
    return round_.chance.choice(
        sorted((each for each in family if role(each) == chosen), key=lambda process: process.pid)
    )


def _kill_one(round_: Round, program: Program, *roles: str) -> int:
    victim = _choose(round_, *roles)
    if victim is None or not program.is_running:
        return 0
    round_.notes["victim"] = role(victim)
    return int(kill(victim))


def _end_or_say_why(round_: Round, program: Program) -> None:
    code = round_.wait(program)
    round_.notes["ended_with"] = code
    if code:
        require_error(program, code)


def _start_scheduler(round_: Round, port: int) -> Program:
    arguments = ["-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    return round_.start_python(arguments, name="scheduler")


def _start_workers(round_: Round, url: str) -> None:
    for _ in range(2 - len(round_.family("nanny"))):
        arguments = ["worker", url, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
        round_.start_python(["-m", "dask", *arguments, "--local-directory", str(round_.folder)], name="worker")


def _require_drained(round_: Round, program: Program, how: str, *, leaves_locks: bool = False) -> None:
    """A run that a signal ended says so by its status, and leaves a clean store and no process."""
    code = round_.wait(program)
    round_.notes["ended_with"] = code
    if code not in (0, 130):
        raise BrokenPromiseError(f"{how} ended the run with {code} instead of 130: {program.output[-1500:]}")
    round_.wait_until_gone()
    require_only_leftovers(round_.store, allowed=leaves_locks)


def _require_gone(round_: Round, *roles: str) -> None:
    family = round_.family(*roles)
    _, left = psutil.wait_procs(family, timeout=60)
    if left:
        round_.notes["processes_left"] = [describe(process) for process in left]
        round_.dump_and_end("processes of the run were left behind")


def _end_all(round_: Round, *roles: str) -> None:
    while family := round_.family(*roles):
        for process in family:
            kill(process)
        psutil.wait_procs(family, timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
