from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, layer_profile, plot_layers

pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install '.[plot]'")


def test_plot_layers__draws_every_layer_and_magnitude(profile: xr.Dataset, tmp_path: Path) -> None:
    layers = layer_profile(profile.isel(arch=[1]), (1e-4, 1e-3))
    figure = plot_layers(layers, path=tmp_path / "layers.png")
    above, below = figure.axes[:2]
    heights = [bar.get_height() for bar in above.patches]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(heights, layers.proportion.values)
    shown = np.asarray(below.images[0].get_array())
    np.testing.assert_array_equal(shown, layers.grid_proportion.T.values)
    assert [text.get_text() for text in below.get_xticklabels()] == layers.layer.values.tolist()
    assert f"score {layers.score.item():,.0f} in [1e-4, 1e-3)" in above.get_title(loc="left")
    # The lines lie at the lower edges of the rows that begin at the thresholds.
    rows = [line.get_ydata()[0] + 0.5 for line in below.lines]  # type: ignore[index]
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
def test_plot_layers__takes_any_interval_and_grid(profile: xr.Dataset, interval: object, tmp_path: Path) -> None:
    for grid in (IntervalGrid(), IntervalGrid(1, 0.1, 1), IntervalGrid(split=10)):
        plot_layers(layer_profile(profile.isel(arch=[0]), interval, grid=grid), path=tmp_path / "x.svg")


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
