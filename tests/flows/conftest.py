"""One Prefect server for all tests of flows, with a database of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweetgrad.flows.server import prefect_server, wait_until_up


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server; flows in this process and in subprocesses use it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    patch.delenv("PREFECT_API_URL", raising=False)
    with prefect_server() as url:
        wait_until_up(url)
        patch.setenv("PREFECT_API_URL", url)
        yield url
    patch.undo()


@pytest.fixture
def command(prefect_api: str, tmp_path: Path) -> dict[str, str]:
    """Environment for a ``sweetgrad`` program that runs in a process of its own."""
    return {**os.environ, "PREFECT_API_URL": prefect_api, "COLUMNS": "200"}
