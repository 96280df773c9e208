"""``sweetgrad search``, on a benchmark, and ``sweetgrad evolve``, which runs networks."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweetgrad import flows
from sweetgrad.flows.cli.arguments import (
    expanded,
    locate,
    new_folder,
    open_selected,
    parse_interval,
    print_json,
    records_of,
    report_if_estimated,
)
from sweetgrad.flows.cli.options import (
    MOST,
    MOST_RUNS,
    JsonOption,
    ProfileArgument,
    SplitOption,
    StorageOption,
    StoreArgument,
    options_of,
    picture,
)
from sweetgrad.flows.cli.terminal import Terminal, plain_table

if TYPE_CHECKING:
    import xarray as xr

    from sweetgrad.store import Location, OnnxSurrogate


def search(
    store: StoreArgument,
    profile: ProfileArgument = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(help="Estimator that assists the search (default: sweetimator). Repeatable.", show_default=False),
    ] = None,
    unassisted: Annotated[bool, typer.Option("--unassisted", help="Run only algorithms that need no score.")] = False,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            help="Algorithm: random, rea, reinforce, bohb, s-rea, s-reinforce, s-bohb, s-bohb-model (default: all). Repeatable.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[str, typer.Option(help="Sample sizes of the selection, separated by commas.")] = "10,100,1000",
    among_scored: Annotated[
        bool,
        typer.Option(
            "--among-scored", help="Only run selections, among the architectures that have every score and accuracy."
        ),
    ] = False,
    accuracy: Annotated[
        str, typer.Option(help="Accuracy that a search observes and pays the training time of: DATASET/SPLIT/EPOCHS.")
    ] = "cifar10/valid/12",
    interval: Annotated[
        str | None, typer.Option(help="LOWER,UPPER of sweetimator (default: the best interval).", show_default=False)
    ] = None,
    split: SplitOption = 2,
    runs: Annotated[int, typer.Option(min=1, max=MOST_RUNS, help="Independent runs of each method.")] = 500,
    budget: Annotated[float, typer.Option(help="Simulated seconds per run.")] = 12_000,
    pool: Annotated[
        int, typer.Option(min=1, max=MOST, help="Pool size: architectures that an estimator chooses from.")
    ] = 10,
    score_seconds: Annotated[
        float | None,
        typer.Option(help="Seconds per score in rows with +cost (default: as stored).", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every draw of every run.")] = 0,
    plot: Annotated[Path | None, picture("Plot the best accuracy so far against simulated time.")] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Zarr folder to save every training of every run to.", show_default=False, callback=new_folder
        ),
    ] = None,
    json_: JsonOption = False,
    storage_option: StorageOption = None,
) -> None:
    """Search a benchmark with and without an estimator, from the store alone, beside the paper's figures."""
    import numpy as np

    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.analysis.figures import plot_trajectories
    from sweetgrad.analysis.search import (
        ALGORITHMS,
        SearchSettings,
        run_searches,
        run_selections,
        search_inputs,
        search_table,
        trajectories,
    )
    from sweetgrad.store import open_accuracies, open_estimators

    location = locate(store, storage_option)
    name, data = open_selected(location, profile)
    spec = data.attrs["spec"]
    names = () if unassisted else tuple(estimator or ["sweetimator"])
    given = parse_interval(interval) if interval is not None else None
    grid = IntervalGrid(split=split)
    inputs = search_inputs(
        data,
        open_estimators(location, name),
        open_accuracies(location, spec["space"]),
        estimators=names,
        interval=given,
        grid=grid,
        fitness=accuracy,
        score_seconds=score_seconds,
        among_scored=among_scored,
    )
    published = _published(spec["space"], spec["dataset"])
    console = Terminal(quiet=json_)
    console.print(Text.assemble((name, "bold"), f", {len(inputs.benchmark):,} architectures, {runs} runs, seed {seed}"))
    if "sweetimator" in names:
        report_if_estimated(given or grid, console)
    # Before the tables of the selection, so that an error in a search is reported at once.
    searched = None
    if not among_scored:
        searched = run_searches(
            inputs.benchmark,
            SearchSettings(num_runs=runs, budget=budget, seed=seed),
            scores=[*inputs.free, *inputs.charged],
            algorithms=tuple(algorithm or [name for name in ALGORITHMS if inputs.free or not name.startswith("s-")]),
            pool=pool,
        )
    dataset = accuracy.partition("/")[0]
    selected = run_selections(
        inputs.benchmark,
        scores=inputs.charged,
        num_archs=_numbers(samples),
        optimal=f"{dataset}/test",
        num_runs=runs,
        seed=seed,
    )
    console.print(f"Selection among N architectures; optimal: the best {dataset} test accuracy among them.")
    if (most := max(_numbers(samples))) > len(inputs.benchmark) / 10:
        console.print(
            f"{most:,} draws cover much of these {len(inputs.benchmark):,}: such rows are too optimistic for the whole space."
        )
    selection = search_table(selected, inputs.benchmark, published=published)
    answer: dict[str, Any] = {"profile": name, "selection": records_of(selection)}
    _show(selection, console, seconds="s to score")
    if searched is None:
        if json_:
            print_json(answer)
        return
    console.print(
        f"Search for {budget:g} s, in which trainings return {accuracy}; +cost: the time of scores is paid for as well."
    )
    found = search_table(searched, inputs.benchmark, published=published)
    answer["search"] = records_of(found)
    _show(found, console, seconds="s spent")
    if plot is not None:
        plot_trajectories(trajectories(searched, inputs.benchmark, dataset=dataset), path=plot)
        console.print(f"Figure in {plot}")
    if save is not None:
        archs = np.array(inputs.benchmark.arch, dtype=object)
        searched.assign_coords(arch=archs).assign_attrs(profile=name).to_zarr(save, mode="w-", consolidated=False)
        console.print(f"All trainings in {save}")
    if json_:
        print_json(answer)


