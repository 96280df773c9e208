"""Parameters in an interval, from the stored bins: exact if the thresholds are bin edges, else bounds and an estimate."""

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import xarray as xr
from dask.base import is_dask_collection
from numpy.typing import NDArray

from sweetgrad.analysis.intervals import (
    SMALLEST_GRADIENT,
    Interval,
    Intervals,
    Threshold,
    as_intervals,
    format_threshold,
)
from sweetgrad.store.format.bins import EDGES, NUM_BINS, threshold_bin
from sweetgrad.store.format.schema import KINDS, STATUS


def measured_rows(profile: xr.Dataset) -> NDArray[np.int64]:
    """Positions of the architectures that were measured (status 1), ascending; ``status`` is read at once."""
    return np.flatnonzero(profile["status"].values == STATUS["ok"])


def as_slice(positions: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return consecutive positions as a slice, which gives a view of an array, and a much faster read from a store.

    Examples
    --------
    >>> as_slice(np.array([3, 4, 5])), as_slice(np.array([3, 5]))
    (slice(3, 6, None), array([3, 5]))
    """
    follow = positions.size > 0 and (np.diff(positions) == 1).all()
    return slice(int(positions[0]), int(positions[-1]) + 1) if follow else positions


class Cut(NamedTuple):
    """Position of a threshold: below it lie all bins before ``bin``, and the fraction ``share`` of ``bin`` itself."""

    bin: int
    share: float

    @property
    def after(self) -> int:
        """Index of the first bin that lies wholly above the threshold."""
        return self.bin + (self.share > 0)


def cut_at(threshold: Threshold, *, exact: bool = False) -> Cut:
    """Find where a threshold falls among the bins.

    Parameters
    ----------
    threshold
        An exact threshold, or infinity.
    exact
        Whether to raise if the threshold lies inside a bin.

    Raises
    ------
    ValueError
        If ``exact`` and the threshold is not a stored edge; the message names the nearest edges.

    Examples
    --------
    >>> cut_at(Fraction(1, 10**10)), cut_at(math.inf)
    (Cut(bin=2, share=0.0), Cut(bin=344, share=0.0))
    """
    if threshold == math.inf:
        return Cut(NUM_BINS - 1, 0.0)
    assert isinstance(threshold, Fraction)
    stored = threshold_bin(threshold)
    if stored is not None:
        return Cut(stored, 0.0)
    if threshold <= SMALLEST_GRADIENT:
        return Cut(1, 0.0)
    above = bisect.bisect_right(EDGES, threshold)
    if exact:
        near = " and ".join(f"{edge} ({format_threshold(edge)})" for edge in EDGES[max(0, above - 1) : above + 1])
        raise ValueError(
            f"threshold {threshold} ({format_threshold(threshold)}) is not a stored edge; nearest: {near}. "
            "Ask for one of these, or leave exact=False for an estimate with bounds."
        )
    # The smallest float keeps a threshold just above an edge marked as estimated.
    return Cut(above + 1, max(_share_below(threshold, above), math.ulp(0.0)))


def cuts_of(pieces: Sequence[Interval], *, exact: bool = False) -> tuple[list[Cut], list[Cut]]:
    """Where the lower thresholds of some intervals fall, and where the upper ones; ``exact`` as in `cut_at`."""
    lower = [cut_at(piece.lower, exact=exact) for piece in pieces]
    upper = [cut_at(piece.upper, exact=exact) for piece in pieces]
    return lower, upper


def bins_of(piece: Interval) -> slice:
    """The bins that make up an interval; raises ``ValueError`` where one of its thresholds is not a stored edge.

    Examples
    --------
    >>> bins_of(Interval(0, 1e-10))
    slice(0, 2, None)
    """
    return slice(cut_at(piece.lower, exact=True).bin, cut_at(piece.upper, exact=True).bin)


def are_estimated(lower: Sequence[Cut], upper: Sequence[Cut]) -> NDArray[np.bool_]:
    """Whether one of the two thresholds lies inside a bin; shape (interval,)."""
    return np.array([low.share > 0 or high.share > 0 for low, high in zip(lower, upper, strict=True)], dtype=bool)


def is_estimated(intervals: Intervals) -> bool:
    """Whether a threshold lies inside a bin, so that counts are estimated.

    Examples
    --------
    >>> is_estimated((1e-4, 5e-4)), is_estimated((1.23e-4, 5e-4))
    (False, True)
    """
    return bool(are_estimated(*cuts_of(as_intervals(intervals))).any())


def interval_coords(pieces: Sequence[Interval]) -> dict[str, Any]:
    """Coordinates of the ``interval`` dimension: labels, the edges as floats, and whether one of them is not a stored edge."""
    return {
        "interval": np.array([str(piece) for piece in pieces], dtype=object),
        "lower": ("interval", np.array([float(piece.lower) for piece in pieces])),
        "upper": ("interval", np.array([float(piece.upper) for piece in pieces])),
        "estimated": ("interval", are_estimated(*cuts_of(pieces))),
    }


def _share_below(threshold: Fraction, above: int) -> float:
    """Estimated share, in [0, 1], of a bin that lies below a threshold inside it; ``EDGES[above]`` is the next edge."""
    if above == 0:
        return float(threshold / EDGES[0])
    if above == len(EDGES):
        return 1 - float(EDGES[-1] / threshold)
    return math.log(threshold / EDGES[above - 1]) / math.log(EDGES[above] / EDGES[above - 1])


Kind: TypeAlias = Literal["weight", "other", "all"]
Level: TypeAlias = Literal["layer", "network"]

_BLOCK_ROWS = 1024

_WHOLE_BYTES = 1 << 28
"""Counts that take more memory than this are never read at once, even if the profile was opened without dask."""

_VARIABLE = {"layer": "grad_count", "network": "grad_count_network"}


def interval_counts(
    profile: xr.Dataset, intervals: Intervals, *, kind: Kind = "weight", level: Level = "layer", exact: bool = False
) -> xr.DataArray:
    """Count the parameters whose gradient lies in each interval: Eq. 1 for every layer, or for the whole network.

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`.
    intervals
        A grid, a sequence of intervals, or one interval.
    kind
        ``"weight"``: conv and linear weights; ``"other"``: norm affine parameters and biases; ``"all"``: both.
    level
        ``"network"`` reads only the small ``grad_count_network``.
    exact
        Whether to raise if a threshold is not a stored edge. Otherwise the bin that contains the threshold is split
        log-linearly (`interval_bounds` bounds the error).

    Returns
    -------
    Dims ``(arch, layer, interval)`` or ``(arch, interval)``, parameters; int64 if every threshold is a stored edge, else float64.
    Coordinates of ``interval``: its label, ``lower`` and ``upper``, and ``estimated``. Rows that were not measured have 0.
    Lazy when the profile is lazy.

    Raises
    ------
    ValueError
        If ``kind`` or ``level`` is unknown, or ``exact`` and a threshold is not an edge; the message names the nearest edges.

    Notes
    -----
    Gradients were compared with the float32 nearest to each edge. Inside the bins below 1e-10 and above 10 the
    estimate is uniform in ``g`` and in ``1 / g``.

    Examples
    --------
    >>> from sweetgrad.store import empty_rows
    >>> rows = empty_rows(["a"], [0], layers=["stem"])
    >>> rows.grad_count[0, 0, 0, 0] = 7  # seven weights with gradient exactly 0
    >>> interval_counts(rows, [Interval(0, 1e-3), Interval.live()]).values
    array([[[7, 0]]])
    """
    pieces = as_intervals(intervals)
    return _counts_between(profile, pieces, *cuts_of(pieces, exact=exact), kind=kind, level=level)


def interval_bounds(
    profile: xr.Dataset, intervals: Intervals, *, kind: Kind = "weight", level: Level = "layer"
) -> xr.Dataset:
    """Bound the count of each interval when its thresholds fall inside bins.

    Parameters
    ----------
    profile, intervals, kind, level
        As in `interval_counts`.

    Returns
    -------
    ``at_least``: parameters in the bins wholly inside the interval; ``at_most``: in all bins that it touches; ``estimate``: as
    `interval_counts` gives it. All three are equal where both thresholds are stored edges. Dims as in `interval_counts`.
    """
    pieces = as_intervals(intervals)
    lower, upper = cuts_of(pieces)

    def between(lows: Sequence[int], highs: Sequence[int]) -> xr.DataArray:
        # An interval inside one bin has its inner bounds crossed: no bin lies wholly inside.
        low_cuts = [Cut(low, 0.0) for low in lows]
        high_cuts = [Cut(max(low, high), 0.0) for low, high in zip(lows, highs, strict=True)]
        return _counts_between(profile, pieces, low_cuts, high_cuts, kind=kind, level=level).drop_vars("estimated")

    return xr.Dataset(
        {
            "at_least": between([cut.after for cut in lower], [cut.bin for cut in upper]),
            "at_most": between([cut.bin for cut in lower], [cut.after for cut in upper]),
            "estimate": _counts_between(profile, pieces, lower, upper, kind=kind, level=level),
        }
    )


def total_counts(profile: xr.Dataset, *, kind: Kind = "weight") -> xr.DataArray:
    """Parameters of every layer, including those whose gradient is not finite; dims ``(arch, layer)``, int64."""
    return select_kind(profile["num_params"].astype(np.int64), kind)


def _counter(lower: Sequence[Cut], upper: Sequence[Cut]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    sides = (lower, upper)
    shares = [np.array([cut.share for cut in cuts]) for cuts in sides]
    has_estimate = are_estimated(lower, upper).any()

    def count_block(block: NDArray[Any]) -> NDArray[Any]:
        below: list[NDArray[Any]] = list(counts_below(block, *([cut.bin for cut in cuts] for cuts in sides)))
        if has_estimate:
            after = counts_below(block, *([cut.after for cut in cuts] for cuts in sides))
            below = [low + share * (high - low) for low, share, high in zip(below, shares, after, strict=True)]
        between: NDArray[Any] = below[1] - below[0]
        return between

    def count(values: NDArray[Any]) -> NDArray[Any]:
        if values.ndim == 1:
            return count_block(values)
        # Block by block: the sums at all cuts are several times as large as the result.
        starts = range(0, max(1, len(values)), _BLOCK_ROWS)
        return np.concatenate([count_block(values[start : start + _BLOCK_ROWS]) for start in starts])

    return count


def counts_below(counts: NDArray[Any], *cuts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Sum of all bins before each cut, for every list of cuts, along the last axis: ``(..., bin) -> (..., cut)``, int64."""
    starts = sorted({0, *itertools.chain(*cuts)} - {NUM_BINS})
    # One pass over the bins, straight into int64: no copy of the counts in a wider type.
    parts: NDArray[np.int64] = np.add.reduceat(counts, starts, axis=-1, dtype=np.int64)
    below = np.zeros((*parts.shape[:-1], len(starts) + 1), dtype=np.int64)
    np.cumsum(parts, axis=-1, out=below[..., 1:])
    return [below[..., as_slice(np.searchsorted([*starts, NUM_BINS], list_of_cuts))] for list_of_cuts in cuts]


def _counts_between(
    profile: xr.Dataset,
    pieces: Sequence[Interval],
    lower: Sequence[Cut],
    upper: Sequence[Cut],
    *,
    kind: Kind,
    level: Level,
) -> xr.DataArray:
    if level not in _VARIABLE:
        raise ValueError(f"level must be 'layer' or 'network', got {level!r}")
    values = profile[_VARIABLE[level]]
    in_blocks = _exceeds_memory(values)
    if in_blocks:
        values = values.chunk({"arch": block_rows(values), "kind": 1})
    elif level == "network" and values.chunks is None:
        # xarray then caches the values in the profile: the next call reads nothing.
        values.load()
    count = _counter(lower, upper)
    dtype = np.float64 if are_estimated(lower, upper).any() else np.int64

    def count_lazily(values: Any) -> Any:
        if not is_dask_collection(values):
            return count(values)
        whole_bins = values.rechunk({-1: -1})
        chunks = (*whole_bins.chunks[:-1], (len(pieces),))
        # Chunk by chunk: where a dimension vanishes (dask="parallelized"), dask copies every chunk before the function sees it.
        return whole_bins.map_blocks(count, dtype=dtype, chunks=chunks)

    counts: xr.DataArray = xr.apply_ufunc(
        count_lazily,
        select_kind(values, kind),
        input_core_dims=[["bin"]],
        output_core_dims=[["interval"]],
        dask="allowed",
    )
    if in_blocks:
        counts = counts.compute()
    counts.attrs = {"units": "parameters", "long_name": "parameters with gradient in the interval"}
    return counts.rename("count").assign_coords(interval_coords(pieces))


def _exceeds_memory(counts: xr.DataArray) -> bool:
    """Whether counts would be read at once although they are too large for memory."""
    return counts.chunks is None and counts.nbytes > _WHOLE_BYTES


def block_rows(counts: xr.DataArray) -> int:
    """Number of architectures to read at once: those of one chunk of the store."""
    return int(counts.encoding.get("chunks", (_BLOCK_ROWS,))[0])


def select_kind(array: xr.DataArray, kind: Kind) -> xr.DataArray:
    """Counts of one kind of parameters, or of both together."""
    if kind == "all":
        return array.sum("kind", dtype=np.int64)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)} or all, got {kind!r}")
    return array.isel(kind=KINDS.index(kind), drop=True)
