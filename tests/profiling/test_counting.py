"""Counts are exact: every float32 there is falls into the bin that a literal comparison gives it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sweetgrad.profiling.counting import _count_by_table, _in_one_fetch, count_and_sum, count_gradients
from sweetgrad.store.format.bins import EDGES, NUM_BINS

F32_EDGES = np.array([np.float32(float(edge)) for edge in EDGES])
SMALLEST_DENORMAL = np.nextafter(np.float32(0), np.float32(1))
LARGEST_DENORMAL = np.nextafter(np.finfo(np.float32).tiny, np.float32(0))
SPECIAL = np.array(
    [0.0, SMALLEST_DENORMAL, LARGEST_DENORMAL, np.finfo(np.float32).tiny, np.finfo(np.float32).max, np.inf, np.nan],
    dtype=np.float32,
)
NAN_BITS = [0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0x7F80FFFF, 0x7F810000, 0xFFC00000, 0xFF800001, 0xFFFFFFFF]


def literal_count(values):
    """One comparison after another, in double precision, over every bin."""
    with np.errstate(invalid="ignore"):  # NumPy warns when it casts a signalling NaN
        values = np.abs(values).astype(np.float64)
    counts = [(values == 0).sum(), ((values > 0) & (values < float(F32_EDGES[0]))).sum()]
    for lower, upper in pairwise(F32_EDGES):
        counts.append(((values >= float(lower)) & (values < float(upper))).sum())
    counts.append(((values >= float(F32_EDGES[-1])) & (values < np.inf)).sum())
    counts.append((~np.isfinite(values)).sum())
    return np.array(counts)


def one_segment(values):
    return np.array([len(values)], dtype=np.int64)


def count_both(values, segments=None):
    """Counts by the table, after the check that what runs on a GPU agrees."""
    magnitude = torch.from_numpy(np.ascontiguousarray(values)).abs()
    segments = one_segment(values) if segments is None else segments
    by_table = count_gradients(magnitude, segments)
    np.testing.assert_array_equal(_in_one_fetch(magnitude, segments, torch.tensor(0.0))[0], by_table)
    return by_table


def around_every_edge():
    below = np.nextafter(F32_EDGES, np.float32(0))
    above = np.nextafter(F32_EDGES, np.float32(np.inf))
    return below, F32_EDGES, above


def test_count_gradients__has_a_bin_for_everything():
    assert NUM_BINS == len(EDGES) + 3 == 345


def test_count_gradients__puts_an_edge_into_the_bin_above_it():
    """The paper's [t1, t2): bin i + 2 begins with edge i."""
    below, on, above = around_every_edge()
    for values, first_bin in ((below, 1), (on, 2), (above, 2)):
        expected = np.zeros(NUM_BINS, dtype=np.int64)
        expected[first_bin : first_bin + len(EDGES)] = 1
        np.testing.assert_array_equal(count_both(values)[0], expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_count_gradients__equals_the_literal_count_around_every_edge(sign):
    values = np.concatenate([*around_every_edge(), SPECIAL, np.float32(0.25) * F32_EDGES]) * np.float32(sign)
    np.testing.assert_array_equal(count_both(values)[0], literal_count(values))


@pytest.mark.parametrize(
    ("value", "position"),
    [
        (0.0, 0),
        (-0.0, 0),
        (SMALLEST_DENORMAL, 1),
        (-SMALLEST_DENORMAL, 1),
        (LARGEST_DENORMAL, 1),
        (np.finfo(np.float32).tiny, 1),
        (np.finfo(np.float32).max, NUM_BINS - 2),
        (10.0, NUM_BINS - 2),
        (np.inf, NUM_BINS - 1),
        (-np.inf, NUM_BINS - 1),
        (np.nan, NUM_BINS - 1),
    ],
)
def test_count_gradients__knows_the_ends_of_the_floats(value, position):
    counts = count_both(np.array([value], dtype=np.float32))[0]
    assert counts[position] == counts.sum() == 1


@pytest.mark.parametrize("num", [1, 3, 64])  # torch.abs takes another way for the rest of a vector
def test_count_gradients__counts_every_nan_as_not_finite(num):
    """Quiet, signalling, with odd payloads, negative: abs clears the sign bit, and no comparison with NaN is true."""
    values = np.repeat(np.array(NAN_BITS, dtype=np.uint32), num).view(np.float32)
    counts = count_both(values)[0]
    assert counts[-1] == counts.sum() == len(NAN_BITS) * num


def test_count_gradients__equals_a_search_for_every_upper_half_of_a_float():
    """Every key of the table, with the smallest, a middle and the largest float of that key: 3 * 32,768 values."""
    keys = np.arange(1 << 15, dtype=np.uint32) << 16
    values = np.concatenate([keys, keys | 0x7FFF, keys | 0xFFFF]).view(np.float32)
    np.testing.assert_array_equal(count_both(values)[0], literal_count(values))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)))
