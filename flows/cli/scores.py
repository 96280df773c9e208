"""``sweetgrad scores``: which architectures to pick."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from sweetgrad.flows.cli.arguments import (
    as_json_text,
    choices_of,
    chosen_names,
    locate,
    open_selected,
    own_selector,
    parse_interval,
    print_json,
    records_of,
    report_if_estimated,
    write_parquet,
    written_as,
)
from sweetgrad.flows.cli.options import (
    MOST,
    JsonOption,
    MaxOption,
    MinOption,
    ProfileArgument,
    SlidingOption,
    SplitOption,
    StorageOption,
    StoreArgument,
    WeightlessOption,
)
from sweetgrad.flows.cli.terminal import Terminal, plain_table

if TYPE_CHECKING:
    import xarray as xr

_TABLES = (".csv", ".csv.gz", ".parquet", ".json")


def scores(
    store: StoreArgument,
    profile: ProfileArgument = None,
    interval: Annotated[
        str | None, typer.Option(help="LOWER,UPPER (default: the best interval of the grid).", show_default=False)
    ] = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    sliding: SlidingOption = None,
    weightless: WeightlessOption = "zero",
    estimators: Annotated[
        str | None,
        typer.Option(help="Estimators to show as well, e.g. synflow,flops.", show_default=False, metavar="NAMES"),
    ] = None,
    combine: Annotated[
        Literal["log-rank", "rank"] | None,
        typer.Option(
            help="Rank by the sum of the log ranks, or ranks, of the score and of those estimators.", show_default=False
        ),
    ] = None,
    accuracy: Annotated[
        list[str] | None,
        typer.Option(
            help="Trained accuracy to show: DATASET/SPLIT[/EPOCHS] (default: test accuracy on the data set of the profile). "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    archs: Annotated[
        str, typer.Option(help="Architectures: all, START:STOP, sample:N, unique, an index, or a string.")
    ] = "all",
    top: Annotated[int, typer.Option(min=1, max=MOST, help="How many to show.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the table of all of them: .csv, .csv.gz, .parquet or .json.",
            show_default=False,
            callback=written_as(*_TABLES),
        ),
    ] = None,
    json_: JsonOption = False,
    storage_option: StorageOption = None,
) -> None:
    """Rank architectures by their score, the best first: which one to pick, and whether to believe it."""
    import numpy as np

    from sweetgrad.analysis import (
        BestInterval,
        best_interval,
        derived_estimators,
        rank_architectures,
    )
    from sweetgrad.analysis.comparison import open_estimator_scores
    from sweetgrad.analysis.verdict import verdict_on
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.store import open_accuracy
    from sweetgrad.store.spaces import class_of

    location = locate(store, storage_option)
    shown = chosen_names(estimators, option="--estimators") or []
    if combine and not shown:
        raise ValueError("--combine needs --estimators: it combines the score with them")
    name, whole = open_selected(location, profile)
    space = whole.attrs["spec"]["space"]
    rows = select_archs(archs, whole["arch"].values.tolist(), space=space)
    data = whole if archs == "all" else whole.isel(arch=rows)
    grid = choices_of(max_, min_, split, sliding)
    chosen = parse_interval(interval) if interval is not None else best_interval(whole, grid, weightless=weightless)
    is_derived = bool(set(shown) & set(derived_estimators()))
    everything = open_estimator_scores(location, name, data, chosen, rows=rows, blocks=is_derived)
    selectors = accuracy or [own for own in [own_selector(location, name)] if own is not None]
    accuracies = {selector: open_accuracy(location, space, selector) for selector in selectors}
    ranked = rank_architectures(
        everything,
        by=["sweetimator", *(shown if combine else [])],
        method="ranks" if combine == "rank" else "log_ranks",
        show=["params", *shown],
        accuracies=accuracies,
    )
    if (json_ or out is not None) and (name_of := class_of(space)) is not None:
        ranked["class"] = ("arch", np.array([name_of(arch) for arch in ranked["arch"].values.tolist()], dtype=object))
    ranked["index"] = data["arch_index"].reset_coords(drop=True).sel(arch=ranked["arch"])
    best = chosen if isinstance(chosen, BestInterval) else None
    sentences = verdict_on(everything, next(iter(accuracies.values()), None), best)
    if out is not None:
        _write(ranked, out)
    if json_:
        print_json(
            {
                "profile": name,
                "interval": str(chosen if best is None else best.interval),
                "win_rate": None if best is None else best.win_rate,
                "verdict": sentences,
                **ranked.attrs,
                "architectures": records_of(ranked.isel(arch=slice(top))),
            }
        )
        return
    console = Terminal()
    described = f"{chosen}" if best is None else f"{best.interval}, win rate {best.win_rate:.0%}"
    by = " + ".join(f"{combine} of {part}" for part in ranked.attrs["ranked_by"]) if combine else "score"
    console.print(
        Text.assemble((name, "bold"), f", interval {described}; {ranked.sizes['arch']:,} architectures by {by}")
    )
    report_if_estimated(chosen, console)
    console.print(_table(ranked.isel(arch=slice(top)), selectors))
    for sentence in sentences:
        console.print(sentence)
    if ranked.attrs["num_unscored"]:
        console.print(f"{ranked.attrs['num_unscored']:,} architectures have no score, and are left out.")
    if out is not None:
        console.print(f"All {ranked.sizes['arch']:,} in {out}")


def _table(ranked: "xr.Dataset", selectors: Sequence[str]) -> Table:
    titles = {"sweetimator": "score", **{selector: f"{selector}\nper cent" for selector in selectors}}
    columns = [str(key) for key in ranked.data_vars if key not in ("rank", "index")]
    table = plain_table("architecture", "rank", "index", *(titles.get(key, key) for key in columns))
    for row in records_of(ranked):
        cells = [f"{row['rank']:,}", f"{row['index']:,}", *(_cell(row[key], key, selectors) for key in columns)]
        table.add_row(row["arch"], *cells)
    return table


def _cell(value: float, key: str, selectors: Sequence[str]) -> str:
    if math.isnan(value):
        return "-"
    if key in selectors or key == "regret":
        return f"{value:.2f}"
    return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _write(ranked: "xr.Dataset", out: Path) -> None:
    """Write the table; strings that a spreadsheet would take for formulas are escaped in CSV."""
    from sweetgrad.store.benchmarks.tidy import escaped

    table = ranked.to_dataframe().reset_index()
    table = table[["rank", "index", *(name for name in table.columns if name not in ("rank", "index"))]]
    if out.name.lower().endswith(".parquet"):
        write_parquet(table, out)
    elif out.name.lower().endswith(".json"):
        out.write_text(as_json_text(records_of(ranked)) + "\n", encoding="utf-8")
    else:
        escaped(table, ["arch"]).to_csv(out, index=False, float_format="%.10g")
