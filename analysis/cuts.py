"""Where thresholds fall among the stored bins: at an edge, or inside a bin, of which a share is estimated."""

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
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

__all__ = ["Cut", "are_estimated", "bins_of", "cut_at", "cuts_of", "interval_coords", "is_estimated"]


class Cut(NamedTuple):
    """Where a threshold falls among the bins: below it lie the bins before ``bin``, and the ``share`` of that bin itself."""

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
        Whether to refuse one that lies inside a bin.

    Raises
    ------
    ValueError
        If ``exact`` and the threshold is no stored edge; the nearest edges are named.

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
    """The bins that make up an interval; raises ``ValueError`` where one of its thresholds is no stored edge.

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
    """Whether a threshold lies inside a bin, so that counts between are estimated.

    Examples
    --------
    >>> is_estimated((1e-4, 5e-4)), is_estimated((1.23e-4, 5e-4))
    (False, True)
    """
    return bool(are_estimated(*cuts_of(as_intervals(intervals))).any())


def interval_coords(pieces: Sequence[Interval]) -> dict[str, Any]:
    """Coordinates of the ``interval`` dimension: labels, the edges as floats, and whether one of them is no stored edge."""
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
