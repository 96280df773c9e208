"""Stores made to harm: nothing in them runs, exhausts memory, or leads a reader or writer outside."""

import json
import os
import pickle
import shutil
import stat
import struct
import sys
import tracemalloc
import warnings
import zipfile
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import EntryPoint
from pathlib import Path

import fsspec
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
import zarr.registry
from google_crc32c import value as crc32c
from zarr.errors import ZarrUserWarning
from zarr.storage import LocalStore

from sweetgrad.store import (
    COUNTS,
    NUM_BINS,
    CorruptShardError,
    NotAStoreError,
    Profile,
    StoreError,
    create_profile,
    import_accuracy,
    info,
    list_profiles,
    lock_shard,
    open_profile,
    open_store,
    status,
    verify,
)
from sweetgrad.store.access import open_root, zarr_store
from sweetgrad.store.access._documents import check_document, parse_json
from sweetgrad.store.access._guard import GuardedStore
from sweetgrad.store.access._limits import MAX_DOCUMENT_BYTES
from sweetgrad.store.access._zip import check_members
from sweetgrad.store.shards import Shard


@pytest.fixture
def store(tmp_path, toy):
    toy.store(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


@pytest.fixture
def profile(store, toy):
    return store / toy.spec().profile_name


def change(node: Path, **entries):
    """Set entries of a ``zarr.json``; a dotted name reaches inside."""
    document = json.loads((node / "zarr.json").read_text())
    for name, value in entries.items():
        inside, path = document, name.split("__")
        for part in path[:-1]:
            inside = inside[part]
        inside[path[-1]] = value
    (node / "zarr.json").write_text(json.dumps(document))


@contextmanager
def little_memory(most=32 << 20):
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


def readers(store, name):
    return {
        "open_store": lambda: open_store(store),
        "open_profile": lambda: open_profile(store, name),
        "status": lambda: status(store),
        "info": lambda: info(store),
        "plan_shards": lambda: Profile.open(store, name).plan([0]),
        "read_shard": lambda: Profile.open(store, name).read(COUNTS, Shard(0, 0, 4, ())),
    }


# What a store declares


@pytest.mark.parametrize(
    ("array", "entries", "message"),
    [
        (
            "grad_count",
            {"shape": [10**15, 3, 2, NUM_BINS]},
            "dimension arch declares 1,000,000,000,000,000; .*50,000,000",
        ),
        (
            "grad_count",
            {"shape": [10, 10**6, 2, NUM_BINS]},
            "dimension layer declares 1,000,000; expected at most 4,096",
        ),
        (
            "grad_count",
            {"shape": [10, 3, 2, 10**9]},
            f"dimension bin declares 1,000,000,000; expected at most {NUM_BINS}",
        ),
        (
            "grad_count",
            {"shape": [10**7, 4096, 2, NUM_BINS]},
            r"declares 113,049,600,000,000 bytes; .*1,099,511,627,776",
        ),
        ("status", {"dimension_names": ["x"], "shape": [10**13]}, "declares 10,000,000,000,000 bytes"),
        ("status", {"chunk_grid__configuration__chunk_shape": [2**31]}, "declares 2,147,483,648 bytes in a chunk"),
        ("status", {"shape": [50_000_000], "chunk_grid__configuration__chunk_shape": [1]}, "declares 50,000,000 files"),
        ("status", {"shape": [-1]}, r"shape is \[-1\]"),
        ("status", {"shape": [1e400]}, "Infinity"),
        ("status", {"shape": "10"}, "shape is '10'"),
        ("status", {"shape": [10] * 9}, "up to 8 non-negative integers"),
        ("status", {"chunk_grid__configuration__chunk_shape": [0]}, "one chunk size for each dimension"),
        ("status", {"data_type": "object"}, "data_type is 'object'; expected one of bool, int8"),
        (
            "status",
            {"data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 2**30}}},
            "data_type is",
        ),
        ("status", {"zarr_format": 2}, "zarr_format is 2; expected 3"),
        ("status", {"chunk_key_encoding": {"name": "os.system"}}, "chunk_key_encoding is"),
        ("status", {"dimension_names": [["arch"]]}, "dimension_names is"),
        ("arch", {"fill_value": "x" * 10_000}, r"fill_value is 'xxx.*… \(10,002 characters\)"),
        ("status", {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]}, "codecs are .*'numcodecs.pickle'"),
        ("status", {"codecs": [{"name": "numcodecs.zlib", "configuration": {"id": "pickle"}}]}, "codecs are"),
        ("status", {"codecs": [{"name": "bytes"}, {"name": "zstd"}]}, r"codecs are \['bytes', 'zstd'\]"),
        ("status", {"codecs": [{"name": "bytes"}, *[{"name": "blosc"}] * 9]}, "codecs are"),
        ("status", {"codecs": ["pickle"]}, r"codecs are \['pickle'\]"),
        ("status", {"codecs": [{"name": "vlen-utf8"}]}, "uint8 is encoded by vlen-utf8"),
        ("arch", {"codecs": [{"name": "bytes"}]}, "string is encoded by bytes"),
        ("grad_count", {"codecs__0__configuration__chunk_shape": [1, 1, 1, 1]}, "bytes in|chunks in a shard"),
        ("grad_count", {"codecs__0__configuration__codecs": [{"name": "sharding_indexed"}]}, "codecs are"),
        ("grad_count", {"codecs__0__configuration__index_codecs": [{"name": "numcodecs.pickle"}]}, "index of a shard"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_metadata__is_refused_with_the_numbers_and_nothing_is_made(store, profile, toy, array, entries, message):
    def reach(node, name, value):  # lists, too
        document = json.loads((node / "zarr.json").read_text())
        inside, path = document, name.split("__")
        for part in path[:-1]:
            inside = inside[int(part) if part.isdigit() else part]
        inside[path[-1]] = value
        (node / "zarr.json").write_text(json.dumps(document))

    for name, value in entries.items():
        reach(profile / array, name, value)
    name = toy.spec().profile_name
    with little_memory():
        for reader in ("open_profile", "open_store", "read_shard"):
            with pytest.raises(NotAStoreError, match=message) as caught:
                readers(store, name)[reader]()
            assert f"{array}/zarr.json" in str(caught.value)
        if array == "status":
            for reader in ("status", "info", "plan_shards"):
                with pytest.raises(NotAStoreError, match=message):
                    readers(store, name)[reader]()
        assert list_profiles(store) == [name]
        assert any(array in str(problem) for problem in verify(store))


def test_metadata__that_is_consolidated_is_checked_as_well(store, toy):
    document = json.loads((store / "zarr.json").read_text())
    arrays = document["consolidated_metadata"]["metadata"]
    arrays[f"{toy.spec().profile_name}/status"]["shape"] = [10**15]
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(
        NotAStoreError, match=r"zarr\.json, toy/.*status: dimension arch declares 1,000,000,000,000,000"
    ):
        list_profiles(store)


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "/outside", "a//b", "a\\..\\b", "a/" * 40 + "a"])
def test_metadata__names_nothing_outside_the_store(store, path):
    document = json.loads((store / "zarr.json").read_text())
    document["consolidated_metadata"]["metadata"][path] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (store / "zarr.json").write_text(json.dumps(document))
    for read in (open_store, list_profiles, status, info, verify):
        with pytest.raises(NotAStoreError, match="expected paths inside the store"):
            read(store)


@pytest.mark.parametrize("shard_size", [0, -1, 1.5, "4", True, None, [4]])
def test_profile__refuses_a_shard_size_that_cannot_be_worked_with(store, profile, toy, shard_size):
    change(profile, attributes__shard_size=shard_size)
    for reader in ("open_profile", "status", "info"):
        with pytest.raises(NotAStoreError, match="shard_size is"):
            readers(store, toy.spec().profile_name)[reader]()


def test_profile__refuses_variables_that_do_not_go_together(store, profile, toy):
    name = toy.spec().profile_name
    change(profile / "loss", shape=[7])
    with pytest.raises(NotAStoreError, match=r"cannot be opened .*conflicting sizes"):
        open_profile(store, name)
    change(profile / "loss", shape=[10], dimension_names=["row"])
    with pytest.raises(NotAStoreError, match=r"loss has the dimensions \('row',\); expected \('arch',\)"):
        open_profile(store, name)


def test_writer__refuses_what_could_not_be_opened_again(tmp_path, toy):
    arch = [str(i) for i in range(10)]
    with pytest.raises(StoreError, match=r"declares [\d,]+ bytes in a shard; .*not written\. Use smaller shards"):
        create_profile(tmp_path / "s", toy.spec(arch=arch), arch=arch, layers=["l"] * 4000, shard_size=10**6)


# Code


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_codec__of_another_package_is_not_imported(store, profile, toy, tmp_path, monkeypatch):
    (tmp_path / "evil_codec.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Codec: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = getattr(zarr.registry, "__codec_registries")["evil"]
    registry.lazy_load_list.append(EntryPoint("evil", "evil_codec:Codec", "zarr.codecs"))
    change(profile / "status", codecs=[{"name": "evil"}])
    name = toy.spec().profile_name
    for reader in readers(store, name).values():
        with pytest.raises(NotAStoreError, match=r"codecs are \['evil'\]"):
            reader()
    verify(store)
    assert not (tmp_path / "ran").exists()
    assert "evil_codec" not in sys.modules
    with pytest.raises(Exception, match="Codec"):  # zarr alone does import it
        zarr.open_array(profile / "status")
    assert (tmp_path / "ran").exists()


def write_version_2(folder: Path, ran: Path) -> None:
    """An array of zarr version 2 whose only element is a pickle that acts."""
    folder.mkdir(parents=True)
    dtype = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "<i4", "fill_value": 0, "order": "C"}
    (folder / ".zarray").write_text(json.dumps({**dtype, "compressor": {"id": "pickle"}, "filters": None}))
    (folder / "0").write_bytes(pickle.dumps([Touch(ran), "|O", (1,)]))


def test_version_2__is_not_read(store, profile, toy, tmp_path):
    name, ran = toy.spec().profile_name, tmp_path / "ran"
    write_version_2(tmp_path / "old.zarr/x/y", ran)
    for folder in ("old.zarr", "old.zarr/x"):
        (tmp_path / folder / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "old.zarr/.zattrs").write_text('{"schema_version": 1}')
    for read in (open_store, list_profiles, status, info, verify):
        with pytest.raises(NotAStoreError, match="expected a zarr v3 group"):
            read(tmp_path / "old.zarr")
    (profile / "status").rename(tmp_path / "status")
    write_version_2(profile / "status", ran)
    write_version_2(profile / "extra", ran)
    for reader in readers(store, name).values():
        with suppress(StoreError, KeyError, ZarrUserWarning):
            reader()
    assert verify(store)
    assert not ran.exists()
    pickle.loads((profile / "extra/0").read_bytes())  # and these bytes do act  # noqa: S301
    assert ran.exists()


# Chunks that are not what they say


def blosc_chunk(decoded: bytes, *, says: int | None = None, typesize=1) -> bytes:
    """A chunk as the store has it, with a right checksum, whose header may lie about its size."""
    data = bytearray(numcodecs.Blosc("zstd", 5, 0, typesize=typesize).encode(decoded))
    if says is not None:
        data[4:8] = struct.pack("<I", says)
    return bytes(data) + struct.pack("<I", crc32c(bytes(data)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: blosc_chunk(bytes(64 << 20)), "bytes or more; expected at most 24"),
        (lambda: blosc_chunk(bytes(4), says=2**31 - 1), r"would decompress to 2,147,483,647 bytes"),
        (lambda: blosc_chunk(bytes(4))[:-4], "declares 20 bytes, but has 16"),
        (lambda: bytes(15), "has 11 bytes; expected a chunk of at least 16"),
        (lambda: blosc_chunk(bytes(4))[:-1] + b"?", "[Cc]hecksum|crc"),
        (lambda: bytes(10**6), "1,000,000 bytes or more; expected at most 24"),
    ],
)
def test_chunk__is_refused_before_it_is_decompressed(store, profile, toy, content, message):
    (profile / "status/c/0").write_bytes(content())
    with little_memory():
        for reader in ("status", "info", "plan_shards", "read_shard"):
            with pytest.raises(CorruptShardError, match=message):
                readers(store, toy.spec().profile_name)[reader]()
        with pytest.raises(ValueError, match=message):
            open_profile(store, toy.spec().profile_name).status.compute()
        assert any("status" in str(problem) for problem in verify(store))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<I", 2**31 - 1), "declares 2,147,483,647 strings; expected 10"),  # numcodecs makes 16 GiB of them
        (struct.pack("<I", 2**32 - 1), "declares 4,294,967,295 strings"),
        (struct.pack("<II", 10, 2**31 - 1) + bytes(36), "truncated"),
        (b"", "cannot be decompressed"),
        (bytes(40), "declares 0 strings"),
        (bytes(1 << 20), "would decompress to 1,048,576 bytes; expected at most 655,404"),
    ],
)
def test_chunk_of_texts__is_refused_before_they_are_made(store, profile, toy, content, message):
    (profile / "arch/c/0").write_bytes(blosc_chunk(content))
    with little_memory():
        with pytest.raises(CorruptShardError, match=message):
            Profile.open(store, toy.spec().profile_name).read(COUNTS, Shard(0, 0, 4, ()))
        with pytest.raises(StoreError, match=message):
            open_profile(store, toy.spec().profile_name)
        assert any("arch" in str(problem) for problem in verify(store))


