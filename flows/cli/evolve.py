"""``sweetgrad evolve``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from sweetgrad.analysis import IntervalGrid
from sweetgrad.analysis.figures import plot_cells
from sweetgrad.flows.cli.common import locate, parse_interval, read_options, tell_if_estimated
from sweetgrad.flows.cli.options import (
    MOST,
    DataDirOption,
    DeviceOption,
    NewStoreArgument,
    SpaceOption,
    SplitOption,
    StorageOption,
    picture,
)
from sweetgrad.flows.cli.paths import expanded
from sweetgrad.flows.cli.tables import plain_table
from sweetgrad.flows.cli.terminal import Terminal
from sweetgrad.store.benchmarks.surrogates import OnnxSurrogate

if TYPE_CHECKING:
    from sweetgrad.flows.evolution import Evolution

__all__ = ["evolve"]


def evolve(
    store: NewStoreArgument,
    space: Annotated[
        str, typer.Option(help="Search space: darts, darts-imagenet, nas-bench-301, nas-bench-201, or one of your own.")
    ] = "darts",
    dataset: Annotated[
        str, typer.Option(help="digits, synthetic, cifar10, cifar100, imagenet, or your own.")
    ] = "cifar10",
    data_dir: DataDirOption = None,
    space_file: Annotated[
        Path | None,
        typer.Option(help="Table of the architectures that are drawn from.", show_default=False, callback=expanded),
    ] = None,
    space_option: SpaceOption = None,
    cycles: Annotated[
        int, typer.Option(max=MOST, help="Architectures that the search comes to, the first population included.")
    ] = 200,
    population: Annotated[int, typer.Option(max=MOST, help="Architectures alive.")] = 10,
    tournament: Annotated[
        int, typer.Option(max=MOST, help="Of them, those drawn, of which the best is the parent.")
    ] = 3,
    interval: Annotated[
        str, typer.Option(help="auto: the best over the random architectures (Algorithm 1); or LOWER,UPPER.")
    ] = "auto",
    split: SplitOption = 2,
    random: Annotated[
        int,
        typer.Option(
            max=MOST, help="Random architectures that choose the interval; what is found is compared with them."
        ),
    ] = 100,
    batch_size: Annotated[
        int, typer.Option(max=MOST, help="Images in the one batch that all architectures see.")
    ] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the batch and the initialisation.")] = 42,
    search_seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides every draw of the search.")] = 0,
    device: DeviceOption = "auto",
    surrogate: Annotated[
        Path | None,
        typer.Option(
            help="ONNX surrogate of NAS-Bench-301 that predicts accuracies as well.",
            show_default=False,
            callback=expanded,
        ),
    ] = None,
    plot: Annotated[
        list[Path] | None,
        picture("Draw the cells found, .png or .svg; again for more."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch CIFAR into DATA_DIR.")] = False,
    storage_option: StorageOption = None,
) -> None:
    """Search a space by evolution: the fitness is Sweetimator's score, nothing is trained, each network is run once.

    The same command continues a search that was stopped. Ctrl-C finishes the network in hand; a second one leaves at once.
    """
    from sweetgrad.flows.evolution import evolve as run

    predictor = OnnxSurrogate(surrogate) if surrogate is not None else None  # before the search, if it is none
    found = run(
        locate(store, storage_option),
        space=space,
        dataset=dataset,
        data_dir=data_dir,
        space_file=space_file,
        space_options=read_options(space_option, what="a space option", example="channels=16"),
        interval=None if interval == "auto" else parse_interval(interval),
        grid=IntervalGrid(split=split),
        num_random=random,
        cycles=cycles,
        population=population,
        tournament=tournament,
        batch_size=batch_size,
        seed=seed,
        search_seed=search_seed,
        device=device,
        download=download,
        drawn=bool(plot) or predictor is not None,
        console=Terminal(stderr=True),
    )
    console = Terminal()
    _show(found, predictor, console)
    for path in plot or ():
        plot_cells(found.arch, path=path)
        console.print(f"Picture in {path}", soft_wrap=True)
    if found.num_left:
        console.print(f"{found.num_left} cycles are left. Run the same command to continue.")
        raise typer.Exit(130)


def _show(found: "Evolution", predictor: OnnxSurrogate | None, console: Console) -> None:
    again = int((~found.history["is_new"]).sum())
    console.print(
        f"{found.history.sizes['cycle']} cycles, {again} to an architecture that the search had seen. "
        f"{found.num_networks} networks with the random ones, {found.num_run} of them run now: "
        f"{found.network_seconds:.0f} s in networks, {found.seconds:.0f} s by the clock. Score in {found.interval}."
    )
    tell_if_estimated(found.interval, console)
    names = found.random["arch"].values.tolist()
    values = {
        "score": (found.score, found.random["score"].values),
        "weights": (found.num_params, found.random["num_params"].values),
    }
    if predictor is not None:
        predicted = predictor.predict([found.arch, *names])
        values["predicted %"] = (predicted[0], predicted[1:])
    table = plain_table("", "found", "random: least", "median", "most", "beaten")
    for name, (value, others) in values.items():
        others = others[np.isfinite(others)]
        digits = ",.2f" if name == "predicted %" else ",.0f"
        cells = [format(float(each), digits) for each in (value, *np.quantile(others, (0, 0.5, 1)))]
        table.add_row(name, *cells, f"{(others < value).sum()} of {len(others)}")
    console.print(table)
    console.print(found.arch, soft_wrap=True)
