"""`sweetgrad findings`: what the counts say beyond the paper."""

from pathlib import Path
from typing import Annotated

import typer

from sweetgrad.analysis.findings import findings_page
from sweetgrad.flows.cli.common import StorageOption, locate

__all__ = ["findings"]


def findings(
    stores: Annotated[list[str], typer.Argument(help="Paths or URLs of stores.", metavar="STORE...")],
    out: Annotated[
        Path | None, typer.Option(help="Markdown file to write [default: print it].", show_default=False)
    ] = None,
    most: Annotated[int, typer.Option(help="Architectures of each profile to sample at most.")] = 2000,
    replicates: Annotated[
        int, typer.Option(help="Halves and resamples of the architectures behind every interval.")
    ] = 100,
    storage_option: StorageOption = None,
) -> None:
    """Beyond the paper: how stable the interval is, which rules choose better, how much is live parameters alone."""
    page = findings_page([locate(store, storage_option) for store in stores], most=most, replicates=replicates)
    if out is None:
        typer.echo(page, nl=False)
    else:
        out.write_text(page, encoding="utf-8")
        typer.echo(f"Findings in {out}")
