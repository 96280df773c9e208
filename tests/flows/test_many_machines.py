"""A scheduler and workers on machines of their own: network namespaces with an address and a host name each, one shared disk."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, get_task_stream
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.store import NotAStoreError, open_profile, status, verify
from sweetgrad.store.errors import how_to_install

NAME = "darts/digits/bs8-seed42-c4-n3"
SMALL = {"channels": 4, "cells": 3, "num_archs": 24}
SETTINGS: dict[str, Any] = {
    "space": "darts",
    "space_options": SMALL,
    "dataset": "digits",
    "batch_size": 8,
    "archs": "all",
    "shard_size": 2,
    "device": "cpu",
}


class Network:
    """Machines on one bridge, all gone at the end; ``address(0)`` is the bridge's own, this machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # where workers may leave files
        self._name = f"sg{os.getpid()}"
        # 198.18.0.0/15 is set aside for tests between networks: it is nobody's address.
        self._subnet = f"198.{18 + os.getpid() // 256 % 2}.{os.getpid() % 256}"
        self._stack = ExitStack()

    def __enter__(self) -> "Network":
        if shutil.which("ip") is None:
            pytest.skip("needs network namespaces: there is no `ip` (package iproute2)")
        try:
            self._ip("netns", "add", f"{self._name}p")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs network namespaces, which are not permitted here: {error.stderr.strip()}")
        self._stack.callback(self._ip, "netns", "delete", f"{self._name}p")
        with self._stack as stack:
            self._ip("link", "add", self._name, "type", "bridge")
            stack.callback(self._ip, "link", "delete", self._name)
            self._ip("address", "add", f"{self.address(0)}/24", "dev", self._name)
            self._ip("link", "set", self._name, "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, number: int) -> str:
        return f"{self._subnet}.{number + 1}"

    def add_machine(self, number: int) -> None:
        space, link = f"{self._name}m{number}", f"{self._name}v{number}"
        self._ip("netns", "add", space)
        self._stack.callback(self._ip, "netns", "delete", space)
        self._ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        self._ip("link", "set", link, "master", self._name, "up")
        self._ip("-netns", space, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            self._ip("-netns", space, "link", "set", device, "up")

    def start(
        self, number: int, module: str, *arguments: str, before: str = "", environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``python -m module`` on a machine; ``before`` runs first, in a shell that sees its own mounts."""
        script = f'hostname node{number} && {before or "true"} && exec "$@"'
        command = ["ip", "netns", "exec", f"{self._name}m{number}", "unshare", "--uts", "--mount", "sh", "-c", script]
        process = subprocess.Popen(
            [*command, "sh", sys.executable, "-m", module, *arguments],
            env={**os.environ, **(environment or {})},
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stack.callback(kill, process)
        return process

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("dask")) as network:
        for number in range(1, 7):
            network.add_machine(number)
        yield network


@pytest.fixture(scope="module")
def scheduler(network: Network) -> str:
    network.start(1, "distributed.cli.dask_scheduler", "--host", network.address(1), "--port", "8786", "--no-dashboard")
    return f"tcp://{network.address(1)}:8786"


def start_worker(network: Network, scheduler: str, number: int, *, threads: int = 1, **how) -> subprocess.Popen[bytes]:
    return network.start(
        number,
        "distributed.cli.dask_worker",
        scheduler,
        *("--host", network.address(number), "--nthreads", str(threads), "--no-nanny", "--no-dashboard"),
        *("--name", f"node{number}", "--local-directory", str(network.folder)),
        **how,
    )


@pytest.fixture(scope="module")
def workers(network: Network, scheduler: str) -> dict[int, subprocess.Popen[bytes]]:
    """The two good workers."""
    processes = {number: start_worker(network, scheduler, number) for number in (2, 3)}
    with connected(scheduler) as client:
        client.wait_for_workers(2, timeout=60)
    return processes


@contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    with Client(scheduler, timeout="30s", set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def local(tmp_path_factory, prefect_api) -> str:
    """Digest of what two local workers measure."""
    store = tmp_path_factory.mktemp("local") / "s.zarr"
    profile(store, workers=2, console=quiet(), **SETTINGS)
    return digest(store)


def digest(store: Path) -> str:
    return open_profile(store, NAME).attrs["content_digest"]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def killed_when(condition: Callable[[], bool], victim: Callable[[], int]) -> threading.Thread:
    """A thread that waits for a condition and then kills -9 a process; join it to know that it did."""

    def watch() -> None:
        while not condition():
            time.sleep(0.02)
        os.kill(victim(), signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_profile__two_machines_write_one_store_as_one_machine_does(network, scheduler, workers, local, tmp_path):
    with connected(scheduler) as client, get_task_stream(client) as stream:
        summary = profile(tmp_path / "s.zarr", scheduler=scheduler, console=quiet(), **SETTINGS)
    assert (summary.num_done, summary.num_left) == (24, 0)
    hosts = {task["worker"].split(":")[1].strip("/") for task in stream.data}
    assert hosts == {network.address(2), network.address(3)}
    assert digest(tmp_path / "s.zarr") == local
    assert verify(tmp_path / "s.zarr") == []


def test_profile__names_every_worker_that_cannot_do_the_work(network, scheduler, workers, tmp_path):
    """Each misfit on a machine of its own, and all of them in one message, before anything is measured."""
    old = tmp_path / "old" / "sweetgrad-0.0.9.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: sweetgrad\nVersion: 0.0.9\n")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    (tmp_path / "disk").mkdir()
    misfits = [
        start_worker(network, scheduler, 4, environment={"PYTHONPATH": str(tmp_path / "old")}, threads=2),
        start_worker(network, scheduler, 5, environment={"PYTHONPATH": str(bare)}),
        start_worker(network, scheduler, 6, before=f"mount -t tmpfs none {tmp_path / 'disk'}"),
    ]
    store = tmp_path / "disk" / "s.zarr"
    with connected(scheduler) as client:
        client.wait_for_workers(5, timeout=60)
        try:
            with pytest.raises(ValueError, match="not every part of the cluster can run this") as caught:
                profile(store, scheduler=scheduler, console=quiet(), **SETTINGS)
        finally:
            for process in misfits:
                kill(process)
        while len(client.scheduler_info(n_workers=-1)["workers"]) > 2:
            time.sleep(0.05)
    lines = sorted(line.partition(" on ")[2] for line in str(caught.value).splitlines()[1:])
    assert [line[:6] for line in lines] == ["node4:", "node5:", "node6:"], lines
    assert "it has sweetgrad 0.0.9, this machine has" in lines[0]
    assert f"No module named 'torch': {how_to_install('profile')}" in lines[1]
    assert f"does not see the folder {store}" in lines[2]
    assert status(store)[0].num_not_run == 24
    assert not list(store.glob("*.partial"))


def test_profile__another_machine_takes_over_when_one_dies(network, scheduler, workers, local, tmp_path):
    address = f"tcp://{network.address(3)}"
    with connected(scheduler) as client:

        def is_working() -> bool:
            return any(tasks for worker, tasks in client.processing().items() if worker.startswith(address))

        killer = killed_when(is_working, lambda: workers[3].pid)
        summary = profile(tmp_path / "s.zarr", scheduler=scheduler, console=quiet(), **{**SETTINGS, "shard_size": 12})
    killer.join(timeout=0)
    assert not killer.is_alive()
    assert workers[3].wait(timeout=5) == -signal.SIGKILL
    assert (summary.num_done, summary.num_left) == (24, 0)
    assert digest(tmp_path / "s.zarr") == local


def test_profile__local_workers_that_die_are_replaced(local, tmp_path, prefect_api):
    store = tmp_path / "s.zarr"

    def has_rows() -> bool:
        try:
            return status(store)[0].num_ok > 0
        except (NotAStoreError, IndexError):
            return False

    def a_worker() -> int:
        family = psutil.Process().children(recursive=True)
        return next(child.pid for child in family if "spawn_main" in " ".join(child.cmdline()))

    killer = killed_when(has_rows, a_worker)
    said = io.StringIO()
    summary = profile(store, workers=2, console=Console(file=said, width=200), **SETTINGS)
    killer.join(timeout=0)
    assert not killer.is_alive()
    # Done may be fewer: the dead worker may have written rows that it never reported.
    assert summary.num_left == 0, said.getvalue()
    assert digest(store) == local
