"""Intervals of gradient magnitude with exact rational edges, and the grids of them that a triplet (max, min, split) names."""

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, Self, TypeAlias, TypeGuard

from sweetgrad.store.format.bins import EDGES

Number: TypeAlias = int | float | str | Fraction
"""A threshold as a user writes it: ``1e-4``, ``"1/7000"``, ``Fraction(1, 7000)``."""

Threshold: TypeAlias = Fraction | float
"""An exact threshold; the only float is ``inf``."""

_MAX_EXPONENT = 1000
_MAX_SPLIT = 100
_MAX_INTERVALS = 2000

SMALLEST_GRADIENT = Fraction(1, 2**149)
"""The smallest denormal: no float32 lies strictly between zero and it, so "at least this" says "not exactly zero"."""


class _HasBounds(Protocol):
    """Anything with ``lower`` and ``upper``: an `Interval`, or the result of `best_interval`."""

    @property
    def lower(self) -> Threshold: ...
    @property
    def upper(self) -> Threshold: ...


@dataclass(frozen=True, init=False)
class Interval:
    """Half-open interval ``[lower, upper)`` of ``abs(dJ/dtheta)`` with exact rational edges.

    ``lower=0`` includes gradients that are exactly zero. Gradients that are not finite lie in no interval, not even in one whose
    ``upper`` is infinite.

    Parameters
    ----------
    lower, upper
        Numbers, strings or fractions. A float means the decimal number that Python prints for it: ``1e-4`` is exactly 1/10000.

    Raises
    ------
    ValueError
        Unless ``0 <= lower < upper``.

    Examples
    --------
    >>> Interval(1e-4, 5e-4)
    Interval('[1e-4, 5e-4)')
    >>> Interval("1/7000", "2/7000").lower
    Fraction(1, 7000)
    """

    lower: Threshold
    upper: Threshold

    def __init__(self, lower: Number, upper: Number = math.inf) -> None:
        low, high = as_threshold(lower), as_threshold(upper)
        if not 0 <= low < high:
            raise ValueError(f"an interval needs 0 <= lower < upper, got lower={lower}, upper={upper}")
        object.__setattr__(self, "lower", low)
        object.__setattr__(self, "upper", high)

    @classmethod
    def live(cls) -> Self:
        """All gradients that are finite and not exactly zero: a lower edge of 2^-149, below which float32 has only zero.

        Examples
        --------
        >>> str(Interval.live())
        '(0, inf)'
        """
        return cls(SMALLEST_GRADIENT, math.inf)

    def __str__(self) -> str:
        opening = "(0" if self.lower == SMALLEST_GRADIENT else f"[{format_threshold(self.lower)}"
        return f"{opening}, {format_threshold(self.upper)})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


@dataclass(frozen=True, init=False)
class IntervalGrid:
    """Intervals of the paper's triplet: every order of magnitude from ``min`` to ``max``, cut into ``split`` equal parts.

    The order of magnitude that ends at ``top`` is cut at ``top * j / split`` for every ``j`` with ``j / split > 1/10``; a first
    interval ``[0, min)`` holds all smaller gradients.

    Parameters
    ----------
    max, min
        Largest and smallest threshold, an integer power of ten apart.
    split
        Parts of each order of magnitude, at least 1. Splits 1 to 10 between 1e-10 and 10 are exact in every store.

    Raises
    ------
    ValueError
        If ``max / min`` is not 10, 100, …, or ``split`` is less than 1.

    Examples
    --------
    >>> [str(interval) for interval in IntervalGrid(1, 0.1, 2)]
    ['[0, 0.1)', '[0.1, 0.5)', '[0.5, 1)']
    >>> len(IntervalGrid())
    23
    """

    max: Fraction
    min: Fraction
    split: int

    def __init__(self, max: Number = 10, min: Number = 1e-10, split: int = 2) -> None:  # noqa: A002  (the paper's names)
        high, low = as_threshold(max), as_threshold(min)
        if not (isinstance(high, Fraction) and isinstance(low, Fraction) and high > low > 0 and _orders(high / low)):
            raise ValueError(f"max / min must be 10, 100, 1000, …: got max={max}, min={min}")
        if split not in range(1, _MAX_SPLIT + 1):
            raise ValueError(f"split must be a whole number from 1 to {_MAX_SPLIT} (1 to 10 are exact), got {split}")
        if _orders(high / low) * split > _MAX_INTERVALS:
            raise ValueError(
                f"a grid has at most {_MAX_INTERVALS:,} intervals, got {_orders(high / low)} orders of magnitude in "
                f"{split} parts each: take a larger min, a smaller max or a smaller split"
            )
        object.__setattr__(self, "max", high)
        object.__setattr__(self, "min", low)
        object.__setattr__(self, "split", int(split))

    @property
    def thresholds(self) -> tuple[Fraction, ...]:
        """Edges of the intervals, ascending, from 0 to ``max``."""
        parts = [Fraction(j, self.split) for j in range(1, self.split + 1) if 10 * j > self.split]
        tops = [self.min * 10**k for k in range(1, _orders(self.max / self.min) + 1)]
        return (Fraction(0), self.min, *(top * part for top in tops for part in parts))

    @property
    def intervals(self) -> list[Interval]:
        """The intervals, from the smallest gradients to the largest."""
        return [Interval(low, high) for low, high in itertools.pairwise(self.thresholds)]

    def __iter__(self) -> Iterator[Interval]:
        return iter(self.intervals)

    def __len__(self) -> int:
        return len(self.thresholds) - 1


