import numpy as np
import pytest

from sweetgrad.analysis import Interval, score
from sweetgrad.analysis.figures import gradient_density, plot_gradients


def test_gradient_density__integrates_to_all_gradients_with_the_shares_outside(make_profile):
    found = gradient_density(make_profile(6, status=[1, 1, 0, 1, 1, 1]))
    width = np.log10(found["upper"].values / found["lower"].values)
    inside = (found["density"].values * width).sum(axis=1)
    profile = make_profile(6, status=[1, 1, 0, 1, 1, 1])
    finite = 1 - profile["grad_count"].isel(kind=0, bin=-1).sum("layer") / profile["num_params"].isel(kind=0).sum(
        "layer"
    )
    outside = sum(found[name].values for name in ("zero", "below", "above"))
    np.testing.assert_allclose((inside + outside)[0], finite.values[[0, 1, 3, 4, 5]].mean())
    assert found.attrs["num_archs"] == 5


def test_gradient_density__of_one_stretch_is_the_score_by_the_width_and_the_parameters(make_profile):
    profile = make_profile(5)
    found = gradient_density(profile).isel(group=0)
    at = int(np.flatnonzero(np.isclose(found["lower"], 1e-3))[0])
    assert float(found["upper"][at]) == 1.25e-3
    share = score(profile, Interval("1/1000", "1/800")) / profile["num_params"].isel(kind=0).sum("layer")
    np.testing.assert_allclose(found["density"][at], share.mean() / np.log10(1.25))
    np.testing.assert_allclose(found["high"][at], np.quantile(share, 0.9) / np.log10(1.25))


def test_gradient_density__shows_first_middle_and_last_of_the_cells(make_profile):
    assert gradient_density(make_profile())["group"].values.tolist() == ["network", "cell1", "reduction3", "cell4"]


def test_gradient_density__shows_the_network_alone_where_layers_differ(make_profile):
    profile = make_profile()
    profile["layer_type"].values[1, 4] = 0
    assert gradient_density(profile)["group"].values.tolist() == ["network"]


def test_gradient_density__of_nothing_measured_is_an_error(make_profile):
    with pytest.raises(ValueError, match="none of the 2 architectures was measured"):
        gradient_density(make_profile(2, status=[0, 0]))


def test_plot_gradients__draws_every_group_and_shades_the_interval(make_profile, tmp_path):
    pytest.importorskip("matplotlib")
    figure = plot_gradients(
        gradient_density(make_profile()), interval=Interval(1e-3, 1e-2), path=tmp_path / "gradients.png"
    )
    words = " ".join(text.get_text() for text in figure.axes[0].get_legend().get_texts())
    for word in ("network", "cell1", "reduction3", "cell4", "[1e-3, 0.01)", "exactly 0"):
        assert word in words
