"""``sweetgrad status``, ``info``, ``verify``, ``accuracy import`` and ``accuracy export``."""

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table
from rich.text import Text

from sweetgrad.flows.cli.common import locate
from sweetgrad.flows.cli.options import StorageOption, StoreArgument
from sweetgrad.flows.cli.paths import expanded, written_as
from sweetgrad.flows.cli.tables import plain_table
from sweetgrad.flows.cli.terminal import Terminal, progress
from sweetgrad.store import (
    collect_trainings,
    import_accuracy,
    list_archs,
    list_profiles,
    open_accuracies,
    read_accuracy_file,
)
from sweetgrad.store import info as read_info
from sweetgrad.store import status as read_status
from sweetgrad.store import verify as check_store
from sweetgrad.store.access import command_line, is_zip
from sweetgrad.store.accuracy import require_space
from sweetgrad.store.benchmarks import Format
from sweetgrad.store.benchmarks.shipped import SHIPPED, settings_of, shipped_table, write_table

__all__ = ["accuracy_export", "accuracy_import", "info", "status", "verify"]


def status(store: StoreArgument, storage_option: StorageOption = None) -> None:
    """Say what is done and what is left, profile by profile."""
    console = Terminal()
    location = locate(store, storage_option)
    profiles = read_status(location)
    if not profiles:
        console.print(f"{store} holds no profile yet. `{command_line('profile', location)}` makes one.")
        return
    table = plain_table("profile", "ok", "failed", "not run", "shards\ndone")
    for profile in profiles:
        shards = f"{profile.num_shards_complete}/{profile.num_shards}"
        table.add_row(
            profile.name, f"{profile.num_ok:,}", f"{profile.num_failed:,}", f"{profile.num_not_run:,}", shards
        )
    console.print(table)
    for profile in profiles:
        for failure in profile.failures:
            console.print(f"{profile.name}: {failure.count} failed with: {failure.message} (e.g. {failure.example})")


def info(store: StoreArgument, storage_option: StorageOption = None) -> None:
    """Say what a store holds, how it was measured, and its digests."""
    console = Terminal()
    found = read_info(locate(store, storage_option))
    size = "" if found.num_bytes is None else f", {found.num_bytes / 1e6:,.1f} MB"
    console.print(Text.assemble((found.location, "bold"), f": format {found.attributes['schema_version']}{size}"))
    for profile in found.profiles:
        console.print(Text.assemble("\n", (profile.status.name, "bold")))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")  # a digest is of use as a whole only
        grid.add_row("measured", f"{profile.status.num_ok:,} of {profile.status.num_archs:,} architectures")
        if profile.bytes_per_arch is not None:
            grid.add_row("size", f"{profile.bytes_per_arch:,.0f} bytes an architecture")
        grid.add_row(
            "layers", f"{len(profile.layers)}: {', '.join(profile.layers[:3])} … {''.join(profile.layers[-1:])}"
        )
        grid.add_row("content", str(profile.content_digest or "not stamped yet"))
        last_run = profile.runs[-1] if profile.runs else {}
        for key, value in (*profile.spec.to_attrs().items(), *last_run.items()):
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            grid.add_row(key, shown)
        for estimator in profile.estimators:
            grid.add_row(f"estimator {estimator.name}", f"{estimator.num_ok:,} ok, {estimator.num_failed:,} failed")
        console.print(grid)
    for accuracy in found.accuracies:
        console.print(Text.assemble("\n", (f"{accuracy.space}/accuracy", "bold"), f": {', '.join(accuracy.selectors)}"))


def verify(
    store: StoreArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Clear what fails, so that the next profile run makes it again.")
    ] = False,
    storage_option: StorageOption = None,
) -> None:
    """Check all that a store or a release promises: layout, checksums, digests, sums. Exit status 1 if something is wrong."""
    console = Terminal(soft_wrap=True)
    location = locate(store, storage_option)
    with progress() as bar:
        task = bar.add_task("verifying", total=None)
        problems = check_store(
            location, repair=repair, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    for problem in problems:
        console.print(str(problem))
    if not problems:
        console.print(f"{store}: nothing wrong.")
        return
    mended = sum(problem.repairable for problem in problems) if repair else 0
    found = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    console.print(f"{found}, {mended} repaired." if repair else f"{found}.")
    if mended < len(problems):
        raise typer.Exit(1)


def accuracy_import(
    store: StoreArgument,
    space: Annotated[str, typer.Option(help="Search space that the table is about.", show_default=False)],
    from_: Annotated[
        Path,
        typer.Option(
            "--from",
            help=f"Table (CSV, also .gz, or Parquet), or a benchmark's own file or folder; or {', '.join(SHIPPED)}, "
            "which comes with the package.",
            show_default=False,
            callback=expanded,
        ),
    ],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Format))}.")] = "auto",  # noqa: A002
    space_file: Annotated[
        Path | None,
        typer.Option(
            help="For a table with a column index: the table that lists the architectures of the space, in the order that it "
            "refers to [default: that of the profile, if it came from a file].",
            show_default=False,
        ),
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Add trained accuracies to a store, refusing a table that contradicts what is there."""
    from sweetgrad.flows.inputs import listed_archs, package_grammar

    location = locate(store, storage_option)
    require_space(location, space)
    path = shipped_table(from_)
    with progress() as bar:
        task = bar.add_task(f"reading {from_.name}", total=None)
        table = read_accuracy_file(
            path,
            space=space,
            format=format,  # type: ignore[arg-type]  # it checks
            archs=list_archs(location, space),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    settings = settings_of(path)
    table.attrs.update({} if settings is None else {"settings": settings})
    report = import_accuracy(
        location,
        space=space,
        table=table,
        arch=None if space_file is None else listed_archs(space, space_file),
        source=path.name,
        grammar=package_grammar(space),
    )
    console = Terminal()
    console.print(str(report))
    console.print(f"Now in the store for {space}: {', '.join(report.selectors)}")
    profiled = sorted({name.partition("/")[0] for name in list_profiles(location)})
    if profiled and space not in profiled:
        console.print(
            f"Check the name: the store has no profile of {space} to compare them with, only of {', '.join(profiled)}."
        )


def accuracy_export(
    store: StoreArgument,
    space: Annotated[str, typer.Option(help="Search space of the accuracies.", show_default=False)],
    to: Annotated[
        Path,
        typer.Option(
            help="File to write, .csv or .csv.gz.", show_default=False, callback=written_as(".csv", ".csv.gz")
        ),
    ],
    label: Annotated[
        str | None, typer.Option(help="Data set to write, with its single seeds [default: all].", show_default=False)
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Write accuracies as a table that `accuracy import` reads; beside it, as JSON, how they were trained.

    With --label, what a training that goes on has written so far is brought into the accuracy table first.
    """
    location = locate(store, storage_option)
    if label is not None and not is_zip(location):
        collect_trainings(location, space=space, label=label)
    num_rows = write_table(open_accuracies(location, space), to, label=label)
    Terminal().print(f"{num_rows} accuracies in {to}")