def shard_file(*chunks: bytes, index=None) -> bytes:
    offsets = np.cumsum([0, *map(len, chunks)])
    index = [(int(at), len(chunk)) for at, chunk in zip(offsets, chunks, strict=False)] if index is None else index
    entries = struct.pack("<4Q", *np.ravel(np.array(index, "u8")).tolist())
    return b"".join(chunks) + entries + struct.pack("<I", crc32c(entries))


CHUNK_BYTES = 4 * 3 * NUM_BINS * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda good: shard_file(good, good, index=[(10**12, len(good)), (0, len(good))]),
            "a chunk of 47 bytes at 1,000,000,000,000",
        ),
        (lambda good: shard_file(good, good, index=[(0, 2**40), (0, 2**40)]), "1,099,511,627,776 bytes"),
        (lambda good: shard_file(good, good, index=[(2**64 - 2, 4), (0, 4)]), "bytes|before"),
        (lambda good: shard_file(blosc_chunk(bytes(1 << 26)), good), "would decompress to 67,108,864 bytes"),
        (lambda good: good[:10], "has 10 bytes; expected a shard, whose index alone takes 36"),
        (lambda good: shard_file(good, good)[:-1] + b"?", "[Cc]hecksum|crc"),
    ],
)
def test_shard__is_refused_where_its_index_or_a_chunk_lies(store, profile, toy, content, message):
    good = blosc_chunk(bytes(CHUNK_BYTES), typesize=4)
    name = toy.spec().profile_name
    file = profile / "grad_count/c/0/0/0/0"
    file.write_bytes(shard_file(good, good))
    assert (
        not Profile.open(store, name).read(COUNTS, Shard(0, 0, 4, ())).grad_count.any()
    )  # what the cases below are variations of
    file.write_bytes(content(good))
    with little_memory():
        with pytest.raises(CorruptShardError, match=message):
            Profile.open(store, name).read(COUNTS, Shard(0, 0, 4, ()))
        with pytest.raises((ValueError, RuntimeError, RuntimeWarning)):
            open_profile(store, name).grad_count.isel(kind=0).compute()  # one chunk of the shard
        assert any("grad_count" in str(problem) for problem in verify(store))


