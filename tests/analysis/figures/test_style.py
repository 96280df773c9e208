"""What stands beside a tick is its value, in every figure."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from sweetgrad.analysis import IntervalGrid, best_interval, heatmap, layer_profile
from sweetgrad.analysis.figures import (
    FIGURES,
    choice_by_num_archs,
    choice_by_setting,
    figure,
    gradient_density,
    open_analysis,
    plot_depth,
    plot_gradients,
    plot_heatmap,
    plot_layers,
    plot_num_archs,
    plot_scatter,
    plot_settings,
    plot_sweetness,
    proportion_by_depth,
    score_and_accuracy,
)
from sweetgrad.analysis.figures.style import count_label, power_ticks, share_label

pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install 'sweetgrad[plot]'")

LINEAR = {
    "estimators": 1,
    "heatmap": 1,
    "depth": 6,
    "batch-size": 2,
    "seed": 2,
    "gradients": 2,
    "scatter": 4,
    "sweetness": 1,
}
"""Figure to its number of axes of numbers; the others hold names."""


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "num-archs"])
def test_figure__labels_say_the_value(name, store, check_ticks):
    assert check_ticks(figure(name, open_analysis(store, "toy/digits/bs64-seed0", bootstrap=20))) == LINEAR[name]


@pytest.mark.parametrize("top", [0.0007, 0.006, 0.02, 0.045, 0.13, 0.6, 1.0])
def test_plot_depth__labels_say_the_value_of_small_shares(top, make_profile, check_ticks):
    depth = proportion_by_depth(make_profile(5), [(0, 1e-3), (1e-3, 1e-2), (1e-2, 1)])
    assert check_ticks(plot_depth(depth.assign(proportion=depth["proportion"] * top / depth["proportion"].max()))) == 6


@pytest.mark.parametrize("top", [0.002, 0.03, 0.3, 4.0])
def test_plot_gradients__labels_say_the_value_of_small_densities(top, make_profile, check_ticks):
    density = gradient_density(make_profile(5))
    factor = top / float(density["high"].max())
    scaled = density.assign({name: density[name] * factor for name in ("density", "low", "high")})
    assert check_ticks(plot_gradients(scaled)) >= 1


def test_plot_num_archs__labels_say_the_value(make_profile, check_ticks):
    profile = make_profile(12)
    accuracy = xr.DataArray(np.linspace(60, 95, 12), {"arch": profile.arch.values}, "arch")
    choice = choice_by_num_archs(profile, IntervalGrid(1, 1e-3, 1), accuracy=accuracy, sizes=(4, 8), draws=20)
    assert check_ticks(plot_num_archs(choice)) == 2
    close = choice.copy()
    for name in ("mean", "low", "high", "first_correlation"):
        close[name] = 0.89 + 1e-5 * choice[name]
    assert check_ticks(plot_num_archs(close)) == 2


@pytest.mark.parametrize("scale", [1e-6, 0.3, 40, 3e4, 7e6])
@pytest.mark.parametrize("num", [100, 2500])
def test_plot_scatter__labels_say_the_value(scale, num, check_ticks):
    random = np.random.RandomState(0)
    names = [f"a{i}" for i in range(num)]
    score, accuracy = (xr.DataArray(random.rand(num), {"arch": names}, "arch") for _ in range(2))
    drawn = plot_scatter(score_and_accuracy(score * scale, 90 + accuracy, bootstrap=0))
    assert check_ticks(drawn) == (4 if num == 100 else 6)  # with a colour bar for each panel


def test_plot_scatter__of_many_says_what_its_colours_mean():
    points = score_and_accuracy(
        *(xr.DataArray(np.arange(3000.0) // 700, {"arch": [f"a{i}" for i in range(3000)]}, "arch") for _ in range(2)),
        bootstrap=0,
    )
    drawn = plot_scatter(points)
    hexagons, bars = [axes.collections[0] for axes in drawn.axes[:2]], drawn.axes[2:]
    assert [bar.get_xlabel() for bar in bars] == ["architectures"] * 2
    for of, bar in zip(hexagons, bars, strict=True):
        assert of.get_array().sum() == 3000
        assert bar.get_xlim() == pytest.approx((1, of.get_array().max())) == (1, 700)


@pytest.mark.parametrize("split", [1, 2, 3, 10])
def test_figures__over_intervals_label_the_threshold_that_is_there(split, make_profile, value_of):
    profile, grid = make_profile(4), IntervalGrid(10, 1e-6, split)
    accuracy = xr.DataArray([90.0, 91.0, 92.5, 89.0], {"arch": profile.arch.values}, "arch")
    best, table = best_interval(profile, grid, bootstrap=2), heatmap(profile, accuracy, grid)
    layers = layer_profile(profile.isel(arch=[0]), grid=grid)
    edges = np.append(layers["lower"].values, layers["upper"].values[-1])
    pairs = plot_heatmap(table).axes[0]
    settings = choice_by_setting({"1": profile}, grid, bootstrap=2)
    for axis, thresholds, moved in (
        (plot_sweetness(best).axes[0].xaxis, best.table["lower"].values, 0.5),
        (pairs.xaxis, table["upper"].values, 0),
        (pairs.yaxis, table["lower"].values, 0),
        (plot_layers(layers).axes[1].yaxis, edges, 0.5),
        (plot_settings(settings).axes[0].xaxis, settings["lower"].values, 0),
    ):
        labels = [text.get_text() for text in axis.get_ticklabels()]
        assert len(labels) >= 3
        places = (axis.get_ticklocs() + moved).astype(int)
        np.testing.assert_allclose([value_of(label) for label in labels], thresholds[places], rtol=5e-3)


@given(st.lists(st.integers(-12, 3), min_size=1, unique=True), st.booleans(), st.sampled_from([1, 2, 5]))
def test_power_ticks__write_numbers_one_way_on_one_axis(exponents, with_zero, split):
    thresholds = np.array(
        [0.0] * with_zero + sorted(k / split * 10.0**e for e in exponents for k in range(1, split + 1))
    )
    places, labels = power_ticks(thresholds)
    assert len(labels) == len(places) > 0
    written = {label.startswith("$10^") for label in labels if label != "0"}
    assert len(written) == 1


@pytest.mark.parametrize(("label", "unit"), [(share_label, 1.0), (count_label, 1.0), (count_label, 1e6)])
@given(low=st.floats(0, 1), width=st.floats(1e-3, 1), num=st.sampled_from([4, 9]))
def test_labels__of_any_range_say_the_value(label, unit, low, width, num, value_of):
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(num).tick_values(unit * low, unit * (low + width))
    said = [value_of(label(tick)) for tick in ticks]
    np.testing.assert_allclose(said, ticks, atol=0.01 * (ticks[1] - ticks[0]), rtol=0)
