import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.analysis import Interval, IntervalGrid, interval_bounds, interval_counts
from sweetgrad.analysis import counts as counts_module
from sweetgrad.analysis.counts import Kind, Level, cut_at
from sweetgrad.store import EDGES, NUM_BINS, empty_rows
from sweetgrad.store.format.bins import threshold_bin

Make = Callable[..., xr.Dataset]


def one_bin(bin_: int, count: int) -> xr.Dataset:
    """One architecture of one layer whose weights all lie in one bin."""
    rows = empty_rows(["a"], [0], layers=["stem"])
    rows.grad_count[0, 0, 0, bin_] = count
    rows.grad_count_network[0, 0, bin_] = count
    return rows


def count(rows: xr.Dataset, lower: float | str, upper: float | str = math.inf) -> float:
    return interval_counts(rows, Interval(lower, upper)).item()


@pytest.mark.parametrize("split", [1, 2, 7, 10])
@pytest.mark.parametrize("kind", ["weight", "other", "all"])
def test_interval_counts__equals_the_literal_twin(
    profile: xr.Dataset, literal_count: Callable[..., int], split: int, kind: Kind
) -> None:
    grid = IntervalGrid(1, 1e-4, split)
    counts = interval_counts(profile, grid, kind=kind, exact=True)
    kinds = {"weight": [0], "other": [1], "all": [0, 1]}[kind]
    assert counts.dims == ("arch", "layer", "interval")
    assert counts.dtype == np.int64
    for a, layer, i in np.ndindex(counts.shape):
        histogram = profile.grad_count.values[a, layer, kinds].sum(axis=0)
        expected = literal_count(histogram, grid.intervals[i].lower, grid.intervals[i].upper)
        assert counts.values[a, layer, i] == expected


@settings(max_examples=25, deadline=None)
@given(split=st.integers(1, 10), seed=st.integers(0, 99), kind=st.sampled_from(["weight", "other", "all"]))
def test_interval_counts__sum_to_every_parameter(split: int, seed: int, kind: Kind) -> None:
    rows = empty_rows(["a", "b"], [0, 1], layers=["stem", "head"])
    rows.grad_count[:] = np.random.RandomState(seed).randint(0, 2**32, rows.grad_count.shape, dtype="uint64") // 1000
    grid = IntervalGrid(split=split)
    counts = interval_counts(rows, [*grid, Interval(grid.max)], kind=kind)
    kinds = {"weight": [0], "other": [1], "all": [0, 1]}[kind]
    finite = rows.grad_count.isel(bin=slice(-1), kind=kinds).astype("int64").sum(["bin", "kind"])
    np.testing.assert_array_equal(counts.sum("interval").values, finite.values)


def test_interval_counts__puts_an_edge_in_the_bin_above() -> None:
    rows = one_bin(threshold_bin(Fraction(1, 1000)) or 0, 5)
    assert count(rows, "1e-4", "1e-3") == 0
    assert count(rows, "1e-3", "2e-3") == 5


def test_interval_counts__counts_exact_zeros_only_from_zero() -> None:
    assert count(one_bin(0, 5), 0, 1e-10) == 5
    assert interval_counts(one_bin(0, 5), Interval.live()).item() == 0
    assert interval_counts(one_bin(1, 5), Interval.live(), exact=True).item() == 5
    assert interval_counts(one_bin(NUM_BINS - 2, 5), Interval.live(), exact=True).item() == 5


def test_interval_counts__leaves_out_what_is_not_finite() -> None:
    assert count(one_bin(NUM_BINS - 1, 5), 0) == 0


def test_interval_counts__does_not_overflow() -> None:
    rows = one_bin(100, 2**32 - 1)
    rows.grad_count[0, 0, 0, 101] = 2**32 - 1
    assert count(rows, 0) == 2 * (2**32 - 1)


def test_interval_counts__reads_only_the_network_counts_at_network_level(profile: xr.Dataset) -> None:
    counts = interval_counts(profile[["grad_count_network"]], IntervalGrid(), level="network")
    by_layer = interval_counts(profile, IntervalGrid())
    assert counts.dims == ("arch", "interval")
    np.testing.assert_array_equal(counts.values, by_layer.sum("layer").values)


