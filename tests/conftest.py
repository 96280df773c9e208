"""Fixtures that every folder of tests shares."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
DEAR = ("tests/soak/", "tests/flows/", "tests/remote/")
"""Folders whose tests start processes."""

# pytest-xdist runs a process a core. Threads of torch that wait for a core that another process has burn it: a training took nine
# times the CPU time. Set before torch is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Dear files first: one that is begun last would be waited for by all other processes."""
    items.sort(key=lambda item: next((i for i, folder in enumerate(DEAR) if item.nodeid.startswith(folder)), len(DEAR)))


@pytest.fixture
def no_compute() -> Iterator[None]:
    """A dask scheduler that raises: proof that a function stays lazy."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something computed where everything must stay lazy")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the checkout; tests that need it are skipped where it is not."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not there: expected {folder}")
    return folder
