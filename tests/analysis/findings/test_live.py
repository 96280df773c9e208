import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from sweetgrad.analysis import Interval, params_live, params_weights, score
from sweetgrad.analysis.findings import gain_of_live
from sweetgrad.analysis.findings.live import spearman_within


def test_spearman_within__is_the_mean_over_groups_by_their_size():
    random = np.random.RandomState(1)
    x, y, group = random.randint(0, 9, 200).astype(float), random.rand(200), random.randint(0, 4, 200) * 0.5
    found = [spearmanr(x[group == g], y[group == g]).statistic for g in np.unique(group)]
    sizes = [(group == g).sum() for g in np.unique(group)]
    assert spearman_within(x, y, group) == pytest.approx(np.average(found, weights=sizes))


def test_spearman_within__leaves_out_groups_that_cannot_be_ranked():
    x, group = np.array([1.0, 1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1, 1])
    assert spearman_within(x, np.arange(5.0), group) == pytest.approx(1)
    assert np.isnan(spearman_within(np.ones(4), np.arange(4.0), np.zeros(4)))


def test_gain_of_live__correlates_those_that_did_not_choose(make_profile):
    profile = make_profile(80)
    accuracy = xr.DataArray(np.random.RandomState(2).rand(80), {"arch": profile.arch.values}, ("arch",))
    interval = Interval(1e-4, 5e-4)
    gain = gain_of_live(profile, accuracy, interval, num_chose=30, bootstrap=3)
    late = slice(30, None)
    for name, values in (
        ("params", params_weights(profile)),
        ("params_live", params_live(profile)),
        ("sweet", score(profile, interval)),
    ):
        assert float(gain[name][0]) == pytest.approx(spearmanr(values[late], accuracy[late]).statistic)
    assert gain.sizes["resample"] == 4
    assert gain.attrs["num_archs"] == 50
    expected = (gain.params_live - gain.params) / (gain.sweet - gain.params)
    np.testing.assert_allclose(gain.share, expected)
