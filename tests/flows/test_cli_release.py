"""``sweetgrad publish`` and ``merge`` as a person types them."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.store import list_profiles, verify

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "format-1.zarr"
NAME = "toy/synthetic/bs4-seed42"


@pytest.fixture
def run(monkeypatch):
    def run_command(*arguments):
        monkeypatch.setenv("COLUMNS", "200")
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return run_command


def test_publish__shows_files_changes_and_what_to_do_next(run, tmp_path):
    dest = tmp_path / "release"
    code, out = run("publish", GOLDEN, dest, "--name", "golden", "--profiles", f"{NAME},", "--allow-incomplete")
    assert code == 0
    size = f"{(dest / 'golden.zarr.zip').stat().st_size / 1e6:.2f}"
    assert re.search(rf"golden\.zarr\.zip +{re.escape(size)} MB", out)
    assert f"`{NAME}`: new" in out
    assert "<code>golden.zarr</code>" in (dest / "index.html").read_text(encoding="utf-8")
    assert "`index.html`" in (dest / "README.md").read_text()
    assert f"cd {dest} && sha256sum --check --quiet SHA256SUMS" in out
    assert f"python {dest / 'load.py'}" in out
    assert "--creator 'Family, Given'" in out
    code, out = run("publish", GOLDEN, dest, "--name", "golden", "--allow-incomplete", "--creator", "Doe, Jane")
    assert "Release 2" in out
    assert "Unchanged: all content has the digests of release 1." in out
    assert "--creator" not in out
    assert "Doe, Jane" in (dest / "README.md").read_text()
    assert run("verify", dest) == (0, f"{dest}: no problems.\n")
    (dest / "load.py").write_text("")
    code, out = run("verify", dest)
    assert code == 1
    assert "load.py differs" in out


def test_publish__without_the_explorer_writes_no_page(run, tmp_path):
    code, _ = run("publish", GOLDEN, tmp_path / "release", "--name", "golden", "--allow-incomplete", "--no-explorer")
    assert code == 0
    assert not (tmp_path / "release" / "index.html").exists()
    assert "index.html" not in (tmp_path / "release" / "README.md").read_text()


def test_merge__says_what_came_from_where(run, tmp_path):
    other = tmp_path / "other.zarr"
    shutil.copytree(GOLDEN, other)
    code, out = run("merge", GOLDEN, other, tmp_path / "merged.zarr")
    assert code == 0
    assert f"{NAME}: 9 rows from {GOLDEN}, 0 rows from {other}; 8 rows in several sources, all equal" in out
    assert f"`sweetgrad status {tmp_path / 'merged.zarr'}`" in out
    assert list_profiles(tmp_path / "merged.zarr") == [NAME]
    assert verify(tmp_path / "merged.zarr") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish", str(GOLDEN), "release"], f"{NAME}: 1 of 10 architectures were not run"),
        (["publish", str(GOLDEN), "release", "--profiles", "toy/other", "--allow-incomplete"], f"it holds {NAME}"),
        (["merge", str(GOLDEN), "merged.zarr"], "merge needs two or more stores"),
    ],
)
def test_main__an_error_is_one_message_and_status_1(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweetgrad", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert list(tmp_path.iterdir()) == []
