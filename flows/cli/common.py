"""What commands make of their arguments: stores, profiles, options, intervals; and of a page that they print or write."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
import xarray as xr
from rich.console import Console

from sweetgrad.analysis import Interval
from sweetgrad.analysis.counts import is_estimated
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.analysis.labels import own_accuracy
from sweetgrad.flows.selection import select_archs
from sweetgrad.store import Location, NotAStoreError, info, list_profiles, open_profile
from sweetgrad.store.access import command_line, with_options

__all__ = [
    "chosen_names",
    "correlate_command",
    "locate",
    "only_profile",
    "open_selected",
    "parse_interval",
    "read_options",
    "show_page",
    "split_names",
    "tell_if_estimated",
]


def locate(store: str, options: Sequence[str] | None) -> Location:
    """The store that a command names, with its storage options; a value that is JSON is taken as such.

    Examples
    --------
    >>> locate("s3://bucket/nb201.zarr", ["anon=true", 'client_kwargs={"region_name": "eu-west-1"}']).storage_options
    {'anon': True, 'client_kwargs': {'region_name': 'eu-west-1'}}
    """
    if not store.strip():
        raise ValueError("the path of the store is empty: give a path or a URL")
    # A key that is made of digits is text all the same.
    texts = ("key", "secret", "token", "endpoint_url", "username", "password")
    found = read_options(options, what="a storage option", example="endpoint_url=http://127.0.0.1:9000", text=texts)
    return with_options(store, found)


def read_options(options: Sequence[str] | None, *, what: str, example: str, text: Sequence[str] = ()) -> dict[str, Any]:
    """``KEY=VALUE`` options as a dictionary; a value that is JSON is taken as such, but for the keys in ``text``.

    Examples
    --------
    >>> read_options(["channels=16", "form=cifar"], what="a space option", example="channels=16")
    {'channels': 16, 'form': 'cifar'}
    """
    found: dict[str, Any] = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not key or not equals:
            got = f"{key!r}, without '='" if key else "no key"  # what follows may be a secret
            raise ValueError(f"{what} is KEY=VALUE, e.g. {example}; got {got}")
        if key in found:
            raise ValueError(f"{what} is given once, and {key} is given twice: leave one out")
        found[key] = value if key in text else _json_or_text(value)
    return found


def split_names(text: str) -> list[str]:
    """Names that are separated by commas.

    Examples
    --------
    >>> split_names("snip, naswot,")
    ['snip', 'naswot']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def chosen_names(text: str | None, *, option: str) -> list[str] | None:
    """Names that an option gives, separated by commas; None where it was not given; ``ValueError`` where it names nothing."""
    names = None if text is None else split_names(text)
    if names == []:
        raise ValueError(f"{option} names nothing: give names with commas between, or leave it out")
    return names


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def open_selected(store: Location, profile: str | None, *, archs: str | None = None) -> tuple[str, xr.Dataset]:
    """Name and data of the profile asked for, or of the only one; ``archs`` as in `select_archs`."""
    profile = profile or only_profile(store)
    # xarray's own lazy arrays: one question reads each array once, and needs no task graph.
    data = open_profile(store, profile, chunks=None)
    if archs is not None:
        rows = select_archs(archs, num_archs=data.sizes["arch"])
        # A slice is much quicker to read than an index array.
        data = data.isel(arch=slice(rows.start, rows.stop) if isinstance(rows, range) else rows)
    return profile, data


def only_profile(store: Location) -> str:
    """Name of the one profile of a store."""
    names = list_profiles(store)
    if len(names) != 1:
        raise NotAStoreError(
            f"{store} holds {len(names)} profiles, name one: {', '.join(names) or 'there is none yet'}"
        )
    return names[0]


def correlate_command(store: Location, name: str) -> str:
    """The command that compares the estimators of a profile with accuracy, or the one that must come before."""
    found = info(store, name)
    profile = found.profile(name)
    if own_accuracy(store, found, profile) is None:
        return command_line("accuracy", "import", store, "--space", profile.spec.space, "--from", "FILE")
    return command_line("correlate", store, name, "--estimators")


def show_page(page: str, out: Path | None, *, what: str) -> None:
    """Print a page, or write it to a file and say so."""
    if out is None:
        typer.echo(page, nl=False)
    else:
        out.write_text(page, encoding="utf-8")
        typer.echo(f"{what} in {out}")


def tell_if_estimated(intervals: Intervals, console: Console) -> None:
    """Say so where not every count is exact."""
    if is_estimated(intervals):
        console.print("Some thresholds are no edges of the bins: their counts are estimated (log-linear inside a bin).")


def parse_interval(text: str) -> Interval:
    """``LOWER,UPPER`` as a command line has it, e.g. ``1e-4,5e-4`` or ``1e-4,inf``."""
    lower, comma, upper = text.partition(",")
    if not comma:
        raise ValueError(f"an interval is LOWER,UPPER such as 1e-4,5e-4 or 1e-4,inf; got {text!r}")
    return Interval(lower.strip(), upper.strip())
