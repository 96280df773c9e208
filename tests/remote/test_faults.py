"""A network that fails now and then changes nothing; one that always fails ends in a clear error, soon."""

import time

import numpy as np
import pytest

from sweetgrad.store import (
    CorruptShardError,
    Profile,
    RemoteStore,
    UnreachableStoreError,
    info,
    list_profiles,
    open_profile,
    status,
    verify,
)

SHORT = {"tries": 4, "pause": 0.01, "connect_timeout": 2, "read_timeout": 0.3}


# A connection that the proxy resets may be closed by the garbage collector alone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_store__written_through_a_network_that_fails_is_the_same(s3, bucket, servers, toy, tmp_path):
    name = toy.make_store(tmp_path / "disk.zarr")
    with servers.fault_proxy(s3, servers.seeded_plan(seed=1, share=0.2), slow_s=1.0) as proxy:
        store = RemoteStore(f"{bucket}/toy.zarr", {"endpoint_url": proxy.url, **SHORT, "read_timeout": 0.5, "tries": 8})
        toy.create_profile(store, toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS, shard_size=10)
        toy.run_rows(store, name, range(10))
        assert Profile.open(store, name).plan(range(10)) == []
        Profile.open(store, name).finalise()
        assert all(proxy.injected[fault] for fault in servers.FAULTS), proxy.injected
    # Seen without the proxy: what was written, not what the proxy says of it.
    assert (
        info(f"{bucket}/toy.zarr").profiles[0].content_digest == info(tmp_path / "disk.zarr").profiles[0].content_digest
    )
    assert verify(f"{bucket}/toy.zarr") == []
    assert open_profile(f"{bucket}/toy.zarr", name).load().equals(open_profile(tmp_path / "disk.zarr", name).load())


@pytest.mark.parametrize("place", ["{url}/toy.zarr", "zip::{url}/toy.zarr.zip"])
def test_reading__through_a_network_that_fails_gives_the_same_numbers(place, servers, serve, toy, tmp_path):
    name = toy.make_store(tmp_path / "toy.zarr")
    toy.pack(tmp_path / "toy.zarr", tmp_path / "toy.zarr.zip")
    with servers.fault_proxy(serve(tmp_path).url, servers.seeded_plan(seed=5, share=0.3), slow_s=1.0) as proxy:
        there = place.format(url=proxy.url)
        found = open_profile(there, name, storage_options=SHORT).load()
        assert found.identical(open_profile(tmp_path / "toy.zarr", name).load())
        assert all(proxy.injected[fault] for fault in servers.FAULTS), proxy.injected


@pytest.mark.parametrize("fault", ["reset", "503", "slow", "truncated"])
def test_reading__where_every_answer_fails_ends_in_a_clear_error(fault, servers, serve, toy, tmp_path):
    name = toy.make_store(tmp_path / "toy.zarr")
    failing = [False]
    with servers.fault_proxy(serve(tmp_path).url, lambda _: fault if failing[0] else None, slow_s=5) as proxy:
        url = f"{proxy.url}/toy.zarr"
        profile = open_profile(url, name, chunks=None, storage_options=SHORT)
        failing[0] = True
        for ask in (lambda: profile["grad_count"].load(), lambda: list_profiles(url, storage_options=SHORT)):
            begun = time.monotonic()
            with pytest.raises(UnreachableStoreError) as raised:
                ask()
            assert time.monotonic() - begun < 4 * (
                SHORT["read_timeout"] + 2
            )  # what the options allow, not how fast it is
            assert url in str(raised.value)
            assert "4 tries" in str(raised.value)
            assert "Check the address" in str(raised.value)
        failing[0] = False
        assert (profile["grad_count"].load().sum("bin") == profile["num_params"]).all()


@pytest.mark.parametrize("fault", ["reset", "503", "slow"])
def test_writing__where_every_answer_fails_ends_in_a_clear_error(fault, s3, bucket, servers, toy):
    with servers.fault_proxy(s3, lambda _: fault, slow_s=5) as proxy:
        store = RemoteStore(f"{bucket}/toy.zarr", {"endpoint_url": proxy.url, **SHORT, "tries": 2})
        with pytest.raises(UnreachableStoreError, match=r"toy.zarr/.*2 tries.*what was written before is safe"):
            toy.create_profile(store, toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS)
        assert set(proxy.injected) == {fault}


def test_reading__an_answer_of_consistent_but_wrong_length_is_no_silent_fill(servers, serve, toy, tmp_path):
    """A middlebox that cuts a body and its Content-Length: only the checksum of the chunk can tell."""
    name = toy.make_store(tmp_path / "toy.zarr")
    path = tmp_path / "toy.zarr" / name / "status/c/0"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(
        CorruptShardError,
        match=r"bs2-seed0/status cannot be decoded \(.*status/c/0 declares 20 bytes, but has 18",
    ):
        status(f"{serve(tmp_path).url}/toy.zarr")


def test_reading__a_file_that_the_server_lacks_is_fill_and_one_that_it_hides_is_not(servers, toy, tmp_path, serve):
    name = toy.make_store(tmp_path / "toy.zarr", rows=range(4))  # shards 1 and 2 are not there: 404
    hidden = [False]
    with servers.fault_proxy(serve(tmp_path).url, lambda _: "403" if hidden[0] else None) as proxy:
        profile = open_profile(f"{proxy.url}/toy.zarr", name, chunks=None)
        assert np.array_equal(profile["status"].values, [1] * 4 + [0] * 6)
        hidden[0] = True
        with pytest.raises(UnreachableStoreError, match=r"access denied by the server.*403.*Check the credentials"):
            profile["loss"].load()
        assert proxy.injected["403"] <= 3  # one for each shard: another try would be answered in the same way
