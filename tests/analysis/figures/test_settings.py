import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, best_interval, rank_correlation, score
from sweetgrad.analysis.figures import choice_by_setting, plot_settings

GRID = IntervalGrid(1, 1e-4, 2)


@pytest.fixture
def profiles(make_profile):
    return {str(size): make_profile(20, seed=size) for size in (64, 128, 256, 512)}


@pytest.fixture
def accuracy():
    return xr.DataArray(np.random.RandomState(3).uniform(10, 95, 20), {"arch": [f"a{i}" for i in range(20)]}, "arch")


def test_choice_by_setting__is_best_interval_and_its_correlation_of_each(profiles, accuracy):
    found = choice_by_setting(profiles, GRID, accuracy=accuracy, bootstrap=20)
    for name, profile in profiles.items():
        best = best_interval(profile, GRID, bootstrap=20)
        each = found.sel(setting=name)
        np.testing.assert_array_equal(each["sweetness"], best.table["sweetness"])
        assert each["interval_chosen"].item() == str(best.interval)
        assert each["confidence"] == best.confidence
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
