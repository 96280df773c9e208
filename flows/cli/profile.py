"""``sweetgrad profile``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sweetgrad.flows.cli.common import StorageOption, locate, read_options
from sweetgrad.flows.cli.terminal import Terminal

__all__ = ["profile"]


def profile(
    store: Annotated[
        str, typer.Argument(help="Folder or URL of the store; made if it is not there.", show_default=False)
    ],
    space: Annotated[
        str, typer.Option(help="Search space: nas-bench-201, nas-bench-101, darts, nds-pnas, ... or one of your own.")
    ] = "nas-bench-201",
    dataset: Annotated[
        str, typer.Option(help="digits, synthetic, cifar10, cifar100, imagenet16-120, imagenet, or your own.")
    ] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the files of the data set.", show_default=False)
    ] = None,
    space_file: Annotated[
        Path | None,
        typer.Option(
            help="Table that lists or orders the architectures; found under DATA_DIR/benchmarks by itself.",
            show_default=False,
        ),
    ] = None,
    space_option: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE for a space that has parameters, e.g. channels=16 for darts. Again for more.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    archs: Annotated[
        str, typer.Option(help="all, START:STOP, sample:N (uniform, always the same), or an index.")
    ] = "all",
    batch_size: Annotated[int, typer.Option(help="Images in the one batch that all architectures see.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the batch, the initialisation and the sample.")] = 42,
    augment: Annotated[bool, typer.Option("--augment", help="Random crop and flip of the batch, seeded.")] = False,
    shard_size: Annotated[
        int | None, typer.Option(help="Architectures in a shard of a new profile [default: 625].", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Worker processes [default: one for each core or GPU; with --cluster: what its file says].",
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running Dask scheduler, tcp://HOST:PORT.", show_default=False)
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with a [cluster] table that builds a Dask cluster: SLURM, PBS, or a class of your own.",
            show_default=False,
        ),
    ] = None,
    estimators: Annotated[
        str, typer.Option(help="Estimators to store as well, with commas between: grad_norm,snip.", show_default=False)
    ] = "",
    moments: Annotated[
        bool,
        typer.Option("--moments", help="Store sums of gradients in every bin too, for sweet_grad_norm and sweet_snip."),
    ] = False,
    activations: Annotated[
        bool,
        typer.Option("--activations", help="Store histograms of what every cell puts out too, in the same bins."),
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run architectures that failed again.")] = False,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Fetch CIFAR, or the table of an NDS space, from its official address into DATA_DIR."
        ),
    ] = False,
    storage_option: StorageOption = None,
) -> None:
    """Profile architectures into a store. What is there already is not run again, so the same command resumes.

    Ctrl-C finishes the networks in hand and writes them; a second Ctrl-C leaves at once.
    """
    from sweetgrad.flows.run import profile as run_profile

    console = Terminal(stderr=True)
    summary = run_profile(
        locate(store, storage_option),
        space=space,
        dataset=dataset,
        data_dir=data_dir,
        space_file=space_file,
        space_options=read_options(space_option, what="a space option", example="channels=16"),
        archs=archs,
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        shard_size=shard_size,
        device=device,
        workers=workers,
        scheduler=scheduler,
        cluster=cluster,
        estimators=[name.strip() for name in estimators.split(",") if name.strip()],
        moments=moments,
        activations=activations,
        retry_failed=retry_failed,
        download=download,
        console=console,
    )
    if summary.num_left:
        console.print(
            f"{summary.num_done} architectures profiled and written, {summary.num_left} left. Run the same command to continue."
        )
        raise typer.Exit(130)
    if summary.num_done:
        console.print(f"{summary.num_done} architectures profiled in {summary.seconds:.0f} s.")
    else:
        console.print(f"All {summary.num_asked} architectures are in the store already.")
    failed = f", {summary.num_failed} failed (see `sweetgrad status {store}`)" if summary.num_failed else ""
    console.print(
        f"Profile [bold]{escape(summary.name)}[/] in {store}{failed}. Next: [bold]sweetgrad intervals {store}[/]"
    )
