"""`sweetgrad reproduce`: the paper's tables from stores."""

from pathlib import Path
from typing import Annotated

import typer

from sweetgrad.analysis.reproduction import reproduction_page
from sweetgrad.flows.cli.common import StorageOption, locate

__all__ = ["reproduce"]


def reproduce(
    stores: Annotated[list[str], typer.Argument(help="Paths or URLs of stores.", metavar="STORE...")],
    out: Annotated[
        Path | None, typer.Option(help="Markdown file to write [default: print it].", show_default=False)
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the architectures for every 95 % interval.")] = 1000,
    storage_option: StorageOption = None,
) -> None:
    """The paper's tables beside our own figures, from the store alone: Tables 1, 5 and 6, and the initial loss."""
    page = reproduction_page([locate(store, storage_option) for store in stores], bootstrap=bootstrap)
    if out is None:
        typer.echo(page, nl=False)
    else:
        out.write_text(page, encoding="utf-8")
        typer.echo(f"Tables in {out}")
