"""The data set in the repository is whole, and the README's first session prints what it says, without torch and Prefect."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sweetgrad.store import info, verify

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = ROOT / "docs" / "dataset" / "nas-bench-201-cifar10.zarr.zip"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "prefect", "distributed", "sklearn"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


def run(code: str, *arguments: str) -> list[str]:
    """Lines that a new Python prints in the root of the repository; without blanks at their ends, and empty ones."""
    command = [sys.executable, "-c", BLOCKED + code, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr
    return lines(result.stdout)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_dataset__is_a_release_in_order_without_accuracies() -> None:
    assert verify(ARCHIVE.parent) == []
    found = info(ARCHIVE)
    (profile,) = found.profiles
    assert (profile.status.name, profile.status.num_ok) == ("nas-bench-201/cifar10/bs64-seed42", 15_625)
    assert found.accuracies == ()  # they are not ours to copy


def test_dataset__is_small_enough_for_a_repository() -> None:
    assert ARCHIVE.stat().st_size < 50e6


def test_readme__command_on_the_data_set_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    session = next(block for block in blocks("console") if f"intervals {ARCHIVE.relative_to(ROOT)}" in block)
    ((command, output),) = re.findall(r"^\$ sweetgrad (intervals .*)\n((?:.*\n)+)", session, re.MULTILINE)
    printed = run("from sweetgrad.flows.cli import main\nmain()", *shlex.split(command))
    shown = lines(output)
    assert len(shown) > 10
    rest = iter(printed)
    assert all(line in rest for line in shown if line.strip() != "…")  # in this order; … stands for lines left out
    assert printed[-1] == shown[-1]


def test_readme__python_on_the_data_set_prints_what_it_says() -> None:
    code = next(block for block in blocks("python") if ARCHIVE.name in block)
    assert run(code) == lines(blocks("text")[0])
