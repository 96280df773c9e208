"""Servers on this machine: S3 by moto, https by nginx, and a small store to put behind them."""

import importlib.util
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import boto3
import pytest

if TYPE_CHECKING:
    from tests.remote._servers import Served


def _load(path: Path) -> ModuleType:
    """Tests run with --import-mode=importlib and cannot import a file beside them."""
    spec = importlib.util.spec_from_file_location(f"sweetgrad_tests_{path.parent.name}_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def servers() -> ModuleType:
    """The module ``_servers.py``."""
    return _load(Path(__file__).with_name("_servers.py"))


def pack(store: Path, target: Path, *, compression: int = zipfile.ZIP_STORED) -> None:
    """A store as one zip."""
    with zipfile.ZipFile(target, "w", compression) as archive:
        for path in sorted(path for path in store.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(store).as_posix())


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The small store of ``tests/store/conftest.py``, as functions: ``make_store``, ``run_rows``, …"""
    module = _load(Path(__file__).parents[1] / "store" / "conftest.py")
    vars(module)["pack"] = pack
    return module


@pytest.fixture(scope="session")
def s3(servers: ModuleType) -> Iterator[str]:
    """Address of an S3 server; everything in this process finds it and its credentials by environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=servers.free_port(), verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    patch = pytest.MonkeyPatch()
    for key, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        patch.setenv(key, value)
    patch.delenv("AWS_PROFILE", raising=False)
    yield url
    patch.undo()
    server.stop()


@pytest.fixture
def bucket(s3: str, request: pytest.FixtureRequest) -> str:
    """``s3://`` address of a new bucket for each test."""
    name = f"test-{abs(hash(request.node.nodeid)) % 10**9}-{os.getpid()}"
    boto3.client("s3", endpoint_url=s3).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def serve(servers: ModuleType, tmp_path: Path) -> Iterator["Callable[[Path], Served]"]:
    """Serve a folder by nginx (skipped without it); gives the address and what was asked for."""
    if servers.NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    running: list[AbstractContextManager[Served]] = []

    def start(folder: Path) -> "Served":
        running.append(servers.nginx(folder, tmp_path / f"nginx{len(running)}"))
        return running[-1].__enter__()

    yield start
    for server in running:
        server.__exit__(None, None, None)


prefect_api = _load(Path(__file__).parents[1] / "flows" / "conftest.py").prefect_api
