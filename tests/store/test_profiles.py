import contextlib
import json
import shutil
import zipfile

import pytest
import xarray as xr
import zarr

from sweetgrad.store import (
    NotAStoreError,
    Profile,
    SchemaVersionError,
    SpecMismatchError,
    StoreError,
    create_profile,
    list_profiles,
    open_profile,
    open_store,
    verify,
)
from sweetgrad.store.access import open_root


def create(path, toy, **changes):
    return create_profile(path, toy.spec(**changes), arch=toy.archs, layers=toy.layers, shard_size=toy.shard_size).name


def attributes(path, name=""):
    return json.loads((path / name / "zarr.json").read_text())["attributes"]


def test_create_profile__never_asks_for_all_architectures_at_once(tmp_path, toy, monkeypatch):
    class Strings(list):
        def __getitem__(self, index):
            assert len(range(*index.indices(len(self)))) <= 4
            return super().__getitem__(index)

        def __iter__(self):
            raise AssertionError("all strings at once")

    monkeypatch.setattr("sweetgrad.store.format.arrays._COORDINATE_CHUNK", 4)
    path = tmp_path / "s.zarr"
    name = create_profile(path, toy.spec(), arch=Strings(toy.archs), layers=toy.layers, shard_size=toy.shard_size).name
    profile = open_profile(path, name, chunks=None)
    assert profile["arch"].values.tolist() == toy.archs
    assert profile["arch_index"].values.tolist() == list(range(10))
    assert verify(path) == []


def test_create_profile__has_a_row_for_every_architecture(tmp_path, toy):
    name = create(tmp_path / "s.zarr", toy)
    profile = open_profile(tmp_path / "s.zarr", name, chunks=None)
    assert dict(profile.sizes) == {"arch": 10, "layer": 3, "kind": 2, "bin": 345}
    assert profile["arch"].values.tolist() == toy.archs
    assert not profile["status"].values.any()
    assert profile["grad_count"].dims == ("arch", "layer", "kind", "bin")
    assert profile["bin_lower"].values[2] == 1e-10


def test_open_profile__takes_the_only_one_and_asks_for_a_name_where_there_are_two(tmp_path, toy):
    path = tmp_path / "s.zarr"
    first = create(path, toy)
    assert open_profile(path).equals(open_profile(path, first))
    second = create(path, toy, seed=7)
    with pytest.raises(NotAStoreError, match=f"holds 2 profiles, name one of them: {first}, {second}"):
        open_profile(path)


def test_create_profile__again_changes_nothing_but_the_runs(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path)
    before = toy.contents(path)
    spec = toy.spec()
    for host in ("a", "b"):
        create_profile(path, spec, arch=toy.archs, layers=toy.layers)
        Profile.open(path, name).record_run({"host": host})
    assert toy.contents(path) == before
    assert [run["host"] for run in attributes(path, name)["runs"]] == ["a", "b"]


def test_record_run__returns_what_may_move_last_bits_and_was_otherwise_before(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path)
    facts = {"torch": "2.6", "cpu_capability": "AVX2", "host": "a"}
    assert Profile.open(path, name).record_run(facts) == ()
    assert Profile.open(path, name).record_run({**facts, "host": "b"}) == ()
    assert Profile.open(path, name).record_run({**facts, "cpu_capability": "AVX512"}) == (
        "cpu_capability is AVX512 in this run, but was AVX2 in an earlier one",
    )
    assert Profile.open(path, name).record_run({"torch": "2.7"}) == (
        "torch is 2.7 in this run, but was 2.6 in an earlier one",
    )


def test_create_profile__refuses_another_spec_and_names_the_fields(tmp_path, toy):
    create(tmp_path / "s.zarr", toy)
    with pytest.raises(SpecMismatchError, match=r"(?s)bs2-seed0 in .*num_classes: stored 10, requested 100"):
        create(tmp_path / "s.zarr", toy, num_classes=100)


