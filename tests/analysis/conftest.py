"""Small profiles in memory, and an obvious twin that counts them bin by bin."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr

from sweetgrad.store import EDGES, LAYER_TYPES, NUM_BINS, empty_rows


def make_profile(
    num_archs: int = 4,
    layers: Sequence[str] = ("stem", "cell", "cell", "reduction", "cell", "head"),
    *,
    status: Sequence[int] | None = None,
    seed: int = 0,
    top: int = 9,
) -> xr.Dataset:
    """A profile with random counts; one layer type a layer, all rows measured unless ``status`` says otherwise."""
    random = np.random.RandomState(seed)
    arch = [f"a{i}" for i in range(num_archs)]
    rows = empty_rows(arch, range(num_archs), layers=[f"{name}{i}" for i, name in enumerate(layers)])
    rows.status[:] = 1 if status is None else status
    ran = (rows.status.values != 0)[:, None, None, None]
    rows.grad_count[:] = random.randint(0, top, rows.grad_count.shape) * ran
    rows.layer_type[:] = np.array([LAYER_TYPES[name] for name in layers]) * ran[:, :, 0, 0]
    rows.loss[:] = random.normal(2.3, 0.1, num_archs)
    return complete(rows)


def complete(rows: xr.Dataset) -> xr.Dataset:
    """Fill in what follows from ``grad_count``."""
    rows.grad_count_network[:] = rows.grad_count.sum("layer").values
    rows.num_params[:] = rows.grad_count.sum("bin").values
    return rows


def literal_count(histogram: np.ndarray, lower: Fraction, upper: Fraction | float) -> int:
    """Sum of one histogram's bins inside ``[lower, upper)``, bin by bin, by their rational edges."""
    total = 0
    for bin_ in range(NUM_BINS - 1):  # the last bin holds what is not finite: in no interval
        if bin_ == 0:
            inside = lower == 0
        else:
            start = Fraction(0) if bin_ == 1 else EDGES[bin_ - 2]
            inside = lower <= start < upper
        total += int(histogram[bin_]) * inside
    return total


@pytest.fixture
def profile() -> xr.Dataset:
    return make_profile()


@pytest.fixture(name="make_profile", scope="session")
def make_profile_fixture() -> Callable[..., xr.Dataset]:
    return make_profile


@pytest.fixture(name="complete")
def complete_fixture() -> Callable[[xr.Dataset], xr.Dataset]:
    return complete


@pytest.fixture(name="literal_count")
def literal_count_fixture() -> Callable[..., int]:
    return literal_count
