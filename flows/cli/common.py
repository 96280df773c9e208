"""What several commands share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from sweetgrad.analysis import Interval
from sweetgrad.analysis.cuts import is_estimated
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.flows.selection import select_archs
from sweetgrad.store import Location, NotAStoreError, list_profiles, open_profile
from sweetgrad.store.access import with_options

__all__ = [
    "AccuracyOption",
    "ActivationsOption",
    "ArchsOption",
    "ClusterOption",
    "DataDirOption",
    "DeviceOption",
    "MaxOption",
    "MinOption",
    "MomentsOption",
    "NewStoreArgument",
    "PageOption",
    "ProfileArgument",
    "SchedulerOption",
    "SlidingOption",
    "SpaceFileOption",
    "SpaceOption",
    "SplitOption",
    "StorageOption",
    "StoreArgument",
    "StoresArgument",
    "WorkersOption",
    "locate",
    "only_profile",
    "open_selected",
    "parse_interval",
    "plain_table",
    "read_options",
    "show_page",
    "split_names",
    "tell_if_estimated",
]

_MIN_FOLDED = 16
_MAX_WIDTH = 10_000

NewStoreArgument = Annotated[
    str, typer.Argument(help="Folder or URL of the store; made if it is not there.", show_default=False)
]
StoresArgument = Annotated[list[str], typer.Argument(help="Paths or URLs of stores.", metavar="STORE...")]
StoreArgument = Annotated[str, typer.Argument(help="Path or URL of the store.", show_default=False)]
ProfileArgument = Annotated[
    str | None,
    typer.Argument(help="Profile in the store; may be left out where there is only one.", show_default=False),
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE for a store at a URL, e.g. endpoint_url=http://127.0.0.1:9000; VALUE may be JSON. Again for more.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]

AccuracyOption = Annotated[
    str | None,
    typer.Option(
        help="Trained accuracy: DATASET/SPLIT[/EPOCHS] [default: test accuracy on the profile's data set].",
        show_default=False,
    ),
]
DataDirOption = Annotated[Path | None, typer.Option(help="Folder with the files of the data set.", show_default=False)]
SpaceFileOption = Annotated[
    Path | None,
    typer.Option(
        help="Table that lists or orders the architectures; found under DATA_DIR/benchmarks by itself.",
        show_default=False,
    ),
]
SpaceOption = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE for a space that has parameters, e.g. channels=16 for darts. Again for more.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
ArchsOption = Annotated[str, typer.Option(help="all, START:STOP, sample:N (uniform, always the same), or an index.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Worker processes [default: one for each core or GPU; with --cluster: what its file says].",
        show_default=False,
    ),
]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of a running Dask scheduler, tcp://HOST:PORT.", show_default=False)
]
ClusterOption = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with a [cluster] table that builds a Dask cluster: SLURM, PBS, or a class of your own.",
        show_default=False,
    ),
]
MomentsOption = Annotated[
    bool,
    typer.Option("--moments", help="Store sums of gradients in every bin too, for sweet_grad_norm and sweet_snip."),
]
ActivationsOption = Annotated[
    bool, typer.Option("--activations", help="Store histograms of what every cell puts out too, in the same bins.")
]
PageOption = Annotated[
    Path | None, typer.Option(help="Markdown file to write [default: print it].", show_default=False)
]

MaxOption = Annotated[str, typer.Option("--max", help="Largest threshold.")]
MinOption = Annotated[str, typer.Option("--min", help="Smallest threshold.")]
SlidingOption = Annotated[
    int | None,
    typer.Option(
        help="Choose from windows [t, RATIO*t) that start at every stored edge, and not from a grid; 2 to 10.",
        metavar="RATIO",
        show_default=False,
    ),
]
SplitOption = Annotated[int, typer.Option(help="Parts of each order of magnitude; 1 to 10 are exact.")]


def locate(store: str, options: Sequence[str] | None) -> Location:
    """The store that a command names, with its storage options; a value that is JSON is taken as such.

    Examples
    --------
    >>> locate("s3://bucket/nb201.zarr", ["anon=true", 'client_kwargs={"region_name": "eu-west-1"}']).storage_options
    {'anon': True, 'client_kwargs': {'region_name': 'eu-west-1'}}
    """
    # A key that is made of digits is text all the same.
    found = read_options(
        options, what="a storage option", example="endpoint_url=http://127.0.0.1:9000", text=("key", "secret", "token")
    )
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
            raise ValueError(f"{what} is KEY=VALUE, e.g. {example}; got {option!r}")
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


def show_page(page: str, out: Path | None, *, what: str) -> None:
    """Print a page, or write it to a file and say so."""
    if out is None:
        typer.echo(page, nl=False)
    else:
        out.write_text(page, encoding="utf-8")
        typer.echo(f"{what} in {out}")


class WholeTable(Table):
    """A table that never cuts a cell: what may fold is folded, and if that is not enough, lines are longer than the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render as wide as the columns that do not fold need, and `_MIN_FOLDED` for each that does."""
        natural = Measurement.get(console, options.update(max_width=_MAX_WIDTH), self).maximum
        spare = sum(max(0, _width(column) - _MIN_FOLDED) for column in self.columns if not column.no_wrap)
        yield from super().__rich_console__(console, options.update(max_width=max(options.max_width, natural - spare)))


def plain_table(*columns: str) -> Table:
    """A table with a rule under its header, numbers to the right of the first column, which folds where there is no room."""
    table = WholeTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        if number:
            table.add_column(escape(column), justify="right", no_wrap=True)
        else:
            table.add_column(escape(column), overflow="fold")
    return table


def _width(column: Column) -> int:
    texts = [str(column.header), *map(str, column.cells)]
    return max(Text.from_markup(line).cell_len for text in texts for line in text.split("\n"))


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
