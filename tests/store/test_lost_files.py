"""Every kind of column, one file of it lost or damaged: no reader takes it for fill values, and `verify` names it."""

import asyncio
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

from sweetgrad.analysis import Interval, score
from sweetgrad.store import (
    ACCURACY_VARIABLES,
    ACTIVATIONS,
    COUNTS,
    MOMENTS,
    TRAINING_VARIABLES,
    VARIABLES,
    CorruptShardError,
    Profile,
    Shard,
    create_profile,
    info,
    open_accuracies,
    open_activations,
    open_block,
    open_estimators,
    open_moments,
    open_profile,
    open_training,
    profile_block,
    status,
    verify,
)
from sweetgrad.store.access import open_root
from sweetgrad.store.access._guard import GuardedStore
from tests._scores import split_scores

NAME, TRAINING = "toy/synthetic/bs2-seed0", "toy/training/digits/seed0"
ESTIMATORS = ("snip", "moments", "activations")
BLOCKS = {
    "synflow": ["tensor_flow_sum", "tensor", "tensor_layer", "status"],
    # Of a package that is not installed.
    "shapes": ["vector_moment", "num_odd", "vector", "vector_layer", "seconds", "message", "digest", "status"],
}
ARRAYS = [
    *(f"{NAME}/{variable}" for variable in VARIABLES),
    *(f"{NAME}/blocks/{block}/{variable}" for block, variables in BLOCKS.items() for variable in variables),
    *(f"{NAME}/estimators/{each}/{v}" for each in ESTIMATORS for v in [*profile_block(each).measured, "digest"]),
    *(f"toy/accuracy/{variable}" for variable in ACCURACY_VARIABLES),
    *(f"{TRAINING}/{variable}" for variable in TRAINING_VARIABLES),
]
UNREAD = ("bin_lower", "bin_upper")
"""Known by the format, so that no reader takes them from the file."""


@pytest.fixture(scope="module")
def full(tmp_path_factory, toy):
    """One store for all tests of this file, each of which puts back what it damages."""
    path = tmp_path_factory.mktemp("full") / "s.zarr"
    assert toy.full_store(path) == NAME
    assert verify(path) == []
    return path


@pytest.fixture
def store(tmp_path, full):
    """A copy, for tests that change it."""
    return Path(shutil.copytree(full, tmp_path / "s.zarr"))


def last_file(store: Path, array: str) -> Path:
    """A file of an array; of one with shards, the last of them."""
    return max(path for path in (store / array / "c").rglob("*") if path.is_file())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES = [Path.unlink, empty, truncate, flip_bit]


def read(location: Any, array: str) -> Any:
    """What a user calls to read an array."""
    group, _, variable = array.rpartition("/")
    if group == NAME:
        return open_profile(location, NAME, chunks=None)[variable].load()
    if group == TRAINING:
        return open_training(location, TRAINING)
    if group == "toy/accuracy":
        return open_accuracies(location, "toy")
    if "/blocks/" in group:
        return open_block(location, NAME, group.rpartition("/")[2])[variable].load()
    if variable in [each.name for each in MOMENTS.contents]:
        return open_moments(location, NAME)[variable].load()
    if variable in [each.name for each in ACTIVATIONS.contents]:
        return open_activations(location, NAME)[variable].load()
    return open_estimators(location, NAME)


def is_read(array: str) -> bool:
    """Whether a reader reads this array; of the digests of other groups, only `verify` does."""
    group, _, variable = array.rpartition("/")
    return variable not in UNREAD and (variable != "digest" or group == NAME)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_readers__refuse_every_column_that_lost_a_file(full, damage):
    for array in filter(is_read, ARRAYS):
        path = last_file(full, array)
        good = path.read_bytes()
        damage(path)
        with pytest.raises(CorruptShardError) as raised:
            read(full, array)
        path.write_bytes(good)
        said = str(raised.value)
        assert str(path.relative_to(full)) in said
        assert "--repair" in said or "Delete" in said, said
        assert ("is missing" in said) == (damage is Path.unlink)
        assert "Stored and computed" not in said


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_verify__names_every_damaged_file_of_every_group(store, damage):
    for array in ARRAYS:
        damage(last_file(store, array))
    problems = verify(store)
    for array in ARRAYS:
        owner = NAME if array.startswith(NAME) else array.rpartition("/")[0]
        variable = array.removeprefix(f"{owner}/")
        named = [problem for problem in problems if problem.profile == owner and problem.what.startswith(variable)]
        assert named, array


@pytest.mark.parametrize("damage", [Path.unlink, flip_bit], ids=lambda f: f.__name__)
def test_readers__refuse_a_zip_with_a_member_that_is_lost_or_damaged(full, damage, tmp_path):
    for array in filter(is_read, ARRAYS[::3]):
        path = last_file(full, array)
        good = path.read_bytes()
        damage(path)
        with zipfile.ZipFile(tmp_path / "s.zarr.zip", "w") as archive:
            for file in sorted(file for file in full.rglob("*") if file.is_file()):
                archive.write(file, file.relative_to(full).as_posix())
        path.write_bytes(good)
        with pytest.raises(CorruptShardError, match=str(path.relative_to(full))):
            read(tmp_path / "s.zarr.zip", array)


