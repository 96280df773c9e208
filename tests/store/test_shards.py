import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sweetgrad.store import COUNTS, CorruptShardError, Profile, Shard, create_profile, open_profile, verify


def test_plan_shards__groups_rows_by_shard_in_order(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[])
    shards = Profile.open(tmp_path / "s.zarr", name).plan([9, 3, 0, 5, 3])
    assert shards == [Shard(0, 0, 4, (0, 3)), Shard(1, 4, 8, (5,)), Shard(2, 8, 10, (9,))]


def test_plan_shards__leaves_out_what_is_done(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=range(5), failed=[1])
    assert Profile.open(tmp_path / "s.zarr", name).plan(range(5)) == []
    assert Profile.open(tmp_path / "s.zarr", name).plan(range(6)) == [Shard(1, 4, 8, (5,))]
    assert Profile.open(tmp_path / "s.zarr", name).plan(range(5), retry_failed=True) == [Shard(0, 0, 4, (1,))]


def test_plan_shards__holds_no_list_of_the_rows_of_a_whole_space(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[1])
    shards = Profile.open(tmp_path / "s.zarr", name).plan(range(10))
    assert [shard.rows for shard in shards] == [(0, 2, 3), range(4, 8), range(8, 10)]


def test_shard__is_the_same_whether_its_rows_came_as_a_range_or_not():
    assert Shard(0, 0, 4, (1, 2)) == Shard(0, 0, 4, range(1, 3)) == Shard(0, 0, 4, [1, 2])


def test_count_rows__counts_by_word(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=range(5), failed=[1])
    assert Profile.open(tmp_path / "s.zarr", name).count_rows() == {"not run": 5, "ok": 4, "failed": 1}


@pytest.mark.parametrize("rows", [[10], [-1], [0, 99]])
def test_plan_shards__refuses_rows_that_are_not_there(tmp_path, toy, rows):
    name = toy.store(tmp_path / "s.zarr", rows=[])
    with pytest.raises(ValueError, match=r"rows must be in 0\.\.9"):
        Profile.open(tmp_path / "s.zarr", name).plan(rows)


def test_write_shard__keeps_the_rows_that_were_there(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[0, 2])
    shard = Shard(0, 0, 4, (1,))
    Profile.open(path, name).write(shard, {COUNTS: toy.rows([1])})
    rows = Profile.open(path, name).read(COUNTS, shard)
    assert rows["status"].values.tolist() == [1, 1, 1, 0]
    for i in range(3):
        assert (rows["grad_count"][i] == toy.rows([i])["grad_count"][0].drop_vars(["arch", "arch_index"])).all()
    assert np.isnan(rows["loss"][3])


@pytest.mark.parametrize("rows", [range(4), [1, 3]])
def test_write_shard__keeps_nothing_of_a_shard_none_of_whose_rows_count(tmp_path, toy, rows):
    name = toy.store(tmp_path / "clean.zarr", rows=[])
    toy.store(tmp_path / "cut-off.zarr", rows=[])
    toy.run(tmp_path / "cut-off.zarr", name, range(4))
    (tmp_path / "cut-off.zarr" / name / "status/c/0").unlink()  # what a crash before the last write leaves
    for store in (tmp_path / "clean.zarr", tmp_path / "cut-off.zarr"):
        Profile.open(store, name).write(Shard(0, 0, 4, ()), {COUNTS: toy.rows(rows)})
    assert toy.contents(tmp_path / "cut-off.zarr") == toy.contents(tmp_path / "clean.zarr")


def test_write_shard__accepts_rows_in_any_order(tmp_path, toy):
    name = toy.store(tmp_path / "1.zarr", rows=range(4))
    toy.store(tmp_path / "2.zarr", rows=[])
    Profile.open(tmp_path / "2.zarr", name).write(Shard(0, 0, 4, ()), {COUNTS: toy.rows([3, 0, 2, 1])})
    assert toy.contents(tmp_path / "1.zarr") == toy.contents(tmp_path / "2.zarr")


def test_write_shard__fills_the_shard_that_the_edge_cuts(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[8, 9])
    assert open_profile(tmp_path / "s.zarr", name, chunks=None)["status"].values.tolist() == [0] * 8 + [1, 1]
    assert verify(tmp_path / "s.zarr") == []


