"""``sweetgrad supernet``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sweetgrad.flows.cli.common import correlate_command, locate, only_profile
from sweetgrad.flows.cli.options import (
    MOST,
    MOST_PROCESSES,
    DataDirOption,
    DeviceOption,
    ProfileArgument,
    StorageOption,
    StoreArgument,
)
from sweetgrad.flows.cli.paths import written_as
from sweetgrad.flows.cli.terminal import Terminal

__all__ = ["supernet"]


def supernet(
    store: StoreArgument,
    profile: ProfileArgument = None,
    archs: Annotated[str, typer.Option(help="To score: all, START:STOP, sample:N, or an index.")] = "all",
    epochs: Annotated[int, typer.Option(max=MOST, help="Passes over the training images.")] = 250,
    batch_size: Annotated[int, typer.Option(max=MOST, help="Images in a step, each of which trains one path.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of the first step; a cosine takes it to 0.001.")] = 0.025,
    augment: Annotated[bool, typer.Option("--augment", help="Random crop and flip of training images.")] = False,
    valid_share: Annotated[float, typer.Option(help="Share of the images that is kept to score on.")] = 0.2,
    calibration: Annotated[
        int, typer.Option(max=MOST, help="Training images that make BatchNorm statistics anew.")
    ] = 512,
    seed: Annotated[int, typer.Option(help="Decides weights, paths, and the order of images.")] = 42,
    name: Annotated[str, typer.Option(help="Estimator that the scores are stored as.")] = "spos",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the training [default: beside the store].",
            show_default=False,
            callback=written_as(),
        ),
    ] = None,
    data_dir: DataDirOption = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing files of the data set.")] = False,
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(max=MOST_PROCESSES, help="Threads of the processor.")] = 1,
    storage_option: StorageOption = None,
) -> None:
    """Train a weight-sharing supernet (SPOS) on a profile's data set and score architectures in it: a comparison that trains.

    Not training-free: the score of an architecture is the accuracy of its sub-network, with the weights that it inherits, on
    images kept from training. Checkpoints are written every minute, scores every half; the same command resumes.
    """
    from sweetgrad.flows.supernet_run import supernet as run_supernet
    from sweetgrad.profiling.supernet import SupernetSettings

    console = Terminal(stderr=True)
    location = locate(store, storage_option)
    summary = run_supernet(
        location,
        profile or only_profile(location),
        settings=SupernetSettings(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            last_learning_rate=min(learning_rate, SupernetSettings.last_learning_rate),
            augment=augment,
            valid_share=valid_share,
            num_calibration=calibration,
            seed=seed,
        ),
        archs=archs,
        name=name,
        checkpoint=checkpoint,
        data_dir=data_dir,
        download=download,
        device=device,
        threads=threads,
        console=console,
    )
    if summary.num_steps_left or summary.num_left:
        left = (
            f"{summary.num_steps_left} of {summary.num_steps} steps left"
            if summary.num_steps_left
            else f"{summary.num_done} architectures scored and written, {summary.num_left} left"
        )
        console.print(f"{left}. Run the same command to continue.")
        raise typer.Exit(130)
    console.print(
        f"{summary.num_done} architectures scored, {summary.num_asked - summary.num_done} were before. The training took "
        f"{summary.train_seconds:.0f} s and ended with a loss of {summary.loss:.3f}."
    )
    console.print(
        Text.assemble(
            *("Scores ", (summary.estimator, "bold"), " of ", (summary.name, "bold"), f" in {store}. Next: "),
            (correlate_command(location, summary.name), "bold"),
        )
    )