@example(np.array([], dtype=np.float32))
@example(SPECIAL)
def test_count_gradients__equals_the_literal_count_of_any_floats(values):
    np.testing.assert_array_equal(count_both(values)[0], literal_count(values))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-100, 100, width=32), max_size=8), min_size=1, max_size=6))
def test_count_gradients__counts_each_segment_by_itself(segments):
    lengths = np.array([len(segment) for segment in segments], dtype=np.int64)
    values = np.array([value for segment in segments for value in segment], dtype=np.float32)
    counts = count_both(values, lengths)
    for row, segment in zip(counts, segments, strict=True):
        np.testing.assert_array_equal(row, literal_count(np.array(segment, dtype=np.float32)))
    np.testing.assert_array_equal(counts.sum(axis=1), lengths)


@pytest.mark.parametrize("lengths", [[0], [0, 0, 3], [3, 0, 0], [0, 2, 0, 1, 0]])
def test_count_gradients__gives_empty_segments_a_row_of_zeros(lengths):
    values = np.linspace(0, 1, sum(lengths), dtype=np.float32)
    counts = count_both(values, np.array(lengths))
    assert counts.shape == (len(lengths), NUM_BINS)
    assert counts.sum(axis=1).tolist() == lengths


def test_count_gradients__of_no_segments_is_empty():
    counts = count_gradients(torch.empty(0), np.array([], dtype=np.int64))
    assert counts.shape == (0, NUM_BINS)
    assert counts.dtype == np.int64


def test_count_gradients__does_not_care_for_the_order_of_a_segment():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(count_both(values), count_both(values[::-1]))


def test_count_gradients__counts_a_strided_view():
    magnitude = torch.rand(20, generator=torch.Generator().manual_seed(0))
    expected = literal_count(magnitude[::2].numpy())
    np.testing.assert_array_equal(count_gradients(magnitude[::2], np.array([10]))[0], expected)


def test_count_by_table__needs_no_check_of_its_keys():
    """What the look-up without bounds check relies on: the sign bit alone makes a key too large, and it is cleared."""
    values = np.array([0xFFFFFFFF, 0x80000000], dtype=np.uint32).view(np.float32)
    assert _count_by_table(np.abs(values), np.array([2]))[0, [0, -1]].tolist() == [1, 1]


@pytest.mark.parametrize(
    "magnitude",
    [torch.tensor([-1.0]), torch.tensor([-0.0]), torch.tensor([1.0]).double(), torch.ones(1, 1), torch.tensor([1])],
)
def test_count_gradients__refuses_what_it_would_count_wrongly(magnitude):
    with pytest.raises(ValueError, match=r"a float32 vector without sign bits, got torch\.\w+ .*grad\.abs\(\)"):
        count_gradients(magnitude, np.array([1]))


def test_count_gradients__refuses_segments_of_another_length():
    with pytest.raises(ValueError, match="the segments have 3 gradients in total, got 2"):
        count_gradients(torch.zeros(2), np.array([1, 2]))


def test_count_and_sum__has_the_same_result_in_one_fetch_as_on_the_cpu():
    magnitude = torch.from_numpy(np.random.default_rng(0).standard_normal(10_000).astype(np.float32)).abs()
    segments, loss = np.array([4_000, 0, 5_999, 1]), torch.tensor(2.25)
    counts, sums, value = count_and_sum(magnitude, segments, loss)
    expected = [[part.double().sum(), part.double().square().sum()] for part in magnitude.split(segments.tolist())]
    np.testing.assert_array_equal(sums, np.array(expected))
    fetched = _in_one_fetch(magnitude, segments, loss)
    np.testing.assert_array_equal(fetched[0], counts)
    np.testing.assert_allclose(fetched[1], sums, rtol=1e-12)
    assert fetched[2] == value == 2.25
