"""A store behind a web server, as a folder and as one zip: what every reader gives, and how little is asked of the server."""

import json
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

from sweetgrad.analysis import Interval, IntervalGrid, interval_counts, score
from sweetgrad.flows import cli
from sweetgrad.store import (
    CorruptShardError,
    NotAStoreError,
    Profile,
    UnreachableStoreError,
    import_accuracy,
    info,
    list_profiles,
    open_accuracy,
    open_estimators,
    open_profile,
    open_store,
    profile_block,
    status,
    verify,
)

IMPATIENT = {"tries": 2, "pause": 0.01, "connect_timeout": 2, "read_timeout": 2}


@pytest.fixture
def folder(toy, tmp_path):
    """``toy.zarr`` with all that a store can hold, and the same as ``toy.zarr.zip``."""
    store = tmp_path / "www" / "toy.zarr"
    name = toy.make_store(store)
    Profile.open(store, name).add_blocks([profile_block("snip")])
    table = pd.DataFrame(
        {"arch": toy.ARCHS, "dataset": "cifar10", "split": "test", "epochs": 12, "accuracy": range(10)}
    )
    import_accuracy(store, space="toy", table=table, source="table")
    toy.pack(store, store.with_name("toy.zarr.zip"))
    return store.parent


@pytest.mark.parametrize("place", ["{url}/toy.zarr", "zip::{url}/toy.zarr.zip", "{url}/toy.zarr.zip"])
def test_readers__at_a_url_give_what_those_of_a_folder_give(place, folder, serve, toy):
    here, there = folder / "toy.zarr", place.format(url=serve(folder).url)
    name = toy.make_spec().profile_name
    assert list_profiles(there) == [name]
    for chunks in (None, "shard"):
        assert open_profile(there, name, chunks=chunks).load().identical(open_profile(here, name, chunks=chunks).load())
    assert open_accuracy(there, "toy", "cifar10/test").identical(open_accuracy(here, "toy", "cifar10/test"))
    assert open_estimators(there, name).identical(open_estimators(here, name))
    assert status(there) == status(here)
    assert [each.space for each in info(there).accuracies] == ["toy"]
    assert [each.name for each in info(there).profiles[0].estimators] == ["snip"]
    assert open_store(there)[name].to_dataset().load().equals(open_store(here)[name].to_dataset().load())
    with pytest.raises(NotAStoreError, match=f"it holds {name}"):
        open_profile(there, "toy/synthetic/bs2-seed1")


@pytest.mark.parametrize("place", ["{url}/toy.zarr", "zip::{url}/toy.zarr.zip"])
def test_program__answers_at_a_url(place, serve, toy, tmp_path, monkeypatch, capsys):
    golden = Path(__file__).parents[1] / "data" / "format-1.zarr"
    (tmp_path / "www").mkdir()
    shutil.copytree(golden, tmp_path / "www" / "toy.zarr")
    toy.pack(golden, tmp_path / "www" / "toy.zarr.zip")
    there = place.format(url=serve(tmp_path / "www").url)
    question = ["correlate", "--accuracy", "cifar10/test", "--estimators", "--interval", "1e-4,5e-4"]
    for command in (["status"], ["info"], question):
        words = ["sweetgrad", command[0], there, *command[1:], "--storage-option", "tries=2"]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code in (0, None), capsys.readouterr().err
    assert "params_live" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["{url}/toy.zarr", "zip::{url}/toy.zarr.zip"])
def test_verify__reads_a_store_at_a_url(place, folder, serve):
    assert verify(place.format(url=serve(folder).url)) == []


def test_xarray__opens_a_profile_at_a_url_without_sweetgrad(folder, serve, toy):
    name = toy.make_spec().profile_name
    served = serve(folder)
    with xr.open_zarr(f"{served.url}/toy.zarr", group=name) as profile:  # warnings are errors here
        assert int(profile["status"].sum()) == 10
        assert profile["grad_count"].load().equals(open_profile(folder / "toy.zarr", name)["grad_count"].load())


def test_open_profile__asks_for_one_file_and_the_labels(folder, serve, toy):
    served = serve(folder)
    profile = open_profile(f"{served.url}/toy.zarr", toy.make_spec().profile_name, chunks=None)
    paths = [request["path"].removeprefix("/toy.zarr/") for request in served.requests()]
    name = toy.make_spec().profile_name
    assert sorted(paths) == sorted(["zarr.json", f"{name}/arch/c/0", f"{name}/kind/c/0", f"{name}/layer/c/0"])
    first = profile.isel(arch=slice(0, 4))
    score(first, Interval("1e-4", "5e-4")).load()
    interval_counts(first, IntervalGrid(split=7), level="layer").load()
    asked = served.requests()[len(paths) :]
    # One shard: an index and the chunk of weights from grad_count and from grad_count_network; nothing of biases.
    counts = [request for request in asked if "grad_count" in request["path"]]
    assert {request["path"].rpartition("/c/")[2] for request in counts} == {"0/0/0/0", "0/0/0"}
    assert all(request["status"] == 206 for request in counts)
    whole = sum(
        (folder / "toy.zarr" / name / f"grad_count{part}").stat().st_size for part in ("/c/0/0/0/0", "_network/c/0/0/0")
    )
    assert sum(request["bytes"] for request in counts) - 400 * len(counts) < whole * 0.7


