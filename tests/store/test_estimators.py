import numpy as np
import pytest
import zarr

from sweetgrad.store import (
    CorruptShardError,
    NotAStoreError,
    Profile,
    Shard,
    list_estimators,
    open_estimators,
    open_profile,
    profile_block,
    shards,
    verify,
)
from tests._scores import split_scores


def make_scores(toy, rows, estimators, *, status=1):
    """Scores that depend on row and estimator alone: 10 * row + length of the name."""
    values = np.array([[10 * row + len(estimator) for estimator in estimators] for row in rows], dtype=np.float64)
    dims = ("arch", "estimator")
    return (
        toy.rows(rows)[["arch", "arch_index"]]
        .assign(
            score=(dims, values),
            seconds=(dims, np.full(values.shape, 0.5, dtype=np.float32)),
            message=(dims, np.full(values.shape, "no ReLU" if status == 2 else "", dtype=object)),
            status=(dims, np.full(values.shape, status, dtype=np.uint8)),
        )
        .assign_coords(estimator=list(estimators))
    )


DTYPES = {
    key: "object" if v.dtype == "str" else v.dtype
    for key, v in ((v.name, v) for v in profile_block("snip").variables)
    if key != "digest"
}


@pytest.fixture
def made(tmp_path, toy):
    """A store whose ten rows are measured (shards of 4, 4 and 2), and its profile's name."""
    return tmp_path / "s.zarr", toy.store(tmp_path / "s.zarr")


def test_estimators__of_a_new_profile_are_none(made):
    path, name = made
    assert list_estimators(path, name) == []
    scores = open_estimators(path, name)
    assert dict(scores.sizes) == {"arch": 10, "estimator": 0}
    assert {key: scores[key].dtype for key in scores} == DTYPES


def test_create_estimators__makes_empty_arrays(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("snip"), profile_block("grad_norm")])
    assert list_estimators(path, name) == ["grad_norm", "snip"]
    scores = open_estimators(path, name)
    assert scores.arch.values.tolist() == toy.archs
    assert scores.estimator.values.tolist() == ["grad_norm", "snip"]
    assert np.isnan(scores.score).all()
    assert np.isnan(scores.seconds).all()
    assert (scores.status == 0).all()
    assert {key: scores[key].dtype for key in scores} == DTYPES
    assert verify(path) == []


def test_create_estimators__leaves_what_is_there(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("snip")])
    Profile.open(path, name).write(Shard(0, 0, 4, (1,)), split_scores(make_scores(toy, [1], ["snip"])))
    Profile.open(path, name).add_blocks([profile_block("snip"), profile_block("grad_norm")])
    Profile.open(path, name).add_blocks([])
    assert open_estimators(path, name).score.sel(estimator="snip").values[1] == 14


def test_create_estimators__makes_a_creation_that_was_cut_off_again(made):
    """A group without ``status``, which is made last, is no estimator."""
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("snip")])
    del zarr.open_group(path, mode="r+", use_consolidated=False)[f"{name}/estimators/snip"]["status"]
    assert list_estimators(path, name) == []
    assert open_estimators(path, name).sizes["estimator"] == 0
    Profile.open(path, name).add_blocks([profile_block("snip")])
    assert list_estimators(path, name) == ["snip"]
    assert open_estimators(path, name).status.values.tolist() == [[0]] * 10


def test_write_estimators__merges_rows_and_estimators(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a"), profile_block("bb")])
    Profile.open(path, name).write(Shard(1, 4, 8, ()), split_scores(make_scores(toy, [7, 4], ["a", "bb"])))
    Profile.open(path, name).write(Shard(1, 4, 8, ()), split_scores(make_scores(toy, [5], ["bb"])))
    Profile.open(path, name).write(Shard(2, 8, 10, ()), split_scores(make_scores(toy, [9], ["bb", "a"])))
    scores = open_estimators(path, name)
    expected = np.full((10, 2), np.nan)
    expected[[4, 7, 9], 0] = [41, 71, 91]
    expected[[4, 5, 7, 9], 1] = [42, 52, 72, 92]
    np.testing.assert_array_equal(scores.score, expected)
    np.testing.assert_array_equal(scores.status, (~np.isnan(expected)).astype(np.uint8))
    assert (scores.seconds.values[~np.isnan(expected)] == 0.5).all()


def test_write_estimators__leaves_what_is_stored_where_nothing_was_run(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a")])
    Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, range(4), ["a"], status=2)))
    scores = make_scores(toy, range(4), ["a"])
    scores["score"] += 1
    scores["status"][1] = 0
    Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(scores))
    stored = open_estimators(path, name).sel(estimator="a").isel(arch=slice(4))
    assert stored.status.values.tolist() == [1, 2, 1, 1]
    assert stored.score.values.tolist() == [2, 11, 22, 32]
    assert stored.message.values.tolist() == ["", "no ReLU", "", ""]
    assert verify(path) == []


def test_estimators__that_were_written_before_there_were_messages_read_as_without_and_can_be_continued(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a")])
    Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, range(4), ["a"])))
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    for key in ("message", "digest"):
        del root[f"{name}/estimators/a"][key]
    root.attrs["schema_version"] = 1
    assert open_estimators(path, name).message.values.ravel().tolist() == [""] * 10
    Profile.open(path, name).add_blocks([profile_block("a")])
    Profile.open(path, name).write(Shard(1, 4, 8, ()), split_scores(make_scores(toy, range(4, 8), ["a"], status=2)))
    stored = open_estimators(path, name).sel(estimator="a")
    assert stored.score.values[:4].tolist() == [1, 11, 21, 31]
    assert stored.message.values.tolist() == [""] * 4 + ["no ReLU"] * 4 + [""] * 2
    assert verify(path) == []


