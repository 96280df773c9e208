"""The choice of the interval with the largest sweetness (Algorithm 1), with its bootstrap win rate."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, interval_coords
from sweetgrad.analysis.intervals import Interval, IntervalGrid, Intervals, Threshold, as_intervals
from sweetgrad.analysis.proportion import DEPTH_LAYERS, Weightless
from sweetgrad.analysis.sweetness import first_measured, sweetness_by_arch, weightless_share


@dataclass(frozen=True)
class BestInterval:
    """The interval with the largest sweetness, the runner-up, and how often each wins in bootstrap resamples.

    Attributes
    ----------
    interval, sweetness
        The winner and its sweetness, in [-1, 1].
    win_rate
        Share of the bootstrap resamples of the architectures in which it wins, in [0, 1].
    runner_up, runner_up_sweetness, runner_up_win_rate
        The same for the interval with the second largest sweetness.
    num_archs
        Number of architectures that were used.
    weightless, weightless_share
        What layers without weights counted as, and their share of the layers that were compared, in [0, 1].
    table
        Dataset over ``interval``: ``sweetness`` and ``win_rate`` of every interval.
    """

    interval: Interval
    sweetness: float
    win_rate: float
    runner_up: Interval
    runner_up_sweetness: float
    runner_up_win_rate: float
    num_archs: int
    weightless: Weightless
    weightless_share: float
    table: xr.Dataset = field(repr=False, compare=False)

    @property
    def lower(self) -> Threshold:
        """Exact lower edge of the interval."""
        return self.interval.lower

    @property
    def upper(self) -> Threshold:
        """Exact upper edge of the interval."""
        return self.interval.upper

    def __str__(self) -> str:
        return (
            f"{self.interval}: sweetness {self.sweetness:.3f} over {self.num_archs} architectures, win rate {self.win_rate:.0%}; "
            f"runner-up {self.runner_up}: {self.runner_up_sweetness:.3f}, {self.runner_up_win_rate:.0%}"
        )


def best_interval(
    profile: xr.Dataset,
    grid: Intervals = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    num_archs: int = 100,
    kind: Kind = "weight",
    layer_types: Collection[str] = DEPTH_LAYERS,
    weightless: Weightless = "zero",
    bootstrap: int = 1000,
    seed: int = 0,
) -> BestInterval:
    """Find the interval with the largest sweetness (Algorithm 1); ties go to the lowest interval.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`; only the shards of the architectures used are read.
    grid
        Intervals to choose from; the default is the paper's. From `sliding_windows` it chooses better on the CIFAR and ImageNet
        images of NAS-Bench-201, and no differently elsewhere (docs/findings.md).
    num_archs
        Number of architectures to use: the first that were measured, or all if there are fewer.
    kind, layer_types, weightless
        As in `proportion`.
    bootstrap, seed
        Number of resamples of the architectures for ``win_rate``, and the seed of their draw.

    Returns
    -------
    `BestInterval`; `score` takes it as an interval.

    Raises
    ------
    ValueError
        If fewer than 2 architectures were measured or asked for, or there are fewer than 2 intervals.

    Examples
    --------
    >>> best = best_interval(profile, IntervalGrid(max=10, min=1e-10, split=2))  # doctest: +SKIP
    >>> print(best)                                                              # doctest: +SKIP
    [1e-4, 5e-4): sweetness 0.612 over 100 architectures, win rate 97%; runner-up [5e-4, 1e-3): 0.557, 3%
    """
    pieces = as_intervals(grid)
    if len(pieces) < 2:
        raise ValueError(f"choosing needs at least 2 intervals, got {len(pieces)}: pass an IntervalGrid")
    compared = first_measured(profile, num_archs)
    layers: dict[str, Any] = {"kind": kind, "layer_types": layer_types}
    by_arch = sweetness_by_arch(compared, pieces, weightless=weightless, **layers).values
    if len(by_arch) < 2:
        raise ValueError(
            f"{len(by_arch)} of the first {num_archs} architectures have 2 layers to compare: need at least 2"
        )

    mean = by_arch.mean(axis=0)
    win_rate = _win_rate(by_arch, bootstrap=bootstrap, seed=seed)
    first = int(sweetest(mean))
    second = int(sweetest(np.where(np.arange(len(mean)) == first, -np.inf, mean)))
    table = xr.Dataset(
        {"sweetness": ("interval", mean), "win_rate": ("interval", win_rate)}, coords=interval_coords(pieces)
    )
    return BestInterval(
        interval=pieces[first],
        sweetness=float(mean[first]),
        win_rate=float(win_rate[first]),
        runner_up=pieces[second],
        runner_up_sweetness=float(mean[second]),
        runner_up_win_rate=float(win_rate[second]),
        num_archs=len(by_arch),
        weightless=weightless,
        weightless_share=weightless_share(compared, **layers),
        table=table,
    )


def sweetest(mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Position of the interval with the largest sweetness, the first one on a tie (Algorithm 1); (..., interval) to (...).

    Examples
    --------
    >>> int(sweetest(np.array([0.1, 0.3, 0.1 + 0.2])))
    1
    """
    # Means that are equal can differ in their last digits by the order of addition.
    return np.asarray(np.argmax(np.round(mean, 12), axis=-1))


def _win_rate(by_arch: NDArray[Any], *, bootstrap: int, seed: int) -> NDArray[np.float64]:
    """Share of the resamples of the architectures that each interval wins; shape (interval,), sum 1."""
    num_archs, num_intervals = by_arch.shape
    if bootstrap < 1:
        raise ValueError(f"bootstrap must be at least 1 resample, got {bootstrap}")
    random = np.random.RandomState(seed)
    wins = np.zeros(num_intervals)
    for _ in range(bootstrap):
        weight = np.bincount(random.randint(0, num_archs, num_archs), minlength=num_archs)
        wins[sweetest(weight @ by_arch / num_archs)] += 1
    return wins / bootstrap
