"""``sweetgrad train`` and ``supernet``: the commands that train networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from sweetgrad import flows
from sweetgrad.flows.cli.arguments import correlate_command, expanded
from sweetgrad.flows.cli.options import MOST, MOST_PROCESSES, options_of
from sweetgrad.flows.cli.terminal import Terminal

if TYPE_CHECKING:
    from sweetgrad.store import Location


@options_of(flows.train)
def train(
    store: "Location",
    archs: str,
    arch: Annotated[
        str | None,
        typer.Option(
            help="One architecture (a genotype for darts), trained in this process with a checkpoint per epoch.",
            show_default=False,
        ),
    ] = None,
    checkpoints: Annotated[
        Path, typer.Option(help="With --arch: folder of the checkpoints.", callback=expanded)
    ] = Path("checkpoints"),
    threads: Annotated[
        int, typer.Option(max=MOST_PROCESSES, help="With --arch: number of threads of this process.")
    ] = 1,
    **options: Any,
) -> None:
    """Train architectures; their accuracies are written to the accuracy table of the store.

    Each training is written when it is done, and those in the store are not repeated, so the same command resumes. Ctrl-C
    abandons the current trainings; with --arch it exits after the epoch.
    """
    if arch is not None:
        _refuse_with_arch(archs=archs != "all", **{name: options[name] for name in _OF_WORKERS})
        _train_one(store, arch, checkpoints=checkpoints, threads=threads, **options)
        return
    console = Terminal(stderr=True)
    summary = flows.train(store, archs=archs, console=console, **options)
    if summary.num_left:
        console.print(f"{summary.num_done} trainings written, {summary.num_left} left. Run the same command to resume.")
        raise typer.Exit(130)
    if summary.num_done:
        console.print(f"{summary.num_done} trainings in {summary.seconds:.0f} s.")
    else:
        console.print(f"All {summary.num_asked} trainings are already in the store.")
    if summary.num_failed:
        console.print(
            f"{summary.num_failed} of {summary.num_asked} failed, the first with: {summary.failure} "
            "--retry-failed runs them again."
        )
    if not summary.num_archs:
        raise typer.Exit(1)
    accuracy = f"{summary.label}/test"
    console.print(
        Text.assemble(
            *("Accuracies ", (accuracy, "bold"), f" of {summary.num_archs} architectures in {store}. Next: "),
            (_next(store, summary.space, options["dataset"], accuracy), "bold"),
        )
    )


_OF_WORKERS = ("workers", "scheduler", "cluster", "retry_failed")


def _refuse_with_arch(**given: Any) -> None:
    names = ", ".join(f"--{name.replace('_', '-')}" for name, value in given.items() if value)
    if names:
        raise ValueError(f"--arch trains one network in this process, to which {names} does not apply: omit it")


def _train_one(store: "Location", arch: str, *, seeds: Sequence[int], **options: Any) -> None:
    from sweetgrad.flows.train_one import train_one
    from sweetgrad.profiling.training import find_recipe

    changes = {name: options.pop(name) for name in ("epochs", "batch_size", "learning_rate", "weight_decay")}
    recipe = find_recipe(options.pop("recipe")).changed(**changes)
    if len(seeds) != 1:
        raise ValueError(f"--arch trains one network: give one seed, got {', '.join(map(str, seeds))}")
    settings = {name: value for name, value in options.items() if name not in _OF_WORKERS}
    console = Terminal(stderr=True)
    report = train_one(store, arch, recipe=recipe, seed=seeds[0], console=console, **settings)
    if report is None:
        console.print("The last whole epoch is written. Run the same command to resume.")
        raise typer.Exit(130)
    console.print(str(report))


def _next(store: "Location", space: str, dataset: str, accuracy: str) -> str:
    from sweetgrad.store import list_profiles
    from sweetgrad.store.access import command_line

    profiles = [name for name in list_profiles(store) if name.startswith(f"{space}/")]
    if not profiles:
        return command_line("profile", store, "--space", space, "--dataset", dataset)
    return command_line("correlate", store, profiles[0], "--accuracy", accuracy)


@options_of(flows.supernet, without=["settings"])
def supernet(
    store: "Location",
    profile: str,
    archs: str,
    epochs: Annotated[int, typer.Option(max=MOST, help="Passes over the training images.")] = 250,
    batch_size: Annotated[int, typer.Option(max=MOST, help="Images per step, each of which trains one path.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of the first step; a cosine reduces it to 0.001.")] = 0.025,
    augment: Annotated[bool, typer.Option("--augment", help="Random crop and flip of training images.")] = False,
    valid_share: Annotated[float, typer.Option(help="Share of the images that is held out for scoring.")] = 0.2,
    calibration: Annotated[
        int, typer.Option(max=MOST, help="Training images that BatchNorm statistics are recomputed from.")
    ] = 512,
    seed: Annotated[int, typer.Option(help="Seed of weights, paths, and the order of images.")] = 42,
    **options: Any,
) -> None:
    """Train a weight-sharing supernet (SPOS) on a profile's data set and score architectures in it: a comparison that trains.

    Not training-free: the score of an architecture is the accuracy of its sub-network, with inherited weights, on held-out
    images. Checkpoints are written every minute, scores every half minute; the same command resumes.
    """
    from sweetgrad.profiling.supernet import SupernetSettings

    settings = SupernetSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        last_learning_rate=min(learning_rate, SupernetSettings.last_learning_rate),
        augment=augment,
        valid_share=valid_share,
        num_calibration=calibration,
        seed=seed,
    )
    console = Terminal(stderr=True)
    summary = flows.supernet(store, profile, settings=settings, archs=archs, console=console, **options)
    if summary.num_steps_left or summary.num_left:
        left = (
            f"{summary.num_steps_left} of {summary.num_steps} steps left"
            if summary.num_steps_left
            else f"{summary.num_done} architectures scored and written, {summary.num_left} left"
        )
        console.print(f"{left}. Run the same command to resume.")
        raise typer.Exit(130)
    console.print(
        f"{summary.num_done} architectures scored, {summary.num_asked - summary.num_done} were scored before. The training took "
        f"{summary.train_seconds:.0f} s and ended with a loss of {summary.loss:.3f}."
    )
    console.print(
        Text.assemble(
            *("Scores ", (summary.estimator, "bold"), " of ", (summary.name, "bold"), f" in {store}. Next: "),
            (correlate_command(store, summary.name), "bold"),
        )
    )
