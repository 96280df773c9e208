"""``sweetgrad profile``."""

from typing import Annotated

import typer
from rich.text import Text

from sweetgrad.flows.cli.common import locate, read_options, split_names
from sweetgrad.flows.cli.options import (
    MOST,
    ActivationsOption,
    ArchsOption,
    ClusterOption,
    DataDirOption,
    DeviceOption,
    MomentsOption,
    NewStoreArgument,
    SchedulerOption,
    SpaceFileOption,
    SpaceOption,
    StorageOption,
    WorkersOption,
)
from sweetgrad.flows.cli.terminal import Terminal
from sweetgrad.store.access import command_line

__all__ = ["profile"]


def profile(
    store: NewStoreArgument,
    space: Annotated[
        str, typer.Option(help="Search space: nas-bench-201, nas-bench-101, darts, nds-pnas, ... or one of your own.")
    ] = "nas-bench-201",
    dataset: Annotated[
        str, typer.Option(help="digits, synthetic, cifar10, cifar100, imagenet16-120, imagenet, or your own.")
    ] = "digits",
    data_dir: DataDirOption = None,
    space_file: SpaceFileOption = None,
    space_option: SpaceOption = None,
    archs: ArchsOption = "all",
    batch_size: Annotated[int, typer.Option(max=MOST, help="Images in the one batch that all architectures see.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the batch and the initialisation.")] = 42,
    augment: Annotated[bool, typer.Option("--augment", help="Random crop and flip of the batch, seeded.")] = False,
    shard_size: Annotated[
        int | None,
        typer.Option(max=MOST, help="Architectures in a shard of a new profile [default: 625].", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    estimators: Annotated[
        str, typer.Option(help="Estimators to store as well, with commas between: grad_norm,snip.", show_default=False)
    ] = "",
    moments: MomentsOption = False,
    activations: ActivationsOption = False,
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
    location = locate(store, storage_option)
    summary = run_profile(
        location,
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
        estimators=split_names(estimators),
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
    failed = f", {summary.num_failed} failed (see `{command_line('status', location)}`)" if summary.num_failed else ""
    console.print(
        Text.assemble(
            *("Profile ", (summary.name, "bold"), f" in {store}{failed}. Next: "),
            (command_line("intervals", location, summary.name), "bold"),
        )
    )
