from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import loss_summary, params, params_live, params_weights

Make = Callable[..., xr.Dataset]


def test_params__count_both_kinds(make_profile: Make) -> None:
    profile = make_profile(status=[1, 1, 0, 2])
    counts = profile.grad_count.astype("int64")
    expected = counts.sum(["layer", "kind", "bin"]).values
    np.testing.assert_array_equal(params(profile).values, [*expected[:2], np.nan, np.nan])
    np.testing.assert_array_equal(
        params_weights(profile).values[:2], counts.sel(kind="weight").sum(["layer", "bin"]).values[:2]
    )
    live = counts.sel(kind="weight").isel(bin=slice(1, -1)).sum(["layer", "bin"]).values
    np.testing.assert_array_equal(params_live(profile).values, [*live[:2], np.nan, np.nan])


def test_params__do_not_overflow(make_profile: Make) -> None:
    profile = make_profile(1, ["cell", "cell"])
    profile.num_params[:] = 2**32 - 1
    assert params(profile).item() == 4 * (2**32 - 1)
    assert params_weights(profile).item() == 2 * (2**32 - 1)


@pytest.mark.parametrize("baseline", [params, params_weights, params_live])
def test_params__stay_lazy(profile: xr.Dataset, no_compute: None, baseline: Callable[..., xr.DataArray]) -> None:
    lazy = baseline(profile.chunk(arch=2, kind=1))
    assert lazy.chunks is not None
    assert lazy.name == baseline.__name__
    assert lazy.dims == ("arch",)


def test_loss_summary__leaves_out_what_was_not_measured(make_profile: Make) -> None:
    profile = make_profile(5, status=[1, 1, 1, 0, 1])
    profile.loss[:] = [2, 3, 4, 100, np.inf]
    summary = loss_summary(profile.chunk(arch=2))
    assert (summary.mean, summary.sd, summary.num_archs) == (3, 1, 3)


def test_loss_summary__is_nan_without_architectures(make_profile: Make) -> None:
    summary = loss_summary(make_profile(2, status=[0, 0]))
    assert np.isnan([summary.mean, summary.sd]).all()
    assert summary.num_archs == 0
