import pytest

from sweetgrad.store import (
    COUNTS,
    CorruptShardError,
    Failure,
    NotAStoreError,
    Profile,
    create_profile,
    info,
    profile_block,
    status,
)


def test_status__counts_rows_and_shards(tmp_path, toy):
    toy.store(tmp_path / "s.zarr", rows=[0, 1, 2, 3, 5, 9], failed=[1, 5])
    (found,) = status(tmp_path / "s.zarr")
    assert (found.num_archs, found.num_ok, found.num_failed, found.num_not_run) == (10, 4, 2, 4)
    assert (found.num_shards, found.num_shards_complete, found.num_shards_started) == (3, 1, 2)
    assert not found.complete


def test_status__groups_failures_by_their_first_line(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[0])
    shards = toy.run(tmp_path / "s.zarr", name, [])
    assert shards == []
    from sweetgrad.store import Shard

    rows = toy.rows([1, 2, 3], failed=[1, 2, 3])
    rows["message"][:] = ["OOM\nline 2", "NaN", "OOM\nline 3"]
    Profile.open(tmp_path / "s.zarr", name).write(Shard(0, 0, 4, ()), {COUNTS: rows})
    (found,) = status(tmp_path / "s.zarr")
    assert found.failures == (Failure("OOM", 2, "|op1~0|"), Failure("NaN", 1, "|op2~0|"))


def test_status__of_an_empty_and_of_a_complete_profile(tmp_path, toy):
    toy.store(tmp_path / "s.zarr")
    create_profile(tmp_path / "s.zarr", toy.spec(seed=9), arch=toy.archs, layers=toy.layers, shard_size=5)
    done, empty = status(tmp_path / "s.zarr")
    assert done.complete
    assert (done.num_shards_complete, done.num_shards_started) == (3, 0)
    assert (empty.name, empty.num_not_run, empty.num_shards, empty.num_shards_complete) == (
        "toy/synthetic/bs2-seed9",
        10,
        2,
        0,
    )


def test_status__refuses_a_status_that_cannot_be_read(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr")
    (tmp_path / "s.zarr" / name / "status" / "c" / "1").write_bytes(b"x")
    with pytest.raises(CorruptShardError, match="status"):
        status(tmp_path / "s.zarr")


def test_info__says_what_the_store_and_its_profiles_say(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=range(5), failed=[2])
    Profile.open(path, name).record_run({"host": "here"})
    Profile.open(path, name).add_blocks([profile_block("snip")])
    found = info(path)
    (profile,) = found.profiles
    assert found.attributes["schema_version"] == 2
    assert profile.spec == toy.spec()
    assert profile.layers == ("stem", "cell1", "head")
    assert profile.shard_size == 4
    assert [run["host"] for run in profile.runs] == ["here"]
    assert profile.content_digest is not None
    assert len(profile.content_digest) == 64
    assert [(e.name, e.num_ok, e.num_not_run) for e in profile.estimators] == [("snip", 0, 10)]
    bytes_there = sum(p.stat().st_size for p in (path / name).rglob("*") if p.is_file())
    assert (profile.num_bytes, profile.bytes_per_arch) == (bytes_there, bytes_there / 5)
    assert found.num_bytes is not None
    assert found.num_bytes > bytes_there
    assert found.accuracies == ()


def test_info__of_one_profile(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr")
    create_profile(tmp_path / "s.zarr", toy.spec(seed=9), arch=toy.archs, layers=toy.layers)
    assert [p.status.name for p in info(tmp_path / "s.zarr", name).profiles] == [name]
    with pytest.raises(NotAStoreError, match="no profile 'toy'"):
        info(tmp_path / "s.zarr", "toy")
