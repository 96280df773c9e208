import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.analysis.report._browser import Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """A tab of a headless Chromium; the test is skipped where there is none."""
    # Tests run with --import-mode=importlib and cannot import a file beside them.
    spec = importlib.util.spec_from_file_location("_browser", Path(__file__).with_name("_browser.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.browser(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab
