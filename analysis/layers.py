"""One network, layer by layer: where its gradients lie, in one Dataset for tables and figures."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import Kind, interval_counts, select_kind, total_counts
from sweetgrad.analysis.intervals import Interval, IntervalGrid, Intervals, as_intervals
from sweetgrad.analysis.proportion import DEPTH_LAYERS, proportion
from sweetgrad.analysis.scores import score
from sweetgrad.analysis.sweetness import sweetness
from sweetgrad.store.format.schema import KINDS, LAYER_TYPES

SWEET_INTERVAL = Interval(1e-4, 5e-4)
"""The interval that Algorithm 1 chooses for NAS-Bench-201 with 64 CIFAR-10 images and split 2, in the paper and here. Gradients
depend on the batch and the task, so for other settings it is only a starting point."""

_TYPE_NAMES = {code: name for name, code in LAYER_TYPES.items()}
_NO_PADDING = tuple(name for name in LAYER_TYPES if name != "padding")


def layer_profile(
    profile: xr.Dataset,
    interval: Intervals = SWEET_INTERVAL,
    *,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    kind: Kind = "weight",
) -> xr.Dataset:
    """Summarise where the gradients of one network lie: its score (Eq. 1), and the share of every layer (Eq. 2).

    Parameters
    ----------
    profile
        Result of `profile_network`, or one architecture of a stored profile: ``profile.sel(arch=[name])``.
    interval
        One interval; by default [1e-4, 5e-4), which Algorithm 1 chooses for NAS-Bench-201 with 64 CIFAR-10 images.
    grid
        Intervals that cover all magnitudes, for the figure.
    kind
        As in `interval_counts`.

    Returns
    -------
    Dataset in memory, without ``arch``; ``layer`` runs from input to output, without padding.

    Of every layer: ``layer_type``; ``num_params`` of this kind; ``count`` in the interval; ``proportion``, their share; ``zero``,
    the share whose gradient is exactly 0; ``grad_abs_mean``, the mean magnitude (NaN without parameters); and ``grid_proportion``
    (layer, interval).

    Of the network: ``score``, the sum of ``count``; ``sweetness`` of the interval and ``grid_sweetness`` (interval), Eq. 3 for
    this network alone, NaN with fewer than 2 layers of type cell or reduction; ``loss``.

    Attributes: ``arch``, ``kind``, ``interval``, ``lower``, ``upper``, and whether the counts are ``estimated``, because a
    threshold is not a bin edge.

    Raises
    ------
    ValueError
        If the profile has not exactly one architecture, if it was not measured, or if ``interval`` is not one interval.

    Examples
    --------
    >>> from sweetgrad.store import empty_rows
    >>> rows = empty_rows(["a"], [0], layers=["c1", "c2"])
    >>> rows.status[:], rows.layer_type[:], rows.num_params[:, :, 0] = 1, 2, 10
    >>> rows.grad_count[0, :, 0, 0] = [4, 8]  # of the ten weights of each layer, those with gradient 0
    >>> layers = layer_profile(rows, (0, 1e-10))
    >>> layers.proportion.values, float(layers.sweetness)
    (array([0.4, 0.8]), 1.0)
    """
    pieces = as_intervals(interval)
    if len(pieces) != 1:
        raise ValueError(f"layer_profile takes one interval, got {len(pieces)}: its grid is another argument")
    one = _only_arch(profile).load()
    here = np.flatnonzero(one["layer_type"].values[0])
    shares = proportion(one, [*pieces, *grid], kind=kind, layer_types=_NO_PADDING).isel(arch=0)
    counts = interval_counts(one, pieces, kind=kind).isel(arch=0, interval=0)
    rows = one.isel(arch=0, layer=here)
    num_params = total_counts(rows, kind=kind)
    by_depth = _sweetness(one, [*pieces, *grid], kind=kind)
    sums = rows["grad_abs_sum"].sum("kind") if kind == "all" else rows["grad_abs_sum"].isel(kind=KINDS.index(kind))
    layer = ("layer",)
    on_grid = shares.isel(interval=slice(1, None))
    return xr.Dataset(
        {
            "layer_type": (layer, [_TYPE_NAMES[int(code)] for code in rows["layer_type"].values]),
            "num_params": (layer, num_params.values, {"units": "parameters"}),
            "count": (layer, counts.values[here], {"units": "parameters"}),
            "proportion": (layer, shares.isel(interval=0).values, {"units": "1"}),
            "zero": (layer, select_kind(rows["grad_count"], kind).values[:, 0] / num_params.clip(min=1).values),
            "grad_abs_mean": (layer, sums.values / num_params.where(num_params > 0).values),
            "grid_proportion": (("layer", "interval"), on_grid.transpose("layer", "interval").values, {"units": "1"}),
            "grid_sweetness": ("interval", by_depth[1:], {"units": "1"}),
            "sweetness": ((), by_depth[0], {"units": "1"}),
            "score": ((), score(one, pieces[0], kind=kind).values[0], {"units": "parameters"}),
            "loss": ((), float(one["loss"].values[0]), {"units": "nat"}),
        },
        coords={
            "layer": rows["layer"].values,
            **{name: ("interval", on_grid[name].values) for name in ("interval", "lower", "upper")},
        },
        attrs={
            "arch": str(one["arch"].values[0]),
            "kind": kind,
            "interval": str(pieces[0]),
            "lower": float(pieces[0].lower),
            "upper": float(pieces[0].upper),
            "estimated": bool(counts["estimated"]),
        },
    )


def _only_arch(profile: xr.Dataset) -> xr.Dataset:
    one = profile if "arch" in profile.dims else profile.expand_dims("arch")
    if one.sizes["arch"] != 1:
        raise ValueError(
            f"layer_profile takes one architecture, got {one.sizes['arch']}: choose one, profile.sel(arch=[name])"
        )
    needed = ["grad_count", "grad_count_network", "grad_abs_sum", "num_params", "layer_type", "loss", "status"]
    return one[needed]


def _sweetness(one: xr.Dataset, pieces: Intervals, *, kind: Kind) -> np.ndarray:
    codes = [LAYER_TYPES[name] for name in DEPTH_LAYERS]
    if np.isin(one["layer_type"].values, codes).sum() < 2:
        return np.full(len(as_intervals(pieces)), np.nan)
    return sweetness(proportion(one, pieces, kind=kind)).values
