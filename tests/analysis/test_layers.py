"""One network, layer by layer: by hand, and against the functions that many architectures go through."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import (
    Interval,
    IntervalGrid,
    interval_counts,
    layer_profile,
    proportion,
    score,
    sweetness,
)
from sweetgrad.analysis.layers import SWEET_INTERVAL
from sweetgrad.store import EDGES, empty_rows

ALL = ("stem", "cell", "reduction", "head")


def test_layer_profile__by_hand() -> None:
    rows = empty_rows(["net"], [0], layers=["a", "b", "c"])
    rows.status[:], rows.loss[:] = 1, 2.5
    rows.layer_type[0] = [2, 3, 4]
    rows.num_params[0, :, 0] = [10, 20, 0]
    inside, above = 2 + EDGES.index(SWEET_INTERVAL.lower), 2 + EDGES.index(SWEET_INTERVAL.upper)
    rows.grad_count[0, 0, 0, [0, inside, above]] = [5, 1, 4]
    rows.grad_count[0, 1, 0, [inside, above - 1, above]] = [4, 2, 14]
    rows.grad_count_network[:] = rows.grad_count.sum("layer").values
    rows.grad_abs_sum[0, :, 0] = [1.0, 4.0, 0.0]

    found = layer_profile(rows)

    assert found.layer.values.tolist() == ["a", "b", "c"]
    assert found.layer_type.values.tolist() == ["cell", "reduction", "head"]
    assert found.num_params.values.tolist() == [10, 20, 0]
    assert found["count"].values.tolist() == [1, 6, 0]
    np.testing.assert_allclose(found.proportion, [0.1, 0.3, 0])
    np.testing.assert_allclose(found.zero, [0.5, 0, 0])
    np.testing.assert_allclose(found.grad_abs_mean, [0.1, 0.2, np.nan])
    assert (found.score.item(), found.sweetness.item(), found.loss.item()) == (7, 1, 2.5)
    assert found.attrs == {
        **{"arch": "net", "kind": "weight", "interval": "[1e-4, 5e-4)", "lower": 1e-4, "upper": 5e-4},
        "estimated": False,
    }


@pytest.mark.parametrize("kind", ["weight", "other", "all"])
@pytest.mark.parametrize("interval", [(1e-3, 1e-1), (0, 1e-10), Interval(1e-3, "inf")])
def test_layer_profile__equals_what_a_store_is_asked(profile: xr.Dataset, kind: Any, interval: Any) -> None:
    grid = IntervalGrid(1, 1e-4, 3)
    for number in range(profile.sizes["arch"]):
        one = profile.isel(arch=[number])
        found = layer_profile(one, interval, grid=grid, kind=kind)
        counts = interval_counts(one, interval, kind=kind).values[0, :, 0]
        np.testing.assert_array_equal(found["count"], counts)
        np.testing.assert_array_equal(found.grid_proportion, proportion(one, grid, kind=kind, layer_types=ALL)[0])
        np.testing.assert_array_equal(found.grid_sweetness, sweetness(proportion(one, grid, kind=kind)))
        assert found.score.item() == score(one, interval, kind=kind).item() == found["count"].sum()
        assert found.interval.values.tolist() == [str(each) for each in grid]
        xr.testing.assert_identical(found, layer_profile(profile.isel(arch=number), interval, grid=grid, kind=kind))


def test_layer_profile__leaves_padding_out(
    make_profile: Callable[..., xr.Dataset], complete: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    padded = make_profile(num_archs=1, layers=("stem", "cell", "cell", "head", "head"))
    padded.layer_type[0, -1] = padded.grad_count[0, -1] = 0
    deep = complete(padded).isel(layer=slice(4))
    xr.testing.assert_identical(layer_profile(padded), layer_profile(deep))


def test_layer_profile__takes_lazy_profiles(profile: xr.Dataset) -> None:
    xr.testing.assert_identical(layer_profile(profile.chunk().isel(arch=[1])), layer_profile(profile.isel(arch=[1])))


def test_layer_profile__has_no_sweetness_without_two_layers_to_compare(make_profile: Callable[..., xr.Dataset]) -> None:
    found = layer_profile(make_profile(num_archs=1, layers=("stem", "cell", "head")))
    assert np.isnan(found.sweetness)
    assert np.isnan(found.grid_sweetness).all()
    assert found.sizes["layer"] == 3


def test_layer_profile__marks_what_is_estimated(profile: xr.Dataset) -> None:
    assert layer_profile(profile.isel(arch=[0]), (1e-4, 3.1e-4)).attrs["estimated"]


def test_layer_profile__says_what_it_takes(profile: xr.Dataset, make_profile: Callable[..., xr.Dataset]) -> None:
    with pytest.raises(ValueError, match=r"takes one architecture, got 4: choose one, profile\.sel\(arch=\[name\]\)"):
        layer_profile(profile)
    with pytest.raises(ValueError, match="takes one interval, got 23"):
        layer_profile(profile.isel(arch=[0]), IntervalGrid())
    with pytest.raises(ValueError, match="none of the 1 architectures was measured"):
        layer_profile(make_profile(num_archs=1, status=[2]))
