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
from sweetgrad.flows.cli.arguments import written_as
from sweetgrad.flows.cli.pages import explore, figure, findings, report, reproduce
from sweetgrad.flows.cli.profile import estimate, profile, serve
from sweetgrad.flows.cli.score import score
from sweetgrad.flows.cli.scores import scores
from sweetgrad.flows.cli.search import evolve, search
from sweetgrad.flows.cli.store import accuracy_export, accuracy_import, info, merge, publish, status, verify
from sweetgrad.flows.cli.terminal import Terminal, accept_any_encoding
from sweetgrad.flows.cli.train import supernet, train
from sweetgrad.flows.logs import FILE_VARIABLE, LEVEL_VARIABLE, configure_logging
from sweetgrad.store import StoreError
from sweetgrad.store.errors import how_to_install

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
accuracy = typer.Typer(help="Tables of trained accuracies that scores are compared with.", no_args_is_help=True)

app.command(rich_help_panel="Profile")(profile)
app.command(rich_help_panel="Profile")(estimate)
app.command(rich_help_panel="Profile")(score)
app.command(rich_help_panel="Profile")(train)
app.command(rich_help_panel="Profile")(supernet)
app.command(rich_help_panel="Profile")(evolve)
app.command(rich_help_panel="Profile")(status)
app.command(rich_help_panel="Profile")(serve)
app.command(rich_help_panel="Analyse")(intervals)
app.command(rich_help_panel="Analyse")(correlate)
app.command(rich_help_panel="Analyse")(scores)
app.command(rich_help_panel="Analyse")(search)
app.command(rich_help_panel="Analyse")(reproduce)
app.command(rich_help_panel="Analyse")(findings)
app.command(rich_help_panel="Analyse")(figure)
app.command(rich_help_panel="Analyse")(report)
app.command(rich_help_panel="Analyse")(explore)
app.command(rich_help_panel="Maintain")(info)
app.command(rich_help_panel="Maintain")(verify)
app.command(rich_help_panel="Share")(publish)
app.command(rich_help_panel="Share")(merge)
app.add_typer(accuracy, name="accuracy", rich_help_panel="Maintain")
accuracy.command("import")(accuracy_import)
accuracy.command("export")(accuracy_export)


def _show_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"sweetgrad {version('sweetgrad')}")
        raise typer.Exit


@app.callback()
def root(
    log_level: Annotated[
        str,
        typer.Option(
            envvar=LEVEL_VARIABLE, help="Log messages of this level and above: DEBUG, INFO, WARNING or ERROR."
        ),
    ] = "WARNING",
    log_file: Annotated[
        Path | None,
        typer.Option(
            envvar=FILE_VARIABLE,
            help="Also append the log to this file, with that of worker processes.",
            show_default=False,
            callback=written_as(),
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Measure the gradients of every architecture of a NAS benchmark once; answer every question from the store."""
    configure_logging(log_level, log_file)


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
        text = _message(error)
        Terminal(stderr=True, soft_wrap=True).print(Text.assemble(("error:", "bold red"), f" {text}"))
        sys.exit(1)


def _message(error: Exception) -> str:
    if _is_in_dask_configuration(error):
        text = " ".join(str(error).split())
        return (
            f"Dask's configuration cannot be read ({type(error).__name__}: {text}). Correct or remove the YAML files in "
            "~/.config/dask, /etc/dask or $DASK_CONFIG, and DASK_… in the environment."
        )
    if isinstance(error, _EXPECTED):
        return _expected(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} (in {frame.filename}, line {frame.lineno}). Check your input and your "
        "configuration; if they are correct, this is a bug in sweetgrad. What was written before is safe. With "
        "SWEETGRAD_DEBUG=1 in the environment the same command prints the traceback."
    )


def _is_in_dask_configuration(error: Exception) -> bool:
    """Whether an error was raised while Dask read its configuration, at its import: it may be whatever a parser raises."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(
        (frame.f_globals.get("__name__"), frame.f_code.co_name) == ("dask.config", "<module>") for frame in frames
    )


def _expected(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]  # the first import may be of a module inside it
        if package in ("torch", "prefect", "distributed", "sklearn", "httpx"):
            return f"this command needs {package}: {how_to_install('profile')}"
    if isinstance(error, MemoryError):
        return f"out of memory{f' ({error})' if str(error) else ''}. What was written before is safe: request less at a time."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"{error}. What was written before is safe: free some space, then run the same command again to resume."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return (
            f"{error.strerror}: {error.filename}. Use a place that you have access to, or copy the store to your own "
            "folder; reading a store requires no write permission."
        )
    if isinstance(error, FileNotFoundError) and error.filename and not Path(error.filename).parent.exists():
        folder = shlex.quote(str(Path(error.filename).parent))
        return f"{error.strerror}: {error.filename}. Create its folder first: mkdir -p {folder}"
    return str(error) or type(error).__name__
