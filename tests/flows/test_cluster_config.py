"""The table [cluster]: what is read, what is refused, and what the batch system is given."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest

from sweetgrad.flows.cluster.client import build_cluster, resize_cluster
from sweetgrad.flows.cluster.config import read_cluster_config

SLURM = {"kind": "slurm", "workers": 4, "memory": "4GiB", "scheduler_options": {"host": "127.0.0.1"}}


@pytest.fixture(autouse=True)
def submit_commands(tmp_path, monkeypatch):
    """Commands of batch systems that refuse every job."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "qsub", "scancel", "qdel"):
        (folder / name).write_text("#!/bin/sh\necho 'error: invalid partition: gpuu' >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def job_script(table: dict[str, Any], *, device: str = "cpu") -> list[str]:
    cluster = build_cluster(read_cluster_config(table), device=device)
    try:
        return cluster.job_script().splitlines()
    finally:
        cluster.close()


def test_read_cluster_config__reads_the_table_of_a_file(tmp_path):
    file = tmp_path / "slurm.toml"
    file.write_text('[other]\nx = 1\n[cluster]\nkind = "slurm"\nworkers = 8\nmemory = "4GiB"\nqueue = "short"\n')
    config = read_cluster_config(file)
    assert (config.where, config.class_path, config.workers, config.adapt) == (
        str(file),
        "dask_jobqueue:SLURMCluster",
        8,
        None,
    )
    assert config.options == {"memory": "4GiB", "queue": "short"}


def test_read_cluster_config__adapts_between_bounds():
    config = read_cluster_config({"kind": "pbs", "adapt": {"maximum": 9, "target_duration": "1m"}})
    assert (config.workers, config.adapt) == (None, {"minimum": 1, "maximum": 9, "target_duration": "1m"})


def test_read_cluster_config__takes_a_number_of_workers_instead():
    config = read_cluster_config({"kind": "pbs", "adapt": {"maximum": 9}}, num_workers=3)
    assert (config.workers, config.adapt) == (3, None)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"workers": 1}, ValueError, r"needs either kind = .*slurm.* or class = .*, got neither"),
        ({"kind": "slurm", "class": "distributed:LocalCluster", "workers": 1}, ValueError, "got both"),
        ({"kind": "slrm", "workers": 1}, ValueError, r"kind must be one of htcondor, lsf, pbs, sge, slurm, got 'slrm'"),
        ({"kind": ["slurm"], "workers": 1}, ValueError, r"kind must be one of .*, got \['slurm'\]"),
        ({"class": "LocalCluster", "workers": 1}, ValueError, 'class must be written "module:Class", got'),
        ({"class": "no_such_module:X", "workers": 1}, ImportError, "needs the module no_such_module, .*: install it"),
        ({"class": "distributed:LocalClutser", "workers": 1}, ValueError, "has no LocalClutser; .*LocalCluster"),
        (
            {"class": "subprocess:Popen", "workers": 1},
            ValueError,
            "subprocess:Popen is not a cluster: expected a class",
        ),
        ({"class": "os:system", "workers": 1}, ValueError, "os:system is not a cluster"),
        ({"kind": "slurm"}, ValueError, "needs either workers = N or adapt = .*, got neither"),
        ({"kind": "slurm", "workers": 1, "adapt": {"maximum": 2}}, ValueError, "got both"),
        ({"kind": "slurm", "workers": 0}, ValueError, "workers must be a whole number, 1 or more, got 0"),
        ({"kind": "slurm", "workers": True}, ValueError, "workers must be a whole number, 1 or more, got True"),
        ({"kind": "slurm", "adapt": 4}, ValueError, "adapt must be a table"),
        ({"kind": "slurm", "adapt": {"minimum": 0, "maximum": 2}}, ValueError, "got minimum 0 and maximum 2"),
        ({"kind": "slurm", "adapt": {"minimum": 3, "maximum": 2}}, ValueError, "1 <= minimum <= maximum"),
        ({"kind": "slurm", "adapt": {"minimum": 3}}, ValueError, "maximum None"),
    ],
)
def test_read_cluster_config__says_what_is_wrong(table, error, message):
    with pytest.raises(error, match=message):
        read_cluster_config(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[clusters]\nkind = 'slurm'\n", r"has no table \[cluster\], it has clusters\. Write e\.g\."),
        ("cluster = 3\n", r"has no table \[cluster\], it has cluster\."),
        ("", r"has no table \[cluster\], it has nothing\."),
        ("[cluster\n", r"is not valid TOML: .*line 1"),
    ],
)
def test_read_cluster_config__names_the_file(text, message, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"c\.toml {message}"):
        read_cluster_config(tmp_path / "c.toml")


