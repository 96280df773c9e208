from collections.abc import Callable

import dask
import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import Interval, IntervalGrid, best_interval, interval_counts, proportion, score
from sweetgrad.store import LAYER_TYPES

Make = Callable[..., xr.Dataset]


def test_score__sums_the_layers(profile: xr.Dataset) -> None:
    interval = Interval(1e-4, 5e-4)
    scores = score(profile, interval, kind="other")
    assert scores.dims == ("arch",)
    assert scores.dtype == np.float64
    expected = interval_counts(profile, interval, kind="other").sum(["layer", "interval"])
    np.testing.assert_array_equal(scores.values, expected.values)


def test_score__is_nan_where_not_measured(make_profile: Make) -> None:
    scores = score(make_profile(status=[1, 0, 2, 1]), IntervalGrid())
    assert scores.dims == ("arch", "interval")
    np.testing.assert_array_equal(scores.isnull().all("interval"), [False, True, True, False])
    np.testing.assert_array_equal(scores.isnull().any("interval"), [False, True, True, False])


def test_score__takes_the_best_interval(profile: xr.Dataset) -> None:
    best = best_interval(profile, IntervalGrid(1, 1e-3, 2), bootstrap=5)
    xr.testing.assert_identical(score(profile, best), score(profile, best.interval))
    xr.testing.assert_identical(score(profile, best), score(profile, (best.lower, best.upper)))


def test_score__of_everything_is_every_finite_parameter(profile: xr.Dataset) -> None:
    finite = profile.grad_count_network.isel(bin=slice(-1), kind=0).sum("bin")
    np.testing.assert_array_equal(score(profile, Interval(0)).values, finite.values)


def test_score__stays_lazy_and_is_the_same(profile: xr.Dataset, no_compute: None) -> None:
    lazy = score(profile.chunk(arch=2, kind=1), IntervalGrid())
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_identical(lazy.compute(), score(profile, IntervalGrid()))


def literal_proportion(profile: xr.Dataset, interval: Interval, types: tuple[str, ...]) -> list[list[float]]:
    """Eq. 2, architecture by architecture: one list of the real layers each."""
    counts = interval_counts(profile, interval).isel(interval=0).values
    result = []
    for a in range(profile.sizes["arch"]):
        shares = []
        for layer in range(profile.sizes["layer"]):
            if profile.layer_type.values[a, layer] in [LAYER_TYPES[name] for name in types]:
                total = profile.grad_count.values[a, layer, 0].sum()
                shares.append(counts[a, layer] / total if total else 0.0)
        result.append(shares)
    return result


@pytest.mark.parametrize("types", [("cell", "reduction"), ("cell",), ("stem", "head")])
def test_proportion__equals_the_literal_twin(profile: xr.Dataset, types: tuple[str, ...]) -> None:
    interval = Interval(1e-4, 5e-4)
    shares = proportion(profile, interval, layer_types=types)
    assert shares.dims == ("arch", "layer", "interval")
    np.testing.assert_array_equal(shares.isel(interval=0).values, literal_proportion(profile, interval, types))


def test_proportion__keeps_the_names_of_the_layers(profile: xr.Dataset) -> None:
    names = proportion(profile, IntervalGrid(), layer_types=("reduction", "cell")).layer.values
    assert list(names) == ["cell1", "cell2", "reduction3", "cell4"]


def test_proportion__of_an_empty_layer_is_zero(profile: xr.Dataset, complete: Make) -> None:
    profile.grad_count[1, 2] = 0
    shares = proportion(complete(profile), IntervalGrid())
    assert (shares.isel(arch=1, layer=1) == 0).all()
    assert not np.isnan(shares).any()


def test_proportion__divides_by_gradients_that_are_not_finite_too(profile: xr.Dataset, complete: Make) -> None:
    profile.grad_count[0, 1, 0] = 0
    profile.grad_count[0, 1, 0, 0] = 1
    profile.grad_count[0, 1, 0, -1] = 3
    assert proportion(complete(profile), Interval(0))[0, 0, 0] == 0.25


def test_proportion__closes_up_layers_that_differ_between_architectures(make_profile: Make) -> None:
    profile = make_profile(3, status=[1, 2, 1])
    profile.layer_type[0] = [1, 2, 4, 3, 2, 0]
    interval = Interval(1e-5, 1e-2)
    shares = proportion(profile, interval).isel(interval=0)
    literal = literal_proportion(profile, interval, ("cell", "reduction"))
    assert shares.sizes["layer"] == 4
    np.testing.assert_array_equal(shares.values[0], [*literal[0], np.nan])
    assert np.isnan(shares.values[1]).all()
    np.testing.assert_array_equal(shares.values[2], literal[2])
    lazy = proportion(profile.chunk(arch=1), interval)
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy.isel(interval=0).values, shares.values)


def test_proportion__ignores_layer_types_of_rows_not_measured(make_profile: Make) -> None:
    shares = proportion(make_profile(3, status=[1, 0, 1]), IntervalGrid())
    assert list(shares.layer.values) == ["cell1", "cell2", "reduction3", "cell4"]
    np.testing.assert_array_equal(shares.isnull().all(["layer", "interval"]), [False, True, False])


def test_proportion__stays_lazy_but_for_what_decides_the_shape(profile: xr.Dataset, no_compute: None) -> None:
    lazy = profile.chunk(arch=2, kind=1).assign(layer_type=profile.layer_type, status=profile.status)
    shares = proportion(lazy, IntervalGrid())
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_allclose(shares.compute(), proportion(profile, IntervalGrid()), rtol=0, atol=0)


def test_proportion__says_what_is_missing(make_profile: Make) -> None:
    with pytest.raises(ValueError, match="none of the 4 architectures was measured"):
        proportion(make_profile(status=[0, 0, 2, 0]), IntervalGrid())
    with pytest.raises(ValueError, match="no layer is of type stem"):
        proportion(make_profile(layers=["cell", "cell"]), IntervalGrid(), layer_types=("stem",))
    for wrong in ("cell", ("cells",), ("padding",)):
        with pytest.raises(ValueError, match="layer_types must be a tuple of names from stem, cell, reduction, head"):
            proportion(make_profile(), IntervalGrid(), layer_types=wrong)
