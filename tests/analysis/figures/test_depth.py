import numpy as np
import pytest

from sweetgrad.analysis import IntervalGrid, proportion, sweetness
from sweetgrad.analysis.figures import plot_depth, proportion_by_depth


def test_proportion_by_depth__is_the_mean_and_the_quantiles_of_the_proportion(make_profile):
    profile, grid = make_profile(9), IntervalGrid(1, 1e-3, 1)
    found = proportion_by_depth(profile, grid, quantiles=(0, 0.5, 1))
    shares = proportion(profile, grid)
    np.testing.assert_allclose(found["mean"], shares.mean("arch").transpose("interval", "layer").values)
    for level, twin in enumerate((shares.min("arch"), shares.median("arch"), shares.max("arch"))):
        np.testing.assert_allclose(found["proportion"][level], twin.transpose("interval", "layer").values)
    np.testing.assert_allclose(found["sweetness"], sweetness(shares).values)
    assert found["num_archs"].values.tolist() == [9, 9, 9, 9]
    assert found["layer"].values.tolist() == [1, 2, 3, 4]


def test_proportion_by_depth__leaves_out_what_was_not_measured_and_layers_that_are_not_there(make_profile):
    profile = make_profile(4, status=[1, 0, 1, 1])
    profile["layer_type"].values[2, 4] = 0  # the third architecture ends one cell earlier
    found = proportion_by_depth(profile, (0, 1))
    assert found["num_archs"].values.tolist() == [3, 3, 3, 2]
    last = proportion(profile, [(0, 1)]).isel(layer=3, interval=0).values
    np.testing.assert_allclose(found["mean"][0, 3], last[[0, 3]].mean())


def test_plot_depth__has_a_panel_for_each_interval_and_draws_its_median(make_profile, tmp_path):
    pytest.importorskip("matplotlib")
    data = proportion_by_depth(make_profile(), [(0, 1e-3), (1e-3, 1e-2), (1e-2, 1), (0, 1)])
    figure = plot_depth(data, path=tmp_path / "depth.svg")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 4
    np.testing.assert_array_equal(shown[1].lines[0].get_ydata(), data["proportion"].sel(quantile=0.5)[1])
    assert "[1e-3, 0.01)" in shown[1].get_title("left")
    assert "<svg" in (tmp_path / "depth.svg").read_text()
