import numpy as np
import pytest

from sweetgrad.analysis.figures import plot_trajectories
from sweetgrad.analysis.search import SearchSettings, run_searches, trajectories

pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install '.[plot]'")


def test_plot_trajectories__has_a_panel_for_each_algorithm_and_its_forms(benchmark, make_scores, tmp_path):
    scores = [make_scores(benchmark), make_scores(benchmark, seconds=0.5)]
    found = trajectories(run_searches(benchmark, SearchSettings(4, 200.0), scores=scores), benchmark)
    panels = plot_trajectories(found, path=tmp_path / "picture.svg").axes
    assert [axes.get_title(loc="left") for axes in panels] == ["REA", "REINFORCE", "BOHB"]
    assert [len(axes.lines) for axes in panels] == [4, 4, 6]  # random search in each
    assert [len(axes.collections) for axes in panels] == [3, 3, 4]  # no second band for a form at its cost
    names = [
        "random",
        "bohb",
        "s-bohb/made-up",
        "s-bohb-model/made-up",
        "s-bohb/made-up+cost",
        "s-bohb-model/made-up+cost",
    ]
    for name, line in zip(names, panels[2].lines, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), found["median"].sel(algorithm=name))
    labels = [text.get_text() for text in panels[2].get_legend().get_texts()]
    assert labels[:2] == ["random search", "BOHB"]
    assert labels[-1] == "S-BOHB of the model, made-up at its cost"
    looks = {(line.get_color(), line.get_linestyle()) for line in panels[2].lines}
    assert len(looks) == 6
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_plot_trajectories__labels_say_the_value(benchmark, check_ticks):
    found = trajectories(run_searches(benchmark, SearchSettings(4, 200.0), algorithms=["random"]), benchmark)
    for scale, offset in ((1.0, 0.0), (1e-4, 91.0)):  # of a narrow range the labels must not be differences
        moved = found.copy()
        for name in ("lower", "median", "upper"):
            moved[name] = offset + scale * found[name]
        assert check_ticks(plot_trajectories(moved)) == 2


def test_plot_trajectories__of_random_search_alone(benchmark):
    found = trajectories(run_searches(benchmark, SearchSettings(4, 200.0), algorithms=["random"]), benchmark)
    (axes,) = plot_trajectories(found).axes
    assert len(axes.lines) == 1
