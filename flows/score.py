"""One network of one's own: build it, one backward pass, and where its gradients lie."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from sweetgrad.analysis import IntervalGrid, layer_profile
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.analysis.layers import SWEET_INTERVAL

if TYPE_CHECKING:
    from torch import nn

    from sweetgrad.profiling import Batch
    from sweetgrad.profiling.any_network import MemoryFormat

__all__ = ["score_network"]


def score_network(
    model: "str | nn.Module | Callable[[], nn.Module]",
    *,
    interval: Intervals = SWEET_INTERVAL,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    batch_size: int = 64,
    seed: int = 42,
    memory_format: "MemoryFormat | None" = None,
    threads: int = 1,
) -> xr.Dataset:
    """Score one network at initialisation: what ``sweetgrad score`` shows.

    Parameters
    ----------
    model
        A network, a function that builds one, or the name of such a function as in `load_model`, which runs the file named.
    interval, grid
        As in `layer_profile`.
    dataset, data_dir, download
        Data set to draw the images from, as in `load_batch`. None: random images and labels.
    input_shape, num_classes
        Channels, height and width of random images, (3, 32, 32) by default; and their classes, 10 by default. With ``dataset``
        they may be left out; if not, they must be those of the data set.
    batch_size, seed
        Images; and the seed of the images and of the initialisation.
    memory_format, threads
        As in `profile_network`: both move last bits, and with them some counts by a bin.

    Returns
    -------
    As `layer_profile`, with the attributes ``dataset``, ``batch_size``, ``input_shape``, ``seed``, ``memory_format``, ``threads``
    and ``cpu_capability``.

    Raises
    ------
    ValueError
        As in `load_model`, `load_batch` and `profile_network`; or if the loss is not finite.
    FileNotFoundError
        If the files of the data set are not there.

    Examples
    --------
    >>> from torch import nn
    >>> build = lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    >>> found = score_network(build, input_shape=(1, 4, 4), num_classes=3, batch_size=8)
    >>> found.layer.values.tolist(), found.num_params.values.tolist()
    (['0', '3'], [36, 48])
    """
    from sweetgrad.profiling import load_batch, load_model, profile_network

    if dataset is None:
        batch = _random(input_shape or (3, 32, 32), 10 if num_classes is None else num_classes, batch_size, seed)
    else:
        batch = load_batch(dataset, batch_size=batch_size, seed=seed, data_dir=data_dir, download=download)
        _require_same(dataset, "images " + _shape(batch.x.shape[1:]), input_shape and "images " + _shape(input_shape))
        asked = None if num_classes is None else f"{num_classes} classes"
        _require_same(dataset, f"{batch.num_classes} classes", asked)
    build = load_model(model) if isinstance(model, str) else model
    name = model.rpartition(":")[2] if isinstance(model, str) else None
    profile = profile_network(
        build, batch.x, batch.y, seed=seed, name=name, memory_format=memory_format, threads=threads
    )
    loss = float(profile["loss"].values[0])
    if not math.isfinite(loss):
        broken, total = int(profile["grad_count"][..., -1].sum()), int(profile["num_params"].sum())
        raise ValueError(
            f"the loss is {loss}, and {broken:,} of {total:,} gradients are not finite: at initialisation the network overflows "
            "on these images. Add normalisation, or make the initial weights or the images smaller"
        )
    told: dict[str, Any] = {"dataset": batch.dataset, "batch_size": batch_size, "seed": seed, **profile.attrs}
    return layer_profile(profile, interval, grid=grid).assign_attrs(told, input_shape=batch.x.shape[1:])


def _random(shape: tuple[int, int, int], num_classes: int, batch_size: int, seed: int) -> "Batch":
    from sweetgrad.profiling import random_batch

    return random_batch(shape, num_classes=num_classes, batch_size=batch_size, seed=seed)


def _require_same(dataset: str, there: str, asked: str | tuple[()] | None) -> None:
    if asked and asked != there:
        raise ValueError(
            f"{dataset} has {there}, but {asked} were asked for: leave that out, or leave the data set out"
        )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
