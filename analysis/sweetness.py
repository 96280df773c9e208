"""The sweetness of an interval (Eq. 3) and the choice of the best one (Algorithm 1), with how sure that choice is."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, block_rows, interval_counter, select_kind, total_counts
from sweetgrad.analysis.cuts import interval_coords
from sweetgrad.analysis.intervals import Interval, IntervalGrid, Intervals, Threshold, as_intervals
from sweetgrad.analysis.rows import as_slice, measured_rows
from sweetgrad.analysis.scores import DEPTH_LAYERS, chosen_layers, nan_layers_last, proportion

__all__ = ["BestInterval", "best_interval", "sweetness", "sweetness_by_arch", "ties_kept"]


def sweetness(proportion: xr.DataArray) -> xr.DataArray:
    r"""Average sign of the change in proportion from each layer to the next (Eq. 3).

    .. math:: \frac{1}{n} \sum_{k=1}^{n} \frac{1}{l_k - 1}
              \sum_{i=1}^{l_k - 1} \mathrm{sign}(p_{k,i+1} - p_{k,i})

    Parameters
    ----------
    proportion
        Share of each layer's parameters inside each interval (Eq. 2); dims ``(arch, layer, interval)``, dimensionless
        in [0, 1]. ``layer`` runs from input to output; architectures shallower than the deepest end in NaN, and those that were
        not measured are NaN throughout.

    Returns
    -------
    Dims ``(interval,)``, dimensionless in [-1, 1]; 1 means the proportion rises at every layer of every architecture.
    Lazy when ``proportion`` is lazy.

    Raises
    ------
    ValueError
        If ``arch`` or ``layer`` is missing, or ``layer`` has fewer than 2 entries.

    Examples
    --------
    >>> p = xr.DataArray([[[0.1, 0.3], [0.2, 0.3], [0.4, 0.1]]], dims=("arch", "layer", "interval"))
    >>> sweetness(p).values
    array([ 1. , -0.5])
    """
    return _inner_mean(proportion).mean("arch").rename("sweetness").assign_attrs(units="1")


@dataclass(frozen=True)
class BestInterval:
    """The interval with the largest sweetness, and how sure that is.

    Attributes
    ----------
    interval, sweetness
        The winner and its sweetness, in [-1, 1].
    confidence
        Share of the bootstrap resamples of the architectures in which it wins, in [0, 1].
    runner_up, runner_up_sweetness, runner_up_confidence
        The same for the interval with the second largest sweetness.
    num_archs
        Architectures that the choice rests on.
    table
        Dataset over ``interval``: ``sweetness`` and ``share`` (of the resamples won) of every interval.
    """

    interval: Interval
    sweetness: float
    confidence: float
    runner_up: Interval
    runner_up_sweetness: float
    runner_up_confidence: float
    num_archs: int
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
            f"{self.interval}: sweetness {self.sweetness:.3f} over {self.num_archs} architectures, best in "
            f"{self.confidence:.0%} of resamples; next {self.runner_up}: {self.runner_up_sweetness:.3f}, "
            f"{self.runner_up_confidence:.0%}"
        )


def best_interval(
    profile: xr.Dataset,
    grid: Intervals = IntervalGrid(),  # noqa: B008  (frozen)
    *,
    num_archs: int = 100,
    kind: Kind = "weight",
    layer_types: Collection[str] = DEPTH_LAYERS,
    bootstrap: int = 1000,
    seed: int = 0,
) -> BestInterval:
    """Find the interval with the largest sweetness (Algorithm 1); of equal ones, the lowest.

    Parameters
    ----------
    profile
        A profile as from `open_profile`; only the shards of the architectures used are read.
    grid
        Intervals to choose from; the default is the paper's. From `sliding_windows` it chooses better on the CIFAR and ImageNet
        images of NAS-Bench-201, and no differently elsewhere (docs/findings.md).
    num_archs
        Use the first so many architectures that were measured, or all if there are fewer.
    kind, layer_types
        As in `proportion`.
    bootstrap, seed
        Number of resamples of the architectures for ``confidence``, and the seed of their draw.

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
    [1e-4, 5e-4): sweetness 0.612 over 100 architectures, best in 97% of resamples; next [5e-4, 1e-3): 0.557, 3%
    """
    pieces = as_intervals(grid)
    if len(pieces) < 2:
        raise ValueError(f"choosing needs at least 2 intervals, got {len(pieces)}: pass an IntervalGrid")
    by_arch = sweetness_by_arch(profile, pieces, num_archs=num_archs, kind=kind, layer_types=layer_types).values
    if len(by_arch) < 2:
        raise ValueError(
            f"{len(by_arch)} of the first {num_archs} architectures have 2 layers to compare: need at least 2"
        )

    mean = by_arch.mean(axis=0)
    share = _share_of_wins(by_arch, bootstrap=bootstrap, seed=seed)
    first, second = np.argsort(-ties_kept(mean), kind="stable")[:2]  # stable: the lower interval on a tie
    table = xr.Dataset({"sweetness": ("interval", mean), "share": ("interval", share)}, coords=interval_coords(pieces))
    return BestInterval(
        interval=pieces[first],
        sweetness=float(mean[first]),
        confidence=float(share[first]),
        runner_up=pieces[second],
        runner_up_sweetness=float(mean[second]),
        runner_up_confidence=float(share[second]),
        num_archs=len(by_arch),
        table=table,
    )


def sweetness_by_arch(
    profile: xr.Dataset,
    grid: Intervals,
    *,
    num_archs: int | None = None,
    kind: Kind = "weight",
    layer_types: Collection[str] = DEPTH_LAYERS,
) -> xr.DataArray:
    """Sweetness of every architecture by itself: the inner mean of Eq. 3.

    Parameters
    ----------
    profile, kind, layer_types
        As in `best_interval`.
    grid
        Intervals.
    num_archs
        As in `best_interval`; None: all that were measured.

    Returns
    -------
    Dims ``(arch, interval)``, in [-1, 1], in memory: those of the architectures that have 2 layers to compare.

    Raises
    ------
    ValueError
        If fewer than 2 architectures were measured or asked for, or none has 2 layers of these types.
    """
    pieces = as_intervals(grid)
    chosen = _first_measured(profile, profile.sizes["arch"] if num_archs is None else num_archs)
    if chosen["grad_count"].chunks is None:
        by_arch = _sweetness_in_blocks(chosen, pieces, kind=kind, layer_types=layer_types)
    else:  # dask has blocks of its own, and maybe a cluster
        shares = proportion(chosen, pieces, kind=kind, layer_types=layer_types)
        by_arch = _inner_mean(shares).transpose("arch", "interval").values
    deep = ~np.isnan(by_arch).any(axis=1)
    coords = {"arch": chosen["arch"].values[deep], **interval_coords(pieces)}
    return xr.DataArray(by_arch[deep], coords, ("arch", "interval"), name="sweetness", attrs={"units": "1"})


def _sweetness_in_blocks(
    profile: xr.Dataset, pieces: Sequence[Interval], *, kind: Kind, layer_types: Collection[str]
) -> NDArray[np.float64]:
    """`_inner_mean` of the `proportion`, shape (arch, interval), with no more than some shards in memory.

    The same numbers as from those two functions, without a task graph, which takes as long as the sums.
    """
    chosen = chosen_layers(profile, layer_types)[0].values
    if max(chosen.sum(axis=1)) < 2:
        raise ValueError(
            f"sweetness compares successive layers: no architecture has 2 of type {' or '.join(layer_types)}"
        )
    count = interval_counter(pieces)
    size = block_rows(profile["grad_count"])

    def block(start: int) -> NDArray[np.float64]:
        rows = profile.isel(arch=slice(start, start + size))
        counts = count(select_kind(rows["grad_count"], kind).transpose("arch", "layer", "bin").values)
        total = total_counts(rows, kind=kind).transpose("arch", "layer").values
        shares = counts / np.maximum(total, 1)[..., None]
        here = chosen[start : start + size]
        alike = (here == here[0]).all()
        shares = shares[:, here[0]] if alike else nan_layers_last(np.where(here[..., None], shares, np.nan))
        return _mean_sign_of_changes(np.moveaxis(shares, 1, -1))

    # Decompression and sums let go of the interpreter, so threads run side by side; each block is one of theirs alone.
    with ThreadPoolExecutor(CPU_COUNT) as pool:
        return np.concatenate(list(pool.map(block, range(0, profile.sizes["arch"], size))))


def _inner_mean(proportion: xr.DataArray) -> xr.DataArray:
    """Inner mean of Eq. 3; dims ``(arch, interval)``, NaN for an architecture with fewer than 2 layers."""
    missing = [dim for dim in ("arch", "layer") if dim not in proportion.dims]
    if missing:
        raise ValueError(f"proportion needs the dims arch and layer, got {proportion.dims}: {missing} missing")
    if proportion.sizes["layer"] < 2:
        raise ValueError(f"sweetness compares successive layers: need at least 2, got {proportion.sizes['layer']}")
    mean: xr.DataArray = xr.apply_ufunc(
        _mean_sign_of_changes,
        proportion,
        input_core_dims=[["layer"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )
    return mean


def _mean_sign_of_changes(proportion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean sign of the change from each layer to the next that is not NaN; shape (..., layer) to (...)."""
    change = np.diff(proportion, axis=-1)
    ups_less_downs = (change > 0).sum(axis=-1) - (change < 0).sum(axis=-1)
    # It divides by l_k - 1, not by the padded depth.
    num_changes = (~np.isnan(change)).sum(axis=-1)
    return np.where(num_changes > 0, ups_less_downs / np.maximum(num_changes, 1), np.nan)


