"""Options: the same wherever they make sense, and each bad value one clear message, at once."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import get_args

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

import sweetgrad.store
from sweetgrad import flows
from sweetgrad.analysis.search import ALGORITHMS
from sweetgrad.flows.cli import app as cli
from sweetgrad.flows.cli import terminal
from sweetgrad.flows.cli.arguments import correlate_command, expanded, locate, new_folder, written_as
from sweetgrad.profiling.training import RECIPES
from sweetgrad.store import Location, RemoteStore
from sweetgrad.store.benchmarks import Format
from sweetgrad.store.benchmarks.shipped import SHIPPED

GOLDEN = str(Path(__file__).resolve().parents[1] / "data" / "format-1.zarr")
DATASET = str(Path(__file__).resolve().parents[2] / "docs" / "dataset" / "nas-bench-201-cifar10.zarr.zip")
_PROGRAM = [sys.executable, "-m", "sweetgrad.flows.cli"]
_KNOWN = (ValueError, OSError, sweetgrad.store.StoreError, ImportError, RuntimeError)


def _commands():
    program = typer.main.get_command(cli.app)
    for name, command in program.commands.items():
        for sub, child in getattr(command, "commands", {"": command}).items():
            yield f"{name} {sub}".strip(), {parameter.name for parameter in child.params}


def _error(*arguments):
    """What `main` would print after ``error:``; fails on anything that it would show as a traceback."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exception is not None, result.output
    if isinstance(result.exception, SystemExit):
        assert result.exit_code == 2, result.output
        return " ".join(result.output.split())
    assert isinstance(result.exception, _KNOWN), result.exception
    return cli._message(result.exception)


def test_commands__that_take_a_store_take_its_storage_options():
    takes_store = {name: names for name, names in _commands() if names & {"store", "stores", "sources"}}
    assert {"estimate", "supernet", "accuracy export"} <= takes_store.keys()
    assert not [name for name, names in takes_store.items() if "storage_option" not in names]


def test_commands__that_start_workers_take_the_same_options_for_them():
    options = {"workers", "scheduler", "cluster", "retry_failed", "data_dir", "space_file"}
    assert not [name for name, names in _commands() if "workers" in names and not options <= names]
    for function in (flows.profile, flows.estimate, flows.train):
        assert options <= inspect.signature(function).parameters.keys()


def test_functions__that_run_on_a_store_take_one_at_a_url():
    for function in (flows.profile, flows.estimate, flows.train, flows.evolve, flows.supernet):
        assert inspect.signature(function).parameters["store"].annotation == "Location", function
    assert RemoteStore in get_args(Location)


