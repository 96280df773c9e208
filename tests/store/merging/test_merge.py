import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from sweetgrad.store import (
    COUNTS,
    MOMENTS,
    Profile,
    Shard,
    SpecMismatchError,
    StoreError,
    create_profile,
    import_accuracy,
    info,
    list_profiles,
    merge,
    open_accuracy,
    open_estimators,
    open_moments,
    open_profile,
    profile_block,
    verify,
)
from tests._scores import split_scores


def half(path, toy, rows, *, shard_size=4, spec=None, **options) -> str:
    """A store with some rows of the one profile."""
    name = create_profile(path, spec or toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=shard_size).name
    toy.run(path, name, rows, **options)
    Profile.open(path, name).finalise()
    return name


def score_rows(path, name, toy, scores: dict[int, float], *, estimator="snip") -> None:
    Profile.open(path, name).add_blocks([profile_block(estimator)])
    rows = sorted(scores)
    for shard in {
        shard.index: shard for shard in Profile.open(path, name).plan(rows, [profile_block(estimator)])
    }.values():
        inside = np.array(shard.rows)
        values = {"score": [scores[row] for row in shard.rows], "seconds": [0.5] * len(inside)}
        data: dict[str, Any] = {
            key: (("arch", "estimator"), np.array(values.get(key, [1] * len(inside)), variable.dtype)[:, None])
            for key, variable in ((each.name, each) for each in profile_block("snip").variables)
        }
        if estimator == MOMENTS.name:
            data |= {each.name: (each.dims, moments_of(path, name, inside)) for each in MOMENTS.contents}
        coords = {"arch": [toy.archs[i] for i in inside], "arch_index": ("arch", inside), "estimator": [estimator]}
        Profile.open(path, name).write(shard, split_scores(xr.Dataset(data, coords=coords)))


def moments_of(path, name, rows) -> np.ndarray:
    """Sums that tell rows, layers, kinds and bins apart."""
    shape = open_profile(path, name, chunks=None)["grad_count"].shape[1:]
    return np.stack([np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + row for row in rows])


def rows_of(path: Path, name: str) -> xr.Dataset:
    return open_profile(path, name, chunks=None).load()


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "a.zarr", tmp_path / "b.zarr", tmp_path / "merged.zarr"


@pytest.mark.parametrize("sizes", [(4, 4), (4, 3), (10, 1)])
def test_merge__unites_rows_as_if_one_run_had_made_them(paths, toy, sizes):
    a, b, merged = paths
    name = half(a, toy, [0, 1, 4, 9], shard_size=sizes[0], failed=[9])
    half(b, toy, [1, 2, 3, 5, 6, 7, 8], shard_size=sizes[1])
    before = toy.contents(a), toy.contents(b)

    report = merge([a, b], merged)

    straight = merged.with_name("straight.zarr")
    half(straight, toy, range(10), shard_size=sizes[0], failed=[9])
    assert toy.contents(merged) == toy.contents(straight)
    assert verify(merged) == []
    (profile,) = info(merged).profiles
    assert (profile.status.complete, profile.shard_size) == (True, sizes[0])
    assert profile.content_digest == info(straight).profiles[0].content_digest
    assert (toy.contents(a), toy.contents(b)) == before
    (found,) = report.profiles
    assert (found.name, found.rows_from, found.num_common) == (name, {str(a): 4, str(b): 6}, 1)
    assert f"4 rows from {a}, 6 rows from {b}; 1 rows in several sources, all equal" in str(report)


def test_merge__is_the_same_in_any_order_and_of_three(paths, toy, tmp_path):
    a, b, merged = paths
    c = tmp_path / "c.zarr"
    half(a, toy, [0, 1, 2])
    half(b, toy, [2, 3])
    half(c, toy, [3, 9])
    merge([a, b, c], merged)
    merge([c, a, b], tmp_path / "other.zarr")
    assert toy.contents(merged) == toy.contents(tmp_path / "other.zarr")
    assert np.flatnonzero(rows_of(merged, toy.spec().profile_name)["status"]).tolist() == [0, 1, 2, 3, 9]


def test_merge__copies_a_profile_of_one_source_as_it_is(paths, toy):
    a, b, merged = paths
    one = half(a, toy, range(10))
    other = half(b, toy, [0, 1], spec=toy.spec(seed=7))
    merge([a, b], merged)
    assert list_profiles(merged) == [one, other]
    assert toy.contents(merged) == {**toy.contents(a), **toy.contents(b)}


