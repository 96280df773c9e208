import numpy as np
import pytest

from sweetgrad.analysis.search import SearchSettings, plot_trajectories, run_searches, trajectories

pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install 'sweetgrad[plot]'")


def test_plot_trajectories__has_a_median_and_a_band_for_each(benchmark, make_scores, tmp_path):
    scores = [make_scores(benchmark), make_scores(benchmark, seconds=0.5)]
    found = trajectories(run_searches(benchmark, SearchSettings(4, 200.0), scores=scores), benchmark)
    axes = plot_trajectories(found, path=tmp_path / "picture.svg").axes[0]
    assert len(axes.lines) == len(axes.collections) == found.sizes["algorithm"] == 12
    for line, median in zip(axes.lines, found["median"].values, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), median)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0] == "random search"
    assert {"S-REA, made-up", "S-BOHB of the model, made-up with its cost"} <= set(labels)
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines[:8]}
    assert len(looks) == 8
    assert "<svg" in (tmp_path / "picture.svg").read_text()