def test_functions__that_open_list_or_check_a_store_take_storage_options():
    readers = [
        name
        for name in sweetgrad.store.__all__
        if name.startswith(("open_", "list_")) or name in ("info", "status", "verify", "publish", "stored_archs")
    ]
    assert "open_moments" in readers
    functions = [getattr(sweetgrad.store, name) for name in readers]
    assert not [f.__name__ for f in functions if "storage_options" not in inspect.signature(f).parameters]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["correlate", GOLDEN, "--accuracy", "cifar10/test", "--interval", "1e-4,1e400"],
            "a threshold must be 0, inf, or a number",
        ),
        (["intervals", GOLDEN, "--max", "1e999999999"], "a threshold must be a number such as 1e-4"),
        (["intervals", GOLDEN, "--split", "10000"], "split must be a whole number from 1 to 100"),
        (
            ["intervals", GOLDEN, "--max", "1e300", "--min", "1e-300", "--split", "9"],
            "a grid has at most 2,000 intervals",
        ),
        (["intervals", GOLDEN, "--bootstrap", "999999999"], "less than or equal to 100000"),
        (["intervals", DATASET, "--bootstrap", "-1"], "bootstrap must be at least 1"),
        (["intervals", GOLDEN, "--archs", "9" * 5000], "expected all, START:STOP, sample:N"),
        (["intervals", "", "--split", "2"], "the path of the store is empty"),
        (["merge", GOLDEN, "", "new.zarr"], "the path of the store is empty"),
        (["intervals", GOLDEN, "--plot", "picture"], "expected a file name that ends in .png"),
        (["intervals", GOLDEN, "--plot", "no such/p.png"], "Create its folder first: mkdir -p 'no such'"),
        (["report", GOLDEN, "--out", "x.pdf"], "expected a file name that ends in .html"),
        (["report", GOLDEN, "--out", "."], "is a folder: name a file in it"),
        (["report", GOLDEN, "--profiles", ","], "--profiles names nothing"),
        (["figure", "sweetness", GOLDEN, "--accuracy", "x/y"], "no accuracies"),
        (["findings", GOLDEN, "--out", "x.pdf"], "expected a file name that ends in .md"),
        (["info", "s3://b/k", "--storage-option", "client_kwargs=5"], "client_kwargs must be a table"),
        (["info", "s3://b/k", "--storage-option", "bogus=1"], "storage options were refused: TypeError"),
        (["info", "s3://b/k", "--storage-option", "anon=False"], "anon must be true or false, got 'False'"),
        (["info", "s3://b/k", "--storage-option", "tries=many"], "tries must be a number, 1 or more"),
        (["info", "s3://b/k", "--storage-option", "a=1", "--storage-option", "a=2"], "got a twice"),
        (["info", "s3://b/k", "--storage-option", "SECRET"], "got 'SECRET', without '='"),
        (["score", "json:loads", "--classes", "0"], "must be at least 1"),
        (["profile", "new.zarr", "--cluster", "."], ". is a folder: expected a TOML file"),
        (["profile", "/dev/null"], "/dev/null is a file"),
        (
            ["accuracy", "import", "/dev/null", "--space", "nas-bench-201", "--from", "digits-201"],
            "/dev/null is a file",
        ),
    ],
)
def test_options__bad_values_are_one_clear_message(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert message in _error(*arguments)
    assert not [path for path in tmp_path.rglob("*") if path.name != "new.zarr"]


def test_program__has_one_message_for_want_of_memory(monkeypatch, capsys):
    def main():
        raise MemoryError("Unable to allocate 7 PiB")

    monkeypatch.setattr(cli, "app", main)
    with pytest.raises(SystemExit):
        cli.main()
    assert "error: out of memory (Unable to allocate 7 PiB)" in capsys.readouterr().err


def test_program__shows_no_traceback_of_what_nobody_expected_unless_it_is_asked_to(monkeypatch, capsys):
    def main():
        raise KeyError("Invalid time unit: https://ann:pw@host")

    monkeypatch.setattr(cli, "app", main)
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert shown.startswith("error: KeyError: 'Invalid time unit: https://***@host' (in ")
    monkeypatch.setenv("SWEETGRAD_DEBUG", "1")
    with pytest.raises(KeyError):
        cli.main()


@pytest.mark.parametrize("text", ["a: [1,", "- 1", "dataframe: 7"])
def test_program__says_in_one_line_that_dasks_configuration_is_malformed(text, tmp_path):
    (tmp_path / "dask.yaml").write_text(text)
    environment = {**os.environ, "DASK_CONFIG": str(tmp_path)}
    shown = subprocess.run(
        [*_PROGRAM, "profile", str(tmp_path / "s.zarr")], env=environment, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: Dask's configuration cannot be read")
    assert len(shown.stderr.splitlines()) == 1


def test_program__refuses_to_run_without_assertions(tmp_path):
    """Zarr pops a key of the metadata inside an assert, without which a sound store looks damaged."""
    command = [sys.executable, "-O", *_PROGRAM[1:], "verify", GOLDEN]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("error: sweetgrad does not work under `python -O`")
    assert len(shown.stderr.splitlines()) == 1
    code = "import sweetgrad.store"
    shown = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: sweetgrad does not work under" in shown.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_program__prints_bars_in_any_encoding(encoding, monkeypatch):
    raw = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["sweetgrad", "intervals", DATASET, "--bootstrap", "1"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert not caught.value.code
    assert ("█" if encoding == "utf-8" else "##") in shown
    assert "Best interval" in shown


def test_accept_any_encoding__writes_plain_letters_for_those_that_are_not_there():
    stream = TextIOWrapper(BytesIO(), encoding="ascii")
    terminal.accept_any_encoding(stream)
    stream.write("± … █ ü \ud800")
    stream.flush()
    assert stream.buffer.getvalue() == b"+- ... # ? ?"


def test_terminal__shows_no_credentials():
    file = TextIOWrapper(BytesIO(), encoding="utf-8")
    console = terminal.Terminal(file=file, width=200)
    console.print("https://ann:pw@host/x?sig=0a1b is gone", "s3://b/k")
    console.print(Text.assemble("Next: ", ("info https://host/x?sig=0a1b", "bold")))
    file.flush()
    assert file.buffer.getvalue() == b"https://***@host/x?*** is gone s3://b/k\nNext: info https://host/x?***\n"


def test_paths__know_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded(Path("~/data")) == tmp_path / "data"
    assert expanded(None) is None
    assert written_as(".png")(Path("~/a.PNG")) == tmp_path / "a.PNG"
    assert written_as(".png")([Path("~/a.png"), Path("~/b.png")]) == [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(ValueError, match="already exists"):
        new_folder(Path("~"))


def test_locate__keeps_the_options_of_a_store():
    store = locate("s3://b/k", ["anon=true", "endpoint_url=5", "tries=3"])
    assert store.storage_options == {"anon": True, "endpoint_url": "5", "tries": 3}


def test_correlate_command__asks_for_accuracies_where_there_are_none(tmp_path):
    store = shutil.copytree(GOLDEN, tmp_path / "my s.zarr")
    shutil.rmtree(store / "toy" / "accuracy")
    expected = f"sweetgrad accuracy import '{store}' --space toy --from FILE"
    assert correlate_command(str(store), "toy/synthetic/bs4-seed42") == expected


_HEAVY = ("dask", "distributed", "pandas", "prefect", "scipy", "torch", "xarray", "zarr")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([*name.split(), "--help"] for name, _ in _commands())]
)
def test_program__shows_its_help_without_loading_what_it_computes_with(arguments):
    code = (
        "import sys\nfrom sweetgrad.flows.cli import main\n"
        f"sys.argv = ['sweetgrad', *{arguments!r}]\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stderr == "[]\n"


def test_import_of_the_store__loads_no_pandas():
    code = "import sys, sweetgrad.store\nprint('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        (["search"], "--algorithm", ALGORITHMS),
        (["accuracy", "import"], "--format", get_args(Format)),
        (["accuracy", "import"], "--from", SHIPPED),
        (["train"], "--recipe", RECIPES),
    ],
)
def test_help__names_every_choice(command, option, names):
    program = typer.main.get_command(cli.app)
    for name in command:
        program = program.commands[name]
    (parameter,) = [parameter for parameter in program.params if option in parameter.opts]
    assert [name for name in names if name not in re.split(r"[\s,.()]+", parameter.help)] == []
