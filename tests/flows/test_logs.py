"""The log of a run: its level, its file, no credentials, and what stands in it of a worker."""

import io
import logging
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sweetgrad.flows import profile
from sweetgrad.flows.cli import app as cli
from sweetgrad.flows.logs import LEVEL_VARIABLE, configure_logging, configure_worker_logging
from sweetgrad.flows.runs.progress import progress_bar

GOLDEN = str(Path(__file__).resolve().parents[1] / "data" / "format-1.zarr")


pytestmark = pytest.mark.usefixtures("unconfigured")


def test_configure_logging__writes_its_level_and_above_without_credentials(tmp_path, capsys):
    configure_logging("info", tmp_path / "run.log")
    logging.getLogger("sweetgrad.flows.runs").info("reading https://ann:secret@host/s.zarr")
    logging.getLogger("sweetgrad.flows.runs").debug("too much")
    line = (tmp_path / "run.log").read_text()
    assert re.fullmatch(r"[-\d]+ [\d:,]+ INFO \[\d+\] sweetgrad.flows.runs: reading https://\*\*\*@host/s.zarr\n", line)
    assert capsys.readouterr().err == line


def test_configure_logging__writes_above_a_progress_bar():
    configure_logging("INFO")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress_bar(2, console=terminal):
        logging.getLogger("sweetgrad.flows").info("claimed shard 0")
    assert "claimed shard 0\n" in terminal.file.getvalue().replace("\x1b[K", "")


def test_configure_worker_logging__leaves_a_process_alone_that_logs_or_whose_environment_says_nothing(unconfigured):
    unconfigured.handlers[:] = []  # pytest has one here if another test let the logger keep its records to itself
    configure_worker_logging(on_console=True)
    assert unconfigured.handlers == []
    configure_worker_logging(on_console=False)
    (handler,) = unconfigured.handlers
    assert isinstance(handler, logging.NullHandler)
    configure_worker_logging(on_console=True)
    assert unconfigured.handlers == [handler]


def test_program__takes_the_level_before_the_command_or_from_the_environment(tmp_path, unconfigured, monkeypatch):
    assert CliRunner().invoke(cli.app, ["--log-level", "DEBUG", "status", GOLDEN]).exit_code == 0
    assert unconfigured.level == logging.DEBUG
    monkeypatch.setenv(LEVEL_VARIABLE, "ERROR")
    assert CliRunner().invoke(cli.app, ["status", GOLDEN]).exit_code == 0
    assert unconfigured.level == logging.ERROR
    result = CliRunner().invoke(cli.app, ["--log-level", "LOUD", "status", GOLDEN])
    assert str(result.exception) == "log level must be one of DEBUG, INFO, WARNING, ERROR, got 'LOUD'"


def test_profile__logs_what_its_workers_do_into_the_file(tmp_path, prefect_api):
    configure_logging("INFO", tmp_path / "run.log")
    quiet = Console(file=io.StringIO())
    profile(tmp_path / "s.zarr", archs="0:2", batch_size=4, device="cpu", workers=1, console=quiet)
    lines = (tmp_path / "run.log").read_text().splitlines()
    name = "nas-bench-201/digits/bs4-seed42"
    for text in (f"{name}: locked shard 0, 2 architectures", f"{name}: wrote shard 0, 2 of 2 architectures in"):
        assert [line for line in lines if "sweetgrad.flows.cluster.worker: " in line and text in line], sys.stderr
    assert [
        line for line in lines if f"sweetgrad.flows.runs.dispatcher: {name}: shard 0 is done, 2 architectures" in line
    ]
