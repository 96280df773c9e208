import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from sweetgrad.analysis import Interval, params_live, params_weights, score
from sweetgrad.analysis.findings import gain_of_live


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
    np.testing.assert_allclose(gain.share_of_gain, expected)
