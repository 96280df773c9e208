"""What commands make of their arguments: stores, profiles, options, intervals, paths; and of a page that they print or write."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence, Set
from errno import EACCES, ENOENT
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from sweetgrad.store.redaction import redacted

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from sweetgrad.analysis import Interval, IntervalGrid
    from sweetgrad.analysis.intervals import Intervals
    from sweetgrad.store import Location

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps", ".ps")
"""Suffixes of pictures."""


def expanded(value: Path | None) -> Path | None:
    """A path with ``~`` expanded: a shell does not expand that of ``--data-dir=~/data``."""
    return None if value is None else value.expanduser()


def written_as(*suffixes: str) -> Callable[[Path | list[Path] | None], Path | list[Path] | None]:
    """A callback for an option that names a file to write, or several: raises ``ValueError`` if one cannot be written as that."""

    def check(value: Path | list[Path] | None) -> Path | list[Path] | None:
        if isinstance(value, list | tuple):
            return [_checked(path, suffixes) for path in value]
        return None if value is None else _checked(value, suffixes)

    return check


def new_folder(value: Path | None) -> Path | None:
    """A callback for an option that names a folder to make: raises ``ValueError`` if there is something, or cannot be."""
    if value is None:
        return None
    path = value.expanduser()
    if path.exists():
        raise ValueError(f"{path} already exists: name a new folder")
    return _in_folder(path)


def _checked(path: Path, suffixes: Sequence[str]) -> Path:
    path = path.expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if suffixes and not path.name.lower().endswith(tuple(suffixes)):
        raise ValueError(f"expected a file name that ends in {', '.join(suffixes)}, got {str(path)!r}")
    return _in_folder(path)


def _in_folder(path: Path) -> Path:
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path))
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))
    return path


def locate(store: str, options: Sequence[str] | None) -> "Location":
    """The store that a command names, with its storage options; a value that is JSON is taken as such.

    Examples
    --------
    >>> locate("s3://bucket/nb201.zarr", ["anon=true", 'client_kwargs={"region_name": "eu-west-1"}']).storage_options
    {'anon': True, 'client_kwargs': {'region_name': 'eu-west-1'}}
    """
    from sweetgrad.store.access import with_options

    if not store.strip():
        raise ValueError("the path of the store is empty: give a path or a URL")
    # A key that is made of digits is text all the same.
    texts = ("key", "secret", "token", "endpoint_url", "username", "password")
    example = "endpoint_url=http://127.0.0.1:9000"
    return with_options(store, read_options(options, what="a storage option", example=example, text=texts))


def read_options(options: Sequence[str] | None, *, what: str, example: str, text: Sequence[str] = ()) -> dict[str, Any]:
    """``KEY=VALUE`` options as a dictionary; a value that is JSON is taken as such, but for the keys in ``text``.

    Examples
    --------
    >>> read_options(["channels=16", "form=cifar"], what="a space option", example="channels=16")
    {'channels': 16, 'form': 'cifar'}
    """
    values: dict[str, Any] = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not key or not equals:
            got = f"{key!r}, without '='" if key else "no key"  # what follows may be a secret
            raise ValueError(f"{what} is KEY=VALUE, e.g. {example}; got {got}")
        if key in values:
            raise ValueError(f"{what} may be given once, got {key} twice: omit one")
        values[key] = value if key in text else _json_or_text(value)
    return values


def split_names(text: str) -> list[str]:
    """Names that are separated by commas.

    Examples
    --------
    >>> split_names("snip, naswot,")
    ['snip', 'naswot']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def integers(text: str) -> list[int]:
    """Non-negative integers that are separated by commas.

    Examples
    --------
    >>> integers("0, 1")
    [0, 1]
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,18}", part) for part in parts):
        raise ValueError(f"expected integers from 0 on, separated by commas, such as 0,1; got {text!r}")
    return [int(part) for part in parts]


def chosen_names(text: str | None, *, option: str) -> list[str] | None:
    """Names that an option gives, separated by commas; None where it was not given; ``ValueError`` where it names nothing."""
    names = None if text is None else split_names(text)
    if names == []:
        raise ValueError(f"{option} names nothing: give names separated by commas, or omit it")
    return names


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def open_selected(store: "Location", profile: str | None, *, archs: str | None = None) -> tuple[str, "xr.Dataset"]:
    """Name and data of the requested profile, or of the only one; ``archs`` as in `select_archs`."""
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.store import open_profile

    profile = profile or only_profile(store)
    # xarray's own lazy arrays: one question reads each array once, and needs no task graph.
    data = open_profile(store, profile, chunks=None)
    if archs is not None:
        rows = select_archs(archs, data["arch"].values.tolist(), space=profile.partition("/")[0])
        # A slice is much quicker to read than an index array.
        data = data.isel(arch=slice(rows.start, rows.stop) if isinstance(rows, range) else rows)
    return profile, data


def only_profile(store: "Location") -> str:
    """Name of the one profile of a store."""
    from sweetgrad.store import Store

    return Store.open(store).only_profile()


def choices_of(max_: str, min_: str, split: int, sliding: int | None) -> "IntervalGrid | list[Interval]":
    """The intervals that the options of a grid, or ``--sliding`` in its place, leave to choose from."""
    from sweetgrad.analysis import IntervalGrid, sliding_windows

    return IntervalGrid(max_, min_, split) if sliding is None else sliding_windows(sliding)


def correlate_command(store: "Location", name: str) -> str:
    """The command that compares the estimators of a profile with accuracy, or the command that is needed before it."""
    from sweetgrad.store.access import command_line

    if own_selector(store, name) is None:
        return command_line("accuracy", "import", store, "--space", name.partition("/")[0], "--from", "FILE")
    return command_line("correlate", store, name, "--estimators")


def own_selector(store: "Location", name: str) -> str | None:
    """The accuracy that a profile is compared with by default; None if the store has none of its data set."""
    from sweetgrad.analysis.labels import own_accuracy
    from sweetgrad.store import info

    contents = info(store, name)
    return own_accuracy(store, contents, contents.profile(name))


def records_of(table: "xr.Dataset") -> list[dict[Any, Any]]:
    """Rows of a dataset, one for each of its points, with the values of coordinates and variables."""
    return [dict(record) for record in table.to_dataframe().reset_index().to_dict("records")]


def as_json_text(value: Any) -> str:
    """JSON of plain values, datasets and dataclasses; what is not a finite number is null, and other objects are their text."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def print_json(value: Any) -> None:
    """Print the result of a command for another program."""
    typer.echo(redacted(as_json_text(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return _plain(value.tolist())
    return str(value)


def write_parquet(table: "pd.DataFrame", path: Path) -> None:
    """Write a table; raises ``ModuleNotFoundError`` that says what to install if pyarrow is missing."""
    from sweetgrad.store.errors import how_to_install

    try:
        table.to_parquet(path, index=False)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"writing {path} needs pyarrow: {how_to_install('parquet')}, or write it as .csv"
        ) from error


def show_page(page: str, out: Path | None, *, what: str) -> None:
    """Print a page, or write it to a file and print its name."""
    if out is None:
        typer.echo(page, nl=False)
    else:
        out.write_text(page, encoding="utf-8")
        typer.echo(f"{what} in {out}")


def report_if_estimated(intervals: "Intervals", console: Console) -> None:
    """Report that not every count is exact."""
    from sweetgrad.analysis.counts import is_estimated

    if is_estimated(intervals):
        console.print("Some thresholds are not bin edges: their counts are estimated (log-linear inside a bin).")


def parse_interval(text: str) -> "Interval":
    """``LOWER,UPPER`` as a command line has it, e.g. ``1e-4,5e-4`` or ``1e-4,inf``."""
    from sweetgrad.analysis import Interval

    lower, comma, upper = text.partition(",")
    if not comma:
        raise ValueError(f"an interval is LOWER,UPPER such as 1e-4,5e-4 or 1e-4,inf; got {text!r}")
    return Interval(lower.strip(), upper.strip())
