"""What a desktop leaves in the folders that it shows is no part of anything, and no damage."""

import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from sweetgrad.store import (
    import_accuracy,
    info,
    list_profiles,
    merge,
    open_accuracy,
    open_profile,
    open_store,
    publish,
    verify,
)
from sweetgrad.store.root import create_store


def litter(folder: Path) -> list[Path]:
    """Files of macOS and Windows in a folder and in each below it; those beside files are named after them."""
    made = []
    for place in (folder, *[path for path in folder.rglob("*") if path.is_dir()]):
        beside = [f"._{path.name}" for path in place.iterdir()][:2]
        for name in (".DS_Store", "Thumbs.db", "._.DS_Store", "._left.partial", *beside):
            (place / name).write_bytes(b"\0\0\0\1Bud1")
            made.append(place / name)
    return made


@pytest.fixture
def store(tmp_path, toy):
    path = tmp_path / "s.zarr"
    toy.store(path)
    rows = {"arch": toy.archs, "dataset": "cifar10", "split": "test", "epochs": 12, "accuracy": range(10, 20)}
    import_accuracy(path, space="toy", table=pd.DataFrame(rows), source="t")
    return path


def test_store__with_litter_in_every_folder_is_read_written_and_verified_as_ever(store, toy):
    name = toy.spec().profile_name
    before = open_profile(store, name).load()
    litter(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list_profiles(store) == [name]
        assert open_profile(store, name).load().identical(before)
        assert set(open_store(store).groups) >= {f"/{name}", "/toy/accuracy"}
        assert [each.space for each in info(store).accuracies] == ["toy"]
        assert verify(store) == []
        assert verify(store, repair=True) == []
        rows = {"arch": toy.archs, "dataset": "cifar10", "split": "valid", "epochs": 12, "accuracy": range(20, 30)}
        import_accuracy(store, space="toy", table=pd.DataFrame(rows), source="u")
    assert open_accuracy(store, "toy", "cifar10/valid").values.tolist() == list(range(20, 30))
    assert verify(store) == []


def test_profile__creation_that_was_cut_off_is_not_taken_for_one_with_rows(tmp_path, toy):
    """A file in the folder of the shards is no shard."""
    store = tmp_path / "s.zarr"
    create_store(store)
    shards = store / toy.spec().profile_name / "status" / "c"
    shards.mkdir(parents=True)
    (shards / ".DS_Store").write_bytes(b"")
    assert toy.store(store) in list_profiles(store)


def test_create_store__takes_a_folder_that_a_desktop_has_shown(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    litter(tmp_path / "s.zarr")
    create_store(tmp_path / "s.zarr")
    assert list_profiles(tmp_path / "s.zarr") == []


def test_publish__leaves_litter_out_and_publishes_again_over_it(store, tmp_path):
    litter(store)
    release = tmp_path / "release"
    publish(store, release, name="nb")
    assert ".DS_Store" not in (release / "SHA256SUMS").read_text()
    with zipfile.ZipFile(release / "nb.zarr.zip") as archive:
        assert not [name for name in archive.namelist() if ".DS_Store" in name or "._" in name]
    litter(release)
    assert verify(release) == []
    assert verify(release / "nb.zarr") == []
    assert publish(store, release, name="nb").number == 2


def test_verify__of_a_release_still_names_files_that_nobody_vouches_for(store, tmp_path):
    publish(store, tmp_path / "release", name="nb")
    (tmp_path / "release" / ".hidden").write_text("x")
    assert [".hidden is not in SHA256SUMS" in each.what for each in verify(tmp_path / "release")] == [True]


def test_merge__reads_and_writes_folders_with_litter(store, tmp_path, toy):
    other = tmp_path / "other.zarr"
    toy.store(other, rows=[1, 2])
    for path in (store, other, tmp_path / "merged.zarr"):
        path.mkdir(exist_ok=True)
        litter(path)
    merge([other, store], tmp_path / "merged.zarr")
    assert verify(tmp_path / "merged.zarr") == []
    assert not list((tmp_path / "merged.zarr").rglob(".DS_Store"))
