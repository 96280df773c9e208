"""``sweetgrad estimate``."""

from typing import Annotated

import typer
from rich.text import Text

from sweetgrad.flows.cli.common import correlate_command, locate, only_profile, split_names
from sweetgrad.flows.cli.options import (
    ActivationsOption,
    ClusterOption,
    DataDirOption,
    MomentsOption,
    ProfileArgument,
    SchedulerOption,
    SpaceFileOption,
    StorageOption,
    StoreArgument,
    WorkersOption,
)
from sweetgrad.flows.cli.terminal import Terminal

__all__ = ["estimate"]


def estimate(
    store: StoreArgument,
    profile: ProfileArgument = None,
    estimators: Annotated[
        str, typer.Option(help="Estimators to compute, with commas between, or all.", show_default=False)
    ] = "",
    archs: Annotated[str, typer.Option(help="Of the measured ones: all, START:STOP, sample:N, or an index.")] = "all",
    data_dir: DataDirOption = None,
    space_file: SpaceFileOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    moments: MomentsOption = False,
    activations: ActivationsOption = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run estimators that failed for an architecture again.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch missing files of the data set into DATA_DIR.")
    ] = False,
    storage_option: StorageOption = None,
) -> None:
    """Compute training-free estimators for the measured architectures of a profile; its counts stay as they are.

    Scores that are there already are not computed again, so the same command resumes.
    """
    from sweetgrad.flows.estimate_run import estimate as run_estimate

    console = Terminal(stderr=True)
    location = locate(store, storage_option)
    summary = run_estimate(
        location,
        profile or only_profile(location),
        estimators=split_names(estimators),
        moments=moments,
        activations=activations,
        archs=archs,
        data_dir=data_dir,
        space_file=space_file,
        workers=workers,
        scheduler=scheduler,
        cluster=cluster,
        retry_failed=retry_failed,
        download=download,
        console=console,
    )
    if summary.num_left:
        console.print(
            f"{summary.num_done} architectures scored and written, {summary.num_left} left. Run the same command to continue."
        )
        raise typer.Exit(130)
    if summary.num_done:
        console.print(f"{summary.num_done} architectures scored in {summary.seconds:.0f} s.")
    else:
        console.print(f"All {summary.num_asked} architectures have these scores already.")
    failed = f" For {summary.num_failed} an estimator failed; the store holds why." if summary.num_failed else ""
    console.print(
        Text.assemble(
            *("Scores of ", (summary.name, "bold"), f" in {store}.{failed} Next: "),
            (correlate_command(location, summary.name), "bold"),
        )
    )