def test_chunk__garbage_in_the_right_frame_is_only_an_error(store, profile):
    """Random bytes behind a right header and checksum: whatever Blosc makes of them, the process lives and says so."""
    random = np.random.default_rng(0)
    header = blosc_chunk(random.bytes(64))[:16]
    for _ in range(200):
        raw = (
            header[:1]
            + random.bytes(3)
            + struct.pack("<III", 10, int(random.integers(0, 2**32)), 26)
            + random.bytes(10)
        )
        (profile / "status/c/0").write_bytes(raw + struct.pack("<I", crc32c(raw)))
        with pytest.raises(CorruptShardError):
            status(store)


# Attributes


def test_document__is_refused_by_size_before_it_is_parsed(store, profile, toy):
    big = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"x": "y" * 100_000_000}})
    (profile / "zarr.json").write_text(big)
    del big
    with little_memory():
        for read in (list_profiles, status, info, open_store):
            with pytest.raises(NotAStoreError, match=r"zarr\.json: has more than 16,777,216 bytes"):
                read(store)
        assert any("16,777,216" in str(problem) for problem in verify(store))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"node_type": "group", "attributes": {"a": %s}}' % ("[" * 100_000 + "]" * 100_000), "is nested too deeply"),
        ('{"node_type": "group", "attributes": {"a": %s}}' % ("[" * 40 + "]" * 40), "is nested deeper than 32"),
        ('{"zarr_format": 3, "node_type": "group", "attributes": {"schema_version": NaN}}', "contains NaN"),
        ('{"zarr_format": 3, "node_type": "group", "attributes": {"schema_version": -Infinity}}', "contains -Infinity"),
        ("no JSON", "cannot read it"),
        ("\x00\xff", "cannot read it"),
        ("[]", "cannot read it|expected"),
        ("3", "cannot read it|expected"),
        ('{"zarr_format": 3, "node_type": "group", "attributes": 3}', "expected"),
        ('{"zarr_format": 3, "node_type": "group", "consolidated_metadata": {"metadata": 3}}', "expected|missing"),
        (
            '{"zarr_format": 3, "node_type": "group", "attributes": {"schema_version": 1%s}}' % ("0" * 5000),
            "cannot|reads",
        ),
    ],
)
def test_document__that_makes_no_sense_is_named(store, content, message):
    (store / "zarr.json").write_text(content, encoding="latin1")
    for read in (open_store, list_profiles, status, info, verify):
        with pytest.raises(StoreError, match=message):
            read(store)


