"""Every figure from a store on disk."""

from pathlib import Path

import pytest

from sweetgrad.analysis import Interval, IntervalGrid, score
from sweetgrad.analysis.figures import FIGURES, figure, open_analysis
from sweetgrad.analysis.figures.style import literal

pytest.importorskip("matplotlib")

NAME = "toy/digits/bs64-seed0"


@pytest.fixture(scope="module")
def analysis(store):
    return open_analysis(store, NAME, bootstrap=20)


# Without num-archs: 9 architectures are fewer than its smallest size. It is drawn in test_sampling.
@pytest.mark.parametrize("name", [name for name in FIGURES if name != "num-archs"])
def test_figure__of_a_store_is_drawn(name, analysis, tmp_path):
    figure(name, analysis, path=tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()


def test_figure__of_gradients_needs_no_best_interval():
    golden = Path(__file__).resolve().parents[2] / "data" / "format-1.zarr"
    one_cell = open_analysis(golden, "toy/synthetic/bs4-seed42")
    assert one_cell.chosen_or_none is None
    assert figure("gradients", one_cell).axes


def test_figure__of_equal_data_has_equal_bytes(analysis, tmp_path):
    for name in ("a.svg", "b.svg"):
        figure("sweetness", analysis, path=tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_figure__that_is_not_there_names_those_that_are(analysis):
    with pytest.raises(ValueError, match="no figure 'heat'; available: estimators, heatmap"):
        figure("heat", analysis)


def test_source__finds_the_accuracy_of_its_own_data_set(analysis):
    assert analysis.accuracy_name == "digits/test"
    assert int(analysis.accuracy.notnull().sum()) == 12


def test_source__without_accuracy_says_what_to_import(store, analysis, tmp_path):
    import shutil

    copy = tmp_path / "copy.zarr"
    shutil.copytree(store, copy)
    shutil.rmtree(copy / "toy" / "accuracy")
    (copy / "zarr.json").write_text((copy / "zarr.json").read_text().replace('"toy/accuracy', '"toy/gone'))
    bare = open_analysis(copy, NAME)
    with pytest.raises(ValueError, match="accuracy import"):
        figure("heatmap", bare)
    figure("seed", bare)


def test_source__has_the_measured_rows_only(analysis):
    assert analysis.profile["arch_index"].values.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_source__takes_the_interval_asked_for(store):
    asked = open_analysis(store, NAME, interval=Interval(1e-3, 1e-2), grid=IntervalGrid(1, 1e-3, 1))
    assert asked.chosen == Interval(1e-3, 1e-2)
    assert asked.score.equals(score(asked.profile, (1e-3, 1e-2)))
    assert len(asked.best.table["interval"]) == 4


def test_source__knows_its_siblings(analysis):
    assert list(analysis.siblings("batch_size")) == ["64", "128"]
    assert {value: each.name for value, each in analysis.siblings("seed").items()} == {
        "0": NAME,
        "1": "toy/digits/bs64-seed1",
    }


def test_by_setting__with_one_value_says_what_to_profile(store):
    alone = open_analysis(store, "toy/digits/bs128-seed0")
    with pytest.raises(ValueError, match="Profile with another --seed"):
        figure("seed", alone)


def test_literal__is_no_mathematics(hostile, tmp_path):
    from sweetgrad.analysis.figures.style import new_figure, save

    drawn = new_figure(3, 1)
    drawn.text(0, 0, literal(hostile))
    save(drawn, tmp_path / "text.svg")  # mathematics that does not parse would raise
    assert "<img" not in (tmp_path / "text.svg").read_text()
