"""The program itself: its commands, and how errors are shown."""

import errno
import sys
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
from sweetgrad.flows.cli.terminal import Terminal
from sweetgrad.flows.cli.train import train
from sweetgrad.store import StoreError

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


def main() -> None:
    """Run the program; an error that a user can put right is one message on standard error and exit status 1."""
    try:
        app()
    except (StoreError, ValueError, OSError, ImportError, RuntimeError) as error:
        Terminal(stderr=True, soft_wrap=True).print(Text.assemble(("error:", "bold red"), f" {_text(error)}"))
        sys.exit(1)


def _text(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]  # the first import may be of a module inside it
        if package in ("torch", "prefect", "distributed", "sklearn", "httpx"):
            return f"this command needs {package}: pip install 'sweetgrad[profile]'"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"{error}. What was written before is safe: make room, then run the same command again to continue."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return (
            f"{error.strerror}: {error.filename}. Name a place that you may use, or copy the store to a folder of your own; "
            "asking a store needs no permission to write into it."
        )
    if isinstance(error, FileNotFoundError) and error.filename and not Path(error.filename).parent.exists():
        return f"{error.strerror}: {error.filename}. Make its folder first: mkdir -p {Path(error.filename).parent}"
    return str(error) or type(error).__name__