def test_create_profile__refuses_another_shard_size(tmp_path, toy):
    create(tmp_path / "s.zarr", toy)
    with pytest.raises(StoreError, match="has shards of 4 architectures, requested 5: omit"):
        create_profile(tmp_path / "s.zarr", toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=5)
    with pytest.raises(ValueError, match="at least 1"):
        create_profile(tmp_path / "s.zarr", toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=0)


def test_create_profile__makes_a_creation_that_was_cut_off_anew(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = create(path, toy)
    metadata = json.loads((path / name / "zarr.json").read_text())
    metadata["attributes"] = {"shard_size": 3}
    (path / name / "zarr.json").write_text(json.dumps(metadata))
    shutil.rmtree(path / name / "status")
    assert list_profiles(path) == []
    create(path, toy)
    assert list_profiles(path) == [name]
    assert verify(path) == []


def test_create_profile__starts_over_after_a_kill_in_the_very_first_write(tmp_path, toy):
    path = tmp_path / "s.zarr"
    path.mkdir()
    (path / f"zarr.{'0' * 32}.partial").write_bytes(b"{")
    name = create(path, toy)
    assert list_profiles(path) == [name]
    assert attributes(path)["schema_version"] == 2


def test_list_profiles__says_nothing_of_an_array_that_is_being_made(tmp_path, toy):
    """Another process makes the profile: a folder is there, its metadata are not yet."""
    name = create(tmp_path / "s.zarr", toy)
    document = json.loads((tmp_path / "s.zarr" / name / "zarr.json").read_text())
    del document["attributes"]["spec"]
    (tmp_path / "s.zarr" / name / "zarr.json").write_text(json.dumps(document))
    (tmp_path / "s.zarr" / name / "loss" / "zarr.json").unlink()
    assert list_profiles(tmp_path / "s.zarr") == []  # warnings are errors here


@pytest.mark.parametrize("k", range(0, 36, 2))
def test_create_profile__survives_a_kill_at_any_write(tmp_path, toy, monkeypatch, k):
    """A store of which k files were written is completed by the next call."""

    class KilledError(BaseException):
        pass

    store_set, count = zarr.storage.LocalStore._set, 0

    async def counted(self, *args, **options):
        nonlocal count
        count += 1
        if count > k:
            raise KilledError
        return await store_set(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "_set", counted)
        with contextlib.suppress(KilledError):
            create(tmp_path / "s.zarr", toy)
    name = create(tmp_path / "s.zarr", toy)
    toy.run(tmp_path / "s.zarr", name, range(10))
    assert verify(tmp_path / "s.zarr") == []


def test_create_profile__refuses_a_file_and_a_foreign_folder(tmp_path, toy):
    (tmp_path / "file").write_text("hello")
    with pytest.raises(NotAStoreError, match="is a file: expected a folder"):
        create(tmp_path / "file", toy)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("hello")
    with pytest.raises(NotAStoreError, match="not a sweetgrad store"):
        create(tmp_path / "folder", toy)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("call", [open_store, list_profiles, verify, lambda path: open_profile(path, "a/b/c")])
def test_open__says_what_it_found_instead_of_a_store(tmp_path, call):
    with pytest.raises(NotAStoreError, match=r"path does not exist.*sweetgrad profile"):
        call(tmp_path / "nothing.zarr")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(NotAStoreError, match="expected a zarr v3 group"):
        call(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAStoreError, match="expected a zarr v3 group"):
        call(tmp_path / "empty")
    zarr.create_group(tmp_path / "foreign.zarr")
    with pytest.raises(NotAStoreError, match="attribute schema_version is missing"):
        call(tmp_path / "foreign.zarr")
    zarr.create_array(tmp_path / "array.zarr", shape=(2,), dtype="u1")
    with pytest.raises(NotAStoreError, match="expected a zarr v3 group"):
        call(tmp_path / "array.zarr")
    (tmp_path / "bad.zip").write_text("hello")
    with pytest.raises(NotAStoreError, match="expected a zarr v3 group"):
        call(tmp_path / "bad.zip")


@pytest.mark.parametrize("call", [open_store, list_profiles, verify])
def test_open__refuses_a_newer_format(tmp_path, toy, call):
    create(tmp_path / "s.zarr", toy)
    path = tmp_path / "s.zarr" / "zarr.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(SchemaVersionError, match=r"has format version 3.*reads up to 2\. Install a newer sweetgrad"):
        call(tmp_path / "s.zarr")
    with pytest.raises(SchemaVersionError):
        create(tmp_path / "s.zarr", toy)


def test_open_profile__names_the_nearest_profiles(tmp_path, toy):
    create(tmp_path / "s.zarr", toy)
    with pytest.raises(NotAStoreError, match="no profile 'toy/syntetic/bs2'; it holds toy/synthetic/bs2-seed0"):
        open_profile(tmp_path / "s.zarr", "toy/syntetic/bs2")


def test_open_profile__says_which_metadata_cannot_be_read(tmp_path, toy):
    name = create(tmp_path / "s.zarr", toy)
    (tmp_path / "s.zarr" / name / "zarr.json").write_text("{")
    with pytest.raises(NotAStoreError, match=rf"{name}/zarr\.json"):
        open_profile(tmp_path / "s.zarr", name)


def test_open_profile__is_lazy_by_shard(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr")
    profile = open_profile(tmp_path / "s.zarr", name)
    assert profile["grad_count"].chunksizes["arch"] == (4, 4, 2)
    assert profile["grad_count"].chunksizes["kind"] == (1, 1)
    eager = open_profile(tmp_path / "s.zarr", name, chunks=None)
    xr.testing.assert_identical(profile.compute().drop_attrs(), eager.compute().drop_attrs())
    assert (eager["grad_count"].sum("bin") == eager["num_params"]).all()


def test_open_store__gives_every_profile(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr")
    other = create(tmp_path / "s.zarr", toy, seed=7)
    tree = open_store(tmp_path / "s.zarr")
    assert {name, other} <= {node.path.strip("/") for node in tree.leaves}
    assert int(tree[name]["status"].sum()) == 10


def test_open_profile__reads_a_zip(tmp_path, toy):
    name = toy.store(tmp_path / "s.zarr")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as file:
        for path in sorted((tmp_path / "s.zarr").rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(tmp_path / "s.zarr"))
    assert list_profiles(tmp_path / "s.zip") == [name]
    assert verify(tmp_path / "s.zip") == []
    assert open_profile(tmp_path / "s.zip", name, chunks=None)["loss"].notnull().all()


def test_finalise_profile__stamps_how_far_it_is(tmp_path, toy):
    path = tmp_path / "s.zarr"
    name = toy.store(path, rows=range(9), failed=[3])
    stamp = attributes(path, name)
    assert (stamp["complete"], stamp["num_ok"], stamp["num_failed"]) == (False, 8, 1)
    toy.run(path, name, range(10))
    Profile.open(path, name).finalise()
    later = attributes(path, name)
    assert (later["complete"], later["num_ok"]) == (True, 9)
    assert later["content_digest"] != stamp["content_digest"]
    assert Profile.open(path, name).plan(range(10)) == []
    # The copy of all metadata that readers over https use.
    assert name + "/grad_count" in json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]


def test_finalise_profile__gives_equal_digests_for_equal_measurements(tmp_path, toy):
    first, second = tmp_path / "1.zarr", tmp_path / "2.zarr"
    name = toy.store(first)
    create_profile(second, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=3)
    for row in (9, 0, 5, 2, 1, 3, 4, 8, 7, 6):
        toy.run(second, name, [row])
    Profile.open(second, name).finalise()
    digests = {open_root(path)[name].attrs["content_digest"] for path in (first, second)}
    assert len(digests) == 1
