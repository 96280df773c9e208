"""`sweetgrad findings`: what the counts say beyond the paper."""

from typing import Annotated

import typer

from sweetgrad.analysis.findings import findings_page
from sweetgrad.flows.cli.common import locate, show_page
from sweetgrad.flows.cli.options import MOST, MOST_RUNS, PageOption, StorageOption, StoresArgument

__all__ = ["findings"]


def findings(
    stores: StoresArgument,
    out: PageOption = None,
    most: Annotated[int, typer.Option(max=MOST, help="Architectures of each profile to sample at most.")] = 2000,
    replicates: Annotated[
        int, typer.Option(max=MOST_RUNS, help="Halves and resamples of the architectures behind every interval.")
    ] = 100,
    storage_option: StorageOption = None,
) -> None:
    """Beyond the paper: how stable the interval is, which rules choose better, how much is live parameters alone."""
    page = findings_page([locate(store, storage_option) for store in stores], most=most, replicates=replicates)
    show_page(page, out, what="Findings")