def test_open_profile__of_a_compressed_zip_gives_the_same(folder, serve, toy):
    toy.pack(folder / "toy.zarr", folder / "packed.zarr.zip", compression=zipfile.ZIP_DEFLATED)
    name = toy.make_spec().profile_name
    there = open_profile(f"zip::{serve(folder).url}/packed.zarr.zip", name)
    assert there.load().identical(open_profile(folder / "toy.zarr", name).load())


def test_open_profile__of_a_zip_whose_headers_differ_from_its_directory(folder, serve, toy):
    """What Info-ZIP writes: other extra fields in the headers than in the directory."""
    data = bytearray((folder / "toy.zarr.zip").read_bytes())
    with zipfile.ZipFile(folder / "toy.zarr.zip") as archive, (folder / "other.zarr.zip").open("wb") as other:
        entries = archive.infolist()
        end = archive.start_dir
        directory = bytes(data[end:])
        shift, moved, body = 9, {}, b""
        for entry, stop in zip(entries, [*[e.header_offset for e in entries[1:]], end], strict=True):
            start = entry.header_offset
            name_end = start + 30 + len(entry.filename)
            moved[entry.filename] = len(body)
            header = bytes(data[start : start + 28]) + shift.to_bytes(2, "little") + bytes(data[start + 30 : name_end])
            body += header + b"UT\x05\x00\x01\x00\x00\x00\x00" + bytes(data[name_end:stop])
        new, at = bytearray(directory), 0
        for entry in entries:
            new[at + 42 : at + 46] = moved[entry.filename].to_bytes(4, "little")
            at += 46 + len(entry.filename) + len(entry.extra) + len(entry.comment)
        new[at + 16 : at + 20] = len(body).to_bytes(4, "little")
        other.write(body + bytes(new))
    name = toy.make_spec().profile_name
    there = open_profile(f"zip::{serve(folder).url}/other.zarr.zip", name)
    assert there.load().identical(open_profile(folder / "toy.zarr", name).load())


def test_open_profile__of_a_damaged_zip_is_no_silent_fill(folder, serve, toy):
    place = folder / "toy.zarr.zip"
    url = f"zip::{serve(folder).url}/toy.zarr.zip"
    name = toy.make_spec().profile_name
    data = bytearray(place.read_bytes())
    with zipfile.ZipFile(place) as archive:
        entry = archive.getinfo(f"{name}/status/c/0")
    data[entry.header_offset + 30 + len(entry.filename) + 3] ^= 0xFF
    place.write_bytes(data)
    with pytest.raises(CorruptShardError, match="does not match its checksum in the zip"):
        status(url)
    place.write_bytes(data[: len(data) // 2])
    with pytest.raises(NotAStoreError, match="expected a zip file, cannot read its directory"):
        status(url)
    place.unlink()
    with pytest.raises(NotAStoreError, match="expected a zip file, found none there"):
        status(url)


def test_status__of_an_object_that_the_server_has_only_half_of_names_the_shard(folder, serve, toy):
    served = serve(folder)
    path = folder / "toy.zarr" / toy.make_spec().profile_name / "status/c/1"
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(CorruptShardError, match="status"):
        status(f"{served.url}/toy.zarr")


def test_open_profile__from_a_server_without_ranges_says_what_is_missing(folder, servers, toy):
    name = toy.make_spec().profile_name
    with servers.range_server(folder, knows_ranges=False) as served:
        profile = open_profile(f"{served.url}/toy.zarr", name, storage_options=IMPATIENT)
        with pytest.raises(UnreachableStoreError, match=r"It does not support Range requests.*nginx"):
            profile["grad_count"].load()


def test_open_root__at_a_url_without_consolidated_metadata_says_how_to_get_them(folder, serve):
    root = folder / "toy.zarr" / "zarr.json"
    document = json.loads(root.read_text())
    del document["consolidated_metadata"]
    root.write_text(json.dumps(document))
    with pytest.raises(NotAStoreError, match=r"expected consolidated metadata in zarr.json.*sweetgrad profile"):
        list_profiles(f"{serve(folder).url}/toy.zarr")


def test_open_profile__of_an_empty_place_at_a_url_says_so(serve, tmp_path):
    served = serve(tmp_path)
    with pytest.raises(NotAStoreError, match=r"found none there\. Check the address"):
        open_profile(f"{served.url}/none.zarr", "a/b")


def test_local_zip__is_read_by_every_reader(folder, toy):
    here, there = folder / "toy.zarr", folder / "toy.zarr.zip"
    name = toy.make_spec().profile_name
    shutil.rmtree(folder / "toy.zarr" / name / "estimators")
    assert list_profiles(there) == list_profiles(here)
    assert open_profile(there, name).load().identical(open_profile(here, name).load())
    assert open_accuracy(there, "toy", "cifar10/test").identical(open_accuracy(here, "toy", "cifar10/test"))
    assert open_estimators(there, name).sizes["estimator"] == 1
    assert open_store(there)[name].to_dataset().load().equals(open_store(here)[name].to_dataset().load())
    assert verify(there) == []
