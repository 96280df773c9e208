from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, best_interval, correlation_by_interval, rank_correlation, score
from sweetgrad.analysis.figures import (
    choice_by_num_archs,
    choice_by_setting,
    plot_num_archs,
    plot_settings,
    plot_sweetness,
)

pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install '.[plot]'")

GRID = IntervalGrid(1, 1e-4, 2)


def test_plot_sweetness__has_a_bar_an_interval_and_names_the_best(profile: xr.Dataset, tmp_path: Path) -> None:
    best = best_interval(profile, bootstrap=20)
    figure = plot_sweetness(best, path=tmp_path / "sweetness.png")
    axes = figure.axes[0]
    bars: list[Any] = list(axes.patches)
    heights = [bar.get_height() for bar in bars]
    np.testing.assert_array_equal(heights, best.table.sweetness.values)
    words = " ".join(text.get_text() for text in axes.texts)
    assert str(best.interval) in words
    assert f"{best.win_rate:.0%}" in words
    assert str(best.runner_up) in words
    assert (tmp_path / "sweetness.png").read_bytes().startswith(b"\x89PNG")


def test_plot_sweetness__draws_any_grid(profile: xr.Dataset, tmp_path: Path) -> None:
    for grid in (IntervalGrid(1, 0.1, 1), IntervalGrid(split=10), IntervalGrid(5, 0.05, 2)):
        best = best_interval(profile, grid, bootstrap=2)
        bars: list[Any] = list(plot_sweetness(best, path=tmp_path / "x.svg").axes[0].patches)
        np.testing.assert_array_equal([bar.get_height() for bar in bars], best.table.sweetness.values)
        assert len(bars) == len(list(grid))


@pytest.fixture
def accuracy():
    random = np.random.RandomState(3)
    return xr.DataArray(random.uniform(10, 95, 30), {"arch": [f"a{i}" for i in range(30)]}, "arch")


def test_choice_by_num_archs__of_all_is_what_best_interval_chooses(make_profile):
    profile = make_profile(30)
    found = choice_by_num_archs(profile, GRID, sizes=(5, 30, 100), draws=20)
    assert found["num_archs"].values.tolist() == [5, 30]
    assert found["first"].values.tolist() == [
        str(best_interval(profile, GRID, num_archs=num, bootstrap=1).interval) for num in (5, 30)
    ]
    # There is one way to draw all of them.
    assert found["win_rate"].sel(num_archs=30, interval=found["first"][1].item()) == 1
    np.testing.assert_allclose(found["win_rate"].sum("interval"), 1)


def test_choice_by_num_archs__correlates_what_was_chosen(make_profile, accuracy):
    profile = make_profile(30)
    found = choice_by_num_archs(profile, GRID, accuracy=accuracy, sizes=(5, 30), draws=40)
    by_interval = correlation_by_interval(profile, accuracy, GRID)
    np.testing.assert_allclose(found["mean"], (found["win_rate"] * by_interval.values).sum("interval"))
    np.testing.assert_allclose(found["first_correlation"][1], by_interval.sel(interval=found["first"][1].item()))
    assert (found["low"] <= found["mean"] + 1e-9).all()
    assert (found["mean"] <= found["high"] + 1e-9).all()


def test_choice_by_num_archs__is_seeded(make_profile):
    profile = make_profile(30)
    first, second, other = (choice_by_num_archs(profile, GRID, sizes=(5,), draws=50, seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(first, second)
    assert not first.identical(other)


def test_choice_by_num_archs__of_too_few_says_how_many_there_are(make_profile):
    with pytest.raises(ValueError, match="4 architectures were measured"):
        choice_by_num_archs(make_profile(), GRID, sizes=(10, 20))


def test_plot_num_archs__stacks_to_all_draws(make_profile, accuracy, tmp_path):
    pytest.importorskip("matplotlib")
    data = choice_by_num_archs(make_profile(30), GRID, accuracy=accuracy, sizes=(5, 10), draws=30)
    figure = plot_num_archs(data, path=tmp_path / "n.png")
    assert len(figure.axes) == 2
    tops = {}
    for bar in figure.axes[1].patches:
        tops[round(bar.get_x(), 3)] = bar.get_y() + bar.get_height()
    assert list(tops.values()) == pytest.approx([1, 1])
    assert len(plot_num_archs(data.drop_vars(["mean", "low", "high", "first_correlation"])).axes) == 1


@pytest.fixture
def profiles(make_profile):
    return {str(size): make_profile(20, seed=size) for size in (64, 128, 256, 512)}


def test_choice_by_setting__is_best_interval_and_its_correlation_of_each(profiles, accuracy):
    found = choice_by_setting(profiles, GRID, accuracy=accuracy, bootstrap=20)
    for name, profile in profiles.items():
        best = best_interval(profile, GRID, bootstrap=20)
        each = found.sel(setting=name)
        np.testing.assert_array_equal(each["sweetness"], best.table["sweetness"])
        assert each["interval_chosen"].item() == str(best.interval)
        assert each["win_rate"] == best.win_rate
        twin = rank_correlation(score(profile, best), accuracy, bootstrap=20)
        assert (each["correlation"], each["low"], each["high"]) == (twin.correlation, twin.low, twin.high)


def test_choice_by_setting__without_accuracy_has_no_correlation(profiles):
    assert "correlation" not in choice_by_setting(profiles, GRID, bootstrap=5)


def test_choice_by_setting__needs_a_profile():
    with pytest.raises(ValueError, match="no profiles to compare"):
        choice_by_setting({}, GRID)


def test_plot_settings__has_a_line_and_a_point_for_each(profiles, accuracy, tmp_path):
    pytest.importorskip("matplotlib")
    data = choice_by_setting(profiles, GRID, accuracy=accuracy, bootstrap=5)
    figure = plot_settings(data, name="batch size", path=tmp_path / "s.svg")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(profiles)
    assert [text.get_text() for text in figure.axes[1].texts] == data["interval_chosen"].values.tolist()
    assert len(plot_settings(data[["sweetness", "interval_chosen"]]).axes) == 1
