"""A run whose workers have all left waits as long as others can come, says so, and ends; Ctrl-C ends it at once."""

import io
import os
import signal
import threading
import time
from types import SimpleNamespace

import dask
import distributed
import pytest
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.flows.cluster import WorkerSource, open_client, waiting
from sweetgrad.flows.cluster import client as cluster
from sweetgrad.flows.cluster.waiting import NoWorkerError, WorkerWatch

SETTINGS = {"dataset": "digits", "batch_size": 4, "device": "cpu"}
THREADS = {"class": "distributed:LocalCluster", "n_workers": 1, "threads_per_worker": 1, "processes": False}
IN_THIS_PROCESS = {"cluster": {**THREADS, "workers": 1, "dashboard_address": None}}
CPU: dict[str, dict[str, float]] = {"resources": {}}
GPU = {"resources": {"GPU": 1.0}}


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


def watch_of(workers, *, device="cpu", cluster=None, console=None):
    client = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": workers}, cluster=cluster)
    return WorkerWatch(client, device, console or quiet())


def spec_cluster(adaptive_state=None):
    found = object.__new__(distributed.SpecCluster)
    found._adaptive = adaptive_state and SimpleNamespace(state=adaptive_state)
    return found


def kubernetes():
    return SimpleNamespace(scheduler_address="tcp://10.0.0.1:8786")


def after(watch, seconds):
    """The watch, as if nobody had been there for some time."""
    watch._last -= seconds
    return watch


def test_worker_watch__counts_workers_that_can_do_the_work():
    assert watch_of({"a": CPU, "b": GPU}).count() == 2
    assert watch_of({"a": CPU, "b": GPU}, device="cuda").count() == 1
    with pytest.raises(NoWorkerError):
        after(watch_of({"a": CPU}, device="cuda"), 700).look(is_stopping=False)


@pytest.mark.parametrize(
    ("cluster", "seconds", "words"),
    [
        (None, 600, "all workers of the Dask scheduler have left"),
        (spec_cluster(), 120, "all workers that this program started have ended, and nothing starts others"),
        (spec_cluster("stopped"), 120, "all workers that this program started have ended, and nothing starts others"),
        (spec_cluster("running"), 24 * 3600, "the jobs of the cluster have ended, and new ones have not started yet"),
        (kubernetes(), 24 * 3600, "the jobs of the cluster have ended, and new ones have not started yet"),
    ],
)
def test_worker_watch__waits_a_day_for_a_queue_and_minutes_where_nobody_is_to_come(cluster, seconds, words):
    console = quiet()
    watch = after(watch_of({}, cluster=cluster, console=console), seconds - 60)
    assert [watch.look(is_stopping=False), watch.look(is_stopping=False)] == [False, False]
    assert console.file.getvalue().count(f"No worker is left: {words}") == 1
    with pytest.raises(NoWorkerError, match=f"{words}.*\\. What was written is safe: .* run the same command again"):
        after(watch, 61).look(is_stopping=False)


def test_worker_watch__waits_as_long_as_dask_is_told_to():
    with dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}):
        watch = after(watch_of({}, cluster=spec_cluster("running")), 2)
        with pytest.raises(NoWorkerError, match=r"none has joined for 1\.0 s"):
            watch.look(is_stopping=False)
    assert not after(watch_of({}, cluster=spec_cluster("running")), 2).look(is_stopping=False)


def test_worker_watch__begins_anew_with_every_worker_that_comes():
    workers = {}
    watch = after(watch_of(workers), 599)
    workers["a"] = CPU
    assert not watch.look(is_stopping=False)
    workers.clear()
    assert not after(watch, 599).look(is_stopping=False)


def test_worker_watch__a_run_that_is_stopping_waits_a_moment_only():
    watch = watch_of({}, cluster=spec_cluster("running"))
    assert not watch.look(is_stopping=True)
    assert after(watch, 10).look(is_stopping=True)


def test_open_client__does_not_wait_for_ever_for_a_first_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_LOOK_AGAIN_S", 0.1)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty,
        dask.config.set({"distributed.scheduler.no-workers-timeout": "0.3s"}),
        pytest.raises(NoWorkerError, match=r"no worker has joined in 0\.3 s\. Start one with `dask worker"),
        open_client(
            WorkerSource(scheduler=empty.scheduler_address),
            store=tmp_path,
            device="cpu",
            num_shards=1,
            console=quiet(),
        ),
    ):
        pass


@pytest.fixture
def leaving(monkeypatch):
    """The one worker leaves in the middle of its first shard, and no other comes; set when it has."""
    from sweetgrad.flows.cluster import worker

    left = threading.Event()

    def profile_shard(*args, **kwargs):
        mine = distributed.get_worker()
        mine.loop.add_callback(mine.close, executor_wait=False)
        left.set()
        time.sleep(2)
        return 0

    monkeypatch.setattr(worker, "profile_shard", profile_shard)
    monkeypatch.setattr(cluster, "resize_cluster", lambda *args, **kwargs: None)
    return left


def test_profile__ends_with_an_error_when_no_worker_is_left(prefect_api, leaving, tmp_path):
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}),
        pytest.raises(NoWorkerError, match=r"no worker is left, and none has joined for 1\.0 s"),
    ):
        profile(tmp_path / "s.zarr", archs="623:627", console=quiet(), **SETTINGS, **IN_THIS_PROCESS)


def test_profile__ctrl_c_ends_a_run_that_has_no_worker_left(prefect_api, leaving, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "_STOP_AFTER_S", 0.5)

    def press() -> None:
        leaving.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    summary = profile(tmp_path / "s.zarr", archs="623:627", console=quiet(), **SETTINGS, **IN_THIS_PROCESS)
    assert (summary.num_done, summary.num_left) == (0, 4)
