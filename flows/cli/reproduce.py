"""`sweetgrad reproduce`: the paper's tables from stores."""

from typing import Annotated

import typer

from sweetgrad.analysis.reproduction import reproduction_page
from sweetgrad.flows.cli.common import locate, show_page
from sweetgrad.flows.cli.options import MOST_RUNS, PageOption, StorageOption, StoresArgument

__all__ = ["reproduce"]


def reproduce(
    stores: StoresArgument,
    out: PageOption = None,
    bootstrap: Annotated[
        int, typer.Option(max=MOST_RUNS, help="Resamples of the architectures for every 95 % interval.")
    ] = 1000,
    storage_option: StorageOption = None,
) -> None:
    """The paper's tables beside our own figures, from the store alone: Tables 1, 5 and 6, and the initial loss."""
    page = reproduction_page([locate(store, storage_option) for store in stores], bootstrap=bootstrap)
    show_page(page, out, what="Tables")
