"""What to install: packages that an index has, wherever sweetgrad came from."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from sweetgrad.store.errors import how_to_install

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def test_packages__are_all_in_the_wheel():
    folders = {
        ".".join(("sweetgrad", *path.parent.relative_to(ROOT).parts))
        for room in ("store", "profiling", "analysis", "flows")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == folders


@pytest.mark.parametrize("extra", ["profile", "plot", "images", "parquet", "cloud", "cluster", "surrogate"])
def test_how_to_install__names_the_packages_of_the_extra(extra):
    words = shlex.split(how_to_install(extra))
    assert words[:2] == ["pip", "install"]
    names = {re.split("[<>=]", word)[0] for word in words[2:]}
    assert names == {re.split("[<>= ]", each)[0] for each in EXTRAS[extra]}


def test_messages__name_no_package_of_an_index_that_need_not_have_it():
    found = [
        path.name
        for folder in ("store", "flows", "analysis", "profiling")
        for path in (ROOT / folder).rglob("*.py")
        if "install 'sweetgrad" in path.read_text(encoding="utf-8")
    ]
    assert not found
