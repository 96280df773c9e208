"""One Prefect server for all tests of flows, with a database of its own; the log as it was; packages of others."""

import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import distributed
import pytest
import torch

from sweetgrad.flows.logs import FILE_VARIABLE, LEVEL_VARIABLE
from sweetgrad.flows.server.ephemeral import prefect_server, wait_until_up

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"


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


@pytest.fixture(scope="session")
def in_this_process() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A context in which runs have one worker in this process: starting processes takes longer than the work of most tests."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="inproc"
    ) as local:

        @contextmanager
        def open_client(*_: Any, **__: Any) -> Iterator[distributed.Client]:
            with distributed.Client(local) as client:
                yield client

        @contextmanager
        def in_this_process() -> Iterator[None]:
            threads = torch.get_num_threads()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sweetgrad.flows.runs.shard_flow.open_client", open_client)
                torch.set_num_threads(1)
                yield
            torch.set_num_threads(threads)

        yield in_this_process


@pytest.fixture
def worker_in_this_process(in_this_process: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """As `in_this_process`, for a whole test."""
    with in_this_process():
        yield


@pytest.fixture
def command(prefect_api: str, tmp_path: Path) -> dict[str, str]:
    """Environment for a ``sweetgrad`` program that runs in a process of its own."""
    return {**os.environ, "PREFECT_API_URL": prefect_api, "COLUMNS": "200"}


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The logger of the package, without handlers before and after; its settings are not in the environment."""
    for variable in (LEVEL_VARIABLE, FILE_VARIABLE):
        monkeypatch.setenv(variable, "to be removed at the end, whatever a test sets")
        monkeypatch.delenv(variable)
    logger = logging.getLogger("sweetgrad")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = []
    logger.propagate = True  # which a program that ran in this process before may have changed
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def install_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Install the package of a how-to page by its name and that of its module, as pip would, here and in every process from here.

    Gives the code of the module.
    """

    def install(page: str, module: str) -> str:
        text, folder = (HOW_TO / f"{page}.md").read_text(encoding="utf-8"), tmp_path / "site"
        code = re.search(rf'^```python title="{module}.py"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
        toml = re.search(r'^```toml title="pyproject.toml"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
        assert code
        assert toml
        project = tomllib.loads(toml[1])["project"]
        made = folder / f"{module}-{project['version']}.dist-info"
        made.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code[1])
        (made / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        ((group, entries),) = project["entry-points"].items()
        (made / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        return code[1]

    return install
