"""Names, messages and attributes of a stranger's store are shown as text: neither a terminal nor rich obeys them."""

import ast
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.text import Text
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.flows.cli.terminal import Terminal, plain_table, progress
from sweetgrad.flows.runs.progress import progress_bar

GOLDEN = Path(__file__).parents[1] / "data" / "format-1.zarr"
EVIL = "\x1b]0;owned\x07\x1b[2J[red]a[/red][/]\x9b31m\u202e"
FORBIDDEN = ("\x1b", "\x07", "\x9b", "\u202e")


@pytest.fixture
def store(tmp_path):
    """The store of another person: evil in the name of a profile, in its settings and in the notes of its runs."""
    store = tmp_path / "s.zarr"
    shutil.copytree(GOLDEN, store)
    profile = (store / "toy/synthetic/bs4-seed42").rename(store / f"toy/synthetic/{EVIL.replace('/', '')}")
    document = json.loads((profile / "zarr.json").read_text())
    document["attributes"]["spec"]["dataset"] = EVIL
    del document["attributes"]["created"]  # something for `verify` to report
    document["attributes"]["runs"] = [{EVIL: EVIL}]
    (profile / "zarr.json").write_text(json.dumps(document))
    return store


@pytest.mark.parametrize("command", ["status", "info", "verify"])
def test_command__passes_no_control_character_on(store, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(cli.app, [command, str(store)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "]0;owned" in result.stdout
    assert "[red]a[red]" in result.stdout
    assert not any(each in result.stdout for each in FORBIDDEN)


def test_error__passes_no_control_character_on(store, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sweetgrad", "intervals", str(store), "toy/synthetic/none"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().err
    assert "it holds" in shown
    assert "]0;owned" in shown
    assert not any(each in shown for each in FORBIDDEN)


def test_terminal__keeps_colours_and_bars(tmp_path):
    """Its own escape sequences are those of rich."""
    shown = {}
    for kind in (Console, Terminal):
        with (tmp_path / kind.__name__).open("w+") as file:
            console = kind(file=file, force_terminal=True, width=80, color_system="standard")
            console.print(Text.assemble(("error:", "bold red"), " nothing"))
            with Progress(console=console, transient=True, auto_refresh=False) as bar:
                bar.update(bar.add_task("verifying", total=2), completed=1)
            file.seek(0)
            shown[kind] = file.read()
    assert "\x1b[" in shown[Terminal]
    assert shown[Terminal] == shown[Console]


TAGS = ("[/bold]", "[red]a[/red]", "[/]", "[link=http://x]y", "\\[bold]", "a\\")


@pytest.mark.parametrize("text", TAGS)
def test_terminal__takes_no_text_for_markup(text):
    """Printed, in a table's header and cells, in a bar: what a lock's host, a path or an error may hold."""
    file = io.StringIO()
    console = Terminal(file=file, width=200)
    table = plain_table(f"head {text}", "other")
    table.add_row(f"cell {text}", "1")
    console.print(f"line {text}")
    console.print(table)
    bar = progress()
    bar.add_task(f"task {text}", total=1)
    console.print(bar.get_renderable())
    shown = file.getvalue()
    assert [f"{where} {text}" in shown for where in ("line", "head", "cell", "task")] == [True] * 4


@pytest.mark.parametrize("text", TAGS)
def test_progress_bar__takes_no_text_for_markup(text):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with progress_bar(2, console=console, doing=f"doing {text}"):
        pass
    assert f"doing {text}" in console.file.getvalue()


FLOWS = Path(cli.__file__).parents[1]


@pytest.mark.parametrize("path", sorted(FLOWS.rglob("*.py")), ids=lambda path: str(path.relative_to(FLOWS)))
def test_flows__print_text_and_no_markup(path):
    """A console that somebody else made reads markup unless told not to; rich's columns of text always do."""
    code = path.read_text(encoding="utf-8")
    assert "rich.markup" not in code
    assert "from_markup" not in code
    assert "markup=True" not in code
    is_ours = path.parent.name == "cli"  # their console is a Terminal
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "TextColumn" or (name.endswith("console.print") and not is_ours):
                assert options.get("markup") == "False", ast.unparse(call)
            if name == "Console":
                assert not is_ours, ast.unparse(call)
