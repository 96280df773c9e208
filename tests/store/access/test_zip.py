"""Stores in zip archives, read here (zipfile) and as from afar (by ranges): what their directories say must be true."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from sweetgrad.store import CorruptShardError, NotAStoreError, list_profiles, open_accuracy, open_profile, verify
from sweetgrad.store.access._guard import CheckedZipStore, guarded
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.access._zip import RemoteZipStore

FROM_HERE_AND_AFAR = pytest.mark.parametrize("place", ["{}", "zip://{}"])


@pytest.fixture
def store(tmp_path, toy):
    toy.store(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def pack(store: Path, path: Path, *, prefix: str = "", extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(store.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(store).as_posix())
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def swap_in_directory(path: Path, first: str, second: str) -> None:
    """Exchange two names of one length in the directory, and leave the headers in front of the members as they are."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    one, two = (data.index(name.encode(), start) for name in (first, second))
    data[one : one + len(first)], data[two : two + len(second)] = second.encode(), first.encode()
    path.write_bytes(data)


@FROM_HERE_AND_AFAR
@pytest.mark.parametrize("variable", ["status", "grad_count"])
def test_read__refuses_a_directory_that_exchanges_two_shards(store, tmp_path, toy, place, variable):
    name = toy.spec().profile_name
    path = pack(store, tmp_path / "s.zarr.zip")
    tail = "/0/0/0" if variable == "grad_count" else ""
    swap_in_directory(path, f"{name}/{variable}/c/0{tail}", f"{name}/{variable}/c/1{tail}")
    profile = open_profile(place.format(path), name)
    with pytest.raises(
        CorruptShardError, match=r"the directory has '.*' where the header has .*|File name in directory"
    ):
        profile[variable].load()
    assert profile["loss"].load().equals(open_profile(store, name)["loss"].load())


@pytest.mark.parametrize("part", [None, RangeByteRequest(2, 5), SuffixByteRequest(4)])
@pytest.mark.parametrize("afar", [False, True])
def test_get__refuses_a_header_that_moves_the_data_into_the_next_member(tmp_path, afar, part):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"first one.")
        archive.writestr("b", b"second one")
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("a").header_offset
    data = bytearray(path.read_bytes())
    data[begin + 28 : begin + 30] = struct.pack("<H", 41)  # so long an extra field: what follows it is the data of b
    path.write_bytes(data)
    store = guarded(RemoteZipStore(LocalStore(tmp_path), "s.zip") if afar else CheckedZipStore(path))
    with pytest.raises(CorruptShardError, match="'a' would end after the start of the next member"):
        sync(store.get("a", default_buffer_prototype(), part))
    assert sync(store.get("b", default_buffer_prototype())).to_bytes() == b"second one"


@pytest.mark.parametrize("afar", [False, True])
def test_get__refuses_a_member_that_is_stored_in_fewer_bytes_than_it_has(tmp_path, afar):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"first one.")
        archive.writestr("b", b"second one")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 50)
    path.write_bytes(data)
    store = guarded(RemoteZipStore(LocalStore(tmp_path), "s.zip") if afar else CheckedZipStore(path))
    with pytest.raises(CorruptShardError, match="'a' is stored in 10 bytes, but declares 50"):
        sync(store.get("a", default_buffer_prototype(), RangeByteRequest(12, 45)))


def test_get__of_a_part_asks_for_each_header_once(tmp_path):
    class Counting(LocalStore):
        asked: list[object] = []  # noqa: RUF012

        async def get(self, key, prototype, byte_range=None):
            self.asked.append(byte_range)
            return await super().get(key, prototype, byte_range)

    content = np.arange(64, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("a", content)
        archive.writestr("b", content)
    base = Counting(tmp_path)
    store = RemoteZipStore(base, "s.zip")
    base.asked.clear()

    def get(key, part=None):
        return sync(store.get(key, default_buffer_prototype(), part)).to_bytes()

    assert get("a") == content
    assert len(base.asked) == 1
    assert get("b", RangeByteRequest(8, 16)) == content[8:16]
    assert len(base.asked) == 3
    assert get("b", SuffixByteRequest(4)) == content[-4:]
    assert get("a", RangeByteRequest(8, 16)) == content[8:16]
    assert len(base.asked) == 5


@FROM_HERE_AND_AFAR
@pytest.mark.parametrize("prefix", ["s.zarr/", "release/s.zarr/"])
def test_open__of_a_zip_with_the_store_in_a_folder_opens_it(store, tmp_path, toy, place, prefix):
    """As the file manager of a desktop zips a folder."""
    name = toy.spec().profile_name
    litter = {f"__MACOSX/{prefix}._zarr.json": b"\0", f"{prefix}.DS_Store": b"\0", f"{prefix}{name}/._status": b"\0"}
    path = pack(store, tmp_path / "s.zarr.zip", prefix=prefix, extra=litter)
    there = place.format(path)
    assert list_profiles(there) == [name]
    assert open_profile(there, name).load().identical(open_profile(store, name).load())
    assert verify(there) == []


@FROM_HERE_AND_AFAR
def test_open__of_a_zip_with_two_stores_says_what_was_expected(store, tmp_path, place):
    path = pack(store, tmp_path / "s.zarr.zip", prefix="a.zarr/", extra={"b.zarr/zarr.json": b"{}"})
    with pytest.raises(
        NotAStoreError, match=r"expected a zarr v3 group, found none there\. It contains 'a\.zarr', 'b\.zarr'"
    ):
        open_accuracy(place.format(path), "toy", "cifar10/test")