def test_read_cluster_config__says_that_there_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no cluster file .*c\.toml: expected a TOML file"):
        read_cluster_config(tmp_path / "c.toml")


def test_build_cluster__writes_a_job_of_one_thread_for_slurm():
    lines = job_script({**SLURM, "walltime": "04:00:00", "queue": "short"})
    assert {"#SBATCH -p short", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=4G", "#SBATCH -t 04:00:00"} <= set(lines)
    assert "export OMP_NUM_THREADS=1" in lines
    assert "-m distributed.cli.dask_worker tcp://127.0.0.1:" in lines[-1]
    assert "--nthreads 1 " in lines[-1]
    assert "--resources" not in lines[-1]


def test_build_cluster__writes_jobs_of_gpu_workers_for_pbs():
    lines = job_script({**SLURM, "kind": "pbs", "resource_spec": "select=1:ncpus=1:ngpus=1"}, device="cuda")
    assert "#PBS -l select=1:ncpus=1:ngpus=1" in lines
    assert lines[-1].endswith("--resources GPU=1")


def test_build_cluster__keeps_workers_single_threaded_in_large_jobs():
    assert "--nthreads 1 --memory-limit 1.00GiB --nworkers 4" in job_script({**SLURM, "cores": 4})[-1]


def test_build_cluster__adds_to_what_the_user_set():
    site = {"jobqueue.slurm.job-script-prologue": ["module load python"], "jobqueue.slurm.queue": "site"}
    with dask.config.set(site):
        lines = job_script({**SLURM, "worker_extra_args": ["--lifetime", "3h"]}, device="cuda")
    assert lines.index("export OMP_NUM_THREADS=1") < lines.index("module load python")
    assert "#SBATCH -p site" in lines
    assert lines[-1].endswith("--resources GPU=1 --lifetime 3h")


@pytest.mark.filterwarnings("ignore:unclosed cluster:ResourceWarning")  # the one that refused its keywords
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {**SLURM, "walltme": "1:00"},
            r"SLURMCluster refused .*: Got unexpected keyword argument 'walltme'\nIt takes: .*\bwalltime\b",
        ),
        ({"kind": "slurm", "workers": 1}, r"You must specify how much cores and memory per job"),
        ({"class": "distributed:SpecCluster", "workers": 1, "wrkers": {}}, r"unexpected keyword argument 'wrkers'"),
    ],
)
def test_build_cluster__names_the_key_that_the_class_refuses(table, message):
    with pytest.raises(ValueError, match=message):
        build_cluster(read_cluster_config(table), device="cpu")


def test_build_cluster__says_that_jobs_cannot_be_submitted_here(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="submits jobs with `sbatch`, which is not on this machine's PATH: run"):
        build_cluster(read_cluster_config(SLURM), device="cpu")


def test_resize_cluster__says_what_the_batch_system_said():
    config = read_cluster_config(SLURM)
    cluster = build_cluster(config, device="cpu")
    try:
        with pytest.raises(RuntimeError, match=r"(?s)could not start its workers: .*invalid partition: gpuu"):
            resize_cluster(cluster, config, num_shards=2)
    finally:
        cluster.close()


class _Recorder:
    """A cluster that only notes what it is asked."""

    scheduler_address = "tcp://127.0.0.1:1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def scale(self, n: int) -> None:
        self.asked.append(("scale", {"n": n}))

    def adapt(self, **limits) -> None:
        self.asked.append(("adapt", limits))


@pytest.mark.parametrize(
    ("size", "num_shards", "asked"),
    [
        ({"workers": 8}, 25, ("scale", {"n": 8})),
        ({"workers": 8}, 3, ("scale", {"n": 3})),
        ({"adapt": {"maximum": 8, "wait_count": 5}}, 25, ("adapt", {"minimum": 1, "maximum": 8, "wait_count": 5})),
        ({"adapt": {"minimum": 4, "maximum": 8}}, 3, ("adapt", {"minimum": 3, "maximum": 3})),
    ],
)
def test_resize_cluster__asks_for_no_more_workers_than_there_are_shards(size, num_shards, asked):
    config = read_cluster_config({"kind": "slurm", **size})
    cluster = _Recorder()
    resize_cluster(cluster, config, num_shards=num_shards)
    assert cluster.asked == [asked]


def test_read_cluster_config__leaves_ctrl_c_as_it_was():
    code = (
        "import signal; from sweetgrad.flows.cluster.config import read_cluster_config\n"
        "handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "config = read_cluster_config({'kind': 'slurm', 'workers': 1})\n"
        "print(config.workers, handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "1 True\n"


def test_no_file_is_left_behind(tmp_path):
    job_script(SLURM)
    assert not list(Path.cwd().glob("*.sh"))
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]
