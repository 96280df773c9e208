from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, best_interval, heatmap, plot_heatmap, plot_sweetness

pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install '.[plot]'")


def test_plot_sweetness__has_a_bar_an_interval_and_names_the_best(profile: xr.Dataset, tmp_path: Path) -> None:
    best = best_interval(profile, bootstrap=20)
    figure = plot_sweetness(best, path=tmp_path / "sweetness.png")
    axes = figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(heights, best.table.sweetness.values)
    words = " ".join(text.get_text() for text in axes.texts)
    assert str(best.interval) in words
    assert f"{best.confidence:.0%}" in words
    assert str(best.runner_up) in words
    assert (tmp_path / "sweetness.png").read_bytes().startswith(b"\x89PNG")


def test_plot_sweetness__draws_any_grid(profile: xr.Dataset, tmp_path: Path) -> None:
    for grid in (IntervalGrid(1, 0.1, 1), IntervalGrid(split=10), IntervalGrid(5, 0.05, 2)):
        plot_sweetness(best_interval(profile, grid, bootstrap=2), path=tmp_path / "x.svg")


def test_plot_heatmap__shows_every_pair(profile: xr.Dataset, tmp_path: Path) -> None:
    accuracy = xr.DataArray([90.0, 91.0, 92.5, 89.0], {"arch": profile.arch.values}, "arch")
    table = heatmap(profile, accuracy, IntervalGrid(1, 1e-3, 2))
    figure = plot_heatmap(table, path=tmp_path / "heatmap.png")
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), table.values)
    assert f"{float(table.max()):.3f}" in figure.axes[0].texts[0].get_text()
