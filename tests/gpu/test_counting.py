"""Counts are exact on a GPU, too. The CPU twin is ``_count_by_bucketize`` on the CPU, in tests/profiling/test_counting.py."""

import numpy as np
import pytest
import torch

from sweetgrad.profiling import count_gradients
from sweetgrad.store import edges_f32

pytestmark = pytest.mark.gpu

SPECIAL = np.array([0, 0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0xFF800001], np.uint32)


def assert_same_counts(values: np.ndarray, segments: np.ndarray) -> None:
    magnitude = torch.from_numpy(values).abs()
    np.testing.assert_array_equal(count_gradients(magnitude.cuda(), segments), count_gradients(magnitude, segments))


def test_count_gradients__counts_every_edge_and_special_value_the_same():
    edges = edges_f32()
    around = np.concatenate([np.nextafter(edges, np.float32(0)), edges, np.nextafter(edges, np.float32(np.inf))])
    values = np.concatenate([around, SPECIAL.view(np.float32)]).astype(np.float32)
    assert_same_counts(values, np.array([100, 0, len(values) - 100]))


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0])
def test_count_gradients__counts_a_million_gradients_the_same(scale):
    values = (np.random.default_rng(0).standard_normal(1_000_000) * scale).astype(np.float32)
    assert_same_counts(values, np.array([999_000, 1000]))