def test_write_shard__refuses_another_architecture(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[])
    wrong = toy.rows([1]).assign_coords(arch=["|other~0|"])
    with pytest.raises(ValueError, match=r"row 1 of toy/.* is architecture \|op1~0\|, got \|other~0\|"):
        Profile.open(tmp_path / "s.zarr", name).write(Shard(0, 0, 4, (1,)), {COUNTS: wrong})


def test_write_shard__refuses_rows_of_another_shard(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[])
    with pytest.raises(ValueError, match=r"rows 3 to 4 are not all in shard 0 \(0 to 3\)"):
        Profile.open(tmp_path / "s.zarr", name).write(Shard(0, 0, 4, ()), {COUNTS: toy.rows([3, 4])})


def test_write_shard__never_merges_into_a_shard_that_it_cannot_read(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[0])
    file = path / name / "loss" / "c" / "0"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CorruptShardError, match=r"loss, rows 0 to 3 \(shard 0\).*--repair"):
        Profile.open(path, name).write(Shard(0, 0, 4, (1,)), {COUNTS: toy.rows([1])})
    with pytest.raises(CorruptShardError, match="loss"):
        Profile.open(path, name).read(COUNTS, Shard(0, 0, 4, ()))


def test_reset_shard__forgets_one_shard_and_no_other(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path)
    before = toy.contents(path)
    Profile.open(path, name).clear(COUNTS, Shard(1, 4, 8, ()))
    assert Profile.open(path, name).plan(range(10)) == [Shard(1, 4, 8, (4, 5, 6, 7))]
    after = toy.contents(path)
    status = after.pop(f"{name}/status/c/1")
    assert status != before[f"{name}/status/c/1"]  # zeros: its absence would be damage, as before
    assert after.items() < before.items()
    toy.run(path, name, range(10))
    assert toy.contents(path) == before


def test_write_shard__gives_equal_bits_in_any_order_of_shards_and_pieces(tmp_path, toy):
    name = toy.store(tmp_path / "1.zarr")
    toy.store(tmp_path / "2.zarr", rows=[9, 1])
    for rows in ([5, 0, 8], [7, 6, 4, 2], range(10)):
        toy.run(tmp_path / "2.zarr", name, rows)
    assert toy.contents(tmp_path / "1.zarr") == toy.contents(tmp_path / "2.zarr")


FULL_DISK = """
    import importlib.util, resource, sys
    from pathlib import Path
    from sweetgrad.store import COUNTS, Profile

    # No file may grow beyond the limit from here on, as on a disk that is full: the write fails with an OSError.
    conftest, store, name, limit = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("helpers", conftest)
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    profile = Profile.open(store, name)
    for shard in profile.plan(range(10)):
        profile.write(shard, {COUNTS: helpers.make_rows(shard.rows)})
"""


@pytest.mark.parametrize("limit", [40, 400])
def test_write_shard__stops_on_a_full_disk_and_resumes(tmp_path, toy, limit):
    """40 bytes stop the run in the first array of many bytes, 400 in the middle of a shard."""
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=[0, 9])
    conftest = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(conftest), str(path), name, str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "OSError: [Errno 27] File too large" in run.stderr
    assert verify(path) == []
    assert not list(path.rglob("*.partial"))
    assert Profile.open(path, name).plan(range(10))[0] == Shard(0, 0, 4, (1, 2, 3))
    toy.run(path, name, range(10))
    Profile.open(path, name).finalise()
    assert verify(path) == []
    toy.store(tmp_path / "straight.zarr")
    assert toy.contents(path) == toy.contents(tmp_path / "straight.zarr")


def test_create_profile__of_one_architecture(tmp_path, toy):
    """The smallest store: one architecture, one layer."""
    spec = toy.spec(arch=["a"])
    name = create_profile(tmp_path / "s.zarr", spec, arch=["a"], layers=toy.layers).name
    Profile.open(tmp_path / "s.zarr", name).write(Shard(0, 0, 1, (0,)), {COUNTS: toy.rows([0], archs=["a"])})
    assert verify(tmp_path / "s.zarr") == []