def test_read_estimator_status__is_that_of_the_rows_of_a_shard(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a"), profile_block("bb")])
    Profile.open(path, name).write(Shard(1, 4, 8, ()), split_scores(make_scores(toy, [5], ["bb"])))
    profile = Profile.open(path, name)
    found = {key: profile.status(profile_block(key), Shard(1, 4, 8, ())) for key in ("a", "bb")}
    assert {key: status.tolist() for key, status in found.items()} == {"a": [0, 0, 0, 0], "bb": [0, 1, 0, 0]}


def test_write_estimators__touches_nothing_but_its_arrays(made, toy):
    path, name = made
    before = toy.contents(path)
    Profile.open(path, name).add_blocks([profile_block("a")])
    Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, range(4), ["a"])))
    after = toy.contents(path)
    assert {file: after[file] for file in before} == before
    assert all(file.startswith(f"{name}/estimators/a/") for file in after.keys() - before.keys())
    assert verify(path) == []


def test_write_estimators__writes_status_last(made, toy, monkeypatch):
    """A crash before the end leaves the rows as not run."""
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a")])
    write = shards.write_array
    monkeypatch.setattr(
        shards, "write_array", lambda group, key, *rest: 1 / 0 if key == "status" else write(group, key, *rest)
    )
    with pytest.raises(ZeroDivisionError):
        Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, [0], ["a"])))
    monkeypatch.undo()
    assert open_estimators(path, name).score.values[0, 0] == 1
    assert Profile.open(path, name).plan([0], [profile_block("a")]) == [Shard(0, 0, 4, (0,))]


def test_write_estimators__refuses_rows_of_another_shard_or_architecture(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a")])
    with pytest.raises(ValueError, match=r"rows 3 to 4 are not all in shard 0 \(0 to 3\)"):
        Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, [3, 4], ["a"])))
    wrong = make_scores(toy, [1], ["a"]).assign_coords(arch=["|other~0|"])
    with pytest.raises(ValueError, match=r"row 1 of toy/.* is architecture \|op1~0\|, got \|other~0\|"):
        Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(wrong))


def test_plan_shards__asks_for_rows_without_score(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a"), profile_block("bb")])
    Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, range(4), ["a"])))
    Profile.open(path, name).write(Shard(1, 4, 8, ()), split_scores(make_scores(toy, range(4, 8), ["a"], status=2)))
    assert Profile.open(path, name).plan(range(8)) == []
    assert Profile.open(path, name).plan(range(8), [profile_block("a")]) == []
    assert Profile.open(path, name).plan(range(8), [profile_block("a")], retry_failed=True) == [
        Shard(1, 4, 8, (4, 5, 6, 7))
    ]
    assert Profile.open(path, name).plan(range(3), [profile_block("a"), profile_block("bb")]) == [
        Shard(0, 0, 4, (0, 1, 2))
    ]


def test_plan_shards__expects_no_score_of_a_network_that_failed(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", failed=[1])
    Profile.open(tmp_path / "s.zarr", name).add_blocks([profile_block("a")])
    assert Profile.open(tmp_path / "s.zarr", name).plan(range(3), [profile_block("a")]) == [Shard(0, 0, 4, (0, 2))]


def test_estimators__that_cannot_be_decoded_are_named_and_repaired(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a"), profile_block("bb")])
    for shard, rows in ((Shard(0, 0, 4, ()), range(4)), (Shard(1, 4, 8, ()), range(4, 8))):
        Profile.open(path, name).write(shard, split_scores(make_scores(toy, rows, ["a", "bb"])))
    file = path / name / "estimators" / "a" / "score" / "c" / "0"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(CorruptShardError, match=r"estimators/a/score, rows 0 to 3 \(shard 0\).*--repair"):
        Profile.open(path, name).write(Shard(0, 0, 4, ()), split_scores(make_scores(toy, [1], ["a"])))
    with pytest.raises(CorruptShardError, match=r"estimators/a/score .*--repair"):
        open_estimators(path, name)
    assert [problem.what.split(":")[0] for problem in verify(path)] == ["estimators/a/score"]
    verify(path, repair=True)  # clears the one shard, and no other
    assert verify(path) == []
    np.testing.assert_array_equal(open_estimators(path, name).score.values[3:5], [[np.nan, 32], [41, 42]])
    assert Profile.open(path, name).plan(range(8), [profile_block("a"), profile_block("bb")]) == [
        Shard(0, 0, 4, (0, 1, 2, 3))
    ]


@pytest.mark.parametrize("call", [list_estimators, open_estimators])
def test_estimators__of_a_profile_that_is_not_there(made, call):
    path, _ = made
    with pytest.raises(NotAStoreError, match="has no profile 'toy/nothing'; it holds toy/synthetic"):
        call(path, "toy/nothing")


def test_estimators__do_not_disturb_the_profile(made, toy):
    path, name = made
    Profile.open(path, name).add_blocks([profile_block("a")])
    profile = open_profile(path, name)
    assert "score" not in profile
    assert profile.sizes["arch"] == 10
