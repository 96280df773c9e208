"""``sweetgrad score``."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweetgrad import flows
from sweetgrad.flows.cli.arguments import parse_interval
from sweetgrad.flows.cli.options import MaxOption, MinOption, SplitOption, options_of, picture
from sweetgrad.flows.cli.terminal import Terminal, plain_table

if TYPE_CHECKING:
    import xarray as xr

_BAR = 20


@options_of(flows.score_network, without=["memory_format", "grid"])
def score(
    model: Annotated[
        str,
        typer.Argument(
            help="FILE.py:FUNCTION, or PACKAGE.MODULE:FUNCTION such as torchvision.models:resnet18. "
            "The file is executed: it must be one that you trust.",
            show_default=False,
        ),
    ],
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="CHANNELSxHEIGHTxWIDTH of random images (default: 3x32x32, or those of the data set).",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(
            help="LOWER,UPPER of the score (default: 1e-4,5e-4, the interval of the paper for NAS-Bench-201).",
            show_default=False,
        ),
    ] = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    plot: Annotated[Path | None, picture("Draw every layer: .png, .svg, .pdf.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    **options: Any,
) -> None:
    """Score one network of your own at initialisation, and show the distribution of the gradients of every layer."""
    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.analysis.figures import plot_layers

    layers = flows.score_network(
        model,
        input_shape=None if input_shape is None else _parse_shape(input_shape),
        interval=None if interval is None else parse_interval(interval),
        grid=IntervalGrid(max_, min_, split),
        **options,
    )
    if plot is not None:
        plot_layers(layers, path=plot)
    if json_:
        typer.echo(json.dumps(_as_json(layers), indent=2, allow_nan=False))
        return
    console = Terminal()
    _print_head(console, layers)
    console.print(_layer_table(layers))
    _print_sweetness(console, layers)
    if plot is not None:
        console.print(f"Figure in {plot}")


def _parse_shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"--input is CHANNELSxHEIGHTxWIDTH such as 3x32x32, got {text!r}")
    channels, height, width = map(int, parts)
    return channels, height, width


def _print_head(console: Console, layers: "xr.Dataset") -> None:
    settings = layers.attrs
    channels, height, width = settings["input_shape"]
    console.print(
        Text.assemble(
            (settings["arch"], "bold"),
            f": {layers['num_params'].sum().item():,} weights in {layers.sizes['layer']} layers; "
            f"{settings['batch_size']} {settings['dataset']} images {channels}x{height}x{width}, "
            f"loss {layers['loss'].item():.3f}",
        )
    )
    estimated = ", estimated: a threshold is not a bin edge" if settings["estimated"] else ""
    value = (f"{layers['score'].item():,.0f}", "bold green")
    console.print(Text.assemble(f"Score in {settings['interval']}: ", value, estimated))


def _layer_table(layers: "xr.Dataset") -> Table:
    table = plain_table("layer", "weights", "in interval", "share", "", "exactly 0", "mean gradient")
    table.columns[4].justify = "left"
    largest = max(float(layers["proportion"].max()), 1e-12)
    for layer in (layers.isel(layer=i) for i in range(layers.sizes["layer"])):
        values = {name: layer[name].item() for name in ("num_params", "count", "proportion", "zero", "grad_abs_mean")}
        table.add_row(
            str(layer["layer"].item()),
            *(f"{values['num_params']:,}", f"{values['count']:,.0f}", f"{values['proportion']:.1%}"),
            "█" * round(_BAR * values["proportion"] / largest),
            *(f"{values['zero']:.1%}" if values["zero"] else "", f"{values['grad_abs_mean']:.1e}"),
        )
    return table


def _print_sweetness(console: Console, layers: "xr.Dataset") -> None:
    if not math.isfinite(layers["sweetness"].item()):
        console.print("Sweetness needs two layers to compare.")
        return
    from sweetgrad.analysis.best_interval import sweetest

    by_interval = layers["grid_sweetness"].values
    best = int(sweetest(by_interval))
    console.print(
        f"Sweetness of {layers.attrs['interval']}, how steadily its share grows with depth: "
        f"{layers['sweetness'].item():+.2f}. Largest: {layers['interval'].values[best]} with "
        f"{by_interval[best]:+.2f}, of this network alone; Algorithm 1 takes the mean over many."
    )


def _as_json(layers: "xr.Dataset") -> dict[str, Any]:
    """What the table shows, and the distribution of every layer over the grid; NaN becomes null."""
    names = ("layer_type", "num_params", "count", "proportion", "zero", "grad_abs_mean", "grid_proportion")
    document = {name: _plain(value) for name, value in layers.attrs.items()}
    document |= {name: _plain(layers[name].item()) for name in ("score", "sweetness", "loss")}
    document["grid"] = [
        {"interval": label, "lower": lower, "upper": upper, "sweetness": _plain(value)}
        for label, lower, upper, value in zip(
            *(layers[name].values.tolist() for name in ("interval", "lower", "upper", "grid_sweetness")), strict=True
        )
    ]
    document["layers"] = [
        {"layer": str(layer["layer"].item()), **{name: _plain(layer[name].values.tolist()) for name in names}}
        for layer in (layers.isel(layer=i) for i in range(layers.sizes["layer"]))
    ]
    return document


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