def test_document__limit_leaves_room_for_hundreds_of_profiles(store):
    one = len((store / "zarr.json").read_bytes())
    assert MAX_DOCUMENT_BYTES / one > 300


def test_document__groups_inside_each_other_come_to_an_end(store):
    folder = store
    for _ in range(200):
        folder = folder / "g"
        folder.mkdir()
        (folder / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(NotAStoreError, match="nested groups; expected at most"):
        list_profiles(store)


def test_remote_document__is_cut_off_while_it_is_read(store, toy):
    memory = fsspec.filesystem("memory")
    memory.put(str(store), "/hostile.zarr", recursive=True)
    name = toy.spec().profile_name
    try:
        assert list_profiles("memory://hostile.zarr") == [name]
        healthy = open_profile("memory://hostile.zarr", name).grad_count.compute()
        assert healthy.equals(open_profile(store, name).grad_count.compute())
        with memory.open("/hostile.zarr/zarr.json", "wb") as file:
            file.write(b'{"attributes": "' + bytes(50 << 20))
        with pytest.raises(NotAStoreError, match="has more than 16,777,216 bytes"):
            list_profiles("memory://hostile.zarr")
        memory.put(str(store / "zarr.json"), "/hostile.zarr/zarr.json")
        with memory.open(f"/hostile.zarr/{name}/status/c/0", "wb") as file:
            file.write(bytes(50 << 20))
        with pytest.raises(CorruptShardError, match="25 bytes or more; expected at most 24"):
            status("memory://hostile.zarr")
    finally:
        memory.rm("/hostile.zarr", recursive=True)


# Zip archives


def zip_store(store: Path, path: Path, *, compress=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compress) as archive:
        for file in sorted(store.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(store).as_posix())
    return path


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "a/../../outside", "a\\..\\outside", "C:outside", "a//b", "./a"]
)
def test_zip__refuses_names_that_lead_outside(store, tmp_path, name):
    path = zip_store(store, tmp_path / "s.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"harm")
    before = sorted(tmp_path.rglob("*"))
    for read in (open_store, list_profiles, status, info, verify):
        with pytest.raises(NotAStoreError, match="expected paths inside the archive"):
            read(path)
    assert sorted(tmp_path.rglob("*")) == before  # and nothing is ever unpacked


def _info(name, **entries):
    member = zipfile.ZipInfo(name)
    for key, value in entries.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (_info("a", external_attr=(stat.S_IFLNK | 0o777) << 16), "a link or a device"),
        (_info("a", external_attr=(stat.S_IFCHR | 0o777) << 16), "a link or a device"),
        (_info("a", flag_bits=1), "encrypted"),
        (_info("a", compress_type=zipfile.ZIP_BZIP2), "compressed by a method other than deflate"),
        (
            _info("a", compress_type=8, compress_size=10**6, file_size=10**9),
            "of 1,000,000 bytes .* decompress to 1,000,000,000",
        ),
        (_info("a", compress_size=10**12, file_size=10**12), "decompress to 1,000,000,000,000; expected at most"),
        (
            _info("a/zarr.json", compress_size=10**8, file_size=10**8),
            "decompress to 100,000,000; expected at most 16,777,216",
        ),
        (_info("a/" * 40 + "a"), "at most 32 deep"),
        (_info("a", compress_size=1001, file_size=1001), "has 1,000 bytes, but members of 1,001; .*not overlap"),
    ],
)
def test_members__are_refused(member, message):
    with pytest.raises(NotAStoreError, match=message):
        check_members([member], where="s.zip", archive_bytes=1000)
    check_members([_info("a/b/"), _info("a/b/c", compress_type=8, compress_size=9, file_size=99)], where="s.zip")


