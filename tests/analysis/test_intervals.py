import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.analysis import Interval, IntervalGrid, sliding_windows
from sweetgrad.analysis.intervals import as_intervals
from sweetgrad.store import EDGES
from sweetgrad.store.format.bins import threshold_bin


def test_interval_grid__is_the_papers_example() -> None:
    edges = [(i.lower, i.upper) for i in IntervalGrid(1, 0.1, 2)]
    assert edges == [(0, Fraction(1, 10)), (Fraction(1, 10), Fraction(1, 2)), (Fraction(1, 2), 1)]


def test_interval_grid__has_two_intervals_an_order_by_default() -> None:
    grid = IntervalGrid()
    assert len(grid) == len(grid.intervals) == 23
    assert Interval(1e-4, 5e-4) in grid.intervals


@pytest.mark.parametrize("split", range(1, 11))
def test_interval_grid__has_only_stored_edges_for_splits_1_to_10(split: int) -> None:
    assert all(threshold_bin(edge) is not None for edge in IntervalGrid(split=split).thresholds)


@settings(max_examples=50)
@given(st.integers(1, 30), st.integers(-12, 3), st.integers(1, 5), st.integers(1, 9))
def test_interval_grid__covers_zero_to_max_without_gaps(split: int, low: int, orders: int, factor: int) -> None:
    minimum = factor * Fraction(10) ** low
    grid = IntervalGrid(minimum * 10**orders, minimum, split)
    pieces = grid.intervals
    assert pieces[0].lower == 0
    assert pieces[0].upper == minimum
    assert pieces[-1].upper == grid.max
    assert all(a.upper == b.lower for a, b in itertools.pairwise(pieces))
    assert all(minimum * 10**k in grid.thresholds for k in range(orders + 1))


@pytest.mark.parametrize("arguments", [(10, 3), (1, 1), (1, 10), (1, 0), ("inf", 1), (-10, -1)])
def test_interval_grid__needs_whole_orders_of_magnitude(arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"max / min must be 10, 100, 1000"):
        IntervalGrid(*arguments)


@pytest.mark.parametrize("split", [0, -1, 2.5])
def test_interval_grid__needs_a_whole_split(split: int) -> None:
    with pytest.raises(ValueError, match="split must be a whole number from 1 to 100"):
        IntervalGrid(split=split)


@pytest.mark.parametrize("number", [1e-10, "1e-10", "0.0000000001", np.float64(1e-10), Fraction(1, 10**10)])
def test_interval__takes_a_float_as_the_decimal_that_is_printed(number: float) -> None:
    assert Interval(number, 1).lower == Fraction(1, 10**10)


@pytest.mark.parametrize(
    ("interval", "label"),
    [
        (Interval(1e-4, 5e-4), "[1e-4, 5e-4)"),
        (Interval(0), "[0, inf)"),
        (Interval(0.01, 10), "[0.01, 10)"),
        (Interval("1/7000", "2/7000"), "[1.43e-4, 2.86e-4)"),
        (Interval.live(), "(0, inf)"),
    ],
)
def test_interval__has_a_short_label(interval: Interval, label: str) -> None:
    assert str(interval) == label


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (2, 1), (-1, 1), (math.inf, math.inf)])
def test_interval__refuses_edges_out_of_order(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match="0 <= lower < upper"):
        Interval(lower, upper)


@pytest.mark.parametrize("number", [math.nan, "a lot", "1/0"])
def test_interval__refuses_what_is_no_number(number: float) -> None:
    with pytest.raises(ValueError, match=r"a threshold must be a number such as 1e-4"):
        Interval(number)


def test_as_intervals__takes_pairs_and_sequences() -> None:
    one = Interval(0, 1)
    assert as_intervals((0, 1)) == as_intervals(one) == as_intervals([one]) == [one]
    # The types do not promise a sequence of pairs.
    pairs: list[Any] = [(0, 1)]
    assert as_intervals(pairs) == [one]
    assert as_intervals((one, one)) == [one, one]
    with pytest.raises(ValueError, match="expected an Interval"):
        as_intervals(["[0, 1)"])  # type: ignore[list-item]  # the error is what is tested


@pytest.mark.parametrize("ratio", [2, 3, 5, 10])
def test_sliding_windows__are_all_between_stored_edges_that_are_that_far_apart(ratio):
    windows = sliding_windows(ratio)
    edges = [Fraction(edge) for edge in EDGES]
    assert windows == [Interval(low, high) for low in edges for high in edges if high == ratio * low]
    assert all(window.upper == ratio * window.lower for window in windows)


@pytest.mark.parametrize("ratio", [1, 11, 2.5, float("inf")])
def test_sliding_windows__says_which_ratios_there_are(ratio):
    with pytest.raises(ValueError, match=f"whole number from 2 to 10, got {ratio}"):
        sliding_windows(ratio)


@pytest.mark.parametrize(
    "threshold",
    [
        "1e400",
        "1e-400",
        "1e999999999",
        "-1e999999999",
        "nan",
        "",
        "x",
        "1/0",
        "9" * 5000,
        Fraction(10) ** 400,
        math.nan,
        None,
    ],
)
def test_interval__refuses_a_threshold_that_is_no_number_of_this_world_at_once(threshold) -> None:
    with pytest.raises(ValueError, match=r"a threshold must be|needs 0 <= lower"):
        Interval(threshold, math.inf)


@pytest.mark.parametrize("text", ["inf", "Inf", "infinity", "+inf", math.inf])
def test_interval__knows_infinity_by_all_its_names(text) -> None:
    assert Interval(1, text).upper == math.inf


@pytest.mark.parametrize("split", [0, -1, 101, 10_000, 10**30, 2.5, math.nan, math.inf])
def test_interval_grid__refuses_a_split_that_no_store_can_answer(split) -> None:
    with pytest.raises(ValueError, match="split must be a whole number from 1 to 100"):
        IntervalGrid(split=split)


def test_interval_grid__is_no_longer_than_can_be_answered() -> None:
    with pytest.raises(ValueError, match="at most 2,000 intervals"):
        IntervalGrid("1e300", "1e-300", 10)
