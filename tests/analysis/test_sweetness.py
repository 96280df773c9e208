import itertools
from collections.abc import Callable
from fractions import Fraction

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.analysis import Interval, IntervalGrid, best_interval, proportion, sweetness
from sweetgrad.store import NUM_BINS
from sweetgrad.store.format.bins import threshold_bin

Make = Callable[..., xr.Dataset]
DIMS = ("arch", "layer", "interval")
NAN = np.nan


def literal_sweetness(shares: np.ndarray) -> list[float]:
    """Eq. 3 with loops."""
    result = []
    for i in range(shares.shape[2]):
        by_arch = []
        for arch in range(shares.shape[0]):
            real = [p for p in shares[arch, :, i] if not np.isnan(p)]
            signs = [int(b > a) - int(b < a) for a, b in itertools.pairwise(real)]
            if signs:
                by_arch.append(sum(signs) / len(signs))
        result.append(sum(by_arch) / len(by_arch))
    return result


def test_sweetness__averages_over_layers_then_architectures() -> None:
    p = xr.DataArray([[[0.1], [0.2], [0.3]], [[0.5], [0.4], [0.6]], [[0.2], [0.2], [0.1]]], dims=DIMS)
    np.testing.assert_allclose(sweetness(p).values, [(1 + 0 - 0.5) / 3])


def test_sweetness__ignores_padding() -> None:
    # Two rises of two in the deep one, one fall of one in the shallow one: a mean over the padded depth would give 0.25.
    p = xr.DataArray([[[0.1], [0.2], [0.3]], [[0.5], [0.4], [NAN]], [[NAN]] * 3], dims=DIMS)
    assert sweetness(p).item() == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_sweetness__equals_the_literal_twin(num_archs: int, num_layers: int, num_intervals: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    shares = random.randint(0, 4, (num_archs, num_layers, num_intervals)) / 3
    for arch in range(num_archs):
        shares[arch, random.randint(2, num_layers + 1) :] = NAN
    result = sweetness(xr.DataArray(shares, dims=DIMS))
    np.testing.assert_allclose(result.values, literal_sweetness(shares), atol=1e-12)
    assert (np.abs(result) <= 1).all()
    falling = sweetness(xr.DataArray(1 - shares, dims=DIMS))
    np.testing.assert_allclose(falling.values, -result.values, atol=1e-12)


@pytest.mark.parametrize("layers", [["cell"] * 3, ["stem", "cell", "reduction", "cell", "head"]])
def test_best_interval__reads_blocks_and_gives_what_its_parts_give(make_profile: Make, layers: list[str]) -> None:
    profile = make_profile(num_archs=11, layers=layers)
    profile.layer_type[3] = profile.layer_type[3, ::-1].values  # one network has its layers elsewhere
    profile.layer_type[7, -1] = 0
    profile.grad_count.encoding["chunks"] = (4, len(layers), 1, NUM_BINS)
    by_parts = sweetness(proportion(profile, IntervalGrid()))
    best = best_interval(profile, num_archs=11, bootstrap=10)
    np.testing.assert_allclose(best.table["sweetness"].values, by_parts.values, rtol=1e-14)
    xr.testing.assert_identical(best.table, best_interval(profile.chunk(arch=3), num_archs=11, bootstrap=10).table)


def test_sweetness__stays_lazy_and_is_the_same(no_compute: None) -> None:
    p = xr.DataArray(np.random.RandomState(0).random_sample((4, 5, 3)), dims=DIMS)
    p[1, 3:] = NAN
    p[2] = NAN
    lazy = sweetness(p.chunk(arch=2))
    assert lazy.chunks is not None
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_allclose(lazy.values, sweetness(p).values, rtol=1e-14)


def test_sweetness__says_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"needs the dims arch and layer, got .*\['arch'\] missing"):
        sweetness(xr.DataArray([[0.1]], dims=("layer", "interval")))
    with pytest.raises(ValueError, match="need at least 2, got 1"):
        sweetness(xr.DataArray([[[0.1]]], dims=DIMS))


def set_shares(profile: xr.Dataset, complete: Make, shares: dict[str, list[float]]) -> xr.Dataset:
    """Give every layer 100 weights: the share asked for at each lower threshold, the rest above 10."""
    profile.grad_count[:, :, 0] = 0
    profile.grad_count[:, :, 0, -2] = 100
    for threshold, by_layer in shares.items():
        counts = np.array(by_layer) * 100
        profile.grad_count[:, :, 0, threshold_bin(Fraction(threshold))] = counts.astype("uint32")
        profile.grad_count[:, :, 0, -2] -= counts.astype("uint32")
    return complete(profile)


