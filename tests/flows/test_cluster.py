"""Where shards run: processes of this machine, and jobs of a batch system (one of two shell scripts)."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.flows.cluster import WorkerSource
from sweetgrad.flows.cluster.client import local_workers, open_client
from sweetgrad.flows.cluster.config import read_cluster_config
from sweetgrad.flows.cluster.worker import run_shard


def environments(workers):
    return [worker["options"]["env"] for worker in workers.values()]


def test_local_workers__one_process_a_gpu_each_with_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    workers = local_workers("cuda", None, num_shards=25)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments(workers)] == ["3", "5"]
    assert all(worker["options"]["resources"] == {"GPU": 1} for worker in workers.values())


def test_local_workers__shares_gpus_when_more_are_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    workers = local_workers("cuda", 4, num_shards=25)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments(workers)] == ["0", "1", "0", "1"]


def test_local_workers__one_single_threaded_process_a_core(monkeypatch):
    monkeypatch.setattr("sweetgrad.flows.cluster.client._num_cores", lambda: 6)
    workers = local_workers("cpu", None, num_shards=25)
    assert len(workers) == 6
    assert all(worker["options"]["nthreads"] == 1 for worker in workers.values())
    assert all(environment["OMP_NUM_THREADS"] == "1" for environment in environments(workers))
    assert all("CUDA_VISIBLE_DEVICES" not in environment for environment in environments(workers))


def test_local_workers__no_more_than_there_are_shards(monkeypatch):
    monkeypatch.setattr("sweetgrad.flows.cluster.client._num_cores", lambda: 6)
    assert len(local_workers("cpu", None, num_shards=2)) == 2
    assert len(local_workers("cpu", 5, num_shards=1)) == 1


SLURM = {"kind": "slurm", "workers": 2, "memory": "2GiB", "scheduler_options": {"host": "127.0.0.1"}}
SBATCH = """#!/bin/bash
# A queue that starts every job at once, each in a session of its own, until a file `full` lies in its folder.
folder=$(dirname "$0")
if [ -e "$folder/full" ]; then echo "Submitted batch job 4000000"; exit; fi
cp "$1" "$folder/job.$$"
setsid bash "$folder/job.$$" > "$folder/log.$$" 2>&1 < /dev/null &
echo $! >> "$folder/started"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
echo "$1" >> "$(dirname "$0")/cancelled"
kill -- "-$1" 2> /dev/null
"""


@pytest.fixture
def batch_system(tmp_path, monkeypatch):
    """Folder of an ``sbatch`` and an ``scancel`` that run jobs here; ``started`` and ``cancelled`` list the jobs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a job gets it from its script alone
    yield folder
    for job in jobs(folder, "started"):
        if psutil.pid_exists(job):
            os.killpg(job, signal.SIGKILL)


def jobs(folder: Path, what: str) -> list[int]:
    return [int(job) for job in (folder / what).read_text().split()] if (folder / what).exists() else []


def wait_until(condition, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def opened(table: dict[str, Any], *, store: Path, console: Console, num_shards: int = 25):
    return open_client(
        WorkerSource(cluster=read_cluster_config(table)),
        store=str(store),
        device="cpu",
        num_shards=num_shards,
        console=console,
    )


def test_open_client__submits_jobs_replaces_lost_ones_and_withdraws_all(batch_system, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        opened(SLURM, store=tmp_path, console=console) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        assert set(client.run(os.getenv, "OMP_NUM_THREADS").values()) == {"1"}
        os.killpg(jobs(batch_system, "started")[0], signal.SIGKILL)  # as a walltime that is over
        wait_until(lambda: len(jobs(batch_system, "started")) == 3)
        client.wait_for_workers(2, timeout=60)
    assert "Waiting for the first worker; others may join later. Ctrl-C cancels the jobs" in console.file.getvalue()
    assert set(jobs(batch_system, "cancelled")) == set(jobs(batch_system, "started"))
    wait_until(lambda: not any(psutil.pid_exists(job) for job in jobs(batch_system, "started")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_profile__leaves_a_full_queue_and_withdraws_its_jobs(number, batch_system, tmp_path, command):
    (batch_system / "full").touch()
    config = tmp_path / "slurm.toml"
    config.write_text(
        '[cluster]\nkind = "slurm"\nworkers = 1\nmemory = "2GiB"\nscheduler_options = { host = "127.0.0.1" }\n'
    )
    arguments = ["--dataset", "digits", "--batch-size", "8", "--archs", "0:2", "--cluster", str(config)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sweetgrad.flows.cli", "profile", str(tmp_path / "s.zarr"), *arguments],
        stderr=subprocess.PIPE,
        env={**command, "PATH": os.environ["PATH"]},
        text=True,
        start_new_session=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and the tests may run there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = ""
    while "Waiting for the first worker" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    os.killpg(process.pid, number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest, rest
    assert jobs(batch_system, "cancelled") == [4000000]


def test_open_client__has_one_thread_a_worker_or_says_so(tmp_path):
    table = {"class": "distributed:LocalCluster", "workers": 1, "n_workers": 1, "threads_per_worker": 2}
    table["dashboard_address"] = "127.0.0.1:0"  # tests run side by side
    table |= {"processes": False, "dashboard_address": None}
    with (
        pytest.raises(ValueError, match=r"it has 2 threads .*\(LocalCluster: threads_per_worker = 1\)"),
        opened(table, store=tmp_path, console=Console(file=io.StringIO())),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_run_shard__refuses_a_worker_of_several_threads_that_joined_late():
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        nothing = [*[None] * 5, (), (), False]
        shard = client.submit(run_shard, *nothing, run_id="run", expired=frozenset())
        with pytest.raises(ValueError, match=r"this worker cannot run shards: it has 2 threads"):
            shard.result()


def test_open_client__runs_in_a_script_without_a_main_guard(tmp_path):
    """Its workers do not import the script, which would start itself again in each of them."""
    script = tmp_path / "script.py"
    script.write_text(
        "from rich.console import Console\n"
        "from sweetgrad.flows.cluster import WorkerSource, open_client\n"
        "print('runs')\n"
        "local = {'store': 's', 'device': 'cpu', 'num_shards': 1}\n"
        "with open_client(WorkerSource(1), **local, console=Console()) as client:\n"
        "    print(client.submit(lambda: 6 * 7).result())\n"
        "print(__file__)\n"
    )
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == ["runs", "42", str(script)], found.stderr
    assert found.stderr == ""


def test_open_client__inside_a_process_that_is_starting_says_so(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with (
        pytest.raises(RuntimeError, match="under `if __name__ == '__main__':`"),
        open_client(WorkerSource(1), store="s", device="cpu", num_shards=1, console=Console()),
    ):
        pass


def test_profile__refuses_both_a_scheduler_and_a_cluster(tmp_path):
    with pytest.raises(ValueError, match=r"either a scheduler or a cluster, not both: got tcp://node1:8786"):
        profile(tmp_path / "s.zarr", scheduler="tcp://node1:8786", cluster=SLURM)
    assert not (tmp_path / "s.zarr").exists()
