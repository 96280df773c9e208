"""The flow itself, in this process: one cluster and one server do for the few tests that need them."""

import io
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.flows.cluster import check, client
from sweetgrad.flows.runs import shard_flow
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import SpecMismatchError, StoreError, info, list_profiles, open_estimators, open_profile, verify

NAME = "nas-bench-201/digits/bs8-seed42"
ROWS = slice(620, 630)
ARCHS = "620:630"
SETTINGS = {"dataset": "digits", "batch_size": 8, "device": "cpu"}


def measured(profile: xr.Dataset) -> xr.Dataset:
    """What must not depend on how the work was shared out: everything but the time it took."""
    return profile.drop_vars("profile_seconds").load()


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, prefect_api):
    """A store made by two workers, each a shard: the end of one, and the start of the next."""
    store = tmp_path_factory.mktemp("flow") / "two-workers.zarr"
    console = quiet()
    summary = profile(store, archs=ARCHS, workers=2, estimators=["snip"], console=console, **SETTINGS)
    return store, summary, console.file.getvalue()


def test_profile__measures_what_the_plain_function_measures(reference):
    store, summary, output = reference
    assert (summary.name, summary.num_asked, summary.num_done, summary.num_left, summary.num_failed) == (
        NAME,
        10,
        10,
        0,
        0,
    )
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    rows = profile_architectures(space, range(620, 630), batch, make_spec(space, batch), estimators=["snip"])
    stored = open_profile(store, NAME).isel(arch=ROWS).load()
    for name in ("grad_count", "grad_count_network", "grad_abs_sum", "grad_sq_sum", "num_params", "loss", "status"):
        np.testing.assert_array_equal(stored[name].values, rows[name].values, err_msg=name)
    np.testing.assert_array_equal(open_estimators(store, NAME)["score"].values[ROWS], rows["score"].values)
    assert "10 of 10 architectures to profile, in 2 shards" in output
    assert verify(store) == []


def test_profile__gives_the_same_bits_for_other_shards_workers_and_orders(reference, tmp_path, worker_in_this_process):
    store = tmp_path / "one-worker.zarr"
    for archs in ("625:630", "sample:3", ARCHS):
        profile(store, archs=archs, shard_size=5000, workers=1, console=quiet(), **SETTINGS)
    ours = measured(open_profile(store, NAME).isel(arch=ROWS))
    theirs = measured(open_profile(reference[0], NAME).isel(arch=ROWS))
    xr.testing.assert_identical(ours.drop_attrs(), theirs.drop_attrs())


def test_profile__does_nothing_when_all_is_done(reference):
    console = quiet()
    summary = profile(reference[0], archs=ARCHS, console=console, **SETTINGS)
    assert (summary.num_done, summary.num_left) == (0, 0)
    assert "to profile" not in console.file.getvalue()


def test_profile__stamps_what_a_run_completed_that_was_killed_before_it_did(reference, tmp_path):
    store = tmp_path / "copy.zarr"
    shutil.copytree(reference[0], store)
    expected = info(store).profiles[0].content_digest
    attributes = zarr.open_group(store, path=NAME).attrs
    attributes["content_digest"] = "of the run before"
    profile(store, archs=ARCHS, console=quiet(), **SETTINGS)
    assert info(store).profiles[0].content_digest == expected


def test_profile__says_that_earlier_rows_were_measured_with_another_cpu_capability(reference, tmp_path, monkeypatch):
    store, console = tmp_path / "copy.zarr", quiet()
    shutil.copytree(reference[0], store)
    attributes = zarr.open_group(store, path=NAME).attrs
    assert "Note:" not in reference[2]
    attributes["runs"] = [{**run, "cpu_capability": "AVX9"} for run in attributes["runs"]]
    monkeypatch.setattr(shard_flow, "run_profile", lambda *_, **__: (0, 1))
    profile(store, archs="630:631", console=console, **SETTINGS)
    here = torch.backends.cpu.get_cpu_capability()
    assert f"Note: cpu_capability is {here} in this run, but was AVX9 in an earlier one." in console.file.getvalue()
    assert [run["cpu_capability"] for run in info(store).profiles[0].runs] == ["AVX9", here]


def test_profile__refuses_rows_of_another_version_of_the_space(reference, monkeypatch):
    monkeypatch.setattr(NasBench201, "version", 3)
    message = r"space_version: stored 2, requested 3\nThe networks of this space have changed"
    with pytest.raises(SpecMismatchError, match=message):
        profile(reference[0], archs="620:631", console=quiet(), **SETTINGS)


def test_check_cluster__tells_the_cpu_capability_of_other_hosts():
    here = torch.backends.cpu.get_cpu_capability()
    facts = [{"host": host, "cpu_capability": each} for host, each in (("a", here), ("b", "AVX9"), ("b", "AVX9"))]
    assert check._differences(facts) == [f"cpu_capability is AVX9 on b, and {here} here, which the provenance names"]


def test_profile__refuses_other_settings_and_names_them(reference):
    with pytest.raises(StoreError, match="has shards of 625 architectures, requested 626"):
        profile(reference[0], archs=ARCHS, shard_size=626, console=quiet(), **SETTINGS)
    assert list_profiles(reference[0]) == [NAME]


def test_profile__refuses_a_store_with_another_order_of_architectures(reference, tmp_path, shared_data):
    table = shared_data / "benchmarks" / "nas-bench-201.csv.gz"
    with pytest.raises(SpecMismatchError, match="arch_sha256"):
        profile(reference[0], archs=ARCHS, space_file=table, console=quiet(), **SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "nas-bench-202"}, "no search space named 'nas-bench-202'. Did you mean 'nas-bench-201'"),
        ({"dataset": "cifar-10"}, "no data set named 'cifar-10'. Did you mean 'cifar10'"),
        ({"estimators": ["snipp"]}, "no estimator named 'snipp'. Did you mean 'snip'"),
        ({"batch_size": 1798}, "batch_size must be in 1..1797"),
        ({"archs": "0:20000"}, "a range of architectures must lie in 0:15625"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda, got 'tpu'"),
        ({"shard_size": 0}, "shard_size must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_profile__says_what_is_wrong_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        profile(tmp_path / "new.zarr", console=quiet(), **settings)
    assert not (tmp_path / "new.zarr").exists()


def test_profile__says_when_no_scheduler_answers(tmp_path, prefect_api, monkeypatch):
    monkeypatch.setattr(client, "_ANSWER_S", 1)
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        profile(tmp_path / "new.zarr", archs="0:2", scheduler="tcp://127.0.0.1:1", console=quiet(), **SETTINGS)
