"""``sweetgrad publish`` and ``merge``."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sweetgrad.flows.cli.arguments import chosen_names, locate
from sweetgrad.flows.cli.options import StorageOption, StoreArgument
from sweetgrad.flows.cli.terminal import Terminal, plain_table, progress

if TYPE_CHECKING:
    from sweetgrad.store import Location, Release
    from sweetgrad.store.access import Progress


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
    storage_option: StorageOption = None,
) -> None:
    """Write a release: the store as folder and as zip, checksums, data card, metadata for catalogues, changelog."""
    from sweetgrad.store import publish as publish_store

    chosen = chosen_names(profiles, option="--profiles")
    with _progress() as report:
        release = publish_store(
            locate(store, storage_option),
            dest,
            profiles=chosen,
            name=name,
            note=note,
            creators=creator or (),
            doi=doi,
            url=url,
            allow_incomplete=allow_incomplete,
            zip_only=zip_only,
            progress=report,
        )
    _show(release, dest, named=bool(creator))


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
