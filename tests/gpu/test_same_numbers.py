"""A GPU rounds differently, and that is all: the same totals, and few parameters in another bin.

The twins on the CPU replace the GPU by other convolution algorithms of the CPU, which round differently as well.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.store import SpecMismatchError, create_profile

# torch says so whenever the flags of oneDNN are set.
pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")

MOST_MOVED = {"weight": 0.05, "other": 0.30}
"""Share of a network's parameters that may lie in another bin than on the CPU.

Most of ``other`` moves because a bias that a normalisation follows has gradient 0 but for rounding.
"""
MEAN_MOVED_WEIGHTS = 0.01
"""The same, of weights, as the mean over networks."""
NUM_ARCHS = 12
CONTENT = ["grad_count", "grad_count_network", "grad_abs_sum", "grad_sq_sum", "num_params", "loss", "status"]


def measured(device: str) -> xr.Dataset:
    """Networks from all over NAS-Bench-201, on the digits."""
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=32)
    indices = range(0, len(space), len(space) // NUM_ARCHS)
    return profile_architectures(space, indices, batch, make_spec(space, batch, device=device))


def measured_by_other_algorithms() -> xr.Dataset:
    with torch.backends.mkldnn.flags(enabled=False):
        return measured("cpu")


@pytest.fixture(scope="module")
def on_cpu() -> xr.Dataset:
    return measured("cpu")


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), "other algorithms"])
def measure(request: pytest.FixtureRequest) -> Callable[[], xr.Dataset]:
    return measured_by_other_algorithms if request.param == "other algorithms" else lambda: measured("cuda")


def test_profile_architectures__differs_by_rounding_alone(measure, on_cpu):
    rows = measure()
    assert (rows["status"] == 1).all()
    assert not rows["grad_count"].equals(on_cpu["grad_count"])  # else the comparison below says nothing
    xr.testing.assert_equal(rows["num_params"], on_cpu["num_params"])
    xr.testing.assert_equal(rows["grad_count"].sum("bin"), on_cpu["grad_count"].sum("bin"))
    np.testing.assert_allclose(rows["loss"], on_cpu["loss"], rtol=1e-4)
    counts, expected = (data["grad_count"].astype(np.int64) for data in (rows, on_cpu))
    # One parameter that moves takes 1 from a bin and gives 1 to another.
    moved = np.abs(counts - expected).sum(["layer", "bin"]) / 2 / expected.sum(["layer", "bin"])
    for kind, most in MOST_MOVED.items():
        assert float(moved.sel(kind=kind).max()) < most
    assert float(moved.sel(kind="weight").mean()) < MEAN_MOVED_WEIGHTS


def test_profile_architectures__repeats_itself_bit_for_bit(measure):
    xr.testing.assert_identical(measure()[CONTENT], measure()[CONTENT])


def test_create_profile__refuses_to_continue_on_another_device(tmp_path):
    """Needs no GPU: what a spec says is enough."""
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    arch = [space.arch_id(index) for index in range(len(space))]
    create_profile(tmp_path / "s.zarr", make_spec(space, batch), arch=arch, layers=space.layer_names)
    with pytest.raises(SpecMismatchError, match='device: stored "cpu", requested "cuda"'):
        create_profile(tmp_path / "s.zarr", make_spec(space, batch, device="cuda"), arch=arch, layers=space.layer_names)