def _first_measured(profile: xr.Dataset, num_archs: int) -> xr.Dataset:
    needed = profile[["grad_count", "num_params", "layer_type"]]
    needed = needed.assign(status=profile["status"].reset_coords(drop=True).compute())
    measured = measured_rows(needed)
    rows = measured[: max(0, num_archs)]
    if len(rows) < 2:
        raise ValueError(
            f"sweetness needs at least 2 measured architectures, asked for {num_archs}: "
            f"{len(measured)} of {profile.sizes['arch']} were measured (status 1). One network cannot choose; layer_profile "
            "shows the sweetness that it has in each interval"
        )
    return needed.isel(arch=as_slice(rows))


def _share_of_wins(by_arch: NDArray[Any], *, bootstrap: int, seed: int) -> NDArray[np.float64]:
    """How often each interval wins in resamples of the architectures; shape (interval,), sum 1."""
    num_archs, num_intervals = by_arch.shape
    if bootstrap < 1:
        raise ValueError(f"bootstrap must be at least 1 resample, got {bootstrap}")
    random = np.random.RandomState(seed)
    wins = np.zeros(num_intervals)
    for _ in range(bootstrap):
        weight = np.bincount(random.randint(0, num_archs, num_archs), minlength=num_archs)
        wins[np.argmax(ties_kept(weight @ by_arch / num_archs))] += 1
    return wins / bootstrap


def ties_kept(sweetness: NDArray[Any]) -> NDArray[Any]:
    """Means without the last digits, in which equal ones differ by the order of addition; then `argmax` takes the first."""
    return np.round(sweetness, 12)