def test_merge__ok_beats_failed_and_failures_may_differ(paths, toy):
    a, b, merged = paths
    name = half(a, toy, range(6), failed=[1, 2])
    half(b, toy, range(6), failed=[2, 3])
    root = zarr.open_group(b, mode="r+", use_consolidated=False)
    assert root[f"{name}/message"][2]
    report = merge([a, b], merged)
    status = rows_of(merged, name)["status"].values
    assert status.tolist() == [1, 1, 2, 1, 1, 1, 0, 0, 0, 0]
    assert (report.profiles[0].num_replaced, report.profiles[0].num_failed_in_all) == (2, 1)
    assert "2 rows failed in one source and are ok in another, from which they were taken" in str(report)
    assert verify(merged) == []


def test_merge__names_rows_that_contradict_each_other_and_writes_nothing(paths, toy):
    a, b, merged = paths
    name = half(a, toy, range(6))
    half(b, toy, [4])
    rows = toy.rows([5])
    rows["loss"][:] = 9.0
    Profile.open(b, name).write(Shard(1, 4, 8, (5,)), {COUNTS: rows})
    Profile.open(b, name).finalise()
    digests = [f"{rows_of(path, name)['digest'].values[5]:016x}" for path in (a, b)]
    with pytest.raises(StoreError) as raised:
        merge([a, b], merged)
    message = str(raised.value)
    assert "have 1 conflicts, so nothing was written" in message
    assert f"{name}, row 5 (|op5~0|): digest {digests[0]} in {a}, digest {digests[1]} in {b}" in message
    assert [path.name for path in merged.parent.iterdir() if "merged" in path.name] == []


def test_merge__refuses_other_settings_and_names_them(paths, toy):
    a, b, merged = paths
    half(a, toy, [0])
    half(b, toy, [1], spec=toy.spec(batch_sha256="1" * 64, device="cuda"))
    with pytest.raises(SpecMismatchError, match=rf'batch_sha256: "0+" in {a}, "1+" in {b}\n  device: "cpu" in'):
        merge([a, b], merged)
    assert not merged.exists()


def test_merge__refuses_profiles_of_two_versions_of_a_space(paths, toy):
    a, b, merged = paths
    half(a, toy, [0])
    half(b, toy, [1], spec=toy.spec(space_version=2))
    with pytest.raises(SpecMismatchError, match=f"space_version: 1 in {a}, 2 in {b}"):
        merge([a, b], merged)


def test_merge__compares_all_layers_of_profiles_with_fewer_architectures(paths, toy):
    for path, layers in zip(paths, (["stem", "cell0"], ["stem", "cell1"]), strict=False):
        name = create_profile(path, toy.spec(arch=["a"]), arch=["a"], layers=layers).name
        Profile.open(path, name).finalise()
    with pytest.raises(StoreError, match="has different layers"):
        merge(paths[:2], paths[2])


