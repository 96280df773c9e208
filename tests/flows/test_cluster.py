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
from sweetgrad.flows.cluster import WorkerSource, choose_workers
from sweetgrad.flows.cluster.client import local_workers, open_client
from sweetgrad.flows.cluster.config import read_cluster_config
from sweetgrad.flows.cluster.gpus import (
    CONTEXT_BYTES,
    SHARE_VARIABLE,
    choose_processes,
    limit_share,
    processes_that_fit,
)
from sweetgrad.flows.cluster.worker import run_shard
from sweetgrad.flows.runs.work import ProfileWork
from sweetgrad.profiling import load_batch, load_space, make_spec
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.store import create_profile


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


def test_local_workers__several_processes_for_each_gpu_that_know_how_many_they_are(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1f3a, GPU-77c0")
    workers = local_workers("cuda", None, num_shards=25, per_gpu=3)
    found = environments(workers)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in found] == ["MIG-1f3a", "GPU-77c0"] * 3
    assert {environment[SHARE_VARIABLE] for environment in found} == {"3"}
    # A process more than there are shards would have nothing to do, and take its part of the card from the others.
    found = environments(local_workers("cuda", None, num_shards=3, per_gpu=3))
    assert [environment[SHARE_VARIABLE] for environment in found] == ["2", "2", "2"]


@pytest.mark.parametrize(
    ("cores", "gpus", "free_gib", "needed_gib", "expected"),
    [
        (16, 1, 80, 0.5, 8),
        (6, 1, 80, 0.5, 6),
        (8, 4, 80, 0.5, 2),
        (2, 4, 80, 0.5, 1),
        (16, 1, 16, 2, 3),
        (16, 1, 4, 6, 1),
    ],
)
def test_processes_that_fit__follows_cores_and_memory(cores, gpus, free_gib, needed_gib, expected):
    free, needed = int(free_gib * 2**30), int(needed_gib * 2**30)
    found = processes_that_fit(num_gpus=gpus, num_cores=cores, free_bytes=free, needed_bytes=needed)
    assert found == expected


class FakeCuda:
    """What torch.cuda says of a card of 80 GiB, of which networks take 9 GiB."""

    def __init__(self, monkeypatch):
        self.fraction = None
        for name in ("reset_peak_memory_stats", "empty_cache"):
            monkeypatch.setattr(f"torch.cuda.{name}", lambda: None)
        monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda: 9 * 2**30)
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (78 * 2**30, 80 * 2**30))
        monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", self.limit)

    def limit(self, fraction):
        self.fraction = fraction


def test_choose_processes__tries_networks_first(monkeypatch):
    FakeCuda(monkeypatch)
    tried = []
    assert choose_processes(lambda: tried.append(1), num_gpus=1, num_cores=16) == 4
    assert tried == [1]


@pytest.mark.parametrize("number", [None, 1, 4])
def test_limit_share__leaves_room_for_the_other_processes_of_the_card(monkeypatch, number):
    cuda = FakeCuda(monkeypatch)
    monkeypatch.delenv(SHARE_VARIABLE, raising=False)
    if number is not None:
        monkeypatch.setenv(SHARE_VARIABLE, str(number))
    limit_share()
    if number == 4:
        assert 4 * (cuda.fraction * 80 * 2**30 + CONTEXT_BYTES) == pytest.approx(80 * 2**30)
    else:
        assert cuda.fraction is None


def test_try_out__measures_and_stores_nothing(tmp_path, monkeypatch):
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=2)
    spec = make_spec(space, batch)
    stored = create_profile(tmp_path / "s.zarr", spec, arch=ArchIds(space), layers=space.layer_names)
    seen = []
    monkeypatch.setattr(
        "sweetgrad.flows.runs.work.profile_architectures", lambda space, indices, *args, **how: seen.extend(indices)
    )
    ProfileWork(stored, range(100, 200), space, batch, spec, (), (), (), retry_failed=False).try_out()
    assert (seen[0], seen[-1], len(seen)) == (100, 199, 6)
    assert stored.count_rows()["ok"] == 0


@pytest.mark.parametrize("other", [{"workers": 2}, {"scheduler": "tcp://a:1"}])
def test_choose_workers__refuses_two_numbers_of_processes(other):
    given = {"workers": None, "scheduler": None, "cluster": None} | other
    with pytest.raises(ValueError, match=f"either processes_per_gpu or {next(iter(other))}"):
        choose_workers(**given, processes_per_gpu=3)


def test_choose_workers__refuses_no_process_for_a_gpu():
    with pytest.raises(ValueError, match="processes_per_gpu must be at least 1, got 0"):
        choose_workers(workers=None, scheduler=None, cluster=None, processes_per_gpu=0)


def test_local_workers__one_single_threaded_process_a_core(monkeypatch):
    monkeypatch.setattr("sweetgrad.flows.cluster.client.num_cores", lambda: 6)
    workers = local_workers("cpu", None, num_shards=25)
    assert len(workers) == 6
    assert all(worker["options"]["nthreads"] == 1 for worker in workers.values())
    assert all(environment["OMP_NUM_THREADS"] == "1" for environment in environments(workers))
    assert all("CUDA_VISIBLE_DEVICES" not in environment for environment in environments(workers))


def test_local_workers__no_more_than_there_are_shards(monkeypatch):
    monkeypatch.setattr("sweetgrad.flows.cluster.client.num_cores", lambda: 6)
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
