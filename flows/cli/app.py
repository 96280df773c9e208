"""The program itself: its commands, and how errors are shown."""

import errno
import os
import shlex
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sweetgrad.flows.cli.analysis import correlate, intervals
from sweetgrad.flows.cli.estimate import estimate
from sweetgrad.flows.cli.evolve import evolve
from sweetgrad.flows.cli.figures import figure, report
from sweetgrad.flows.cli.findings import findings
from sweetgrad.flows.cli.profile import profile
from sweetgrad.flows.cli.release import merge, publish
from sweetgrad.flows.cli.reproduce import reproduce
from sweetgrad.flows.cli.score import score
from sweetgrad.flows.cli.search import search
from sweetgrad.flows.cli.serve import serve
from sweetgrad.flows.cli.store import accuracy_export, accuracy_import, info, status, verify
from sweetgrad.flows.cli.supernet import supernet
from sweetgrad.flows.cli.terminal import Terminal, accept_any_encoding
from sweetgrad.flows.cli.train import train
from sweetgrad.store import StoreError
from sweetgrad.store.packages import how_to_install

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
accuracy = typer.Typer(help="Tables of trained accuracies, to compare scores with.", no_args_is_help=True)

app.command(rich_help_panel="Measure")(profile)
app.command(rich_help_panel="Measure")(estimate)
app.command(rich_help_panel="Measure")(score)
app.command(rich_help_panel="Measure")(train)
app.command(rich_help_panel="Measure")(supernet)
app.command(rich_help_panel="Measure")(evolve)
app.command(rich_help_panel="Measure")(status)
app.command(rich_help_panel="Measure")(serve)
app.command(rich_help_panel="Ask")(intervals)
app.command(rich_help_panel="Ask")(correlate)
app.command(rich_help_panel="Ask")(search)
app.command(rich_help_panel="Ask")(reproduce)
app.command(rich_help_panel="Ask")(findings)
app.command(rich_help_panel="Ask")(figure)
app.command(rich_help_panel="Ask")(report)
app.command(rich_help_panel="Look after the store")(info)
app.command(rich_help_panel="Look after the store")(verify)
app.command(rich_help_panel="Share the store")(publish)
app.command(rich_help_panel="Share the store")(merge)
app.add_typer(accuracy, name="accuracy", rich_help_panel="Look after the store")
accuracy.command("import")(accuracy_import)
accuracy.command("export")(accuracy_export)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sweetgrad {version('sweetgrad')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Measure the gradients of every architecture of a NAS benchmark once; answer every question from the store."""


_EXPECTED = (StoreError, ValueError, OSError, ImportError, RuntimeError, MemoryError)
"""Errors whose message is written for a user."""


def main() -> None:
    """Run the program; an error is one message on standard error and exit status 1."""
    accept_any_encoding(sys.stdout, sys.stderr)
    try:
        app()
    except Exception as error:
        if "SWEETGRAD_DEBUG" in os.environ:
            raise
        text = _text(error) if isinstance(error, _EXPECTED) else _unexpected(error)
        Terminal(stderr=True, soft_wrap=True).print(Text.assemble(("error:", "bold red"), f" {text}"))
        sys.exit(1)


def _unexpected(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} (in {frame.filename}, line {frame.lineno}). Check your input and your "
        "configuration; if they are right, sweetgrad is at fault. What was written before is safe. With SWEETGRAD_DEBUG=1 in the "
        "environment the same command prints the traceback."
    )


def _text(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]  # the first import may be of a module inside it
        if package in ("torch", "prefect", "distributed", "sklearn", "httpx"):
            return f"this command needs {package}: {how_to_install('profile')}"
    if isinstance(error, MemoryError):
        return f"out of memory{f' ({error})' if str(error) else ''}. What was written before is safe: ask for less at a time."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"{error}. What was written before is safe: make room, then run the same command again to continue."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return (
            f"{error.strerror}: {error.filename}. Name a place that you may use, or copy the store to a folder of your own; "
            "asking a store needs no permission to write into it."
        )
    if isinstance(error, FileNotFoundError) and error.filename and not Path(error.filename).parent.exists():
        folder = shlex.quote(str(Path(error.filename).parent))
        return f"{error.strerror}: {error.filename}. Make its folder first: mkdir -p {folder}"
    return str(error) or type(error).__name__
