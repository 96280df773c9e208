import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, best_interval, correlation_by_interval
from sweetgrad.analysis.figures import choice_by_num_archs, plot_num_archs

GRID = IntervalGrid(1, 1e-4, 2)


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
    assert found["share"].sel(num_archs=30, interval=found["first"][1].item()) == 1
    np.testing.assert_allclose(found["share"].sum("interval"), 1)


def test_choice_by_num_archs__correlates_what_was_chosen(make_profile, accuracy):
    profile = make_profile(30)
    found = choice_by_num_archs(profile, GRID, accuracy=accuracy, sizes=(5, 30), draws=40)
    by_interval = correlation_by_interval(profile, accuracy, GRID)
    np.testing.assert_allclose(found["mean"], (found["share"] * by_interval.values).sum("interval"))
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
