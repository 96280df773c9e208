import dataclasses
import hashlib
import io
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from sweetgrad.profiling.datasets import cifar
from sweetgrad.profiling.datasets._files import fetch


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


NOISE = np.random.RandomState(0).bytes(50_000)
ARCHIVE = _tar({"folder/noise.bin": NOISE, "folder/readme.html": b"<p>"})
MD5 = hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    content = ARCHIVE
    cut_first_at: int | None = None
    supports_range = True
    status: int | None = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/files/data.tar.gz"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        content, start = self.server.content, 0
        if self.server.status:
            self.send_error(self.server.status)
            return
        if wanted and self.server.supports_range:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.cut_first_at if len(self.server.ranges) == 1 else None
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = _Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch__downloads_checks_and_extracts(server, tmp_path):
    archive = fetch(server.url, MD5, tmp_path / "new")
    assert archive == tmp_path / "new" / "data.tar.gz"
    assert archive.read_bytes() == ARCHIVE
    assert (tmp_path / "new" / "folder" / "noise.bin").read_bytes() == NOISE
    assert sorted(path.name for path in archive.parent.iterdir()) == ["data.tar.gz", "folder"]


def test_fetch__says_that_a_rerun_resumes_and_it_does(server, tmp_path):
    server.cut_first_at = 20_000
    with pytest.raises(
        ConnectionError, match=r"data\.tar\.gz: .* after 20,000 bytes, .* try again to resume"
    ) as caught:
        fetch(server.url, MD5, tmp_path)
    assert server.url in str(caught.value)
    assert (tmp_path / "data.tar.gz.part").read_bytes() == ARCHIVE[:20_000]
    assert not (tmp_path / "folder").exists()
    fetch(server.url, MD5, tmp_path)
    assert server.ranges == [None, "bytes=20000-"]
    assert (tmp_path / "folder" / "noise.bin").read_bytes() == NOISE
    assert not (tmp_path / "data.tar.gz.part").exists()


def test_fetch__starts_again_where_the_server_knows_no_ranges(server, tmp_path):
    server.supports_range = False
    (tmp_path / "data.tar.gz.part").write_bytes(b"x" * (len(ARCHIVE) + 10))
    fetch(server.url, MD5, tmp_path)
    assert server.ranges == [f"bytes={len(ARCHIVE) + 10}-"]
    assert (tmp_path / "folder" / "noise.bin").read_bytes() == NOISE


def test_fetch__finishes_a_part_that_is_already_whole(server, tmp_path):
    (tmp_path / "data.tar.gz.part").write_bytes(ARCHIVE)
    fetch(server.url, MD5, tmp_path)
    assert (tmp_path / "folder" / "noise.bin").read_bytes() == NOISE


@pytest.mark.parametrize("damaged", ["content", "part"])
def test_fetch__deletes_what_has_the_wrong_checksum(server, tmp_path, damaged):
    part = tmp_path / "data.tar.gz.part"
    if damaged == "content":
        server.content = b"?" + ARCHIVE[1:]
    else:
        part.write_bytes(b"?")
    got = hashlib.md5(b"?" + ARCHIVE[1:], usedforsecurity=False).hexdigest()
    with pytest.raises(ValueError, match=rf"expected MD5 {MD5}, got {got}\. Deleted .*data\.tar\.gz\.part"):
        fetch(server.url, MD5, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.content = ARCHIVE
    fetch(server.url, MD5, tmp_path)
    assert (tmp_path / "folder").exists()


def test_fetch__uses_an_archive_that_is_there_and_never_deletes_one(server, tmp_path):
    (tmp_path / "data.tar.gz").write_bytes(ARCHIVE)
    fetch(server.url, MD5, tmp_path)
    assert server.ranges == []
    assert (tmp_path / "folder" / "noise.bin").read_bytes() == NOISE
    (tmp_path / "data.tar.gz").write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"has MD5 \w+, expected {MD5}: delete or move it"):
        fetch(server.url, MD5, tmp_path)
    assert (tmp_path / "data.tar.gz").read_bytes() == b"mine"


def test_fetch__names_the_address_and_the_answer(server, tmp_path):
    server.status = 404
    with pytest.raises(ConnectionError, match=rf"{server.url}: the server returned 404 Not Found"):
        fetch(server.url, MD5, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetch__names_an_address_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    closed = _Server()
    closed.server_close()
    with pytest.raises(ConnectionError, match=rf"{closed.url}: ConnectError .* try again to resume"):
        fetch(closed.url, MD5, tmp_path)


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "folder/../../outside.txt"])
def test_fetch__extracts_nothing_outside_the_folder(server, tmp_path, name):
    server.content = _tar({"inside.txt": b"1", name: b"2"})
    md5 = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    folder = tmp_path / "folder"
    if name.startswith("/"):  # made relative by the filter
        fetch(server.url, md5, folder)
        assert (folder / "outside.txt").read_bytes() == b"2"
    else:
        with pytest.raises(ValueError, match=r"data\.tar\.gz cannot be extracted safely: .*outside"):
            fetch(server.url, md5, folder)
        assert sorted(path.name for path in folder.iterdir()) == ["data.tar.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_cifar10__is_fetched_only_when_asked_and_missing(server, tmp_path, monkeypatch):
    record = bytes([7]) + bytes(3072)
    server.content = _tar({"cifar-10-batches-bin/data_batch_1.bin": record})
    md5 = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(cifar, "_CIFAR10", dataclasses.replace(cifar._CIFAR10, url=server.url, md5=md5))
    with pytest.raises(FileNotFoundError):
        cifar.load_cifar10(tmp_path)
    assert server.ranges == []
    for _ in range(2):
        assert cifar.load_cifar10(tmp_path, download=True).y.tolist() == [7]
    assert len(server.ranges) == 1


def test_cifar100__is_fetched_when_only_test_images_are_there(server, tmp_path, monkeypatch):
    (tmp_path / "test.bin").write_bytes(bytes([0, 1]) + bytes(3072))
    server.content = _tar({"cifar-100-binary/train.bin": bytes([0, 2]) + bytes(3072)})
    md5 = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(cifar, "_CIFAR100", dataclasses.replace(cifar._CIFAR100, url=server.url, md5=md5))
    assert cifar.load_cifar100(tmp_path).y.tolist() == [1]
    assert cifar.load_cifar100(tmp_path, download=True).y.tolist() == [2]