def _numbers(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,7}", part) and 0 < int(part) <= MOST for part in numbers):
        raise ValueError(f"expected integers such as 10,100,1000, each from 1 to {MOST:,}; got {text!r}")
    return [int(part) for part in numbers]


def _published(space: str, dataset: str) -> Mapping[str, tuple[float, float]]:
    """The paper's figures; those of Sweetimator are of gradients on CIFAR-10."""
    from sweetgrad.analysis.published import SEARCH

    if space != "nas-bench-201":
        return {}
    return {name: figures for name, figures in SEARCH.items() if dataset == "cifar10" or "sweetimator" not in name}


def _show(results: "xr.Dataset", console: Console, *, seconds: str) -> None:
    """The first data set with the paper's figures, then the others."""
    datasets = [str(dataset) for dataset in results["dataset"].values]
    trained = ["trained"] if results["num_trained"].max() > 1 else []
    columns = [f"{datasets[0]} {split}" for split in results["split"].values]
    table = plain_table("algorithm", *(part for column in columns for part in (column, "paper")), *trained, seconds)
    table.columns[0].no_wrap = True  # a name in two pieces cannot be read
    for algorithm in map(str, results["algorithm"].values):
        result = results.sel(algorithm=algorithm)
        cells = [
            text for split in results["split"].values for text in _cells(result.sel(dataset=datasets[0], split=split))
        ]
        spent = [*(f"{float(result['num_trained']):.1f}" for _ in trained), f"{float(result['seconds']):,.0f}"]
        table.add_row(algorithm, *cells, *spent)
    console.print(table)
    if datasets[1:]:
        console.print(_others(results, datasets[1:]))


def _others(results: "xr.Dataset", datasets: list[str]) -> Table:
    pairs = [(dataset, split) for dataset in datasets for split in results["split"].values]
    table = plain_table("algorithm", *(f"{dataset} {split}" for dataset, split in pairs))
    table.columns[0].no_wrap = True
    for algorithm in map(str, results["algorithm"].values):
        result = results.sel(algorithm=algorithm)
        table.add_row(algorithm, *(_cells(result.sel(dataset=dataset, split=split))[0] for dataset, split in pairs))
    return table


def _cells(result: "xr.Dataset") -> list[str]:
    mean, sd, paper = (float(result[key]) for key in ("mean", "sd", "published"))
    return [f"{mean:.2f} ± {sd:.2f}", "" if math.isnan(paper) else f"{paper:.2f}"]


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
    _show_evolution(evolution, predictor, console)
    for path in plot or ():
        plot_cells(evolution.arch, path=path)
        console.print(f"Figure in {path}", soft_wrap=True)
    if evolution.num_left:
        console.print(f"{evolution.num_left} cycles are left. Run the same command to resume.")
        raise typer.Exit(130)


def _show_evolution(evolution: flows.Evolution, predictor: "OnnxSurrogate | None", console: Console) -> None:
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
