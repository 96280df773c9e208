import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from sweetgrad.store import (
    COUNTS,
    VARIABLES,
    NotAStoreError,
    Profile,
    Shard,
    StoreError,
    create_profile,
    profile_block,
    status,
    verify,
)
from sweetgrad.store.access import open_root

THREES = {"name": "regular", "configuration": {"chunk_shape": [3]}}
ROW_ARRAYS = [v.name for v in COUNTS.variables]


@pytest.fixture
def store(tmp_path, toy):
    """A complete profile with one failed row, and a copy of its bytes."""
    toy.name = toy.store(tmp_path / "s.zarr", failed=[5])
    return tmp_path / "s.zarr"


@pytest.fixture(scope="session")
def straight(tmp_path_factory, toy):
    """A store of one undisturbed run."""
    path = tmp_path_factory.mktemp("straight") / "s.zarr"
    toy.store(path)
    return path


def chunk(store: Path, toy: Any, variable: str, shard: int) -> Path:
    zeros = [str(shard), *["0"] * (len(VARIABLES[variable].dims) - 1)]
    return store.joinpath(toy.name, variable, "c", *zeros)


def repaired(store: Path, toy: Any) -> dict[str, bytes]:
    """What a repair and the next run make of a store."""
    verify(store, repair=True)
    toy.run(store, toy.name, range(10), failed=[5])
    Profile.open(store, toy.name).finalise()
    assert verify(store) == []
    return toy.contents(store)


def test_verify__finds_nothing_in_a_good_store(store):
    seen = []
    assert verify(store, progress=lambda done, total: seen.append((done, total))) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_verify__finds_nothing_in_an_unfinished_store(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr", rows=[0, 1, 9])
    assert verify(tmp_path / "s.zarr") == []
    toy.run(tmp_path / "s.zarr", name, range(5))  # a later run, killed before its stamp
    assert verify(tmp_path / "s.zarr") == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, flip_bit, Path.unlink], ids=lambda f: f.__name__)
def test_verify__names_a_damaged_shard(store, toy, damage):
    for variable in ROW_ARRAYS:
        path = chunk(store, toy, variable, 1)  # rows 4 to 7; the failed row makes this the one file of message
        good = path.read_bytes()
        damage(path)
        problems = verify(store)
        path.write_bytes(good)
        assert problems
        assert {problem.profile for problem in problems} == {toy.name}
        assert all(set(problem.rows) <= {4, 5, 6, 7} and problem.rows for problem in problems)
        assert all(problem.repairable and "--repair" in problem.what for problem in problems)
        text = "\n".join(map(str, problems))
        if "cannot be decoded" in text:
            assert f"shard 1, rows 4-7: {variable}: {variable}/c/1" in text
        assert ("is missing" in text, "is empty" in text) == (damage is Path.unlink, damage is empty)


@pytest.mark.parametrize(
    ("variable", "damage"),
    [
        ("grad_count", truncate),
        ("loss", flip_bit),
        ("message", Path.unlink),
        ("status", empty),
        ("num_params", Path.unlink),
    ],
)
def test_verify__repair_and_the_next_run_restore_every_bit(store, toy, variable, damage):
    before = toy.contents(store)
    damage(chunk(store, toy, variable, 1))
    assert repaired(store, toy) == before


@pytest.mark.parametrize(("variable", "damage"), [("grad_count", empty), ("loss", Path.unlink), ("status", truncate)])
def test_recover_shard__asks_for_the_rows_that_a_damaged_shard_held(store, toy, variable, damage):
    damage(chunk(store, toy, variable, 1))
    assert list(Profile.open(store, toy.name).recover(Shard(1, 4, 8, (4,))).rows) == [4, 5, 6, 7]
    assert [list(s.rows) for s in Profile.open(store, toy.name).plan(range(10))] == [[4, 5, 6, 7]]


def test_recover_shard__leaves_a_good_shard_alone(store, toy):
    before = toy.contents(store)
    assert Profile.open(store, toy.name).recover(Shard(1, 4, 8, (4,))) == Shard(1, 4, 8, (4,))
    assert toy.contents(store) == before


