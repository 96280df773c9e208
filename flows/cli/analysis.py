"""``sweetgrad intervals`` and ``correlate``."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweetgrad.flows.cli.arguments import (
    choices_of,
    locate,
    open_selected,
    own_selector,
    parse_interval,
    print_json,
    records_of,
    report_if_estimated,
)
from sweetgrad.flows.cli.options import (
    MOST,
    MOST_RUNS,
    AccuracyOption,
    JsonOption,
    MaxOption,
    MinOption,
    ProfileArgument,
    SlidingOption,
    SplitOption,
    StorageOption,
    StoreArgument,
    WeightlessOption,
    picture,
)
from sweetgrad.flows.cli.terminal import Terminal, plain_table

if TYPE_CHECKING:
    import xarray as xr

    from sweetgrad.analysis import BestInterval, Interval
    from sweetgrad.analysis.correlation import Method
    from sweetgrad.store import Location

_BAR = 24


def intervals(
    store: StoreArgument,
    profile: ProfileArgument = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    sliding: SlidingOption = None,
    weightless: WeightlessOption = "zero",
    archs: Annotated[
        str | None,
        typer.Option(
            help="Architectures: all, START:STOP, sample:N, unique (default: the first 100 that were measured).",
            show_default=False,
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(max=MOST_RUNS, help="Bootstrap resamples of the architectures for the win rate.")
    ] = 1000,
    plot: Annotated[Path | None, picture("Plot the sweetness of every interval: .png, .svg, .pdf.")] = None,
    json_: JsonOption = False,
    storage_option: StorageOption = None,
) -> None:
    """Sweetness of every interval, and the best interval with its win rate (Algorithm 1)."""
    from sweetgrad.analysis import best_interval, verdict
    from sweetgrad.analysis.figures import plot_sweetness

    name, data = open_selected(locate(store, storage_option), profile, archs=archs)
    num_archs = 100 if archs is None else data.sizes["arch"]
    grid = choices_of(max_, min_, split, sliding)
    best = best_interval(data, grid, num_archs=num_archs, weightless=weightless, bootstrap=bootstrap)
    described = f"split {split}" if sliding is None else f"sliding windows of ratio {sliding}"
    console = Terminal(quiet=json_)
    console.print(Text.assemble((name, "bold"), f", {best.num_archs} architectures, {described}"))
    console.print(_sweetness_table(best))
    report_if_estimated(grid, console)
    console.print(
        Text.assemble(
            "Best interval ",
            (str(best.interval), "bold"),
            f": sweetness {best.sweetness:.3f}, win rate {best.win_rate:.0%}.",
        )
    )
    console.print(
        f"Runner-up {best.runner_up}: sweetness {best.runner_up_sweetness:.3f}, win rate {best.runner_up_win_rate:.0%}."
    )
    sentences = verdict(best)
    for sentence in sentences:
        console.print(sentence)
    if plot is not None:
        plot_sweetness(best, path=plot)
        console.print(f"Figure in {plot}")
    if json_:
        print_json({"profile": name, **vars(best), "verdict": sentences, "table": records_of(best.table)})


def correlate(
    store: StoreArgument,
    profile: ProfileArgument = None,
    accuracy: AccuracyOption = None,
    interval: Annotated[
        str | None, typer.Option(help="LOWER,UPPER (default: the best interval of the grid).", show_default=False)
    ] = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    sliding: SlidingOption = None,
    weightless: WeightlessOption = "zero",
    method: Annotated[str, typer.Option(help="Rank correlation: spearman or kendall (tau-b).")] = "spearman",
    estimators: Annotated[
        bool, typer.Option("--estimators", help="Also compare all estimators in the store, as in Table 1 of the paper.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            max=MOST,
            help="Also show how well each estimator finds the best architectures: nDCG, precision and regret of its K best.",
            metavar="K",
            show_default=False,
        ),
    ] = None,
    all_intervals: Annotated[
        bool, typer.Option("--all-intervals", help="Also correlate every interval of the grid.")
    ] = False,
    bootstrap: Annotated[
        int,
        typer.Option(max=MOST_RUNS, help="Bootstrap resamples of the architectures for the 95 % confidence interval."),
    ] = 1000,
    heatmap_: Annotated[
        Path | None, picture("Plot the correlation for all pairs of thresholds (Fig. 2).", "--heatmap")
    ] = None,
    plot: Annotated[Path | None, picture("Plot all estimators with their confidence intervals (Fig. 1).")] = None,
    json_: JsonOption = False,
    storage_option: StorageOption = None,
) -> None:
    """Rank correlation of Sweetimator, and of its baselines, with trained accuracy."""
    from sweetgrad.analysis import (
        BestInterval,
        IntervalGrid,
        best_interval,
        compare_estimators,
        compare_selections,
        correlation_by_interval,
        heatmap,
        params,
        params_live,
        params_weights,
        rank_correlation,
        score,
        verdict,
    )
    from sweetgrad.analysis.comparison import open_estimator_scores, published_figures
    from sweetgrad.analysis.counts import is_estimated
    from sweetgrad.analysis.figures import plot_comparison, plot_heatmap
    from sweetgrad.analysis.verdict import BASELINES
    from sweetgrad.store import Profile, open_accuracy

    location = locate(store, storage_option)
    name, data = open_selected(location, profile)
    space = data.attrs["spec"]["space"]
    kind = cast("Method", method)  # `rank_correlation` checks it, with a message
    accuracy = accuracy or _own_accuracy(location, name)
    answer: dict[str, Any] = {"profile": name, "accuracy": accuracy, "method": kind}
    labels = open_accuracy(location, space, accuracy)
    grid = IntervalGrid(max_, min_, split)
    console = Terminal(quiet=json_)
    choices = choices_of(max_, min_, split, sliding)
    chosen = parse_interval(interval) if interval is not None else best_interval(data, choices, weightless=weightless)
    named = _named_intervals(chosen)
    for estimated in filter(is_estimated, named.values()):
        console.print(
            f"{estimated} has a threshold that is not a bin edge: its score is estimated (log-linear inside a bin)."
        )
    scores = {label: score(data, scored) for label, scored in named.items()}
    scores |= {"params": params(data), "params_weights": params_weights(data), "params_live": params_live(data)}
    results = {
        label: rank_correlation(values, labels, method=kind, bootstrap=bootstrap) for label, values in scores.items()
    }
    num_archs = max(result.num_archs for result in results.values())
    console.print(Text.assemble((name, "bold"), f" against {space} {accuracy}, {num_archs:,} architectures"))
    table = plain_table("score", method, "95 % interval")
    for label, result in results.items():
        table.add_row(label, f"{result.correlation:.3f}", f"{result.low:.3f} to {result.high:.3f}")
    console.print(table)
    best = chosen if isinstance(chosen, BestInterval) else None
    found = {label: result.correlation for label, result in results.items()}
    sentences = verdict(
        best,
        correlation=found[next(iter(named))],
        baselines={name: found[name] for name in found if name in BASELINES},
    )
    for sentence in sentences:
        console.print(sentence)
    answer |= {"scores": results, "verdict": sentences}
    if estimators or plot is not None or top is not None:
        published = published_figures(space, accuracy.partition("/")[0])
        everything = open_estimator_scores(location, name, data, chosen)
        compared = compare_estimators(everything, labels, published=published, bootstrap=bootstrap)
        _show_estimators(compared, Profile.open(location, name).trained_estimators(), console)
        answer["estimators"] = records_of(compared)
        if top is not None:
            selected = compare_selections(everything, labels, top, bootstrap=bootstrap)
            answer["top"] = records_of(selected)
            console.print(_selection_table(selected))
        if plot is not None:
            plot_comparison(compared, path=plot)
            console.print(f"Figure in {plot}")
    if all_intervals:
        by_interval = correlation_by_interval(data, labels, grid, method=kind)
        answer["intervals"] = records_of(by_interval.rename("correlation").to_dataset())
        console.print(_correlation_table(by_interval, method))
    if heatmap_ is not None:
        plot_heatmap(heatmap(data, labels, grid, method=kind), path=heatmap_)
        console.print(f"Figure in {heatmap_}")
    if json_:
        print_json(answer)


def _named_intervals(chosen: "Interval | BestInterval") -> "dict[str, Interval]":
    """The intervals whose scores are correlated, by their label: the given one, or the best and the runner-up."""
    from sweetgrad.analysis import Interval

    if isinstance(chosen, Interval):
        return {f"sweetimator {chosen}": chosen}
    return {
        f"sweetimator {chosen.interval}, win rate {chosen.win_rate:.0%}": chosen.interval,
        f"runner-up {chosen.runner_up}, win rate {chosen.runner_up_win_rate:.0%}": chosen.runner_up,
    }


def _show_estimators(compared: "xr.Dataset", trainings: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    console.print(_comparison_table(compared))
    for population in dict.fromkeys(str(each) for each in compared["published_over"].values if each):
        those = compared.isel(estimator=compared["published_over"].values == population)
        console.print(f"Published over {population}: {', '.join(sorted(those['estimator'].values))}.")
    for name, training in trainings.items():
        console.print(
            f"{name} is not training-free: {training['method']}, trained for {training['train_seconds']:,.0f} s "
            f"on {training['num_train']:,} images; its s/arch is scoring alone."
        )


def _own_accuracy(location: "Location", name: str) -> str:
    """The accuracy that a profile is compared with by default."""
    from sweetgrad.analysis.labels import selectors_of
    from sweetgrad.store import info, open_accuracies

    accuracy = own_selector(location, name)
    if accuracy is None:
        store = info(location)
        spec = store.profile(name).spec
        space, dataset = spec.space, spec.dataset
        open_accuracies(location, space)  # raises, and explains how to import some, if there are none at all
        available = ", ".join(selectors_of(store, space))
        raise ValueError(
            f"no accuracies of {space} on {dataset}, the data set of {name}: choose others with --accuracy, from {available}"
        )
    return accuracy


def _sweetness_table(best: "BestInterval") -> Table:
    table = plain_table("interval", "sweetness", "", "win rate")
    table.columns[2].justify = "left"
    for label, value, win_rate in zip(
        best.table["interval"].values, best.table["sweetness"].values, best.table["win_rate"].values, strict=True
    ):
        style = {str(best.interval): "bold green", str(best.runner_up): "cyan"}.get(str(label), "")
        table.add_row(str(label), f"{value:+.3f}", _bar(value), f"{win_rate:.0%}" if win_rate else "", style=style)
    return table


def _comparison_table(compared: "xr.Dataset") -> Table:
    table = plain_table(
        *(
            "estimator",
            "spearman",
            "95 % interval",
            "published",
            "kendall",
            "95 % interval",
            "published",
            "s/arch",
            "archs",
        )
    )
    for estimator in (compared.isel(estimator=i) for i in range(compared.sizes["estimator"])):
        values = {key: float(value) for key, value in estimator.data_vars.items()}
        intervals = [f"{values[f'{m}_low']:.3f} to {values[f'{m}_high']:.3f}" for m in ("spearman", "kendall")]
        published, kendall, seconds = (
            "" if math.isnan(values[key]) else f"{values[key]:.3f}"
            for key in ("published", "published_kendall", "seconds")
        )
        table.add_row(
            *(estimator["estimator"].item(), f"{values['spearman']:.3f}", intervals[0], published),
            *(f"{values['kendall']:.3f}", intervals[1], kendall, seconds, f"{values['num_archs']:,.0f}"),
        )
    return table


def _selection_table(compared: "xr.Dataset") -> Table:
    k, interval = compared.attrs["k"], "95 % interval"
    table = plain_table("estimator", f"nDCG@{k}", interval, f"precision@{k}", interval, f"regret@{k}", interval)
    for row in (compared.isel(estimator=i) for i in range(compared.sizes["estimator"])):
        cells = []
        for key, digits in (("ndcg", 3), ("precision", 3), ("regret", 2)):
            value, low, high = (f"{float(row[name]):.{digits}f}" for name in (key, f"{key}_low", f"{key}_high"))
            cells += [value, f"{low} to {high}"]
        table.add_row(str(row["estimator"].item()), *cells)
    return table


def _correlation_table(by_interval: "xr.DataArray", method: str) -> Table:
    table = plain_table("interval", method)
    for label, value in zip(by_interval["interval"].values, by_interval.values, strict=True):
        table.add_row(str(label), f"{value:.3f}")
    return table


def _bar(value: float) -> str:
    """A bar that starts in the middle: to the right if the share of gradients grows with depth."""
    length = round(abs(value) * _BAR / 2)
    half = _BAR // 2
    return " " * half + "█" * length if value >= 0 else (" " * (half - length) + "█" * length)