def sliding_windows(ratio: Number = 2) -> list[Interval]:
    """Overlapping windows ``[t, ratio * t)``, one from every stored edge whose multiple is a stored edge, too.

    An `IntervalGrid` has edges where our decimal system puts them, and its intervals are of unequal width. These are equally wide
    wherever they stand; docs/findings.md tells what `best_interval` gains by choosing from them.

    Parameters
    ----------
    ratio
        Upper edge over lower edge: a whole number from 2 to 10.

    Returns
    -------
    Intervals in ascending order of their lower edges; all are exact in every store.

    Raises
    ------
    ValueError
        If ``ratio`` is no whole number from 2 to 10.

    Examples
    --------
    >>> windows = sliding_windows(2)
    >>> len(windows), str(windows[0]), str(windows[-1])
    (216, '[1e-10, 2e-10)', '[5, 10)')
    """
    factor = as_threshold(ratio)
    if factor not in range(2, 11):
        raise ValueError(f"ratio must be a whole number from 2 to 10, got {ratio}: other windows have no stored edges")
    edges = set(EDGES)
    return [Interval(edge, edge * factor) for edge in EDGES if edge * factor in edges]


Intervals: TypeAlias = IntervalGrid | _HasBounds | tuple[Number, Number] | Sequence[_HasBounds]
"""One interval (also as ``(lower, upper)``, or the result of `best_interval`), a sequence of them, or a grid."""


def as_intervals(intervals: Intervals) -> list[Interval]:
    """Return what a caller gave as a list of intervals.

    Examples
    --------
    >>> as_intervals((0, 1e-3))
    [Interval('[0, 1e-3)')]
    """
    if isinstance(intervals, IntervalGrid):
        return intervals.intervals
    if isinstance(intervals, Iterable) and not is_single(intervals):
        return [_as_interval(interval) for interval in intervals]
    return [_as_interval(intervals)]


def is_single(intervals: Intervals) -> bool:
    """Whether one interval was given, and not a grid or a sequence."""
    if _has_bounds(intervals):
        return True
    return isinstance(intervals, tuple) and not any(_has_bounds(part) or isinstance(part, tuple) for part in intervals)


def as_threshold(number: Number) -> Threshold:
    """Exact value of a threshold; a float counts as the decimal number that is printed for it.

    Examples
    --------
    >>> as_threshold(1e-10) == Fraction(1, 10**10)
    True
    """
    text = str(number).strip().lower()  # str of a float (NumPy's too) is the shortest decimal that names it
    if text.removeprefix("+") in ("inf", "infinity"):
        return math.inf
    try:
        threshold = number if isinstance(number, Fraction) else _fraction(text)
        is_float = not threshold or sys.float_info.min <= abs(threshold) <= sys.float_info.max
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"a threshold must be a number such as 1e-4, inf or '1/7000', got {_short(number)}") from error
    if not is_float:
        raise ValueError(f"a threshold must be 0, inf, or a number from 1e-307 to 1e308, got {_short(number)}")
    return threshold


def _fraction(text: str) -> Fraction:
    # Not by Fraction alone: 1e999999999 would be written out, digit by digit.
    exponent = text.rpartition("e")[2] if "e" in text else "0"
    if abs(int(exponent)) > _MAX_EXPONENT:
        raise ValueError(f"the exponent {exponent[:20]} is out of range")
    return Fraction(text)


def _short(number: object) -> str:
    text = repr(number) if isinstance(number, str) else str(number)
    return text if len(text) <= 60 else f"{text[:40]}…"


def format_threshold(threshold: Threshold) -> str:
    """Write a threshold in at most three significant digits.

    Examples
    --------
    >>> [format_threshold(Fraction(t)) for t in ("0", "1/2", "1/7000", "1e-10")]
    ['0', '0.5', '1.43e-4', '1e-10']
    """
    text = f"{float(threshold):.3g}"
    if 0 < float(threshold) < 0.01:
        digits, exponent = f"{float(threshold):.2e}".split("e")
        text = f"{float(digits):g}e{int(exponent)}"
    return text


def _as_interval(interval: object) -> Interval:
    if _has_bounds(interval):
        return Interval(interval.lower, interval.upper)
    if isinstance(interval, tuple | list) and len(interval) == 2:
        return Interval(*interval)
    raise ValueError(f"expected an Interval, a pair (lower, upper) or an IntervalGrid, got {interval!r}")


def _has_bounds(thing: object) -> TypeGuard[_HasBounds]:
    # Not by isinstance: a string has `lower` and `upper`, too.
    return isinstance(getattr(thing, "lower", None), Fraction)


def _orders(ratio: Fraction) -> int:
    """Exponent k where ``ratio == 10**k`` and k >= 1; else 0."""
    k = len(str(ratio.numerator)) - 1
    return k if ratio == 10**k else 0
