"""Estimators for a profile that is there: through the same flow, nothing else touched."""

import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from sweetgrad import profiling
from sweetgrad.flows import estimate, profile
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures, profile_shard
from sweetgrad.store import (
    NotAStoreError,
    Profile,
    SpecMismatchError,
    create_profile,
    list_estimators,
    open_activations,
    open_estimators,
    open_profile,
    verify,
)

NAME = "nas-bench-201/digits/bs8-seed42"
MEASURED = range(7800, 7804)


def quiet():
    return Console(file=io.StringIO(), width=200)


def counts_of(store):
    """Every file of the profile but those of estimators."""
    root = store / NAME
    files = [path for path in root.rglob("*") if path.is_file() and "estimators" not in path.relative_to(root).parts]
    return {path.relative_to(root): path.read_bytes() for path in files if path.name != "zarr.json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with four measured architectures, without estimators."""
    path, space, batch = (
        tmp_path_factory.mktemp("estimate") / "s.zarr",
        load_space("nas-bench-201"),
        load_batch("digits", batch_size=8),
    )
    spec = make_spec(space, batch)
    name = create_profile(path, spec, arch=[space.arch_id(i) for i in range(len(space))], layers=space.layer_names).name
    for shard in Profile.open(path, name).plan(MEASURED):
        profile_shard(Profile.open(path, name), shard, space, batch, spec)
    Profile.open(path, name).finalise()
    return path


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made, tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def test_estimate__scores_what_is_measured_and_touches_no_count(store, prefect_api, worker_in_this_process):
    before = counts_of(store)
    names = ["snip", "synflow", "naswot"]
    summary = estimate(store, NAME, estimators=names, workers=1, console=quiet())
    assert (summary.num_asked, summary.num_done, summary.num_left, summary.num_failed) == (4, 4, 0, 0)
    assert counts_of(store) == before
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    rows = profile_architectures(space, MEASURED, batch, make_spec(space, batch), estimators=names)
    stored = open_estimators(store, NAME)
    np.testing.assert_array_equal(stored.score.sel(estimator=names).values[list(MEASURED)], rows.score.values)
    assert int((stored.status != 0).sum()) == 12
    assert verify(store) == []
    assert open_profile(store, NAME).attrs["runs"][-1]["estimators"] == names

    seconds = stored.seconds.sel(estimator="snip").values[list(MEASURED)].tolist()
    summary = estimate(store, NAME, estimators=["snip"], console=quiet())
    assert (summary.num_asked, summary.num_done) == (4, 0)
    # Only what is missing is computed: a score that is there keeps even its time.
    settings = {"estimators": ["snip", "params"], "blocks": ["activations"], "archs": "7800:7802"}
    estimate(store, NAME, **settings, workers=1, console=quiet())
    again = open_estimators(store, NAME)
    assert again.seconds.sel(estimator="snip").values[list(MEASURED)].tolist() == seconds
    assert again.status.sel(estimator="params").values[list(MEASURED)].tolist() == [1, 1, 0, 0]
    assert (open_activations(store, NAME)["activation_count"].sum("layer").sum("bin") > 0).sum() == 2
    assert counts_of(store) == before


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        (
            NAME,
            {"estimators": []},
            ValueError,
            r"name the estimators to compute \(--estimators\): fisher, flops, .*; or the blocks \(--blocks\): all, ",
        ),
        (NAME, {"estimators": ["snipp"]}, ValueError, "no estimator named 'snipp'. Did you mean 'snip'"),
        (NAME, {"estimators": ["te_nas"]}, ValueError, "Did you mean 'te_nas_regions'"),
        (
            NAME,
            {"estimators": ["snip"], "archs": "0:10"},
            ValueError,
            r"none of the requested architectures \(0:10\) is measured",
        ),
        ("nas-bench-201/digits/bs9-seed42", {"estimators": ["snip"]}, NotAStoreError, f"it holds {NAME}"),
    ],
)
def test_estimate__says_what_is_wrong_before_anything_is_written(store, name, settings, error, message):
    with pytest.raises(error, match=message):
        estimate(store, name, console=quiet(), **settings)
    assert list_estimators(store, NAME) == []


def test_estimate__refuses_other_data_than_the_profile_was_measured_with(store, monkeypatch):
    other = load_batch("digits", batch_size=8, seed=43)
    monkeypatch.setattr(profiling, "load_batch", lambda *_, **__: other)
    with pytest.raises(SpecMismatchError, match="batch_sha256: stored"):
        estimate(store, NAME, estimators=["snip"], console=quiet())
    assert list_estimators(store, NAME) == []


def test_profile__computes_only_the_estimators_that_a_row_lacks(store, prefect_api, worker_in_this_process):
    """The same by `profile`, which also measures what is not there."""
    before = counts_of(store)
    settings = {"dataset": "digits", "batch_size": 8, "device": "cpu", "workers": 1}
    profile(store, archs="7802:7805", estimators=["params"], console=quiet(), **settings)
    stored = open_estimators(store, NAME)
    assert stored.status.sel(estimator="params").values[7799:7806].tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert open_profile(store, NAME)["status"].values[7799:7806].tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert before.keys() == counts_of(store).keys()
    assert verify(store) == []
