import hashlib
from pathlib import Path

import pytest

from sweetgrad.store import StoreError, publish, verify
from sweetgrad.store.checks.sums import read_sums, write_sums
from sweetgrad.store.release._publish import write_zip

ZEROS = "0" * 64


@pytest.fixture
def release(tmp_path, toy):
    toy.name = toy.store(tmp_path / "nb.zarr")
    publish(tmp_path / "nb.zarr", tmp_path / "release")
    return tmp_path / "release"


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_write_sums__names_every_file_but_itself(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b c").write_bytes(b"x")
    (tmp_path / "d").write_bytes(b"")
    seen = []
    sums = write_sums(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert sums == {"a/b c": hashlib.sha256(b"x").hexdigest(), "d": hashlib.sha256(b"").hexdigest()}
    assert (tmp_path / "SHA256SUMS").read_text() == f"{sums['a/b c']}  a/b c\n{sums['d']}  d\n"
    assert seen == [(1, 2), (2, 2)]
    assert write_sums(tmp_path) == sums


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "./a",
        ".",
        "..",
        "a\\..\\x",
        "file:x",
        "x?y",
        "x\u202ey",
        "x\x00y",
        "SHA256SUMS",
    ],
)
def test_read_sums__refuses_paths_that_leave_the_release(name):
    with pytest.raises(StoreError, match=r"leads out of the release\. Do not trust"):
        read_sums(f"{ZEROS}  fine\n{ZEROS}  {name}\n", where="SHA256SUMS")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{ZEROS} x\n", "line 1: expected a SHA-256, two spaces and a path"),
        (f"{ZEROS[1:]}  x\n", "line 1: expected"),
        (f"\\{ZEROS}  x\\ny\n", "line 1: expected"),
        ("<html>", "line 1: expected"),
        (f"{ZEROS}  x\n{ZEROS}  x\n", "line 2: 'x' occurs twice"),
    ],
)
def test_read_sums__refuses_what_sha256sum_does_not_write(text, message):
    with pytest.raises(StoreError, match=message):
        read_sums(text, where="SHA256SUMS")


def test_read_sums__takes_binary_mode():
    assert read_sums(f"{ZEROS} *x\n", where="SHA256SUMS") == {"x": ZEROS}


def test_verify__of_a_release_names_files_that_differ_are_missing_or_extra(release, toy):
    flip_bit(release / "README.md")
    (release / "load.py").unlink()
    (release / "nb.zarr" / "extra").write_text("")
    problems = [str(problem) for problem in verify(release)]
    assert len(problems) == 3
    assert problems[0].startswith("store: README.md differs: expected SHA-256 ")
    assert problems[1].startswith("store: load.py is missing")
    assert problems[2].startswith("store: nb.zarr/extra is not in SHA256SUMS")


def test_verify__of_a_release_also_checks_what_is_in_its_store(release, toy):
    flip_bit(release / "nb.zarr" / toy.name / "grad_count" / "c" / "1" / "0" / "0" / "0")
    differs, broken = (str(problem) for problem in verify(release))
    assert f"nb.zarr/{toy.name}/grad_count/c/1/0/0/0 differs" in differs
    assert "shard 1" in broken
    write_sums(release)  # who changes a file can change its sum as well, but not its digest
    (only,) = verify(release)
    assert "grad_count" in str(only)


def test_verify__of_a_part_of_a_release_checks_that_part(release):
    flip_bit(release / "nb.zarr.zip")
    assert verify(release / "nb.zarr") == []
    (problem,) = verify(release / "nb.zarr.zip")
    assert "nb.zarr.zip differs" in str(problem)


def test_verify__of_a_release_without_folder_checks_the_store_in_the_zip(tmp_path, toy):
    name = toy.store(tmp_path / "nb.zarr")
    release = tmp_path / "release"
    publish(tmp_path / "nb.zarr", release, zip_only=True)
    seen = []
    assert verify(release, progress=lambda done, total: seen.append((done, total))) == []
    assert seen[-1] == (3, 3)  # its shards
    flip_bit(tmp_path / "nb.zarr" / name / "grad_count" / "c" / "1" / "0" / "0" / "0")
    write_zip(tmp_path / "nb.zarr", release / "nb.zarr.zip")
    (differs,) = verify(release)
    assert "nb.zarr.zip differs" in str(differs)
    write_sums(release)  # who changes a file can change its sum as well, but not its digest
    for asked in (release, release / "nb.zarr.zip"):
        assert any("shard 1" in str(problem) and "grad_count" in str(problem) for problem in verify(asked))


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_verify__of_a_release_whose_zip_is_none_any_more_says_to_get_it_again(content, tmp_path, toy):
    toy.store(tmp_path / "nb.zarr")
    publish(tmp_path / "nb.zarr", tmp_path / "release", zip_only=True)
    (tmp_path / "release" / "nb.zarr.zip").write_bytes(content)
    (problem,) = verify(tmp_path / "release")
    assert "nb.zarr.zip differs" in str(problem)
    assert "Download it again" in str(problem)


@pytest.mark.parametrize("sums", [f"{ZEROS}  film.mkv\n", "d41d8cd98f00b204e9800998ecf8427e  film.mkv\n"])
def test_verify__of_a_store_beside_the_sums_of_something_else_checks_the_store(sums, tmp_path, toy):
    name = toy.store(tmp_path / "nb.zarr")
    (tmp_path / "SHA256SUMS").write_text(sums)
    assert verify(tmp_path / "nb.zarr") == []
    flip_bit(tmp_path / "nb.zarr" / name / "grad_count" / "c" / "1" / "0" / "0" / "0")
    (problem,) = verify(tmp_path / "nb.zarr")
    assert "shard 1" in str(problem)


def test_verify__does_not_follow_links_out_of_a_release(release, tmp_path):
    (tmp_path / "secret").write_text((release / "load.py").read_text())
    (release / "load.py").unlink()
    (release / "load.py").symlink_to(tmp_path / "secret")
    (problem,) = verify(release)
    assert "load.py is missing, or is not a regular file inside the release" in str(problem)


def test_verify__refuses_hostile_names_before_it_reads_anything(release):
    (release / "SHA256SUMS").write_text(f"{ZEROS}  ../../../etc/passwd\n")
    with pytest.raises(StoreError, match="Do not trust this release"):
        verify(release)


def test_verify__does_not_repair_a_release(release):
    with pytest.raises(ValueError, match="is a release, whose files are never changed"):
        verify(release, repair=True)


def test_verify__reports_files_then_shards(release):
    seen = []
    verify(release, progress=lambda done, total: seen.append((done, total)))
    num_files = len((release / "SHA256SUMS").read_text().splitlines())
    assert seen == [*((i + 1, num_files) for i in range(num_files)), (1, 3), (2, 3), (3, 3)]
