"""``sweetgrad train``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from sweetgrad.flows.cli.common import locate, read_options
from sweetgrad.flows.cli.options import (
    MOST,
    MOST_PROCESSES,
    ArchsOption,
    ClusterOption,
    DataDirOption,
    DeviceOption,
    NewStoreArgument,
    SchedulerOption,
    SpaceFileOption,
    SpaceOption,
    StorageOption,
    WorkersOption,
)
from sweetgrad.flows.cli.paths import expanded
from sweetgrad.flows.cli.terminal import Terminal
from sweetgrad.store import Location, list_profiles
from sweetgrad.store.access import command_line

__all__ = ["train"]


def train(
    store: NewStoreArgument,
    space: Annotated[
        str, typer.Option(help="Search space: nas-bench-201, nas-bench-101, ... or one of your own.")
    ] = "nas-bench-201",
    dataset: Annotated[
        str,
        typer.Option(
            help="digits, cifar10, cifar100, imagenet16-120, imagenet (a folder of pictures for each class), or your own."
        ),
    ] = "digits",
    data_dir: DataDirOption = None,
    space_file: SpaceFileOption = None,
    space_option: SpaceOption = None,
    archs: ArchsOption = "all",
    arch: Annotated[
        str | None,
        typer.Option(
            help="One architecture (a genotype for darts), trained here, with a checkpoint an epoch.",
            show_default=False,
        ),
    ] = None,
    checkpoints: Annotated[
        Path, typer.Option(help="With --arch: folder of the checkpoints.", callback=expanded)
    ] = Path("checkpoints"),
    threads: Annotated[int, typer.Option(max=MOST_PROCESSES, help="With --arch: threads of this process.")] = 1,
    seeds: Annotated[str, typer.Option(help="Seeds of initialisation and order of images, with commas between.")] = "0",
    label: Annotated[
        str | None,
        typer.Option(help="Name of the data set in the accuracy table [default: DATASET].", show_default=False),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe to begin with.")] = "digits-201",
    epochs: Annotated[int | None, typer.Option(max=MOST, help="Instead of the recipe's.", show_default=False)] = None,
    batch_size: Annotated[
        int | None, typer.Option(max=MOST, help="Instead of the recipe's.", show_default=False)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Instead of the recipe's.", show_default=False)] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Instead of the recipe's.", show_default=False)] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run trainings that failed again.")] = False,
    storage_option: StorageOption = None,
) -> None:
    """Train architectures for real; their accuracies go into the accuracy table of the store.

    Recipes: digits-201, darts-cifar, darts-imagenet.

    Every training is written when it is done, and what is there is not run again, so the same command resumes. Ctrl-C gives up
    the trainings in hand; with --arch it ends after the epoch.
    """
    from sweetgrad.profiling.training import find_recipe

    console = Terminal(stderr=True)
    chosen = find_recipe(recipe).changed(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay
    )
    numbers = _whole_numbers(seeds)
    shared: dict[str, Any] = {
        "recipe": chosen,
        "space": space,
        "dataset": dataset,
        "data_dir": data_dir,
        "space_file": space_file,
        "space_options": read_options(space_option, what="a space option", example="channels=16"),
        "label": label,
        "device": device,
        "console": console,
    }
    location = locate(store, storage_option)
    if arch is not None:
        _refuse_for_one(
            archs=archs != "all", workers=workers, scheduler=scheduler, cluster=cluster, retry_failed=retry_failed
        )
        _train_one(location, arch, numbers, checkpoints=checkpoints, threads=threads, **shared)
        return
    from sweetgrad.flows.train_run import train as run_train

    summary = run_train(
        location,
        archs=archs,
        seeds=numbers,
        workers=workers,
        scheduler=scheduler,
        cluster=cluster,
        retry_failed=retry_failed,
        **shared,
    )
    if summary.num_left:
        console.print(
            f"{summary.num_done} trainings written, {summary.num_left} left. Run the same command to continue."
        )
        raise typer.Exit(130)
    if summary.num_done:
        console.print(f"{summary.num_done} trainings in {summary.seconds:.0f} s.")
    else:
        console.print(f"All {summary.num_asked} trainings are in the store already.")
    if summary.num_failed:
        console.print(
            f"{summary.num_failed} of {summary.num_asked} have failed, the first with: {summary.failure} "
            "--retry-failed runs them again."
        )
    if not summary.num_archs:
        raise typer.Exit(1)
    console.print(
        Text.assemble(
            *(
                "Accuracies ",
                (f"{summary.label}/test", "bold"),
                f" of {summary.num_archs} architectures in {store}. Next: ",
            ),
            (_next(location, summary.space, dataset, f"{summary.label}/test"), "bold"),
        )
    )


def _next(store: Location, space: str, dataset: str, accuracy: str) -> str:
    profiles = [name for name in list_profiles(store) if name.startswith(f"{space}/")]
    if not profiles:
        return command_line("profile", store, "--space", space, "--dataset", dataset)
    return command_line("correlate", store, profiles[0], "--accuracy", accuracy)


def _refuse_for_one(**given: Any) -> None:
    names = ", ".join(f"--{name.replace('_', '-')}" for name, value in given.items() if value)
    if names:
        raise ValueError(
            f"--arch trains one network in this process, for which {names} would say nothing: leave it out"
        )


def _train_one(store: Location, arch: str, seeds: list[int], **settings: Any) -> None:
    from sweetgrad.flows.train_one import train_one

    if len(seeds) != 1:
        raise ValueError(f"--arch trains one network: give one seed, got {', '.join(map(str, seeds))}")
    report = train_one(store, arch, seed=seeds[0], **settings)
    console = settings["console"]
    if report is None:
        console.print("The last whole epoch is written. Run the same command to continue.")
        raise typer.Exit(130)
    console.print(str(report))


def _whole_numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"seeds are whole numbers from 0 on with commas between, such as 0,1; got {text!r}")
    return [int(part) for part in parts]
