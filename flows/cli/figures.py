"""``sweetgrad figure`` and ``sweetgrad report``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sweetgrad.analysis.figures import FIGURES, open_analysis
from sweetgrad.analysis.figures import figure as draw
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.report import report as write_report
from sweetgrad.flows.cli.common import chosen_names, locate, only_profile, parse_interval
from sweetgrad.flows.cli.options import (
    MOST_RUNS,
    AccuracyOption,
    MaxOption,
    MinOption,
    ProfileArgument,
    SplitOption,
    StorageOption,
    StoreArgument,
    picture,
)
from sweetgrad.flows.cli.paths import written_as
from sweetgrad.flows.cli.tables import plain_table
from sweetgrad.flows.cli.terminal import Terminal, progress
from sweetgrad.store import Location, NotAStoreError, list_profiles, open_accuracy

__all__ = ["figure", "report"]

BootstrapOption = Annotated[int, typer.Option(max=MOST_RUNS, help="Resamples of the architectures for every range.")]


def figure(
    name: Annotated[str, typer.Argument(help="Which one; `list` says what there is.", show_default=False)],
    store: Annotated[str | None, typer.Argument(help="Path or URL of the store.", show_default=False)] = None,
    profile: ProfileArgument = None,
    out: Annotated[Path | None, picture("File: .png, .svg, .pdf [default: NAME.png].")] = None,
    accuracy: AccuracyOption = None,
    interval: Annotated[
        str | None, typer.Option(help="LOWER,UPPER [default: the best interval of the grid].", show_default=False)
    ] = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    bootstrap: BootstrapOption = 1000,
    storage_option: StorageOption = None,
) -> None:
    """Draw a figure of the paper from a store; `sweetgrad figure list` says which there are."""
    console = Terminal()
    if name == "list":
        table = plain_table("figure", "of the paper", "shows")
        for column in table.columns:
            column.justify = "left"
        table.columns[-1].no_wrap = False
        for kind in FIGURES.values():
            table.add_row(kind.name, kind.paper, kind.title)
        console.print(table)
        return
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")
    if store is None:
        raise ValueError(f"say which store: sweetgrad figure {name} STORE [PROFILE] --out FILE")
    location = locate(store, storage_option)
    profile = profile or only_profile(location)
    if accuracy is not None:
        _require_accuracy(location, accuracy, [profile])
    analysis = open_analysis(
        location,
        profile,
        accuracy=accuracy,
        grid=IntervalGrid(max_, min_, split),
        interval=None if interval is None else parse_interval(interval),
        bootstrap=bootstrap,
    )
    path = out or Path(f"{name}.png")
    draw(name, analysis, path=path)
    console.print(f"{analysis.name}: {FIGURES[name].title}. Picture in {path}", soft_wrap=True)


def report(
    store: StoreArgument,
    out: Annotated[Path, typer.Option(help="The HTML file.", callback=written_as(".html", ".htm"))] = Path(
        "report.html"
    ),
    profiles: Annotated[
        str | None, typer.Option(help="Profiles to report on, separated by commas [default: all].", show_default=False)
    ] = None,
    accuracy: AccuracyOption = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    bootstrap: BootstrapOption = 1000,
    storage_option: StorageOption = None,
) -> None:
    """Write one HTML file that says what a store holds and what follows from it; it loads nothing from anywhere."""
    chosen = chosen_names(profiles, option="--profiles")
    location = locate(store, storage_option)
    if accuracy is not None:
        _require_accuracy(location, accuracy, list_profiles(location) if chosen is None else chosen)
    with progress() as bar:
        task = bar.add_task("reading", total=None)
        path = write_report(
            location,
            out,
            profiles=chosen,
            accuracy=accuracy,
            grid=IntervalGrid(max_, min_, split),
            bootstrap=bootstrap,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    size = path.stat().st_size / 1e6
    Terminal().print(f"Report in {path} ({size:.1f} MB)", soft_wrap=True)


def _require_accuracy(location: Location, accuracy: str, profiles: Sequence[str]) -> None:
    """Raise ``ValueError`` if no space of these profiles has the accuracy: a report would leave it out as if nobody had asked."""
    error: ValueError | None = None
    for space in dict.fromkeys(profile.partition("/")[0] for profile in profiles):
        try:
            open_accuracy(location, space, accuracy)
        except NotAStoreError:
            continue  # another space may have it; one without any table is said in the report
        except ValueError as found:
            error = found
        else:
            return
    if error is not None:
        raise error