def test_interval_counts__counts_in_blocks_as_at_once(profile: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = interval_counts(profile, IntervalGrid())
    monkeypatch.setattr("sweetgrad.analysis.counts._BLOCK_ROWS", 3)
    xr.testing.assert_identical(interval_counts(profile, IntervalGrid()), at_once)
    one = interval_counts(profile.isel(arch=2, layer=1), IntervalGrid())
    np.testing.assert_array_equal(one.values, at_once.values[2, 1])


def test_interval_counts__carries_labels_and_edges(profile: xr.Dataset) -> None:
    counts = interval_counts(profile, [Interval(1e-4, 5e-4), Interval(3e-5, "inf"), Interval("1/700", "3/170")])
    assert list(counts.interval.values) == ["[1e-4, 5e-4)", "[3e-5, inf)", "[1.43e-3, 0.0176)"]
    np.testing.assert_array_equal(counts.lower.values[:2], [1e-4, 3e-5])
    np.testing.assert_array_equal(counts.estimated.values, [False, False, True])
    assert counts.dtype == np.float64


def test_interval_counts__splits_a_cut_bin_log_linearly() -> None:
    low, high = EDGES[200], EDGES[201]
    rows = one_bin(202, 100)
    middle = Fraction(math.sqrt(low * high))
    counts = interval_counts(rows, [Interval(low, middle), Interval(middle, high)])
    np.testing.assert_allclose(counts.values[0, 0], [50, 50], rtol=1e-9)


@pytest.mark.parametrize(("bin_", "interval", "expected"), [(1, ("1e-11", "1e-10"), 90), (NUM_BINS - 2, (10, 40), 75)])
def test_interval_counts__estimates_the_open_bins(bin_: int, interval: tuple[str, str], expected: float) -> None:
    assert count(one_bin(bin_, 100), *interval) == pytest.approx(expected)


def test_interval_counts__marks_a_threshold_a_hair_from_an_edge() -> None:
    hair = EDGES[100] * (1 + Fraction(1, 10**30))
    assert cut_at(hair).share > 0
    assert interval_counts(one_bin(5, 1), Interval(hair)).estimated.item()


def test_interval_counts__names_the_nearest_edges_when_exact(profile: xr.Dataset) -> None:
    with pytest.raises(
        ValueError, match=r"threshold 1/11 .* not a stored edge; nearest: 9/100 \(0.09\) and 1/10 \(0.1\)"
    ):
        interval_counts(profile, Interval("1/11", 1), exact=True)
    with pytest.raises(ValueError, match=r"nearest: 10 \(10\)\."):
        interval_counts(profile, Interval(11), exact=True)


def test_interval_counts__refuses_unknown_kind_and_level(profile: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="kind must be one of weight, other or all, got 'bias'"):
        interval_counts(profile, IntervalGrid(), kind="bias")  # type: ignore[arg-type]  # the error is what is tested
    with pytest.raises(ValueError, match="level must be 'layer' or 'network', got 'bin'"):
        interval_counts(profile, IntervalGrid(), level="bin")  # type: ignore[arg-type]  # the error is what is tested


@pytest.mark.parametrize("level", ["layer", "network"])
@pytest.mark.parametrize("intervals", [IntervalGrid(split=3), IntervalGrid(split=13)])
def test_interval_counts__is_the_same_on_dask(profile: xr.Dataset, intervals: IntervalGrid, level: Level) -> None:
    lazy = interval_counts(profile.chunk(arch=2, kind=1), intervals, level=level, kind="all")
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), interval_counts(profile, intervals, level=level, kind="all"))


@pytest.mark.parametrize("level", ["layer", "network"])
def test_interval_counts__never_reads_large_counts_whole(
    profile: xr.Dataset, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = interval_counts(profile, IntervalGrid(split=11), level=level)
    sizes = []
    below = counts_module.counts_below

    def spy(counts: np.ndarray, *cuts: Any) -> Any:
        sizes.append(counts.size and len(counts))
        return below(counts, *cuts)

    monkeypatch.setattr(counts_module, "counts_below", spy)
    monkeypatch.setattr(counts_module, "_WHOLE_BYTES", 0)
    for variable in ("grad_count", "grad_count_network"):
        profile[variable].encoding["chunks"] = (1,)
    found = interval_counts(profile, IntervalGrid(split=11), level=level)
    assert found.chunks is None
    assert max(sizes) == 1
    xr.testing.assert_identical(found, expected)


def test_interval_counts__stays_lazy(profile: xr.Dataset, no_compute: None) -> None:
    counts = interval_counts(profile.chunk(arch=2), IntervalGrid())
    bounds = interval_bounds(profile.chunk(arch=2), IntervalGrid(split=11), level="network")
    assert counts.chunks is not None
    assert all(values.chunks is not None for values in bounds.values())


@settings(max_examples=40, deadline=None)
@given(
    st.fractions(Fraction(1, 10**11), 20, max_denominator=10**11),
    st.fractions(Fraction(1, 10**11), 20, max_denominator=10**11),
    st.integers(0, 99),
)
def test_interval_bounds__hold_the_estimate(first: Fraction, second: Fraction, seed: int) -> None:
    if first == second:
        return
    rows = empty_rows(["a"], [0], layers=["stem"])
    rows.grad_count[:] = np.random.RandomState(seed).randint(0, 1000, rows.grad_count.shape)
    bounds = interval_bounds(rows, Interval(min(first, second), max(first, second)))
    low, estimate, high = (bounds[name].item() for name in ("at_least", "estimate", "at_most"))
    assert 0 <= low <= estimate * (1 + 1e-12)
    assert estimate <= high * (1 + 1e-12)


def test_interval_bounds__count_bins_inside_and_touched() -> None:
    rows = one_bin(202, 7)
    rows.grad_count[0, 0, 0, 203] = 20
    rows.grad_count[0, 0, 0, 204] = 300
    inside = [(EDGES[i] + EDGES[i + 1]) / 2 for i in (200, 202)]
    bounds = interval_bounds(rows, Interval(*inside))
    assert (bounds.at_least.item(), bounds.at_most.item()) == (20, 327)
    within = interval_bounds(rows, Interval(EDGES[200] * Fraction(100001, 100000), inside[0]))
    assert (within.at_least.item(), within.at_most.item()) == (0, 7)


def test_interval_bounds__are_equal_at_edges(profile: xr.Dataset) -> None:
    bounds = interval_bounds(profile, IntervalGrid())
    np.testing.assert_array_equal(bounds.at_least.values, bounds.estimate.values)
    np.testing.assert_array_equal(bounds.at_most.values, bounds.estimate.values)
