"""A power cut: what was forced onto the disk is there, and of all else anything may be or not."""

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sweetgrad.store import (
    COUNTS,
    Profile,
    Shard,
    Trainings,
    create_profile,
    import_accuracy,
    open_accuracies,
    open_estimators,
    open_training,
    profile_block,
    verify,
)
from sweetgrad.store.access import _files, atomic_write
from sweetgrad.store.training import create_training
from tests._scores import split_scores

WHOLE = Shard(0, 0, 4, range(4))


class Disk:
    """What a folder holds after a power cut at every moment, worst case: names and contents that were forced, and no others.

    A file without a forced content is empty. Of the names that were not forced, one may have reached the disk: that which was
    given last, be it ``status``.
    """

    def __init__(self, folder: Path, held: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.held = folder, held
        self.contents: dict[int, bytes] = {}  # by inode
        self.names: dict[Path, dict[str, int]] = {}  # of each folder that was forced
        self.cuts: list[dict[str, bytes]] = []
        fsync, replace, self._link, one = os.fsync, Path.replace, os.link, threading.Lock()
        held.mkdir()
        for path in [folder, *folder.rglob("*")]:  # what is there now has been for long
            self._force(path)

        def forcing(handle: int) -> None:
            with one:
                fsync(handle)
                self._force(Path(f"/proc/self/fd/{handle}").readlink())

        def replacing(source: Path, target: Path) -> Path:
            with one:
                inode = source.stat().st_ino
                found = replace(source, target)
                self._cut(target, inode)
                return found

        def linking(source: Path, target: Path) -> None:
            with one:
                self._link(source, target)
                self._cut(target, source.stat().st_ino)

        patch.setattr(os, "fsync", forcing)
        patch.setattr(Path, "replace", replacing)
        patch.setattr(os, "link", linking)

    def _force(self, path: Path) -> None:
        if path.is_dir():
            names = {}
            for each in path.iterdir():
                with suppress(FileNotFoundError):  # a temporary file of another thread
                    names[each.name] = each.stat().st_ino
            self.names[path] = names
        else:
            self.contents[path.stat().st_ino] = path.read_bytes()
            self._link(path, self.held / uuid.uuid4().hex)  # or its inode would be given to another file

    def _cut(self, early: Path, inode: int) -> None:
        """The worst that a power cut at this moment leaves, with one name that reached the disk early."""
        files = dict(self._walk(self.folder))
        if not files:
            return
        self.cuts.append(files)
        self.cuts.append({**files, str(early.relative_to(self.folder)): self.contents.get(inode, b"")})

    def _walk(self, folder: Path) -> Iterator[tuple[str, bytes]]:
        for name, inode in self.names.get(folder, {}).items():
            path = folder / name
            if path in self.names:
                yield from self._walk(path)
            elif inode in self.contents or not path.is_dir():
                yield str(path.relative_to(self.folder)), self.contents.get(inode, b"")


@pytest.fixture
def after_each_cut(tmp_path, monkeypatch):
    """Do something to a store, and check what every power cut meanwhile leaves of it; gives how many there were."""

    def run(store: Path, action: Callable[[], None], check: Callable[[Path], None]) -> int:
        with monkeypatch.context() as patch:
            disk = Disk(store, tmp_path / "held", patch)
            action()
        for number, files in enumerate(disk.cuts):
            left = tmp_path / "cuts" / str(number)
            for name, content in files.items():
                (left / name).parent.mkdir(parents=True, exist_ok=True)
                (left / name).write_bytes(content)
            check(left)
            shutil.rmtree(left)
        return len(disk.cuts)

    return run


def test_write_shard__a_power_cut_leaves_no_row_that_counts_and_is_not_whole(toy, tmp_path, after_each_cut):
    store = tmp_path / "toy.zarr"
    name = create_profile(store, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=toy.shard_size).name

    def check(left: Path) -> None:
        assert whole_rows(left, name) in (set(), {0, 1, 2, 3})

    assert (
        after_each_cut(store, lambda: Profile.open(store, name).write(WHOLE, {COUNTS: toy.rows(range(4))}), check) >= 20
    )
    assert Profile.open(store, name).plan(range(4)) == []


def test_write_shard__a_power_cut_loses_no_row_that_counted_before(toy, tmp_path, after_each_cut):
    """Other rows of the shard are written anew with it: their files are whole at every moment."""
    store = tmp_path / "toy.zarr"
    name = toy.store(store, rows=[0, 1])

    def check(left: Path) -> None:
        assert whole_rows(left, name) in ({0, 1}, {0, 1, 2, 3})

    assert (
        after_each_cut(store, lambda: Profile.open(store, name).write(WHOLE, {COUNTS: toy.rows([2, 3])}), check) >= 20
    )


def whole_rows(store: Path, name: str) -> set[int]:
    """Rows of a shard that count as run; each of them must have the content of its digest."""
    block = Profile.open(store, name).read(COUNTS, WHOLE)
    counts = np.flatnonzero(block["status"].values)
    assert COUNTS.digests(block["arch"].values, block)[counts].tolist() == block["digest"].values[counts].tolist()
    return set(counts.tolist())


def test_write_estimators__a_power_cut_leaves_no_score_that_counts_and_is_not_there(toy, tmp_path, after_each_cut):
    store = tmp_path / "toy.zarr"
    name = toy.store(store)
    Profile.open(store, name).add_blocks([profile_block("grad_norm")])
    shape = (4, 1)
    data = {"score": 7.0, "seconds": np.float32(1), "message": "", "status": np.uint8(1)}
    arrays = {
        key: (("arch", "estimator"), np.full(shape, value, object if value == "" else None))
        for key, value in data.items()
    }
    scores = xr.Dataset(arrays, {"arch": toy.archs[:4], "arch_index": ("arch", range(4)), "estimator": ["grad_norm"]})

    def check(left: Path) -> None:
        stored = open_estimators(left, name)
        assert (stored["score"].values[stored["status"].values == 1] == 7.0).all()

    assert after_each_cut(store, lambda: Profile.open(store, name).write(WHOLE, split_scores(scores)), check) >= 6


def test_write_training__a_power_cut_leaves_no_accuracy_that_counts_and_is_not_there(toy, tmp_path, after_each_cut):
    store = tmp_path / "toy.zarr"
    name = create_training(
        store, space="toy", label="ours", seed=0, arch=toy.archs, splits=["test"], settings={"recipe": {}}
    ).name
    result = {"accuracy": [50.0], "train_seconds": 1.0, "loss": 0.5, "message": "", "status": 1}
    Trainings.open(store, name).write_row(0, result)

    def check(left: Path) -> None:
        stored = open_training(left, name)
        done = stored["status"].values == 1
        assert done[0]
        assert (stored["accuracy"].values[done] == 50.0).all()

    assert after_each_cut(store, lambda: Trainings.open(store, name).write_row(1, result), check) >= 5


def test_finalise_profile__a_power_cut_leaves_a_stamp_or_the_one_before(toy, tmp_path, after_each_cut):
    store = tmp_path / "toy.zarr"
    name = create_profile(store, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=toy.shard_size).name
    toy.run(store, name, range(10))

    def check(left: Path) -> None:
        assert verify(left) == []

    assert after_each_cut(store, lambda: Profile.open(store, name).finalise(), check) >= 2


def test_atomic_write__forces_the_file_before_its_name_and_the_folders_after(tmp_path, monkeypatch):
    done: list[str] = []
    replace = Path.replace

    def forced(handle: int) -> None:
        done.append(f"force {Path(f'/proc/self/fd/{handle}').readlink().name.partition('.')[0]}")

    def renamed(source: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", forced)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic_write(tmp_path / "new" / "folder" / "file") as file:
        file.write(b"content")
    assert done == ["force file", "rename to file", "force folder", "force new", f"force {tmp_path.name}"]


def test_atomic_write__leaves_what_was_there_if_it_cannot_be_forced(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"before")

    def refuse(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_files.os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"), atomic_write(tmp_path / "file") as file:
        file.write(b"after")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_import_accuracy__a_power_cut_leaves_the_table_before_or_the_new_one(toy, tmp_path, monkeypatch):
    """Folders are renamed: all files of the new table are forced before."""
    import pandas as pd

    store = tmp_path / "toy.zarr"
    table = pd.DataFrame({"arch": toy.archs, "dataset": "d", "split": "test", "epochs": 1, "accuracy": 60.0})
    forced, rename = set(), Path.rename
    fsync = os.fsync

    def forcing(handle: int) -> None:
        fsync(handle)
        forced.add(os.fstat(handle).st_ino)

    def renaming(source: Path, target: Path) -> Path:
        assert {path.stat().st_ino for path in [source, *source.rglob("*")]} <= forced
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", forcing)
    monkeypatch.setattr(Path, "rename", renaming)
    import_accuracy(store, space="toy", table=table, arch=toy.archs, source="one")
    import_accuracy(store, space="toy", table=table.assign(split="valid"), arch=toy.archs, source="two")
    assert (store / "toy").stat().st_ino in forced
    assert open_accuracies(store, "toy").sizes["split"] == 2
