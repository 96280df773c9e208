"""What several commands share."""

from typing import Annotated

import typer
import xarray as xr
from rich import box
from rich.table import Table

from sweetgrad.flows.selection import select_archs
from sweetgrad.store import NotAStoreError, list_profiles, open_profile

__all__ = ["ProfileArgument", "StoreArgument", "open_selected", "plain_table"]

StoreArgument = Annotated[str, typer.Argument(help="Path or URL of the store.", show_default=False)]
ProfileArgument = Annotated[
    str | None,
    typer.Argument(help="Profile in the store; may be left out where there is only one.", show_default=False),
]


def open_selected(store: str, profile: str | None, *, archs: str | None = None) -> tuple[str, xr.Dataset]:
    """Name and data of the profile asked for, or of the only one; ``archs`` as in `select_archs`."""
    if profile is None:
        names = list_profiles(store)
        if len(names) != 1:
            raise NotAStoreError(
                f"{store} holds {len(names)} profiles, name one: {', '.join(names) or 'there is none yet'}"
            )
        profile = names[0]
    # xarray's own lazy arrays: one question reads each array once, and needs no task graph.
    data = open_profile(store, profile, chunks=None)
    if archs is not None:
        data = data.isel(arch=select_archs(archs, num_archs=data.sizes["arch"]))
    return profile, data


def plain_table(*columns: str) -> Table:
    """A table with a rule under its header, numbers to the right of the first column."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
