"""``sweetgrad score``: one network of your own, one backward pass, and the distribution of its gradients."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from torch import nn

    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.analysis.intervals import Intervals
    from sweetgrad.profiling import Batch
    from sweetgrad.profiling.devices import MemoryFormat


def score_network(
    model: "str | nn.Module | Callable[[], nn.Module]",
    *,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    batch_size: int = 64,
    seed: int = 42,
    memory_format: "MemoryFormat | None" = None,
    threads: int = 1,
    interval: "Intervals | None" = None,
    grid: "IntervalGrid | None" = None,
) -> "xr.Dataset":
    """Score one network at initialisation: what ``sweetgrad score`` shows.

    Parameters
    ----------
    model
        A network, a function that builds one, or the name of such a function: FILE.py:FUNCTION, or PACKAGE.MODULE:FUNCTION,
        e.g. torchvision.models:resnet18. The file is executed: it must be one that you trust.
    input_shape
        Channels, height and width of random images (default: 3x32x32, or those of the data set, which they must not contradict).
    num_classes
        Number of classes of random labels (default: 10, or those of the data set, which it must not contradict).
    dataset
        Real images instead of random ones: digits, cifar10, cifar100, imagenet16-120, or one of your own.
    data_dir
        As in `profile`.
    download
        Download CIFAR from its official address into the data directory.
    batch_size
        Images in the batch.
    seed
        Seed of the batch and of the initialisation.
    memory_format
        As in `profile_network`; it changes last bits, and with them some counts by one bin.
    threads
        Number of CPU threads, regardless of OMP_NUM_THREADS; it changes last bits.
    interval
        Interval of the score (default: the paper's for NAS-Bench-201).
    grid
        As in `layer_profile` (default: those of `IntervalGrid`).

    Returns
    -------
    As `layer_profile`, with the attributes ``dataset``, ``batch_size``, ``input_shape``, ``seed``, ``memory_format``, ``threads``
    and ``cpu_capability``.

    Raises
    ------
    ValueError
        As in `load_model`, `load_batch` and `profile_network`; or if the loss is not finite.
    FileNotFoundError
        If the files of the data set do not exist.

    Examples
    --------
    >>> from torch import nn
    >>> build = lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    >>> layers = score_network(build, input_shape=(1, 4, 4), num_classes=3, batch_size=8)
    >>> layers.layer.values.tolist(), layers.num_params.values.tolist()
    (['0', '3'], [36, 48])
    """
    # Imported here, so that reading the options of a command does not load torch.
    from sweetgrad.analysis import IntervalGrid, layer_profile
    from sweetgrad.analysis.layers import SWEET_INTERVAL
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
    settings: dict[str, Any] = {"dataset": batch.dataset, "batch_size": batch_size, "seed": seed, **profile.attrs}
    layers = layer_profile(profile, interval or SWEET_INTERVAL, grid=grid or IntervalGrid())
    return layers.assign_attrs(settings, input_shape=batch.x.shape[1:])


def _random(shape: tuple[int, int, int], num_classes: int, batch_size: int, seed: int) -> "Batch":
    from sweetgrad.profiling import random_batch

    return random_batch(shape, num_classes=num_classes, batch_size=batch_size, seed=seed)


def _require_same(dataset: str, there: str, asked: str | tuple[()] | None) -> None:
    if asked and asked != there:
        raise ValueError(f"{dataset} has {there}, but {asked} were requested: omit that option, or omit the data set")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
