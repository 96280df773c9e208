"""A process that is stopped for longer than its lease and goes on: others have done its work, and it undoes none of it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sweetgrad.store import Profile, create_profile, import_accuracy, locks, open_accuracies, status, verify
from sweetgrad.store.accuracy import ImportReport

STOPS_ONCE = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import conftest as toy
import pandas as pd
from sweetgrad.store import Profile, create_profile, import_accuracy, locks
from sweetgrad.store.access._files import DurableStore
from sweetgrad.store.access._guard import GuardedStore

locks.LEASE_S = {lease_s}
def stop_before(owner, name, key):
    original, stopped = getattr(owner, name), []
    def method(self, *arguments, **options):
        if arguments[0].endswith(key) and not stopped:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.1)  # another thread may be the first to stop
        return original(self, *arguments, **options)
    setattr(owner, name, method)

stop_before({owner}, {method!r}, {key!r})
store = {store!r}
{action}
"""
LEASE_S = 0.3
CREATE = "create_profile(store, toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS, shard_size=toy.SHARD_SIZE)"
STAMP = "Profile.open(store, toy.make_spec().profile_name).finalise()"
IMPORT = (
    "table = pd.DataFrame(dict(arch=toy.ARCHS, dataset='d', split='test', epochs=1, accuracy=50.0))\n"
    "import_accuracy(store, space='toy', table=table, arch=toy.ARCHS, source='the stopped one')"
)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Start a process that stops itself before one call; the function that is returned lets it go on, and gives what it said."""
    monkeypatch.setattr(locks, "LEASE_S", LEASE_S)
    begun = []

    def start(action: str, owner: str, method: str, key: str) -> None:
        places = {"folder": str(Path(__file__).parent), "lease_s": LEASE_S, "store": str(tmp_path / "toy.zarr")}
        code = STOPS_ONCE.format(**places, action=action, owner=owner, method=method, key=key)
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        begun.append(process)
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)

    def go_on() -> str:
        (process,) = begun
        process.send_signal(signal.SIGCONT)
        return process.communicate(timeout=60)[1]

    yield start, go_on
    for process in begun:
        process.kill()
        process.communicate()


def measure(store: Path, toy) -> dict[str, bytes]:
    """Make the profile, measure all of it and stamp it; gives every file."""
    name = create_profile(store, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=toy.shard_size).name
    toy.run(store, name, range(10))
    Profile.open(store, name).finalise()
    return everything(store)


def everything(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("owner", "method", "key"),
    [
        pytest.param("GuardedStore", "_before_write", "/zarr.json", id="before it looks at its lock"),
        pytest.param("DurableStore", "set_if_not_exists", "bs2-seed0/zarr.json", id="before the last write"),
    ],
)
def test_create_profile__of_a_stopped_process_leaves_the_rows_that_others_measured(
    stopped, toy, tmp_path, owner, method, key
):
    start, go_on = stopped
    start(CREATE, owner, method, key)
    before = measure(tmp_path / "toy.zarr", toy)
    assert "FencedError" in go_on()
    assert everything(tmp_path / "toy.zarr") == before
    assert verify(tmp_path / "toy.zarr") == []


def test_create_profile__of_a_process_that_stopped_while_it_cleared_up_a_cut_off_creation_leaves_the_rows(
    stopped, toy, tmp_path
):
    store, (start, go_on) = tmp_path / "toy.zarr", stopped
    name = create_profile(store, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=toy.shard_size).name
    (store / name / "zarr.json").unlink()
    start(CREATE, "DurableStore", "rename", name)
    before = measure(store, toy)
    assert "FencedError" in go_on()
    assert everything(store) == before
    assert status(store)[0].num_ok == 10


def test_finalise_profile__of_a_stopped_process_stamps_nothing(stopped, toy, tmp_path):
    store, (start, go_on) = tmp_path / "toy.zarr", stopped
    name = create_profile(store, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=toy.shard_size).name
    start(STAMP, "GuardedStore", "_before_write", f"{name}/zarr.json")
    before = measure(store, toy)
    assert "taken for dead and writes nothing more" in go_on()
    assert everything(store) == before


@pytest.mark.parametrize(
    ("owner", "key"), [("GuardedStore", "accuracy"), ("DurableStore", "accuracy"), ("DurableStore", ".new")]
)
def test_import_accuracy__of_a_stopped_process_loses_nothing_that_others_imported(stopped, toy, tmp_path, owner, key):
    store, (start, go_on) = tmp_path / "toy.zarr", stopped
    import_one(store, toy, "validation")
    start(IMPORT, owner, "rename", key)
    import_one(store, toy, "test, by others")
    assert "FencedError" in go_on()
    table = open_accuracies(store, "toy")
    assert table["split"].values.tolist() == ["test, by others", "validation"]
    assert import_one(store, toy, "again").added == 10  # and what it left is cleared up
    assert sorted(path.name for path in (store / "toy").iterdir()) == ["accuracy", "zarr.json"]


def import_one(store: Path, toy, split: str) -> ImportReport:
    table = pd.DataFrame({"arch": toy.archs, "dataset": "d", "split": split, "epochs": 1, "accuracy": 60.0})
    return import_accuracy(store, space="toy", table=table, arch=toy.archs, source=split)
