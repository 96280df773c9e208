"""A store in a bucket: made, resumed, verified, repaired, read."""

import pickle

import boto3
import pandas as pd
import pytest
import s3fs

from sweetgrad.store import (
    VARIABLES,
    NotAStoreError,
    Profile,
    RemoteStore,
    StoreError,
    UnreachableStoreError,
    import_accuracy,
    info,
    list_profiles,
    open_accuracy,
    open_estimators,
    open_profile,
    open_store,
    profile_block,
    status,
    verify,
)

IMPATIENT = {"tries": 2, "pause": 0.01, "connect_timeout": 2, "read_timeout": 2}


def damage(store: str, key: str, s3: str) -> None:
    """Flip a byte in an object."""
    name, _, path = store.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=s3)
    data = bytearray(client.get_object(Bucket=name, Key=f"{path}/{key}")["Body"].read())
    data[len(data) // 3] ^= 0xFF
    client.put_object(Bucket=name, Key=f"{path}/{key}", Body=bytes(data))


def digest(store) -> str | None:
    return info(store).profiles[0].content_digest


def test_store__in_a_bucket_is_resumed_verified_repaired_and_equal_to_one_on_disk(bucket, s3, toy, tmp_path):
    store = f"{bucket}/deep/toy.zarr"
    name = toy.make_store(tmp_path / "disk.zarr")
    assert toy.create_profile(store, toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS, shard_size=4).name == name
    assert [len(shard.rows) for shard in toy.run_rows(store, name, range(3))] == [3]
    assert [profile.num_ok for profile in status(store)] == [3]
    Profile.open(store, name).finalise()
    # The environment's endpoint by another way: a file system, and a cache of listings, of its own, as in another process.
    other = toy.create_profile(
        RemoteStore(store, {"endpoint_url": s3}), toy.make_spec(seed=1), arch=toy.ARCHS, layers=toy.LAYERS, shard_size=4
    ).name
    assert list_profiles(store) == [name, other]

    assert [tuple(shard.rows) for shard in Profile.open(store, name).plan(range(10))] == [(3,), (4, 5, 6, 7), (8, 9)]
    toy.run_rows(store, name, range(10))
    Profile.open(store, name).finalise()
    assert verify(store) == []
    assert digest(store) == digest(tmp_path / "disk.zarr")

    damage(store, f"{name}/grad_count/c/1/0/0/0", s3)
    problems = verify(store, repair=True)
    assert problems
    assert all(problem.repairable and problem.shard == 1 for problem in problems)
    assert [tuple(shard.rows) for shard in toy.run_rows(store, name, range(10))] == [(4, 5, 6, 7)]
    Profile.open(store, name).finalise()
    assert verify(store) == []
    assert digest(store) == digest(tmp_path / "disk.zarr")


def test_readers__of_a_bucket_give_what_those_of_a_folder_give(s3, bucket, toy, tmp_path, monkeypatch):
    """With options instead of the environment, so that a function that forgot them would find no server."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = {"endpoint_url": s3, **IMPATIENT}
    here, there = tmp_path / "disk.zarr", RemoteStore(f"{bucket}/toy.zarr", options)
    table = pd.DataFrame({"arch": toy.ARCHS, "dataset": "cifar10", "split": "test", "epochs": 12, "accuracy": 90.0})
    for store in (here, there):
        name = toy.create_profile(store, toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS, shard_size=4).name
        toy.run_rows(store, name, range(10))
        Profile.open(store, name).add_blocks([profile_block("snip")])
        Profile.open(store, name).finalise()
        assert import_accuracy(store, space="toy", table=table, source="table").changed
        assert not import_accuracy(store, space="toy", table=table, source="table").changed
    assert verify(there) == []
    for chunks in ("shard", None):
        assert open_profile(there, name, chunks=chunks).load().equals(open_profile(here, name, chunks=chunks).load())
    assert open_accuracy(there, "toy", "cifar10/test").identical(open_accuracy(here, "toy", "cifar10/test"))
    assert open_estimators(there, name).identical(open_estimators(here, name))
    assert [each.name for each in info(there).profiles[0].estimators] == ["snip"]
    assert set(open_store(there).groups) == set(open_store(here).groups)

    url = str(there)
    assert open_store(url, storage_options=options)[name]["status"].sum() == 10
    assert list_profiles(url, storage_options=options) == [name]
    assert status(url, storage_options=options)[0].complete
    assert info(url, storage_options=options).location == url
    assert open_accuracy(url, "toy", "cifar10/test", storage_options=options).size == 10
    assert open_estimators(url, name, storage_options=options).sizes["estimator"] == 1
    lazy = open_profile(url, name, storage_options=options)
    again = pickle.loads(pickle.dumps(lazy))  # noqa: S301  # what dask does with it; nothing is read yet
    assert (again["grad_count"].sum("bin") == lazy["num_params"]).all()


def test_remote_store__travels_and_keeps_its_secrets():
    store = RemoteStore("s3://bucket/a.zarr", {"secret": "hidden", "client_kwargs": {"region_name": "eu-west-1"}})
    assert pickle.loads(pickle.dumps(store)) == store  # noqa: S301
    assert hash(store) == hash(RemoteStore(store.url, dict(store.storage_options)))
    assert "hidden" not in f"{store} {store!r}"


@pytest.mark.parametrize(
    ("url", "options", "error", "words"),
    [
        (
            "{bucket}/nothing.zarr",
            {},
            NotAStoreError,
            "found none there. Check the address, and that the bucket exists",
        ),
        ("s3://no-such-bucket/a.zarr", {}, NotAStoreError, "found none there"),
        (
            "{bucket}/a.zarr",
            {"endpoint_url": "http://127.0.0.1:9"},
            UnreachableStoreError,
            "Check the address (endpoint_url)",
        ),
    ],
)
def test_open_profile__says_what_was_found_instead_of_a_store(bucket, url, options, error, words):
    with pytest.raises(error) as raised:
        open_profile(url.format(bucket=bucket), "a/b", storage_options={**IMPATIENT, **options})
    assert words in str(raised.value)
    assert url.format(bucket=bucket) in str(raised.value)


def test_create_profile__asks_an_object_store_for_little(bucket, toy, monkeypatch):
    calls, call = [], s3fs.S3FileSystem._call_s3

    async def counted(self, method, *arguments, **options):
        calls.append(method)
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    toy.create_profile(f"{bucket}/a.zarr", toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS, shard_size=4)
    assert calls.count("put_object") < 2 * len(VARIABLES)
    assert len(calls) < 4 * len(VARIABLES)  # it was 13: each array asked anew for all groups above it


def test_create_profile__in_a_bucket_that_is_not_there_says_so(s3, toy):
    with pytest.raises(
        NotAStoreError, match=r"expected an existing bucket or folder, found none.*Create the bucket first"
    ):
        toy.create_profile("s3://no-such-bucket/a.zarr", toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS)


def test_open_profile__without_credentials_says_where_they_are_looked_for(bucket, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(UnreachableStoreError, match="Check the credentials"):
        # Options of its own: fsspec keeps file systems, and this process has been let in before.
        open_profile(f"{bucket}/a.zarr", "a/b", storage_options={**IMPATIENT, "connect_timeout": 1})


def test_storage_options__for_a_local_path_are_refused(tmp_path):
    with pytest.raises(ValueError, match="storage options \\(anon\\) are for URLs"):
        list_profiles(tmp_path, storage_options={"anon": True})


def test_write__to_what_can_only_be_read_is_refused(toy, tmp_path):
    for place in ("http://127.0.0.1:9/a.zarr", "zip::http://127.0.0.1:9/a.zarr.zip", str(tmp_path / "a.zarr.zip")):
        with pytest.raises(StoreError, match="can only be read"):
            toy.create_profile(place, toy.make_spec(), arch=toy.ARCHS, layers=toy.LAYERS)
    assert not list(tmp_path.iterdir())