def test_score__of_a_row_that_lost_its_counts_is_no_zero(store):
    for variable in ("grad_count_network", "grad_count"):
        path = last_file(store, f"{NAME}/{variable}")
        good = path.read_bytes()
        path.unlink()
        profile = open_profile(store, NAME)
        with pytest.raises(
            CorruptShardError, match=rf"{variable}/c/2.* is missing, with the rows 8 to 9, although it was written"
        ):
            score(profile, Interval("1e-4", "5e-4")).compute() if variable != "grad_count" else profile[
                variable
            ].compute()
        path.write_bytes(good)


def test_readers__of_dask_processes_know_what_is_lost(store):
    last_file(store, f"{NAME}/loss").unlink()
    profile = pickle.loads(pickle.dumps(open_profile(store, NAME)))  # noqa: S301 - made in this line
    with dask.config.set(scheduler="synchronous"), pytest.raises(CorruptShardError, match="loss/c/2 is missing"):
        profile["loss"].compute()


def test_corrupt_shard_error__travels_between_processes(store):
    last_file(store, f"{NAME}/loss").unlink()
    with pytest.raises(CorruptShardError) as raised:
        open_profile(store, NAME)["loss"].compute()
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - made in this line
    assert str(again) == str(raised.value)


def test_status__that_was_stamped_and_is_lost_is_no_row_that_was_not_run(store):
    last_file(store, f"{NAME}/status").unlink()
    for ask in (lambda: status(store), lambda: info(store), lambda: Profile.open(store, NAME).plan([0])):
        with pytest.raises(CorruptShardError, match="status/c/2 is missing"):
            ask()
    with pytest.raises(CorruptShardError, match="status/c/2 is missing"):
        open_profile(store, NAME, chunks=None)["status"].load()


def test_shards_that_were_never_run__read_as_fill_values(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=range(4))
    profile = open_profile(path, name, chunks=None).load()
    assert profile["status"].values.tolist() == [1] * 4 + [0] * 6
    assert np.isnan(profile["loss"].values[4:]).all()
    assert not profile["grad_count"].values[4:].any()


def test_files_of_a_first_write_that_was_cut_off__may_be_lost(tmp_path, toy):
    """A crash before the first status leaves some files of a shard, and the next run writes all of it."""
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[])
    toy.run(path, name, range(4))
    for variable in ("status", "loss", "grad_count"):
        last_file(path, f"{name}/{variable}").unlink()
    assert verify(path) == []
    assert status(path)[0].num_ok == 0
    toy.run(path, name, range(10))
    Profile.open(path, name).finalise()
    toy.store(tmp_path / "straight.zarr")
    assert toy.contents(path) == toy.contents(tmp_path / "straight.zarr")


def test_a_writer__does_not_merge_into_a_shard_that_lost_a_file(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[0])
    last_file(path, f"{name}/grad_count").unlink()
    with pytest.raises(CorruptShardError, match=r"grad_count/c/0.* is missing, with the rows 0 to 3"):
        Profile.open(path, name).write(Shard(0, 0, 4, (1,)), {COUNTS: toy.rows([1])})


def test_a_reader__that_was_open_before_the_rows_sees_them_and_no_damage(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[0])
    profile = open_profile(path, name, chunks=None)
    assert np.isnan(profile["loss"].values[4:]).all()
    toy.run(path, name, range(8))
    again = open_profile(path, name, chunks=None)
    assert profile["grad_count"].values[4:8].any()
    assert again["status"].values.tolist() == [1] * 8 + [0] * 2


def test_a_reader__between_the_two_looks_of_which_a_shard_is_written_reads_it(tmp_path, toy, monkeypatch):
    """The file is not there, then the writer writes it and its status, then the reader looks at the status."""
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[0])
    profile = open_profile(path, name, chunks=None)
    before = GuardedStore._is_lost

    async def written_meanwhile(self, key, limits):
        monkeypatch.setattr(GuardedStore, "_is_lost", before)
        await asyncio.to_thread(shutil.copytree, tmp_path / "all.zarr" / name, path / name, dirs_exist_ok=True)
        return await before(self, key, limits)

    toy.store(tmp_path / "all.zarr", rows=range(8))
    monkeypatch.setattr(GuardedStore, "_is_lost", written_meanwhile)
    assert not np.isnan(profile["loss"].values[4:8]).any()


def test_reset_shard__leaves_a_status_that_says_so(store):
    Profile.open(store, NAME).clear(COUNTS, Shard(1, 4, 8, ()))
    assert open_profile(store, NAME, chunks=None)["status"].values.tolist() == [1] * 4 + [0] * 4 + [1] * 2


