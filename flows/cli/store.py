"""``sweetgrad status``, ``info``, ``verify``, ``accuracy import``, ``accuracy export``, ``publish`` and ``merge``."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from sweetgrad.flows.cli.arguments import chosen_names, expanded, locate, print_json, written_as
from sweetgrad.flows.cli.options import MOST, JsonOption, StorageOption, StoreArgument
from sweetgrad.flows.cli.terminal import Terminal, plain_table, progress

if TYPE_CHECKING:
    from sweetgrad.store import Location, Release
    from sweetgrad.store.access import Progress
    from sweetgrad.store.benchmarks import Format


def status(store: StoreArgument, json_: JsonOption = False, storage_option: StorageOption = None) -> None:
    """Show what is done and what is left, profile by profile."""
    from sweetgrad.store import status as read_status
    from sweetgrad.store.access import command_line

    console = Terminal()
    location = locate(store, storage_option)
    profiles = read_status(location)
    if json_:
        print_json(profiles)
        return
    if not profiles:
        console.print(f"{store} contains no profile yet. `{command_line('profile', location)}` creates one.")
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


def info(store: StoreArgument, json_: JsonOption = False, storage_option: StorageOption = None) -> None:
    """Show what a store contains, how it was measured, and its digests."""
    from sweetgrad.store import info as read_info

    console = Terminal()
    contents = read_info(locate(store, storage_option))
    if json_:
        print_json(contents)
        return
    size = "" if contents.num_bytes is None else f", {contents.num_bytes / 1e6:,.1f} MB"
    console.print(Text.assemble((contents.location, "bold"), f": format {contents.attributes['schema_version']}{size}"))
    for profile in contents.profiles:
        console.print(Text.assemble("\n", (profile.status.name, "bold")))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")  # a digest is only useful as a whole
        grid.add_row("measured", f"{profile.status.num_ok:,} of {profile.status.num_archs:,} architectures")
        if profile.bytes_per_arch is not None:
            grid.add_row("size", f"{profile.bytes_per_arch:,.0f} bytes per architecture")
        grid.add_row(
            "layers", f"{len(profile.layers)}: {', '.join(profile.layers[:3])} … {''.join(profile.layers[-1:])}"
        )
        if profile.rows_by_layer < profile.status.num_archs:
            grid.add_row("lean release", f"counts by layer of the rows before {profile.rows_by_layer:,} only")
        grid.add_row("content", str(profile.content_digest or "not finalised yet"))
        last_run = profile.runs[-1] if profile.runs else {}
        for key, value in (*profile.spec.to_attrs().items(), *last_run.items()):
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            grid.add_row(key, shown)
        for kind, measured in (("block", profile.blocks), ("estimator", profile.estimators)):
            for each in measured:
                grid.add_row(f"{kind} {each.name}", f"{each.num_ok:,} ok, {each.num_failed:,} failed")
        console.print(grid)
    for accuracy in contents.accuracies:
        console.print(Text.assemble("\n", (f"{accuracy.space}/accuracy", "bold"), f": {', '.join(accuracy.selectors)}"))


def verify(
    store: StoreArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Reset rows that fail, so that the next profile run measures them again.")
    ] = False,
    json_: JsonOption = False,
    storage_option: StorageOption = None,
) -> None:
    """Check everything that a store or a release guarantees: layout, checksums, digests, sums. Exit status 1 on a problem."""
    from sweetgrad.store import verify as check_store

    console = Terminal(soft_wrap=True, quiet=json_)
    location = locate(store, storage_option)
    with progress() as bar:
        task = bar.add_task("verifying", total=None)
        problems = check_store(
            location, repair=repair, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if json_:
        print_json([{**vars(problem), "message": str(problem)} for problem in problems])
    for problem in problems:
        console.print(str(problem))
    if not problems:
        console.print(f"{store}: no problems.")
        return
    num_repaired = sum(problem.repairable for problem in problems) if repair else 0
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    console.print(f"{count}, {num_repaired} repaired." if repair else f"{count}.")
    if num_repaired < len(problems):
        raise typer.Exit(1)


def accuracy_import(
    store: StoreArgument,
    space: Annotated[str, typer.Option(help="Search space of the accuracies.", show_default=False)],
    from_: Annotated[
        Path,
        typer.Option(
            "--from",
            help="Table (CSV, also .gz, or Parquet), or a benchmark's own file or folder; or nas-bench-201 or digits-201, "
            "which are part of the package.",
            show_default=False,
            callback=expanded,
        ),
    ],
    format: Annotated[  # noqa: A002
        str,
        typer.Option(
            help="Format: auto, tidy, nas-bench-101, nas-bench-201, nas-bench-301, nas-bench-301-results, "
            "nas-bench-101-tfrecord, nas-bench-101-whole, nas-bench-201-archive, nas-bench-nlp, nats-bench-folder, nds, onnx."
        ),
    ] = "auto",
    space_file: Annotated[
        Path | None,
        typer.Option(
            help="For a table with a column index: the table that lists the architectures of the space in the order that "
            "the index refers to (default: that of the profile, if it came from a file).",
            show_default=False,
        ),
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Add trained accuracies to a store, refusing a table that contradicts existing ones."""
    from sweetgrad.flows.inputs import listed_archs, package_grammar
    from sweetgrad.store import import_accuracy, list_archs, list_profiles, read_accuracy_file
    from sweetgrad.store.accuracy import require_space
    from sweetgrad.store.benchmarks.shipped import settings_of, shipped_table

    location = locate(store, storage_option)
    require_space(location, space)
    path = shipped_table(from_)
    with progress() as bar:
        task = bar.add_task(f"reading {from_.name}", total=None)
        table = read_accuracy_file(
            path,
            space=space,
            format=cast("Format", format),  # it is checked there, with a message
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
    console.print(f"Accuracies of {space} in the store: {', '.join(report.selectors)}")
    profiled = sorted({name.partition("/")[0] for name in list_profiles(location)})
    if profiled and space not in profiled:
        console.print(
            f"Check the name: the store has no profile of {space} to compare with, only of {', '.join(profiled)}."
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
        str | None,
        typer.Option(help="Data set to write, including its individual seeds (default: all).", show_default=False),
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Write accuracies as a table that `accuracy import` reads; beside it, as JSON, how they were trained.

    With --label, results that a running training has written so far are added to the accuracy table first.
    """
    from sweetgrad.store import collect_trainings, open_accuracies
    from sweetgrad.store.access import is_zip
    from sweetgrad.store.benchmarks.shipped import write_table

    location = locate(store, storage_option)
    if label is not None and not is_zip(location):
        collect_trainings(location, space=space, label=label)
    num_rows = write_table(open_accuracies(location, space), to, label=label)
    Terminal().print(f"{num_rows} accuracies in {to}")


def publish(
    store: StoreArgument,
    dest: Annotated[
        Path, typer.Argument(help="Folder of the release, or of the previous release.", show_default=False)
    ],
    profiles: Annotated[
        str | None, typer.Option(help="Profiles to publish, separated by commas (default: all).", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the published store (default: that of STORE).", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option(help="Changelog entry of this release.", show_default=False)] = "",
    creator: Annotated[
        list[str] | None,
        typer.Option(help="Author, as 'Family, Given', or an organisation. Repeatable.", show_default=False),
    ] = None,
    doi: Annotated[str, typer.Option(help="DOI of the data set, if it has one.", show_default=False)] = "",
    url: Annotated[str, typer.Option(help="URL that DEST will be served at.", show_default=False)] = "",
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Also publish profiles that have rows left to run.")
    ] = False,
    zip_only: Annotated[
        bool, typer.Option("--zip-only", help="Write only the zip, not the folder: for archives, and for git.")
    ] = False,
    lean: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            metavar="ROWS",
            help="Keep counts by layer of the first ROWS architectures only, which choose intervals; 100 are enough.",
            show_default=False,
        ),
    ] = None,
    no_explorer: Annotated[
        bool, typer.Option("--no-explorer", help="Do not write index.html, the page of `sweetgrad explore`.")
    ] = False,
    storage_option: StorageOption = None,
) -> None:
    """Write a release: the store as folder and as zip, checksums, data card, explorer, metadata for catalogues, changelog."""
    from sweetgrad.store import publish as publish_store
    from sweetgrad.store import status as read_status

    chosen = chosen_names(profiles, option="--profiles")
    location = locate(store, storage_option)
    measured = [each.name for each in read_status(location) if each.num_ok and (chosen is None or each.name in chosen)]
    with _progress() as report:
        release = publish_store(
            location,
            dest,
            profiles=chosen,
            name=name,
            note=note,
            creators=creator or (),
            doi=doi,
            url=url,
            allow_incomplete=allow_incomplete,
            zip_only=zip_only,
            lean=lean,
            pages={"index.html": _explorer} if measured and not no_explorer else {},
            progress=report,
        )
    _show(release, dest, named=bool(creator))


def _explorer(store: Path) -> str:
    """The page of the explorer of a store that is being published."""
    from dataclasses import replace

    from sweetgrad.analysis.explorer import collect, render

    found, pages = collect(store)
    return render(replace(found, location=store.name), pages)


def merge(
    sources: Annotated[list[str], typer.Argument(help="Two or more stores, then the new one.", metavar="A B … DEST")],
    storage_option: StorageOption = None,
) -> None:
    """Merge stores that different people computed into a new one; if they conflict, nothing is written."""
    from sweetgrad.store import merge as merge_stores
    from sweetgrad.store.access import command_line

    *stores, dest = sources
    with _progress() as report:
        merged = merge_stores([_locate(store, storage_option) for store in stores], dest, progress=report)
    console = Terminal(soft_wrap=True)
    console.print(str(merged))
    console.print(f"Written to {dest}. `{command_line('status', dest)}` shows what is left to run.")


def _locate(store: str, options: list[str] | None) -> "Location":
    """A source of a merge: options apply to those at a URL, others may be local."""
    from sweetgrad.store.access import is_remote

    return locate(store, options if is_remote(store) else None)


def _show(release: "Release", dest: Path, *, named: bool) -> None:
    console = Terminal(soft_wrap=True)
    console.print(Text.assemble((f"Release {release.number}", "bold"), f" of {release.name} in {dest}"))
    table = plain_table("file", "size")
    for file in release.files:
        table.add_row(file.name, f"{file.num_bytes / 1e6:,.2f} MB")
    console.print(table)
    if release.unchanged:
        console.print(f"Unchanged: all content has the digests of release {release.number - 1}.")
    for change in release.changes:
        console.print(change)
    console.print("\nNext:")
    console.print(f"  check it   cd {shlex.quote(str(dest))} && sha256sum --check --quiet SHA256SUMS")
    console.print(f"  load it    python {shlex.quote(str(dest / 'load.py'))}")
    if not named:
        console.print("  name the authors with --creator 'Family, Given', and publish again")


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar that restarts with each stage."""
    with progress() as bar:
        task = bar.add_task("starting", total=None)
        stage = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal stage
            if what != stage:
                stage = what
                bar.reset(task, description=what, total=total)
            bar.update(task, completed=done, total=total)

        yield report
