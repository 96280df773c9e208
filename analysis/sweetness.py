"""The sweetness of an interval (Eq. 3)."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from sweetgrad.analysis.counts import Kind, as_slice, block_rows, interval_coords, measured_rows
from sweetgrad.analysis.intervals import Intervals, as_intervals
from sweetgrad.analysis.proportion import DEPTH_LAYERS, Weightless, chosen_layers, has_parameters, proportion_of


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
    missing = [dim for dim in ("arch", "layer") if dim not in proportion.dims]
    if missing:
        raise ValueError(f"proportion needs the dims arch and layer, got {proportion.dims}: {missing} missing")
    if proportion.sizes["layer"] < 2:
        raise ValueError(f"sweetness compares successive layers: need at least 2, got {proportion.sizes['layer']}")
    return _inner_mean(proportion).mean("arch").rename("sweetness").assign_attrs(units="1")


def sweetness_by_arch(
    profile: xr.Dataset,
    grid: Intervals,
    *,
    num_archs: int | None = None,
    kind: Kind = "weight",
    layer_types: Collection[str] = DEPTH_LAYERS,
    weightless: Weightless = "zero",
) -> xr.DataArray:
    """Sweetness of every architecture by itself: the inner mean of Eq. 3.

    Parameters
    ----------
    profile, kind, layer_types, weightless
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
    first = first_measured(profile, profile.sizes["arch"] if num_archs is None else num_archs)
    chosen, measured = chosen_layers(first, layer_types, kind=kind, weightless=weightless)
    if chosen.sum("layer").max() < 2:
        raise ValueError(
            f"sweetness compares successive layers: no architecture has 2 of type {' or '.join(layer_types)}"
        )

    def of_rows(rows: slice) -> NDArray[np.float64]:
        here, layers, ok = first.isel(arch=rows), chosen.isel(arch=rows), measured.isel(arch=rows)
        shares = proportion_of(here, layers, ok, pieces, kind=kind)
        return np.asarray(_inner_mean(shares).transpose("arch", "interval").values)

    counts = first["grad_count"]
    by_arch = of_rows(slice(None)) if counts.chunks is not None else _in_blocks(counts, of_rows)
    deep = ~np.isnan(by_arch).any(axis=1)
    coords = {"arch": first["arch"].values[deep], **interval_coords(pieces)}
    return xr.DataArray(by_arch[deep], coords, ("arch", "interval"), name="sweetness", attrs={"units": "1"})


def weightless_share(
    profile: xr.Dataset, *, kind: Kind = "weight", layer_types: Collection[str] = DEPTH_LAYERS
) -> float:
    """Share of the layers of all measured architectures that have no parameters of the kind, in [0, 1]; as in `best_interval`."""
    chosen, _ = chosen_layers(profile, layer_types)
    return 1 - float((chosen & has_parameters(profile, kind)).sum() / chosen.sum())


def _in_blocks(counts: xr.DataArray, of_rows: Callable[[slice], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Apply a function to blocks of rows along ``arch``, so that only a few shards are in memory at a time.

    Like dask, but without building a task graph, which takes as long as the sums.
    """
    size = block_rows(counts)
    blocks = [slice(start, start + size) for start in range(0, counts.sizes["arch"], size)]
    # Decompression and sums release the GIL, so threads run in parallel.
    with ThreadPoolExecutor(CPU_COUNT) as pool:
        return np.concatenate(list(pool.map(of_rows, blocks)))


def _inner_mean(proportion: xr.DataArray) -> xr.DataArray:
    """Inner mean of Eq. 3; dims ``(arch, interval)``, NaN for an architecture with fewer than 2 layers."""
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


def first_measured(profile: xr.Dataset, num_archs: int) -> xr.Dataset:
    """What the sweetness of the first measured architectures needs of a profile; ``status`` is read at once."""
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
