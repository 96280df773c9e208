"""A supernet is trained and its scores stand beside a profile, marked as what they are."""

import io
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from sweetgrad.analysis.comparison import open_estimator_scores
from sweetgrad.flows import supernet_run
from sweetgrad.flows.supernet import supernet
from sweetgrad.profiling import load_batch, load_space, make_spec
from sweetgrad.profiling.supernet import SupernetSettings, SupernetTraining
from sweetgrad.store import (
    Profile,
    SpecMismatchError,
    StoreError,
    create_profile,
    list_estimators,
    merge,
    open_estimators,
    open_profile,
    verify,
)

NAME = "nas-bench-201/digits/bs8-seed42"
SETTINGS = SupernetSettings(epochs=1, batch_size=64, num_calibration=64, widths=(4, 4, 4), depth=1, valid_share=0.1)


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def store(tmp_path):
    """A profile of which nothing is measured."""
    space, path = load_space("nas-bench-201"), tmp_path / "s.zarr"
    spec = make_spec(space, load_batch("digits", batch_size=8))
    create_profile(path, spec, arch=[space.arch_id(i) for i in range(len(space))], layers=space.layer_names)
    return path


def run(store, **options):
    return supernet(store, NAME, console=quiet(), device="cpu", **{"settings": SETTINGS, **options})


def test_supernet__scores_what_has_no_score_and_says_what_it_trained(store):
    done = run(store, archs="620:630")  # in two shards
    assert (done.num_steps, done.num_steps_left, done.num_done, done.num_left) == (25, 0, 10, 0)
    first = open_estimators(store, NAME).sel(estimator="spos")
    rows = np.flatnonzero(first["status"].values == 1)
    assert rows.tolist() == list(range(620, 630))
    assert ((first["score"].values[rows] >= 0) & (first["score"].values[rows] <= 100)).all()
    assert (first["seconds"].values[rows] > 0).all()
    training = Profile.open(store, NAME).trained_estimators()["spos"]
    assert (training["method"], training["num_train"], training["num_valid"]) == ("SPOS", 1617, 180)
    assert training["settings"]["epochs"] == 1
    again = run(store, archs="620:632")
    assert (again.num_steps_left, again.num_done) == (0, 2)
    second = open_estimators(store, NAME).sel(estimator="spos")
    assert np.array_equal(second["score"].values[rows], first["score"].values[rows])
    assert verify(store) == []


def test_supernet__is_the_same_again_elsewhere(store, tmp_path):
    run(store, archs="0:5")
    run(store, archs="0:5", name="spos-2", checkpoint=tmp_path / "other.npz")
    scores = open_estimators(store, NAME)["score"].values[:5]
    assert np.array_equal(scores[:, 0], scores[:, 1])
    one, two = Profile.open(store, NAME).trained_estimators().values()
    assert one["weights_sha256"] == two["weights_sha256"]


def test_supernet__scores_of_another_training_are_refused(store, tmp_path):
    run(store, archs="0:2")
    with pytest.raises(SpecMismatchError, match=r"scores spos of .* come from another training:\n  settings: stored"):
        run(store, archs="0:3", settings=replace(SETTINGS, seed=1), checkpoint=tmp_path / "other.npz")
    assert int((open_estimators(store, NAME)["status"].values == 1).sum()) == 2


def test_supernet__wrong_requests_write_nothing(store):
    with pytest.raises(ValueError, match=r"the name of the scores must be new.*got 'naswot'"):
        run(store, name="naswot")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        run(store, threads=0)
    with pytest.raises(ValueError, match="expected all, START:STOP"):
        run(store, archs="some")
    assert list_estimators(store, NAME) == []
    assert [path.name for path in store.parent.iterdir()] == ["s.zarr"]


def test_supernet__is_marked_as_trained_wherever_it_is_compared(store):
    run(store, archs="0:2")
    profile = open_profile(store, NAME, chunks=None)
    names = open_estimator_scores(store, NAME, profile, (0, 1))["estimator"].values.tolist()
    assert "spos (trained)" in names
    assert "spos" not in names
    assert "sweetimator" in names


@pytest.mark.parametrize("after", ["training", "scoring"])
def test_supernet__ctrl_c_keeps_what_is_done_and_the_same_call_goes_on(store, monkeypatch, after):
    where = {"training": "SupernetTraining.step", "scoring": "subnet_accuracy"}[after]
    owner = SupernetTraining if after == "training" else supernet_run
    plain, calls = getattr(owner, where.rpartition(".")[2]), []

    def third_is_interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, where.rpartition(".")[2], third_is_interrupted)
        stopped = run(store, archs="0:6")
    scored = 0 if after == "training" else 3
    assert (stopped.num_steps_left, stopped.num_left) == (22 if after == "training" else 0, 6 - scored)
    going_on = run(store, archs="0:6")
    assert (going_on.num_steps_left, going_on.num_done, going_on.num_left) == (0, 6 - scored, 0)
    run(store, archs="0:6", name="straight", checkpoint=store.parent / "straight.npz")
    scores = open_estimators(store, NAME)["score"]
    assert np.array_equal(scores.sel(estimator="spos"), scores.sel(estimator="straight"), equal_nan=True)


def test_merge__keeps_what_was_trained_and_refuses_two_trainings(store, tmp_path):
    other = shutil.copytree(store, tmp_path / "other.zarr")
    run(store, archs="0:3")
    run(other, archs="2:5")
    merge([other, store], tmp_path / "merged.zarr")
    assert int((open_estimators(tmp_path / "merged.zarr", NAME)["status"] == 1).sum()) == 5
    assert Profile.open(tmp_path / "merged.zarr", NAME).trained_estimators()["spos"]["weights_sha256"]
    third = shutil.copytree(tmp_path / "merged.zarr", tmp_path / "third.zarr")
    changed = Profile.open(third, NAME).trained_estimators()["spos"] | {"weights_sha256": "another"}
    Profile.open(third, NAME).record_training("spos", changed)
    with pytest.raises(StoreError, match="scores of two trainings"):
        merge([store, third], tmp_path / "no.zarr")
