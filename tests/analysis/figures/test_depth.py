from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, layer_profile, proportion, sweetness
from sweetgrad.analysis.figures import plot_depth, plot_layers, proportion_by_depth


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


pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install '.[plot]'")


def test_plot_layers__draws_every_layer_and_magnitude(profile: xr.Dataset, tmp_path: Path) -> None:
    layers = layer_profile(profile.isel(arch=[1]), (1e-4, 1e-3))
    figure = plot_layers(layers, path=tmp_path / "layers.png")
    above, below = figure.axes[:2]
    bars: list[Any] = list(above.patches)
    heights = [bar.get_height() for bar in bars]
    np.testing.assert_array_equal(heights, layers.proportion.values)
    shown = np.asarray(below.images[0].get_array())
    np.testing.assert_array_equal(shown, layers.grid_proportion.T.values)
    assert [text.get_text() for text in below.get_xticklabels()] == layers.layer.values.tolist()
    assert f"score {layers.score.item():,.0f} in [1e-4, 1e-3)" in above.get_title(loc="left")
    # The lines lie at the lower edges of the rows that begin at the thresholds.
    rows = [np.asarray(line.get_ydata())[0] + 0.5 for line in below.lines]
    np.testing.assert_allclose(layers.lower.values[np.round(rows).astype(int)], [1e-4, 1e-3])
    np.testing.assert_allclose(rows, np.round(rows), atol=1e-9)
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_plot_layers__colours_what_sweetness_follows(profile: xr.Dataset) -> None:
    layers = layer_profile(profile.isel(arch=[0]))
    colours = [bar.get_facecolor() for bar in plot_layers(layers).axes[0].patches]
    deep = layers.layer_type.isin(["cell", "reduction"]).values
    assert len({colour for colour, is_deep in zip(colours, deep, strict=True) if is_deep}) == 1
    assert colours[0] == colours[-1] != colours[1]


@pytest.mark.parametrize("interval", [(0, 1e-10), (0, "inf"), (1e-12, 1e-11), ("1/7000", "1/3000"), (100, 1000)])
def test_plot_layers__takes_any_interval_and_grid(profile: xr.Dataset, interval: Any, tmp_path: Path) -> None:
    for grid in (IntervalGrid(), IntervalGrid(1, 0.1, 1), IntervalGrid(split=10)):
        layers = layer_profile(profile.isel(arch=[0]), interval, grid=grid)
        above, below = plot_layers(layers, path=tmp_path / "x.svg").axes[:2]
        bars: list[Any] = list(above.patches)
        np.testing.assert_array_equal([bar.get_height() for bar in bars], layers.proportion.values)
        np.testing.assert_array_equal(np.asarray(below.images[0].get_array()), layers.grid_proportion.T.values)


def test_plot_layers__names_some_of_many_layers(make_profile: Callable[..., xr.Dataset]) -> None:
    many = make_profile(num_archs=1, layers=["cell"] * 200)
    axes = plot_layers(layer_profile(many)).axes[1]
    assert 40 < len(axes.get_xticks()) <= 64


def test_plot_layers__takes_names_that_are_no_mathematics(
    make_profile: Callable[..., xr.Dataset], tmp_path: Path
) -> None:
    rows = make_profile(num_archs=1, layers=["cell"] * 3)
    rows = rows.assign_coords(arch=["$a$b_{$"], layer=["x$", "$y_{$", "z" * 90])
    figure = plot_layers(layer_profile(rows), path=tmp_path / "x.png")
    assert max(len(text.get_text()) for text in figure.axes[1].get_xticklabels()) < 40
