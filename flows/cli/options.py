"""Arguments and options that several commands have, each with its help."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sweetgrad.flows.cli.paths import PICTURES, expanded, written_as

__all__ = [
    "MOST",
    "MOST_PROCESSES",
    "MOST_RUNS",
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
    "picture",
]


# More than that fills a machine, or takes years, before anything can say so.
MOST = 1_000_000
MOST_RUNS = 100_000
MOST_PROCESSES = 10_000


def picture(help: str, *names: str) -> Any:  # noqa: A002  (typer's name)
    """An option that names a picture to write."""
    return typer.Option(*names, help=help, show_default=False, callback=written_as(*PICTURES))


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
        help="KEY=VALUE for a store at a URL, e.g. anon=true; VALUE may be JSON. Again for more.",
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
DataDirOption = Annotated[
    Path | None, typer.Option(help="Folder with the files of the data set.", show_default=False, callback=expanded)
]
SpaceFileOption = Annotated[
    Path | None,
    typer.Option(
        help="Table that lists or orders the architectures; found under DATA_DIR/benchmarks by itself.",
        show_default=False,
        callback=expanded,
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
        max=MOST_PROCESSES,
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
        callback=expanded,
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
    Path | None,
    typer.Option(
        help="Markdown file to write [default: print it].",
        show_default=False,
        callback=written_as(".md", ".markdown", ".txt"),
    ),
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