def test_verify__names_every_damaged_variable_at_once(store, toy):
    truncate(chunk(store, toy, "loss", 0))
    truncate(chunk(store, toy, "grad_count", 2))
    assert [(p.shard, p.what.split(":")[0]) for p in verify(store)] == [(0, "loss"), (2, "grad_count")]


def tamper(store: Path, toy: Any, variable: str, index: Any, value: Any) -> None:
    """Change values through zarr, so that every checksum is right."""
    array: Any = zarr.open_group(store, mode="r+", use_consolidated=False)[f"{toy.name}/{variable}"]
    array[index] = value


def test_verify__names_an_empty_file_beside_one_that_cannot_be_decoded(store, toy):
    chunk(store, toy, "loss", 1).write_bytes(b"x")
    chunk(store, toy, "num_params", 1).write_bytes(b"")
    empty_one, short = verify(store)
    assert short.what.startswith("loss: loss/c/1 cannot be decoded")
    assert "num_params/c/1/0/0 is empty" in empty_one.what


def test_verify__finds_counts_that_were_changed_with_a_right_checksum(store, toy):
    before = toy.contents(store)
    tamper(store, toy, "grad_count", (2, 1, 0, 40), 77)
    problems = verify(store)
    assert {(p.shard, p.rows) for p in problems} == {(0, (2,))}
    assert [p.what.split(":")[0] for p in problems] == ["grad_count", "grad_count_network", "digest"]
    assert "sum over the bins is not num_params" in problems[0].what
    assert repaired(store, toy) == before


@pytest.mark.parametrize(("variable", "index"), [("loss", 8), ("grad_abs_sum", (8, 0, 0)), ("layer_type", (8, 2))])
def test_verify__finds_any_changed_value_by_its_digest(store, toy, variable, index):
    tamper(store, toy, variable, index, 1)
    (problem,) = verify(store)
    assert (problem.shard, problem.rows) == (2, (8,))
    assert "digest" in problem.what


def test_verify__finds_the_changed_message_of_a_failed_row(store, toy):
    tamper(store, toy, "message", 5, "all is well")
    (problem,) = verify(store)
    assert problem.rows == (5,)


def test_verify__finds_a_status_that_does_not_exist(store, toy):
    tamper(store, toy, "status", 3, 9)
    assert any("status is not one of" in p.what and p.rows == (3,) for p in verify(store))


def test_verify__finds_holes_in_a_complete_profile(store, toy):
    tamper(store, toy, "status", slice(6, 8), 0)
    (problem,) = verify(store)
    assert problem.rows == (6, 7)
    assert "stamped complete with 9 rows ok and 1 failed, and now has 7 and 1" in problem.what


def test_verify__finds_rows_replaced_after_the_stamp(store, toy):

    tamper(store, toy, "loss", 0, 1.5)
    rows = Profile.open(store, toy.name).read(COUNTS, Shard(0, 0, 4, ()))
    digest = COUNTS.digests(rows["arch"].values, rows)
    tamper(store, toy, "digest", slice(0, 4), digest)
    (problem,) = verify(store)
    assert "content_digest" in problem.what


@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("grad_count", b""),
        ("grad_count", b"{"),
        ("status", b"[]"),
        ("status", b"{}"),
        ("arch", b'{"node_type": "array", "attributes": 3}'),
        ("bin_lower", b"\xff\xfe"),
    ],
)
def test_verify__names_metadata_that_cannot_be_read_and_repair_writes_it(store, toy, variable, content):
    before = toy.contents(store)
    path = store / toy.name / variable / "zarr.json"
    good = json.loads(path.read_bytes())
    path.write_bytes(content)
    (problem,) = verify(store)
    assert problem.what.startswith(f"{variable}: zarr.json")
    assert problem.repairable
    assert repaired(store, toy) == before
    assert json.loads(path.read_bytes()) == good


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("shape", [11], "shape is [11], expected [10]"),
        ("data_type", "float64", "data_type is 'float64', expected 'float32'"),
        ("dimension_names", ["bin"], "dimension_names is ['bin'], expected ['arch']"),
        ("fill_value", 0.0, "fill_value is 0.0, expected 'NaN'"),
        (
            "chunk_grid",
            {"name": "regular", "configuration": {"chunk_shape": [3]}},
            "shard and chunk shapes are [[3]], expected [(4,), (4,)]",
        ),
    ],
)
def test_verify__compares_metadata_with_the_schema(store, toy, key, value, word):
    path = store / toy.name / "loss" / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    (problem,) = verify(store)
    assert word in problem.what
    verify(store, repair=True)
    assert verify(store) == []


