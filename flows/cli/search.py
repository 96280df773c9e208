"""``sweetgrad search``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweetgrad.analysis import IntervalGrid
from sweetgrad.analysis.figures import plot_trajectories
from sweetgrad.analysis.published import SEARCH
from sweetgrad.analysis.search import (
    ALGORITHMS,
    SearchSettings,
    run_searches,
    run_selections,
    search_inputs,
    search_table,
    trajectories,
)
from sweetgrad.flows.cli.common import locate, open_selected, parse_interval, tell_if_estimated
from sweetgrad.flows.cli.options import (
    MOST,
    MOST_RUNS,
    ProfileArgument,
    SplitOption,
    StorageOption,
    StoreArgument,
    picture,
)
from sweetgrad.flows.cli.paths import new_folder
from sweetgrad.flows.cli.tables import plain_table
from sweetgrad.flows.cli.terminal import Terminal
from sweetgrad.store import open_accuracies, open_estimators

__all__ = ["search"]


def search(
    store: StoreArgument,
    profile: ProfileArgument = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(help="Assist with this estimator; again for more [default: sweetimator].", show_default=False),
    ] = None,
    unassisted: Annotated[bool, typer.Option("--unassisted", help="Only what needs no score.")] = False,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(ALGORITHMS)}; again for more [default: all].", show_default=False),
    ] = None,
    samples: Annotated[str, typer.Option(help="Numbers of architectures to select among.")] = "10,100,1000",
    among_scored: Annotated[
        bool,
        typer.Option("--among-scored", help="Only select, among the architectures that have every score and accuracy."),
    ] = False,
    accuracy: Annotated[
        str, typer.Option(help="Accuracy that a search sees, and whose training it pays for: DATASET/SPLIT/EPOCHS.")
    ] = "cifar10/valid/12",
    interval: Annotated[
        str | None, typer.Option(help="LOWER,UPPER of sweetimator [default: the best].", show_default=False)
    ] = None,
    split: SplitOption = 2,
    runs: Annotated[int, typer.Option(min=1, max=MOST_RUNS, help="Independent runs of each method.")] = 500,
    budget: Annotated[float, typer.Option(help="Simulated seconds of a run.")] = 12_000,
    pool: Annotated[int, typer.Option(min=1, max=MOST, help="Architectures that an estimator chooses among.")] = 10,
    score_seconds: Annotated[
        float | None,
        typer.Option(help="What a score costs in rows with +cost [default: as stored].", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides every draw of every run.")] = 0,
    plot: Annotated[Path | None, picture("Draw the best so far against simulated time.")] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Zarr folder to keep every training of every run in.", show_default=False, callback=new_folder
        ),
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Search a benchmark with and without an estimator, from the store alone, beside the paper's figures."""
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
    console = Terminal()
    console.print(Text.assemble((name, "bold"), f", {len(inputs.benchmark):,} architectures, {runs} runs, seed {seed}"))
    if "sweetimator" in names:
        tell_if_estimated(given or grid, console)
    # Before the tables of the selection: what is wrong with a search is said at once.
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
            f"{most:,} draws see much of these {len(inputs.benchmark):,}: such rows are too good for the whole space."
        )
    _show(search_table(selected, inputs.benchmark, published=published), console, seconds="s to score")
    if searched is None:
        return
    console.print(f"Search for {budget:g} s, in which trainings show {accuracy}; +cost: scores are paid for as well.")
    _show(search_table(searched, inputs.benchmark, published=published), console, seconds="s spent")
    if plot is not None:
        plot_trajectories(trajectories(searched, inputs.benchmark, dataset=dataset), path=plot)
        console.print(f"Picture in {plot}")
    if save is not None:
        archs = np.array(inputs.benchmark.arch, dtype=object)
        searched.assign_coords(arch=archs).assign_attrs(profile=name).to_zarr(save, mode="w-", consolidated=False)
        console.print(f"Every training in {save}")


def _numbers(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,7}", part) and 0 < int(part) <= MOST for part in numbers):
        raise ValueError(f"expected whole numbers such as 10,100,1000, each from 1 to {MOST:,}; got {text!r}")
    return [int(part) for part in numbers]


def _published(space: str, dataset: str) -> Mapping[str, tuple[float, float]]:
    """The paper's figures; those of Sweetimator are of gradients on CIFAR-10."""
    if space != "nas-bench-201":
        return {}
    return {name: figures for name, figures in SEARCH.items() if dataset == "cifar10" or "sweetimator" not in name}


def _show(found: xr.Dataset, console: Console, *, seconds: str) -> None:
    """The first data set with the paper's figures, then the others."""
    datasets = [str(dataset) for dataset in found["dataset"].values]
    trained = ["trained"] if found["num_trained"].max() > 1 else []
    columns = [f"{datasets[0]} {split}" for split in found["split"].values]
    table = plain_table("algorithm", *(part for column in columns for part in (column, "paper")), *trained, seconds)
    table.columns[0].no_wrap = True  # a name in two pieces cannot be read
    for algorithm in map(str, found["algorithm"].values):
        one = found.sel(algorithm=algorithm)
        cells = [text for split in found["split"].values for text in _cells(one.sel(dataset=datasets[0], split=split))]
        spent = [*(f"{float(one['num_trained']):.1f}" for _ in trained), f"{float(one['seconds']):,.0f}"]
        table.add_row(algorithm, *cells, *spent)
    console.print(table)
    if datasets[1:]:
        console.print(_others(found, datasets[1:]))


def _others(found: xr.Dataset, datasets: list[str]) -> Table:
    pairs = [(dataset, split) for dataset in datasets for split in found["split"].values]
    table = plain_table("algorithm", *(f"{dataset} {split}" for dataset, split in pairs))
    table.columns[0].no_wrap = True
    for algorithm in map(str, found["algorithm"].values):
        one = found.sel(algorithm=algorithm)
        table.add_row(algorithm, *(_cells(one.sel(dataset=dataset, split=split))[0] for dataset, split in pairs))
    return table


def _cells(one: xr.Dataset) -> list[str]:
    mean, sd, paper = (float(one[key]) for key in ("mean", "sd", "published"))
    return [f"{mean:.2f} ± {sd:.2f}", "" if np.isnan(paper) else f"{paper:.2f}"]