def test_verify__clears_the_shard_of_an_estimator_and_no_other(store, toy):
    before = toy.contents(store)
    last_file(store, f"{NAME}/estimators/moments/grad_sq_bin_sum").unlink()
    (problem,) = verify(store, repair=True)
    assert (problem.shard, problem.rows, problem.repairable) == (2, (8, 9), True)
    assert verify(store) == []
    (shard,) = Profile.open(store, NAME).plan(range(10), [profile_block("moments")])
    assert list(shard.rows) == [8, 9]
    Profile.open(store, NAME).write(shard, split_scores(toy.scores([8, 9], ["moments"])))
    Profile.open(store, NAME).finalise()
    assert toy.contents(store) == before


def test_verify__clears_the_shard_of_a_training(store):
    last_file(store, f"{TRAINING}/loss").unlink()
    (problem,) = verify(store, repair=True)
    assert "the next `sweetgrad train` measures it again" in problem.what
    assert verify(store) == []
    assert not open_training(store, TRAINING)["status"].values.any()


@pytest.mark.parametrize(
    ("array", "index", "value"),
    [
        (f"{NAME}/estimators/snip/score", 3, 77.0),
        (f"{NAME}/estimators/moments/grad_abs_bin_sum", (3, 0, 0, 7), 1.5),
        (f"{NAME}/estimators/activations/activation_count", (3, 1, 9), 99),
        (f"{NAME}/estimators/snip/message", 3, "odd"),
        (f"{NAME}/blocks/synflow/tensor_flow_sum", (3, 1), 77.0),
        (f"{NAME}/blocks/shapes/vector_moment", (3, 1, 0), 77.0),
        (f"{NAME}/blocks/shapes/num_odd", 3, 999),
        (f"{NAME}/blocks/shapes/message", 3, "odd"),
        ("toy/accuracy/accuracy", (3, 0, 0, 0), 12.0),
        (f"{TRAINING}/accuracy", (3, 0), 12.0),
        (f"{TRAINING}/loss", 3, 12.0),
    ],
)
def test_verify__finds_any_changed_value_by_its_digest(store, array, index, value):
    zarr.open_group(store, mode="r+", use_consolidated=False)[array][index] = value
    (problem,) = verify(store)
    assert problem.rows == (3,)
    assert "digest: the content does not match it" in problem.what


def test_verify__finds_rows_of_an_estimator_that_are_gone_since_the_stamp(store):
    zarr.open_group(store, mode="r+", use_consolidated=False)[f"{NAME}/estimators/snip/status"][2] = 0
    (problem,) = verify(store)
    assert problem.what.startswith("estimators/snip/status: was stamped complete with 10 rows ok")
    assert problem.rows == (2,)


def test_digests__of_an_estimator_do_not_depend_on_shards_and_order(tmp_path, toy):
    digests = []
    for number, size in enumerate((4, 10)):
        path = tmp_path / f"{number}.zarr"
        name = create_profile(path, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=size).name
        toy.run(path, name, range(10))
        Profile.open(path, name).add_blocks(map(profile_block, ESTIMATORS))
        for rows in ([9, 0, 4], [1, 2, 3, 5, 6, 7, 8]):
            for shard in Profile.open(path, name).plan(rows, [*map(profile_block, ESTIMATORS)]):
                Profile.open(path, name).write(shard, split_scores(toy.scores(list(shard.rows), ESTIMATORS)))
        root = open_root(path)
        digests.append([root[f"{name}/estimators/{each}/digest"][:].tolist() for each in ESTIMATORS])
    assert digests[0] == digests[1]
    assert all(all(each) for each in digests[0])


@pytest.mark.parametrize(
    ("file", "repairable"),
    [
        (f"{TRAINING}/split/c/0", False),
        (f"{TRAINING}/zarr.json", False),
        (f"{TRAINING}/loss/zarr.json", False),
        (f"{NAME}/estimators/snip/zarr.json", True),
        (f"{NAME}/estimators/snip/score/zarr.json", True),
        (f"{NAME}/blocks/synflow/tensor_flow_sum/zarr.json", True),
        (f"{NAME}/blocks/synflow/tensor/zarr.json", True),
        (f"{NAME}/blocks/shapes/vector_moment/zarr.json", True),
        (f"{NAME}/blocks/shapes/vector_layer/zarr.json", True),
        (f"{NAME}/blocks/shapes/status/zarr.json", True),
        (f"{NAME}/blocks/shapes/zarr.json", True),
        (f"{NAME}/blocks/synflow/zarr.json", True),
    ],
)
def test_verify__names_lost_metadata_and_coordinates_of_groups_and_says_what_to_do(store, file, repairable):
    (store / file).unlink()
    owner = NAME if repairable else TRAINING
    (problem,) = (each for each in verify(store) if each.profile == owner)  # the copy in the root differs as well
    assert problem.repairable == repairable
    assert ("from a backup" in problem.what) != repairable
    verify(store, repair=True)
    assert (verify(store, repair=True) == []) == repairable