def test_merge__unites_scores_of_estimators(paths, toy):
    a, b, merged = paths
    name = half(a, toy, [0, 1, 2])
    half(b, toy, [1, 2, 5], shard_size=3)
    score_rows(a, name, toy, {0: 0.5, 1: -0.0})
    score_rows(b, name, toy, {1: -0.0, 2: 2.5, 5: 5.5})
    score_rows(b, name, toy, {5: 7.0}, estimator="grad_norm")
    merge([a, b], merged)
    scores = open_estimators(merged, name)
    snip = scores["score"].sel(estimator="snip").values
    assert snip[[0, 1, 2, 5]].tolist() == [0.5, 0.0, 2.5, 5.5]
    assert np.isnan(snip[[3, 4, 6, 7, 8, 9]]).all()
    assert scores["status"].sel(estimator="snip").values.tolist() == [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert scores["score"].sel(estimator="grad_norm").values[5] == 7.0
    assert verify(merged) == []


def test_merge__unites_moments(paths, toy):
    a, b, merged = paths
    name = half(a, toy, range(10))
    half(b, toy, [1, 2, 5], shard_size=3)
    score_rows(b, name, toy, {1: 1.0, 5: 1.0}, estimator=MOMENTS.name)
    merge([a, b], merged)
    moments = open_moments(merged, name)
    for each in (variable.name for variable in MOMENTS.contents):
        np.testing.assert_array_equal(moments[each].values[[1, 5]], moments_of(merged, name, [1, 5]))
        assert np.isnan(moments[each].values[[0, 2, 3, 4, 6, 7, 8, 9]]).all()
    assert verify(merged) == []


def test_merge__names_scores_that_differ_in_one_bit(paths, toy):
    a, b, merged = paths
    name = half(a, toy, [0, 1])
    half(b, toy, [0, 1])
    score_rows(a, name, toy, {0: 0.1, 1: 1.0})
    score_rows(b, name, toy, {0: 0.1, 1: np.nextafter(1.0, 2)})
    with pytest.raises(StoreError, match=rf"{name}, estimator snip, row 1: 1\.0 in .*, 1\.0000000000000002 in"):
        merge([a, b], merged)


def accuracies(path, toy, values: dict[int, float], *, split="test") -> None:
    table = pd.DataFrame({"arch": [toy.archs[i] for i in values], "dataset": "cifar10", "split": split, "epochs": 12})
    import_accuracy(path, space="toy", table=table.assign(accuracy=list(values.values())), source=f"{path.name}.csv")


def test_merge__unites_accuracies(paths, toy):
    a, b, merged = paths
    half(a, toy, [0])
    half(b, toy, [1])
    accuracies(a, toy, {0: 50.0, 1: 60.0})
    accuracies(b, toy, {1: 60.0, 2: 70.0})
    accuracies(b, toy, {3: 80.0}, split="valid")
    report = merge([a, b], merged)
    assert open_accuracy(merged, "toy", "cifar10/test").values[:3].tolist() == [50.0, 60.0, 70.0]
    assert open_accuracy(merged, "toy", "cifar10/valid").values[3] == 80.0
    assert [source["source"] for source in info(merged).accuracies[0].sources] == [
        "a.zarr.csv",
        "b.zarr.csv",
        "b.zarr.csv",
    ]
    assert report.accuracies == {"toy": (str(a), str(b))}
    assert verify(merged) == []


def test_merge__keeps_equal_accuracies_as_they_are_and_names_contradictions(paths, toy, tmp_path):
    a, b, merged = paths
    half(a, toy, [0])
    half(b, toy, [1])
    accuracies(a, toy, {0: 50.0})
    shutil.copytree(a / "toy" / "accuracy", b / "toy" / "accuracy")
    merge([a, b], merged)
    files = {key: value for key, value in toy.contents(merged).items() if "/accuracy/" in key}
    assert files == {key: value for key, value in toy.contents(a).items() if "/accuracy/" in key}
    c = tmp_path / "c.zarr"
    half(c, toy, [1])
    accuracies(c, toy, {0: 51.0})
    with pytest.raises(StoreError, match=rf"that in {c} disagree on accuracy"):
        merge([a, c], tmp_path / "never.zarr")
    assert not (tmp_path / "never.zarr").exists()


def test_merge__keeps_the_provenance_of_both_in_the_order_of_time(paths, toy):
    a, b, merged = paths
    name = half(a, toy, [0])
    Profile.open(a, name).record_run({"torch": "2.6"})
    shutil.copytree(a, b)
    Profile.open(b, name).record_run({"torch": "2.7"})
    for path, day in ((b, "2026-01-03"), (a, "2026-01-02")):
        group = zarr.open_group(path, path=name, mode="r+", use_consolidated=False)
        group.attrs["runs"] = [{**run, "started": "2026-01-01"} for run in group.attrs["runs"][:1]] + [
            {"started": day, "torch": {a: "2.6", b: "2.7"}[path]}
        ]
    report = merge([b, a], merged)
    (profile,) = info(merged).profiles
    assert [run["started"] for run in profile.runs] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert report.profiles[0].differences == (f"torch differs: 2.6, 2.7 in {b}; 2.6 in {a}",)
    assert "merged 20" in info(merged).attributes["history"]
    assert str(a) in info(merged).attributes["history"]


def test_merge__refuses_a_damaged_source_and_names_it(paths, toy):
    a, b, merged = paths
    name = half(a, toy, range(10))
    half(b, toy, [0])
    file = b / name / "loss" / "c" / "0"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(StoreError, match=rf"{b} has 1 problem, so nothing was written:\n.*loss"):
        merge([a, b], merged)
    assert not merged.exists()


def test_merge__writes_only_to_a_new_place(paths, toy):
    a, b, merged = paths
    half(a, toy, [0])
    half(b, toy, [1])
    with pytest.raises(StoreError, match="merge writes a new store"):
        merge([a, b], a)
    with pytest.raises(ValueError, match="needs two or more stores"):
        merge([a], merged)
    with pytest.raises(ValueError, match="given twice"):
        merge([a, a], merged)
    with pytest.raises(ValueError, match="inside the source"):
        merge([a, b], b / "merged.zarr")
    with pytest.raises(ValueError, match="local folder"):
        merge([a, b], "s3://bucket/merged.zarr")
    (merged.with_name("merged.zarr.merging") / "half").mkdir(parents=True)  # killed while it wrote
    merge([a, b], merged)
    assert sorted(path.name for path in merged.parent.glob("merged*")) == ["merged.zarr"]
