"""Two attempts at one shard, and two runs on one profile, while both are alive."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import distributed
import pytest
import xarray as xr
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.flows.cluster import worker
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_shard
from sweetgrad.store import FencedError, Profile, create_profile, lock_shard, open_profile, status, verify

NAME = "nas-bench-201/digits/bs4-seed42"
SETTINGS = {"dataset": "digits", "batch_size": 4, "device": "cpu"}
SHARD_SIZE = 601
NUM = 3
ROWS = range(SHARD_SIZE - NUM, SHARD_SIZE + NUM)  # the end of one shard, and as many at the start of the next


@pytest.fixture(scope="module")
def work():
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=4)
    return space, batch, make_spec(space, batch)


def create(store, work):
    space, _, spec = work
    arch = [space.arch_id(index) for index in range(len(space))]
    create_profile(store, spec, arch=arch, layers=space.layer_names, shard_size=SHARD_SIZE)
    return Profile.open(store, NAME).plan(ROWS)


def measured(store):
    return open_profile(store, NAME, chunks=None).drop_vars("profile_seconds").load().drop_attrs()


@pytest.fixture(scope="module")
def undisturbed(work, tmp_path_factory):
    store = tmp_path_factory.mktemp("overlap") / "undisturbed.zarr"
    for shard in create(store, work):
        profile_shard(Profile.open(store, NAME), shard, *work)
    return measured(store)


def test_profile_shard__an_attempt_that_was_given_up_writes_nothing_over_its_successor(work, undisturbed, tmp_path):
    """What Dask does when it loses a worker that lives on: another worker gets the shard while the first still measures."""
    store = tmp_path / "overlap.zarr"
    shards = create(store, work)
    begun, over = threading.Event(), threading.Event()

    def hang(index):
        begun.set()
        assert over.wait(60)

    def first_attempt():
        with lock_shard(store, NAME, 0, run="run") as claim:
            return profile_shard(Profile.open(store, NAME), shards[0], *work, on_done=hang, lock=claim)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(first_attempt)
        assert begun.wait(60)
        with lock_shard(store, NAME, 0, run="run") as claim:
            assert profile_shard(Profile.open(store, NAME), shards[0], *work, lock=claim) == NUM
        profile_shard(Profile.open(store, NAME), shards[1], *work)
        over.set()
        with pytest.raises(FencedError, match="taken over by another process"):
            first.result()
    Profile.open(store, NAME).finalise()
    assert verify(store) == []
    xr.testing.assert_identical(measured(store), undisturbed)


def test_profile__leaves_a_shard_to_the_run_that_holds_it_and_waits_for_it(work, undisturbed, tmp_path, prefect_api):
    store = tmp_path / "two-runs.zarr"
    shards = create(store, work)
    console = Console(file=io.StringIO(), width=200)
    with ThreadPoolExecutor(1) as pool:
        with lock_shard(store, NAME, 0, run="another run") as claim:
            run = pool.submit(profile, store, archs=f"{ROWS.start}:{ROWS.stop}", workers=1, console=console, **SETTINGS)
            while "waiting for them" not in console.file.getvalue():
                assert not run.done(), run.result()
                time.sleep(0.05)  # the run needs the interpreter, too
            assert status(store)[0].num_ok == NUM
            profile_shard(Profile.open(store, NAME), shards[0], *work, lock=claim)
        summary = run.result()
    assert (summary.num_done, summary.num_left) == (NUM, 0)
    assert "The last 1 shards are being written by process" in console.file.getvalue()
    assert verify(store) == []
    xr.testing.assert_identical(measured(store), undisturbed)


@pytest.mark.parametrize(("run", "num_done"), [("ours", NUM), ("theirs", 1)])
def test_run_shard__counts_what_an_attempt_of_its_run_wrote_before_it_died(work, tmp_path, monkeypatch, run, num_done):
    store = tmp_path / "killed.zarr"
    planned, _ = create(store, work)
    written = replace(planned, rows=planned.rows[:2])
    context = lock_shard(store, NAME, 0, run=run)
    lock = context.__enter__()  # a kill releases no lock
    profile_shard(Profile.open(store, NAME), written, *work, lock=lock)
    monkeypatch.setattr(
        distributed, "get_worker", lambda: SimpleNamespace(state=SimpleNamespace(nthreads=1), log_event=print)
    )
    monkeypatch.setattr(worker, "_stop_requested", lambda channel: lambda: False)
    dead = frozenset([lock.holder.attempt])
    assert (
        worker.run_shard(Profile.open(store, NAME), planned, *work, (), (), False, run_id="ours", expired=dead)
        == num_done
    )
    context.__exit__(None, None, None)
