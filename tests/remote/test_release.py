"""A release as strangers meet it: served, and checked and loaded from there."""

import subprocess
import sys
from pathlib import Path

import pytest

from sweetgrad.store import RemoteStore, StoreError, UnreachableStoreError, publish, verify

BLOCKED = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "prefect", "distributed", "sklearn"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def release(tmp_path, toy):
    toy.make_store(tmp_path / "nb.zarr")
    publish(tmp_path / "nb.zarr", tmp_path / "release")
    return tmp_path / "release"


@pytest.fixture
def served(release, servers):
    with servers.range_server(release) as server:
        yield server


def upload(folder: Path, url: str, address: str) -> None:
    import fsspec

    fs, path = fsspec.url_to_fs(url, endpoint_url=address)
    fs.put(f"{folder}/", f"{path}/", recursive=True)


@pytest.mark.parametrize("location", ["{}/nb.zarr", "zip::{}/nb.zarr.zip"])
def test_load__opens_the_release_as_served(location, served, release):
    command = [sys.executable, "-c", BLOCKED, str(release / "load.py"), location.format(served.url)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "(arch: 10, layer: 3, kind: 2, bin: 345)" in result.stdout


def test_verify__of_a_release_at_a_url_asks_for_every_file_once(served, release):
    assert verify(served.url) == []
    asked = [request["path"].lstrip("/") for request in served.requests()]
    files = [path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()]
    assert sorted(asked) == sorted(files)


def test_verify__of_a_release_at_a_url_names_files_that_differ_or_are_missing(served, release):
    (release / "README.md").write_text("changed")
    (release / "load.py").unlink()
    problems = [str(problem) for problem in verify(served.url)]
    assert [problem.split()[1:3] for problem in problems] == [["README.md", "differs:"], ["load.py", "is"]]


@pytest.mark.parametrize("location", ["{}/nb.zarr.zip", "zip::{}/nb.zarr.zip"])
def test_verify__of_one_file_at_a_url(location, served, release):
    assert verify(location.format(served.url)) == []
    asked = {request["path"] for request in served.requests()}
    assert asked == {"/SHA256SUMS", "/nb.zarr.zip"}
    (release / "nb.zarr.zip").write_bytes((release / "nb.zarr.zip").read_bytes()[:-1])
    (problem,) = verify(location.format(served.url))
    assert "nb.zarr.zip differs" in str(problem)


def test_verify__of_a_release_at_a_url_reads_large_files_in_blocks(served, release, monkeypatch):
    monkeypatch.setattr("sweetgrad.store.checks.sums._BLOCK", 50_000)
    assert verify(f"{served.url}/nb.zarr.zip") == []
    size = (release / "nb.zarr.zip").stat().st_size
    assert sum(request["path"] == "/nb.zarr.zip" for request in served.requests()) == size // 50_000 + 1


def test_verify__of_a_url_refuses_hostile_names_and_lists_without_end(served, release, monkeypatch):
    (release / "SHA256SUMS").write_text(f"{'0' * 64}  ../../admin\n")
    with pytest.raises(StoreError, match="leads out of the release"):
        verify(served.url)
    assert [request["path"] for request in served.requests()] == ["/SHA256SUMS"]
    monkeypatch.setattr("sweetgrad.store.checks.sums._MAX_BYTES", 10)
    with pytest.raises(StoreError, match="that is not a list of checksums"):
        verify(served.url)


def test_verify__of_a_url_that_cannot_be_reached_is_a_clear_error(servers):
    place = RemoteStore(f"http://127.0.0.1:{servers.free_port()}/release", {"tries": 1})
    with pytest.raises(UnreachableStoreError, match="Check the address"):
        verify(place)


def test_publish_and_verify__of_s3(release, bucket, s3, tmp_path):
    upload(release, f"{bucket}/release", s3)
    assert verify(f"{bucket}/release") == []
    publish(f"{bucket}/release/nb.zarr", tmp_path / "again")
    assert (tmp_path / "again" / "nb.zarr.zip").read_bytes() == (release / "nb.zarr.zip").read_bytes()
    (release / "load.py").write_text("changed")
    upload(release, f"{bucket}/release", s3)
    (problem,) = verify(f"{bucket}/release")
    assert "load.py differs" in str(problem)


def test_publish__of_a_url_that_cannot_list_copies_the_same(served, release, tmp_path):
    publish(f"{served.url}/nb.zarr", tmp_path / "again")
    assert (tmp_path / "again" / "nb.zarr.zip").read_bytes() == (release / "nb.zarr.zip").read_bytes()
