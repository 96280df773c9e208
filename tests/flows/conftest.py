"""One Prefect server for all tests of flows, with a database of its own; the log as it was; packages of others."""

import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
