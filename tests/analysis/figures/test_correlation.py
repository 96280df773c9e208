from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, heatmap, rank_correlation
from sweetgrad.analysis.figures import plot_heatmap, plot_scatter, score_and_accuracy


def values(numbers, names):
    return xr.DataArray(np.array(numbers, dtype=float), {"arch": list(names)}, "arch")


def test_score_and_accuracy__pairs_by_name_and_drops_what_lacks_one():
    found = score_and_accuracy(values([3, 1, np.nan, 7], "abcd"), values([90, 80, 70, 60], "bcae"), bootstrap=0)
    assert found["arch"].values.tolist() == ["a", "b"]
    assert found["score"].values.tolist() == [3, 1]
    assert found["accuracy"].values.tolist() == [70, 90]
    assert found["score_rank"].values.tolist() == [1, 0.5]
    assert found.attrs["spearman"] == -1


def test_score_and_accuracy__correlates_as_rank_correlation_does():
    random = np.random.RandomState(0)
    score, accuracy = (values(random.randint(0, 9, 60), map(str, range(60))) for _ in range(2))
    found = score_and_accuracy(score, accuracy, bootstrap=50)
    twin = rank_correlation(score, accuracy, bootstrap=50)
    assert (found.attrs["spearman"], found.attrs["spearman_low"]) == (twin.correlation, twin.low)
    ranks = np.corrcoef(found["score_rank"], found["accuracy_rank"])[0, 1]
    np.testing.assert_allclose(ranks, twin.correlation)


@pytest.mark.parametrize(("num", "kind"), [(50, "PathCollection"), (5000, "PolyCollection")])
def test_plot_scatter__draws_points_or_their_density(num, kind, tmp_path):
    pytest.importorskip("matplotlib")
    random = np.random.RandomState(0)
    score, accuracy = (values(random.normal(size=num), map(str, range(num))) for _ in range(2))
    figure = plot_scatter(score_and_accuracy(score, accuracy, bootstrap=0), path=tmp_path / "scatter.svg")
    for axes in figure.axes[:2]:  # beside them the colour bars of a density
        assert type(axes.collections[0]).__name__.replace("FlatQuad", "") in (kind, "HexBinCollection")
    # A mark for every architecture would make a picture that no page can hold.
    assert (tmp_path / "scatter.svg").stat().st_size < 1_000_000


def test_plot_heatmap__shows_every_pair(profile: xr.Dataset, tmp_path: Path) -> None:
    accuracy = xr.DataArray([90.0, 91.0, 92.5, 89.0], {"arch": profile.arch.values}, "arch")
    table = heatmap(profile, accuracy, IntervalGrid(1, 1e-3, 2))
    figure = plot_heatmap(table, path=tmp_path / "heatmap.png")
    shown = figure.axes[0].images[0].get_array()
    assert shown is not None
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), table.values)
    assert f"{float(table.max()):.3f}" in figure.axes[0].texts[0].get_text()
