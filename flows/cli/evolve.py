"""``sweetgrad evolve``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from sweetgrad import flows
from sweetgrad.flows.cli.arguments import expanded, parse_interval, report_if_estimated
from sweetgrad.flows.cli.options import SplitOption, options_of, picture
from sweetgrad.flows.cli.terminal import Terminal, plain_table

if TYPE_CHECKING:
    from sweetgrad.store import Location, OnnxSurrogate


@options_of(flows.evolve, without=["grid", "needs_genotypes"])
def evolve(
    store: "Location",
    interval: Annotated[
        str, typer.Option(help="auto (the best over the random architectures, Algorithm 1) or LOWER,UPPER.")
    ] = "auto",
    split: SplitOption = 2,
    device: str = "auto",
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
        picture("Draw the cells of the result, .png or .svg. Repeatable."),
    ] = None,
    **options: Any,
) -> None:
    """Search a space by evolution: the fitness is the Sweetimator score, nothing is trained, each network is run once.

    The same command resumes a search that was interrupted. Ctrl-C finishes the current network; a second one exits at once.
    """
    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.analysis.figures import plot_cells
    from sweetgrad.store import OnnxSurrogate

    predictor = OnnxSurrogate(surrogate) if surrogate is not None else None  # before the search, in case it is invalid
    evolution = flows.evolve(
        store,
        interval=None if interval == "auto" else parse_interval(interval),
        grid=IntervalGrid(split=split),
        device=cast("Any", device),  # it is checked there, with a message
        needs_genotypes=bool(plot) or predictor is not None,
        console=Terminal(stderr=True),
        **options,
    )
    console = Terminal()
    _show(evolution, predictor, console)
    for path in plot or ():
        plot_cells(evolution.arch, path=path)
        console.print(f"Figure in {path}", soft_wrap=True)
    if evolution.num_left:
        console.print(f"{evolution.num_left} cycles are left. Run the same command to resume.")
        raise typer.Exit(130)


def _show(evolution: flows.Evolution, predictor: "OnnxSurrogate | None", console: Console) -> None:
    import numpy as np

    num_revisits = int((~evolution.history["is_new"]).sum())
    console.print(
        f"{evolution.history.sizes['cycle']} cycles, {num_revisits} revisited an architecture. "
        f"{evolution.num_networks} networks with the random ones, {evolution.num_run} of them run now: "
        f"{evolution.network_seconds:.0f} s in networks, {evolution.seconds:.0f} s by the clock. Score in {evolution.interval}."
    )
    report_if_estimated(evolution.interval, console)
    names = evolution.random["arch"].values.tolist()
    values = {
        "score": (evolution.score, evolution.random["score"].values),
        "weights": (evolution.num_params, evolution.random["num_params"].values),
    }
    if predictor is not None:
        predicted = predictor.predict([evolution.arch, *names])
        values["predicted %"] = (predicted[0], predicted[1:])
    table = plain_table("", "found", "random: least", "median", "most", "beaten")
    for name, (value, others) in values.items():
        others = others[np.isfinite(others)]
        digits = ",.2f" if name == "predicted %" else ",.0f"
        cells = [format(float(number), digits) for number in (value, *np.quantile(others, (0, 0.5, 1)))]
        table.add_row(name, *cells, f"{(others < value).sum()} of {len(others)}")
    console.print(table)
    console.print(evolution.arch, soft_wrap=True)