def test_best_interval__finds_the_rising_one(make_profile: Make, complete: Make) -> None:
    profile = make_profile(3, ["cell"] * 4)
    rising = {"1e-4": [0.1, 0.2, 0.3, 0.4], "1e-3": [0.1, 0.2, 0.2, 0.3]}
    best = best_interval(set_shares(profile, complete, rising))
    assert best.interval == Interval(1e-4, 5e-4)
    assert (best.lower, best.upper) == (Fraction(1, 10**4), Fraction(5, 10**4))
    assert (best.sweetness, best.win_rate, best.num_archs) == (1, 1, 3)
    assert best.runner_up == Interval(1e-3, 5e-3)
    assert best.runner_up_sweetness == pytest.approx(2 / 3)
    assert best.runner_up_win_rate == 0
    assert str(best) == (
        "[1e-4, 5e-4): sweetness 1.000 over 3 architectures, win rate 100%; runner-up [1e-3, 5e-3): 0.667, 0%"
    )


def test_best_interval__takes_the_lower_one_on_a_tie(make_profile: Make, complete: Make) -> None:
    profile = make_profile(7, ["cell"] * 4)
    equal = {"1e-2": [0.1, 0.2, 0.3, 0.4], "1e-5": [0.1, 0.2, 0.3, 0.4]}
    best = best_interval(set_shares(profile, complete, equal))
    assert best.interval == Interval(1e-5, 5e-5)
    assert best.runner_up == Interval(1e-2, 5e-2)
    assert best.win_rate == 1


def test_best_interval__agrees_with_sweetness(make_profile: Make) -> None:
    profile = make_profile(30, seed=3)
    best = best_interval(profile, bootstrap=300)
    expected = sweetness(proportion(profile, IntervalGrid()))
    np.testing.assert_allclose(best.table.sweetness.values, expected.values, atol=1e-12)
    assert best.table.win_rate.sum() == pytest.approx(1)
    assert best.table.sweetness.max() == best.sweetness
    assert best.table.win_rate.sel(interval=str(best.interval)) == best.win_rate


def test_best_interval__resamples_architectures(make_profile: Make) -> None:
    profile = make_profile(12, seed=5)
    best = best_interval(profile, bootstrap=400, seed=1)
    random = np.random.RandomState(9)
    wins = dict.fromkeys(best.table.interval.values, 0)
    shares = proportion(profile, IntervalGrid())
    for _ in range(400):
        drawn = sweetness(shares.isel(arch=random.randint(0, 12, 12)))
        wins[str(drawn.interval.values[np.round(drawn.values, 12).argmax()])] += 1
    literal = np.array(list(wins.values())) / 400
    # Two independent draws of 400: their shares differ by less than four standard errors.
    assert np.abs(best.table.win_rate.values - literal).max() < 4 * np.sqrt(2 * 0.25 / 400)
    assert 0 < best.win_rate < 1
    assert best == best_interval(profile, bootstrap=400, seed=1)
    assert not best.table.win_rate.equals(best_interval(profile, bootstrap=400, seed=2).table.win_rate)


def test_best_interval__uses_the_first_measured(make_profile: Make) -> None:
    profile = make_profile(6, status=[0, 1, 2, 1, 1, 1])
    best = best_interval(profile, num_archs=3, bootstrap=10)
    assert best.num_archs == 3
    alone = best_interval(profile.isel(arch=[1, 3, 4]), bootstrap=10)
    xr.testing.assert_equal(best.table, alone.table)
    xr.testing.assert_equal(best.table, best_interval(profile.chunk(arch=2, kind=1), num_archs=3, bootstrap=10).table)


def test_best_interval__says_how_many_were_measured(make_profile: Make) -> None:
    with pytest.raises(ValueError, match=r"at least 2 measured architectures, asked for 100: 1 of 4 were measured"):
        best_interval(make_profile(status=[0, 1, 2, 0]))
    with pytest.raises(ValueError, match=r"asked for 1: 4 of 4"):
        best_interval(make_profile(), num_archs=1)
    with pytest.raises(ValueError, match="at least 2 intervals, got 1"):
        best_interval(make_profile(), Interval(0, 1))
    with pytest.raises(ValueError, match="bootstrap must be at least 1"):
        best_interval(make_profile(), bootstrap=0)