def test_zip__refuses_links_duplicates_and_bombs(store, tmp_path):
    for number, (member, content, message) in enumerate(
        [
            (_info("link", external_attr=(stat.S_IFLNK | 0o777) << 16), b"/etc/passwd", "a link"),
            (_info("zarr.json"), b"{}", "two members named 'zarr.json'"),
            (
                _info("bomb", compress_type=8),
                bytes(100 << 20),
                r"of \d+,\d+ bytes that would decompress to 104,857,600",
            ),
        ]
    ):
        path = zip_store(store, tmp_path / f"{number}.zip")
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(member, content)
        with little_memory(), pytest.raises(NotAStoreError, match=message):
            list_profiles(path)


@pytest.mark.parametrize("compress", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip__a_member_larger_than_declared_is_cut_off(store, tmp_path, toy, compress):
    path = zip_store(store, tmp_path / "s.zip", compress=compress)
    name = toy.spec().profile_name
    assert open_profile(path, name).load().equals(open_profile(store, name).load())
    key = f"{name}/status/c/0"
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(key)
    data = bytearray(path.read_bytes())
    entry = data.rindex(key.encode()) - 46  # in the central directory, which is what counts
    assert data[entry : entry + 4] == b"PK\1\2"
    data[entry + 24 : entry + 28] = struct.pack("<I", member.file_size - 1)
    path.write_bytes(data)
    with pytest.raises(
        CorruptShardError, match=r"status/c/0 cannot be read from the archive \((Bad CRC-32|.*is stored in)"
    ):
        status(path)
    data[entry + 24 : entry + 28] = struct.pack("<I", member.file_size + 10**6)
    path.write_bytes(data)
    with pytest.raises((CorruptShardError, NotAStoreError), match=r"bytes or more; expected|would decompress"):
        status(path)


def test_zip__whose_directory_is_checked_again_in_another_process(store, tmp_path):
    path = zip_store(store, tmp_path / "s.zip")
    travelled = pickle.dumps(zarr_store(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside", b"")
    with pytest.raises(NotAStoreError, match="paths inside the archive"):
        pickle.loads(travelled)  # noqa: S301


# Links


def test_writer__is_not_led_out_of_the_store_by_a_link(store, profile, toy, tmp_path):
    name = toy.spec().profile_name
    outside = tmp_path / "outside"
    (profile / "status").rename(outside)
    (profile / "status").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    shard = Shard(0, 0, 4, (0,))
    with pytest.raises(NotAStoreError, match=r"outside the store.*Nothing was written"):
        Profile.open(store, name).write(shard, {COUNTS: toy.rows([0])})
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert len(open_profile(store, name).status) == 10  # reading through a link is the business of whoever made it


ACCURACIES = pd.DataFrame({"arch": ["|op0~0|"], "dataset": "d", "split": "test", "epochs": 1, "accuracy": 50.0})


def _import(store):
    import_accuracy(store, space="toy", table=ACCURACIES, arch=["|op0~0|"], source="table")


def _repair(store):
    verify(store, repair=True)


@pytest.mark.parametrize("action", [_import, _repair])
@pytest.mark.parametrize("linked", ["toy", "toy/accuracy", "toy/accuracy.old", "toy/accuracy.new"])
@pytest.mark.parametrize("inside", ["accuracy", "accuracy.old", "accuracy.new"])
def test_writer__renames_and_deletes_nothing_that_a_link_leads_to(store, tmp_path, action, linked, inside):
    outside = tmp_path / "outside"
    (outside / inside / "c").mkdir(parents=True)
    for path in (outside / "zarr.json", outside / inside / "zarr.json", outside / inside / "c" / "0.partial"):
        path.write_text('{"zarr_format": 3, "node_type": "group"}')
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    if linked == "toy":
        shutil.move(store / "toy", tmp_path / "moved")
    (store / linked).symlink_to(outside if linked == "toy" else outside / inside)
    with suppress(StoreError, ValueError) if action is _import else nullcontext():
        action(store)
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in outside.iterdir()) == sorted({"zarr.json", inside})


def test_import_accuracy__says_which_link_to_replace(store, tmp_path):
    _import(store)
    (store / "toy/accuracy").rename(tmp_path / "outside")
    (store / "toy/accuracy").symlink_to(tmp_path / "outside")
    with pytest.raises(
        NotAStoreError, match=r"toy/accuracy is a link to .*outside; expected a folder.*Replace the link"
    ):
        import_accuracy(store, space="toy", table=ACCURACIES.assign(split="valid"), arch=["|op0~0|"], source="more")
    assert len(list((tmp_path / "outside").iterdir())) > 1


def test_lock__is_not_led_out_of_the_store_by_a_link(store, profile, toy, tmp_path):
    (tmp_path / "outside").mkdir()
    (profile / "status/claims").symlink_to(tmp_path / "outside")
    with (
        pytest.raises(NotAStoreError, match="outside the store"),
        lock_shard(store, toy.spec().profile_name, 0, run="r"),
    ):
        pass
    assert list((tmp_path / "outside").iterdir()) == []


def test_store__deletes_a_link_and_not_what_it_leads_to(tmp_path):
    from sweetgrad.store.access._zarr import sync

    (tmp_path / "outside").mkdir()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "link").symlink_to(tmp_path / "outside")
    sync(zarr_store(tmp_path / "s", read_only=False).delete("link"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["outside", "s"]


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a/zarr.json/../../../outside"])
def test_store__writes_and_deletes_no_key_that_leads_out(tmp_path, key):
    from zarr.buffer import cpu

    from sweetgrad.store.access._zarr import sync

    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "s").mkdir()
    guard = GuardedStore(LocalStore(tmp_path / "s"))
    for action in (
        lambda: guard.set(key, cpu.Buffer.from_bytes(b"harm")),
        lambda: guard.set_if_not_exists(key, cpu.Buffer.from_bytes(b"harm")),
        lambda: guard.delete(key),
        lambda: guard.delete_dir(key),
    ):
        with pytest.raises(NotAStoreError, match="outside the store"):
            sync(action())
    assert (tmp_path / "outside").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_reader__does_not_read_devices(store, profile, toy):
    for file in (profile / "status/c/0", profile / "zarr.json"):
        file.unlink()
        file.symlink_to("/dev/zero")
        with little_memory(), pytest.raises(StoreError, match="a device or a pipe"):
            status(store)


# What is healthy passes


def test_limits__let_pass_what_was_published():
    golden = Path(__file__).parents[2] / "data" / "format-1.zarr"
    limits = check_document(parse_json((golden / "zarr.json").read_bytes(), where=""), path="", where="")
    assert len(limits) > 20
    assert all(found.is_blosc and found.is_crc for found in limits.values())
    assert isinstance(open_root(golden).store, GuardedStore)


def test_guarded_store__travels_to_workers(store, toy):
    name = toy.spec().profile_name
    there = pickle.loads(pickle.dumps(open_profile(store, name)))  # noqa: S301
    assert there.load().equals(open_profile(store, name).load())


def test_store__opens_no_pickle(store, toy, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a pickle was loaded")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    open_profile(store, toy.spec().profile_name, chunks=None).load()
    info(store)
    assert verify(store) == []
