"""``sweetgrad figure``, ``report``, ``explore``, ``reproduce`` and ``findings``: what is read as a page or a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweetgrad.flows.cli.arguments import (
    chosen_names,
    locate,
    only_profile,
    parse_interval,
    show_page,
    written_as,
)
from sweetgrad.flows.cli.options import (
    MOST,
    MOST_RUNS,
    AccuracyOption,
    MaxOption,
    MinOption,
    PageOption,
    ProfileArgument,
    SplitOption,
    StorageOption,
    StoreArgument,
    StoresArgument,
    picture,
)
from sweetgrad.flows.cli.terminal import Terminal, plain_table, progress

if TYPE_CHECKING:
    from sweetgrad.store import Location

BootstrapOption = Annotated[
    int,
    typer.Option(max=MOST_RUNS, help="Bootstrap resamples of the architectures for every 95 % confidence interval."),
]


def figure(
    name: Annotated[str, typer.Argument(help="Name of the figure; `list` lists them.", show_default=False)],
    store: Annotated[str | None, typer.Argument(help="Path or URL of the store.", show_default=False)] = None,
    profile: ProfileArgument = None,
    out: Annotated[Path | None, picture("File: .png, .svg, .pdf (default: NAME.png).")] = None,
    accuracy: AccuracyOption = None,
    interval: Annotated[
        str | None, typer.Option(help="LOWER,UPPER (default: the best interval of the grid).", show_default=False)
    ] = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    bootstrap: BootstrapOption = 1000,
    storage_option: StorageOption = None,
) -> None:
    """Draw a figure of the paper from a store; `sweetgrad figure list` lists them."""
    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.analysis.figures import FIGURES, open_analysis
    from sweetgrad.analysis.figures import figure as draw

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
        raise ValueError(f"unknown figure {name!r}, expected one of {', '.join(FIGURES)}")
    if store is None:
        raise ValueError(f"name a store: sweetgrad figure {name} STORE [PROFILE] --out FILE")
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
    console.print(f"{analysis.name}: {FIGURES[name].title}. Figure in {path}", soft_wrap=True)


def report(
    store: StoreArgument,
    out: Annotated[Path, typer.Option(help="The HTML file.", callback=written_as(".html", ".htm"))] = Path(
        "report.html"
    ),
    profiles: Annotated[
        str | None, typer.Option(help="Profiles to report on, separated by commas (default: all).", show_default=False)
    ] = None,
    accuracy: AccuracyOption = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    bootstrap: BootstrapOption = 1000,
    storage_option: StorageOption = None,
) -> None:
    """Write one self-contained HTML file that reports what a store holds and what follows from it."""
    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.analysis.report import report as write_report

    chosen = chosen_names(profiles, option="--profiles")
    location = locate(store, storage_option)
    if accuracy is not None:
        from sweetgrad.store import list_profiles

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


def explore(
    store: StoreArgument,
    profiles: Annotated[
        list[str] | None,
        typer.Argument(help="Profiles to explore (default: all).", metavar="[PROFILE]...", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="The HTML file.", callback=written_as(".html", ".htm"))] = Path(
        "explorer.html"
    ),
    accuracy: AccuracyOption = None,
    storage_option: StorageOption = None,
) -> None:
    """Write one self-contained HTML page to look around in a store: thresholds to drag, scatter, heat map, top k."""
    from sweetgrad.analysis.explorer import explore as write_explorer

    location = locate(store, storage_option)
    with progress() as bar:
        task = bar.add_task("reading", total=None)
        path = write_explorer(
            location,
            out,
            profiles=profiles or None,
            accuracy=accuracy,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    size = path.stat().st_size / 1e6
    Terminal().print(f"Explorer in {path} ({size:.1f} MB): open it in a browser", soft_wrap=True)


def _require_accuracy(location: "Location", accuracy: str, profiles: Sequence[str]) -> None:
    """Raise ``ValueError`` if no space of these profiles has the accuracy: a report would silently omit it."""
    from sweetgrad.store import NotAStoreError, open_accuracy

    error: ValueError | None = None
    for space in dict.fromkeys(profile.partition("/")[0] for profile in profiles):
        try:
            open_accuracy(location, space, accuracy)
        except NotAStoreError:
            continue  # another space may have it; one without any table is said in the report
        except ValueError as raised:
            error = raised
        else:
            return
    if error is not None:
        raise error


def reproduce(
    stores: StoresArgument,
    out: PageOption = None,
    bootstrap: BootstrapOption = 1000,
    storage_option: StorageOption = None,
) -> None:
    """The paper's tables beside our own figures, from the store alone: Tables 1, 5 and 6, and the initial loss."""
    from sweetgrad.analysis.reproduction import reproduction_page

    page = reproduction_page([locate(store, storage_option) for store in stores], bootstrap=bootstrap)
    show_page(page, out, what="Tables")


def findings(
    stores: StoresArgument,
    out: PageOption = None,
    most: Annotated[int, typer.Option(max=MOST, help="Maximum number of architectures sampled per profile.")] = 2000,
    replicates: Annotated[
        int, typer.Option(max=MOST_RUNS, help="Split halves and resamples behind every confidence interval.")
    ] = 100,
    combination: Annotated[
        bool, typer.Option("--combination", help="Only the section on the combination of estimators fixed in advance.")
    ] = False,
    storage_option: StorageOption = None,
) -> None:
    """Beyond the paper: how stable the interval is, which rules choose better, how much is live parameters alone."""
    from sweetgrad.analysis.findings import combination_page, findings_page

    locations = [locate(store, storage_option) for store in stores]
    page = combination_page(locations) if combination else findings_page(locations, most=most, replicates=replicates)
    show_page(page, out, what="Findings")
