import itertools

import pytest

from sweetgrad.analysis.figures import plot_cells
from sweetgrad.profiling.spaces.darts import genotype_at


@pytest.mark.parametrize("number", [0, 1, 10**9 + 7, 738748642317637644, 10**18])
def test_plot_cells__no_two_labels_overlap(number):
    genotype = genotype_at(number)
    figure = plot_cells(genotype)
    figure.draw_without_rendering()
    names = sorted(name for cell in (genotype.normal, genotype.reduce) for name, _ in cell)
    for axes in figure.axes:
        boxes = [text.get_bbox_patch().get_window_extent() for text in axes.texts]
        assert len(boxes) == 8 + 2 + 4 + 1
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(axes.figure.bbox.contains(*corner) for box in boxes for corner in box.corners())
    shown = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sorted(text for text in shown if "$" not in text and not text.isdigit()) == names


def test_plot_cells__saves_the_same_bytes_and_refuses_what_is_no_genotype(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_cells(str(genotype_at(5)), path=tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(ValueError, match="not a genotype"):
        plot_cells("|none~0|")
