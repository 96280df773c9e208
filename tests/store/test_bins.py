from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetgrad.store.format.bins import EDGES, NUM_BINS, bin_bounds, edges_f32, threshold_bin


def test_edges__are_342_exact_fractions_that_ascend():
    assert len(EDGES) == 342
    assert (EDGES[0], EDGES[-1]) == (Fraction(1, 10**10), Fraction(10))
    assert all(a < b for a, b in pairwise(EDGES))
    assert NUM_BINS == 345


def test_edges__are_what_the_design_says():
    """The slow literal twin of the definition in DESIGN.md."""
    literal = {Fraction(1, 10**10)}
    for s in range(1, 11):
        for j in range(1, s + 1):
            for k in range(-10, 1):
                if Fraction(j, s) > Fraction(1, 10):
                    literal.add(Fraction(j, s) * Fraction(10) ** (k + 1))
    assert list(EDGES) == sorted(literal)


@pytest.mark.parametrize("split", range(1, 11))
def test_edges__hold_every_interval_of_a_triplet(split):
    """(max 10, min 1e-10, split): every order of magnitude in equal linear parts."""
    for k in range(-10, 1):
        for j in range(split + 1):
            edge = Fraction(j, split) * Fraction(10) ** (k + 1)
            if edge >= Fraction(10) ** k:
                assert threshold_bin(edge) is not None


def test_edges_f32__are_the_nearest_float32_of_each_fraction():
    """Proven with fractions: no neighbour in float32 is nearer, and none is as near."""
    for edge, rounded in zip(EDGES, edges_f32(), strict=True):
        error = abs(Fraction(float(rounded)) - edge)
        for towards in (-np.inf, np.inf):
            neighbour = np.nextafter(rounded, np.float32(towards), dtype=np.float32)
            assert error < abs(Fraction(float(neighbour)) - edge)


def test_edges_f32__ascend_strictly_and_cannot_be_changed():
    assert (np.diff(edges_f32()) > 0).all()
    assert edges_f32().dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        edges_f32()[0] = 1


def test_bin_bounds__leave_no_gap():
    lower, upper = bin_bounds()
    assert lower.shape == upper.shape == (NUM_BINS,)
    assert np.array_equal(lower[2:-1], upper[1:-2])
    assert (lower[0], upper[0], lower[1], upper[-2]) == (0, 0, 0, np.inf)
    assert np.isnan([lower[-1], upper[-1]]).all()
    assert np.array_equal(lower[2:-1].astype(np.float32), edges_f32())


@given(st.sampled_from(EDGES))
def test_threshold_bin__is_the_bin_that_starts_at_the_edge(edge):
    index = threshold_bin(edge)
    assert index is not None
    assert bin_bounds()[0][index] == float(edge)
    assert bin_bounds()[0][index].astype(np.float32) == edges_f32()[EDGES.index(edge)]
    assert threshold_bin(edge + Fraction(1, 10**12)) is None


def test_threshold_bin__of_zero_takes_the_exact_zeros_in():
    assert threshold_bin(Fraction(0)) == 0
    assert threshold_bin(Fraction(3, 10**3)) is not None
    assert threshold_bin(Fraction(1, 11)) is None