def test_verify__compares_the_chunks_inside_a_shard(store, toy):
    path = store / toy.name / "grad_count" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["codecs"][0]["configuration"]["chunk_shape"][0] = 2
    path.write_text(json.dumps(metadata))
    (problem,) = verify(store)
    assert "[[4, 3, 2, 345], [2, 3, 1, 345]], expected [(4, 3, 2, 345), (4, 3, 1, 345)]" in problem.what


def edit(path: Path, old: str, new: str) -> None:
    """Change what stands in a file once or more; a damaged bit is no more than a changed letter."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"), [("clevel", "clevdl"), ("storage_tr", "storage_|r"), ('"zstd"', '"zstf"'), ("zarr_fo", "zarz_fo")]
)
@pytest.mark.parametrize("variable", ["loss", "bin_upper"])
def test_verify__writes_array_metadata_anew_that_zarr_cannot_read(store, toy, variable, old, new):
    before = toy.contents(store)
    edit(store / toy.name / variable / "zarr.json", old, new)
    (problem,) = verify(store)
    assert problem.what.startswith(f"{variable}: zarr.json cannot be read by zarr (")
    verify(store, repair=True)
    assert verify(store) == []
    assert status(store)[0].num_ok == 9
    assert toy.contents(store) == before


def test_verify__a_damaged_shard_size_is_outvoted_by_the_arrays(store, toy):
    edit(store / toy.name / "zarr.json", '"shard_size": 4', '"shard_size": 6')
    (problem,) = verify(store)
    assert "shard_size: the attribute is 6, the arrays have 4" in problem.what
    verify(store, repair=True)
    assert verify(store) == []
    assert status(store)[0].num_ok == 9


@pytest.mark.parametrize("key", ["attributes", "spec"])
def test_verify__never_deletes_rows_for_want_of_a_readable_spec(store, toy, key):
    edit(store / toy.name / "zarr.json", f'"{key}"', f'"{key}_"')
    (problem,) = verify(store, repair=True)
    assert not problem.repairable
    assert "copy it from a backup" in problem.what
    arch = [f"|op{i}~0|" for i in range(10)]
    with pytest.raises(StoreError, match=r"cannot be read .* from a backup"):
        create_profile(store, toy.spec(), arch=arch, layers=["stem", "cell1", "head"], shard_size=4)
    edit(store / toy.name / "zarr.json", f'"{key}_"', f'"{key}"')
    assert verify(store) == []


def test_verify__names_a_missing_attribute_of_a_profile(store, toy):
    edit(store / toy.name / "zarr.json", '"runs"', '"rufs"')
    (problem,) = verify(store)
    assert problem.what == f"attribute runs is missing. Copy {toy.name}/zarr.json from a backup."


@pytest.mark.parametrize(
    ("old", "new"),
    [('"fill_value": "NaN"', '"fill_value": 0'), ("num_ok", "num_og"), ("grad_count_ne", "grad_count_me")],
)
def test_verify__compares_the_copy_of_all_metadata_and_makes_it_anew(store, toy, old, new):
    before = toy.contents(store)
    edit(store / "zarr.json", old, new)
    (problem,) = verify(store)
    assert "the copy of all metadata in the root's zarr.json is wrong about toy/synthetic/bs2-seed0" in problem.what
    verify(store, repair=True)
    assert verify(store) == []
    assert toy.contents(store) == before


def test_verify__names_a_spec_that_is_not_that_of_the_copy(store, toy):
    edit(store / toy.name / "zarr.json", "channels_last", "channels_mast")
    (problem,) = verify(store)
    assert (problem.profile, problem.repairable) == (toy.name, False)
    assert problem.what.startswith("spec: differs from the copy in the root's zarr.json")


def test_verify__finds_a_missing_variable(store, toy):
    before = toy.contents(store)
    shutil.rmtree(store / toy.name / "grad_sq_sum")
    (problem,) = verify(store)
    assert "grad_sq_sum: zarr.json is missing" in problem.what
    assert repaired(store, toy) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}"])
def test_verify__names_a_profile_whose_spec_is_lost(store, toy, content):
    (store / toy.name / "zarr.json").write_bytes(content)
    (problem,) = verify(store, repair=True)
    assert problem.profile == toy.name
    assert not problem.repairable
    assert "backup" in problem.what


def test_verify__writes_the_metadata_of_a_group_in_between_anew(store, toy):
    (store / "toy" / "zarr.json").write_bytes(b"?")
    (problem,) = verify(store, repair=True)
    assert problem.profile == "toy"
    assert verify(store) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_verify__refuses_a_root_that_cannot_be_read(store, content):
    (store / "zarr.json").write_bytes(content)
    with pytest.raises(NotAStoreError, match=r"zarr\.json"):
        verify(store)


def test_verify__names_a_missing_attribute_of_the_root(store):
    path = store / "zarr.json"
    metadata = json.loads(path.read_text())
    del metadata["attributes"]["licence"]
    path.write_text(json.dumps(metadata))
    (problem,) = verify(store)
    assert "licence" in str(problem)


@pytest.mark.parametrize("variable", ["arch_index", "bin_lower", "bin_upper", "kind"])
def test_verify__writes_coordinates_of_the_format_anew(store, toy, variable):
    before = toy.contents(store)
    truncate(store / toy.name / variable / "c" / "0")
    (problem,) = verify(store, repair=True)
    assert problem.what.startswith(f"{variable}: cannot be decoded")
    assert verify(store) == []
    assert toy.contents(store) == before


def test_verify__names_lost_or_changed_architecture_strings(store, toy):
    tamper(store, toy, "arch", 1, "|other~0|")
    sha, digest = verify(store)
    assert "SHA-256" in sha.what
    assert digest.rows == (1,)
    truncate(store / toy.name / "arch" / "c" / "0")
    (problem,) = verify(store)
    assert "digests were not checked" in problem.what
    assert not problem.repairable


def test_verify__sweeps_files_of_interrupted_writes(store, toy):
    leftover = store / toy.name / "loss" / "c" / f"0.{'0' * 32}.partial"
    leftover.write_bytes(b"half")
    (problem,) = verify(store)
    assert problem.profile == toy.name
    assert leftover.name in problem.what
    assert problem.repairable
    assert leftover.exists()
    verify(store, repair=True)
    assert not leftover.exists()
    assert verify(store) == []


def test_verify__deletes_a_profile_whose_creation_was_cut_off(store, toy):
    (store / "toy/synthetic/bs4-seed0/loss").mkdir(parents=True)
    (store / "toy/synthetic/bs4-seed0/zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"shard_size": 4}})
    )
    (problem,) = verify(store, repair=True)
    assert "was interrupted" in problem.what
    assert verify(store) == []
    assert [s.name for s in status(store)] == [toy.name]


def test_verify__deletes_an_estimator_that_lacks_an_array(store, toy):
    Profile.open(store, toy.name).add_blocks([profile_block("snip"), profile_block("fisher")])
    assert verify(store) == []
    shutil.rmtree(store / toy.name / "estimators/snip/score")
    (problem,) = verify(store, repair=True)
    assert (
        "estimators/snip/score: zarr.json is missing. --repair deletes estimators/snip; run it again." in problem.what
    )
    assert verify(store) == []
    assert sorted(path.name for path in (store / toy.name / "estimators").iterdir() if path.is_dir()) == ["fisher"]


def test_verify__refuses_to_repair_a_zip(tmp_path):
    with pytest.raises(ValueError, match="unpack"):
        verify(tmp_path / "s.zip", repair=True)


def test_verify__never_raises_on_random_damage(store, toy, tmp_path):
    """Damage of random files at random places is found, whatever it is."""
    rng = np.random.default_rng(3)
    files = [path for path in sorted(store.joinpath("toy").rglob("*")) if path.is_file()]
    for _ in range(25):
        path = files[rng.integers(len(files))]
        good = path.read_bytes()
        path.write_bytes(good[: rng.integers(len(good))] + rng.bytes(int(rng.integers(1, 9))))
        assert verify(store), path
        path.write_bytes(good)
    assert verify(store) == []


class CrashError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("k", range(len(ROW_ARRAYS)))
def test_write_shard__cut_off_leaves_a_store_that_verifies(tmp_path, toy, straight, monkeypatch, k):
    name = toy.store(tmp_path / "s.zarr", rows=[0, 1, *range(4, 10)])
    (shard,) = Profile.open(tmp_path / "s.zarr", name).plan(range(4))
    with monkeypatch.context() as patch:
        crash_at_write(patch, k)
        with pytest.raises(CrashError):
            Profile.open(tmp_path / "s.zarr", name).write(shard, {COUNTS: toy.rows(shard.rows)})
    assert verify(tmp_path / "s.zarr") == []
    assert Profile.open(tmp_path / "s.zarr", name).plan(range(4)) == [shard]
    Profile.open(tmp_path / "s.zarr", name).write(shard, {COUNTS: toy.rows(shard.rows)})
    assert toy.contents(tmp_path / "s.zarr") == toy.contents(straight)


# One write more: the status of retried rows is taken back first.
@pytest.mark.parametrize("k", range(len(ROW_ARRAYS) + 1))
def test_write_shard__cut_off_while_failed_rows_are_retried(tmp_path, toy, straight, monkeypatch, k):
    name = toy.store(tmp_path / "s.zarr", failed=[2, 3])
    (shard,) = Profile.open(tmp_path / "s.zarr", name).plan(range(4), retry_failed=True)
    with monkeypatch.context() as patch:
        crash_at_write(patch, k)
        with pytest.raises(CrashError):
            Profile.open(tmp_path / "s.zarr", name).write(shard, {COUNTS: toy.rows(shard.rows)})
    # The profile was stamped with these rows failed; now they count as not run, and nothing else is wrong.
    assert [(p.shard, p.rows) for p in verify(tmp_path / "s.zarr")] == ([(None, (2, 3))] if k > 0 else [])
    assert Profile.open(tmp_path / "s.zarr", name).plan(range(4), retry_failed=True) == [shard]
    Profile.open(tmp_path / "s.zarr", name).write(shard, {COUNTS: toy.rows(shard.rows)})
    assert toy.contents(tmp_path / "s.zarr") == toy.contents(straight)


def crash_at_write(patch: pytest.MonkeyPatch, k: int) -> None:
    """Let the write of the k-th array (from 0) raise before it does anything."""
    set_item, count = zarr.Array.__setitem__, 0

    def counted(self: zarr.Array[Any], *args: Any) -> None:
        nonlocal count
        if count == k:
            raise CrashError
        count += 1
        set_item(self, *args)

    patch.setattr(zarr.Array, "__setitem__", counted)


def test_finalise_profile__ignores_what_a_crash_left_in_rows_not_run(tmp_path, toy, monkeypatch):
    name = toy.store(tmp_path / "s.zarr", rows=[0])
    digest = open_root(tmp_path / "s.zarr")[name].attrs["content_digest"]
    zarr.open_group(tmp_path / "s.zarr", mode="r+", use_consolidated=False)[name]["digest"][1] = 12345
    Profile.open(tmp_path / "s.zarr", name).finalise()
    assert open_root(tmp_path / "s.zarr")[name].attrs["content_digest"] == digest


def test_verify__checks_every_profile_of_a_store(store, toy):
    other = create_profile(store, toy.spec(seed=1), arch=toy.archs, layers=toy.layers, shard_size=5).name
    toy.run(store, other, range(10))
    truncate(store / other / "loss" / "c" / "1")
    (problem,) = verify(store)
    assert (problem.profile, problem.shard, problem.rows) == (other, 1, (5, 6, 7, 8, 9))
