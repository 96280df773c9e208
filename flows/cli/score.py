"""``sweetgrad score``."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweetgrad.analysis import IntervalGrid
from sweetgrad.analysis.figures import plot_layers
from sweetgrad.analysis.layers import SWEET_INTERVAL
from sweetgrad.analysis.sweetness import sweetest
from sweetgrad.flows.cli.common import parse_interval
from sweetgrad.flows.cli.options import MOST, DataDirOption, MaxOption, MinOption, SplitOption, picture
from sweetgrad.flows.cli.tables import plain_table
from sweetgrad.flows.cli.terminal import Terminal

__all__ = ["score"]

_BAR = 20


def score(
    model: Annotated[
        str,
        typer.Argument(
            help="FILE.py:FUNCTION, or PACKAGE.MODULE:FUNCTION such as torchvision.models:resnet18. "
            "The file is run: it must be one that you trust.",
            show_default=False,
        ),
    ],
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="CHANNELSxHEIGHTxWIDTH of random images [default: 3x32x32, or those of --dataset].",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            max=MOST, help="Classes of random labels [default: 10, or those of --dataset].", show_default=False
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Real images instead: digits, cifar10, cifar100, imagenet16-120, or your own.", show_default=False
        ),
    ] = None,
    data_dir: DataDirOption = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch CIFAR from its official address into DATA_DIR.")
    ] = False,
    batch_size: Annotated[int, typer.Option(max=MOST, help="Images in the batch.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the batch and the initialisation.")] = 42,
    threads: Annotated[
        int, typer.Option(help="Threads of the pass, whatever OMP_NUM_THREADS is; their number moves last bits.")
    ] = 1,
    interval: Annotated[
        str | None,
        typer.Option(
            help=f"LOWER,UPPER of the score [default: {float(SWEET_INTERVAL.lower):g},{float(SWEET_INTERVAL.upper):g}, the "
            "paper's for NAS-Bench-201].",
            show_default=False,
        ),
    ] = None,
    max_: MaxOption = "10",
    min_: MinOption = "1e-10",
    split: SplitOption = 2,
    plot: Annotated[Path | None, picture("Draw every layer: .png, .svg, .pdf.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Score one network of your own at initialisation, and show where the gradients of every layer lie."""
    from sweetgrad.flows.score import score_network

    layers = score_network(
        model,
        interval=SWEET_INTERVAL if interval is None else parse_interval(interval),
        grid=IntervalGrid(max_, min_, split),
        dataset=dataset,
        data_dir=data_dir,
        download=download,
        input_shape=None if input_ is None else _parse_shape(input_),
        num_classes=classes,
        batch_size=batch_size,
        seed=seed,
        threads=threads,
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
        console.print(f"Picture in {plot}")


def _parse_shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"--input is CHANNELSxHEIGHTxWIDTH such as 3x32x32, got {text!r}")
    channels, height, width = map(int, parts)
    return channels, height, width


def _print_head(console: Console, layers: xr.Dataset) -> None:
    told = layers.attrs
    channels, height, width = told["input_shape"]
    console.print(
        Text.assemble(
            (told["arch"], "bold"),
            f": {layers['num_params'].sum().item():,} weights in {layers.sizes['layer']} layers; "
            f"{told['batch_size']} {told['dataset']} images {channels}x{height}x{width}, loss {layers['loss'].item():.3f}",
        )
    )
    estimated = ", estimated: a threshold is no edge of the bins" if told["estimated"] else ""
    value = (f"{layers['score'].item():,.0f}", "bold green")
    console.print(Text.assemble(f"Score in {told['interval']}: ", value, estimated))


def _layer_table(layers: xr.Dataset) -> Table:
    table = plain_table("layer", "weights", "in interval", "share", "", "exactly 0", "mean gradient")
    table.columns[4].justify = "left"
    largest = max(float(layers["proportion"].max()), 1e-12)
    for each in (layers.isel(layer=i) for i in range(layers.sizes["layer"])):
        values = {name: each[name].item() for name in ("num_params", "count", "proportion", "zero", "grad_abs_mean")}
        table.add_row(
            str(each["layer"].item()),
            *(f"{values['num_params']:,}", f"{values['count']:,.0f}", f"{values['proportion']:.1%}"),
            "█" * round(_BAR * values["proportion"] / largest),
            *(f"{values['zero']:.1%}" if values["zero"] else "", f"{values['grad_abs_mean']:.1e}"),
        )
    return table


def _print_sweetness(console: Console, layers: xr.Dataset) -> None:
    if not math.isfinite(layers["sweetness"].item()):
        console.print("Sweetness needs two layers to compare.")
        return
    by_interval = layers["grid_sweetness"].values
    best = int(sweetest(by_interval))
    console.print(
        f"Sweetness of {layers.attrs['interval']}, how steadily its share grows with depth: "
        f"{layers['sweetness'].item():+.2f}. Largest: {layers['interval'].values[best]} with "
        f"{by_interval[best]:+.2f}, of this network alone; Algorithm 1 takes the mean over many."
    )


def _as_json(layers: xr.Dataset) -> dict[str, Any]:
    """What the table shows, and the distribution of every layer over the grid; NaN becomes null."""
    names = ("layer_type", "num_params", "count", "proportion", "zero", "grad_abs_mean", "grid_proportion")
    told = {name: _plain(value) for name, value in layers.attrs.items()}
    told |= {name: _plain(layers[name].item()) for name in ("score", "sweetness", "loss")}
    told["grid"] = [
        {"interval": label, "lower": lower, "upper": upper, "sweetness": _plain(value)}
        for label, lower, upper, value in zip(
            *(layers[name].values.tolist() for name in ("interval", "lower", "upper", "grid_sweetness")), strict=True
        )
    ]
    told["layers"] = [
        {"layer": str(each["layer"].item()), **{name: _plain(each[name].values.tolist()) for name in names}}
        for each in (layers.isel(layer=i) for i in range(layers.sizes["layer"]))
    ]
    return told


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
