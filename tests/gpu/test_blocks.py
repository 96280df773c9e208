"""Blocks measure on a GPU what they measure on the CPU, but for rounding; the twin on the CPU is as in test_same_numbers.py."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.store import STATISTICS

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")

BLOCKS = list(STATISTICS)
INDICES = (1_462, 11_472)
MOST_OFF = 0.2
"""Norm of the difference of a variable, over its norm."""
OF_ROUNDING = {"snr_bin_sum", "tensor_snr_sum"}
"""Sums of mean over deviation, which a weight without a gradient but for rounding may dominate."""


def measured(device: str) -> xr.Dataset:
    space, batch = load_space("nas-bench-201"), load_batch("synthetic", batch_size=16, second=True)
    return profile_architectures(space, INDICES, batch, make_spec(space, batch, device=device), blocks=BLOCKS)


@pytest.fixture(scope="module")
def on_cpu() -> xr.Dataset:
    return measured("cpu")


def by_other_algorithms() -> xr.Dataset:
    with torch.backends.mkldnn.flags(enabled=False):
        return measured("cpu")


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), "other algorithms"])
def measure(request: pytest.FixtureRequest) -> Callable[[], xr.Dataset]:
    return by_other_algorithms if request.param == "other algorithms" else lambda: measured("cuda")


def test_profile_architectures__measures_the_same_blocks(measure, on_cpu):
    rows = measure()
    for block in BLOCKS:
        assert (rows[f"{block}_status"] == on_cpu[f"{block}_status"]).all(), rows[f"{block}_message"].values
        assert (rows[f"{block}_seconds"] > 0).all()
    off = {}
    for name, values in rows.data_vars.items():
        if values.dtype.kind != "f" or str(name).endswith("seconds"):
            continue
        ours, theirs = values.values.astype(float), on_cpu[name].values.astype(float)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=str(name))
        off[str(name)] = float(np.nansum((ours - theirs) ** 2) ** 0.5 / (np.nansum(theirs**2) ** 0.5 or 1.0))
    assert len(off) > 20
    assert {name: value for name, value in off.items() if value > MOST_OFF and name not in OF_ROUNDING} == {}
