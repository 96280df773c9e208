"""The report as data, as a page, and as a browser sees it."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from io import StringIO
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, best_interval, rank_correlation, score
from sweetgrad.analysis.figures import plot_depth, plot_scatter, proportion_by_depth, score_and_accuracy
from sweetgrad.analysis.figures.style import DENSITY, save
from sweetgrad.analysis.report import collect, render, report
from sweetgrad.analysis.report.page import _THEMED, _inner_svg
from sweetgrad.store import NotAStoreError, ProfileSpec, create_profile, open_accuracy, open_profile, open_store

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

NAME = "toy/digits/bs64-seed0"


TOLD: list[tuple[Any, ...]] = []


@pytest.fixture(scope="module")
def content(store):
    return collect(store, bootstrap=20, progress=lambda *each: TOLD.append(each))


@pytest.fixture(scope="module")
def page(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(content), encoding="utf-8")
    return path


class Tags(HTMLParser):
    """Every tag with its attributes, and the ids."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]


def test_collect__has_the_numbers_of_the_functions(store, content):
    one = next(each for each in content.profiles if each.info.status.name == NAME)
    profile = open_profile(store, NAME)
    best = best_interval(profile, bootstrap=20)
    assert (one.best.interval, one.best.win_rate) == (best.interval, best.win_rate)
    twin = rank_correlation(score(profile, best), open_accuracy(store, "toy", "digits/test"), bootstrap=20)
    assert one.correlation == twin
    assert [row["sweetness"] for row in one.intervals] == best.table["sweetness"].values.tolist()
    row = next(row for row in one.estimators if row["estimator"] == "sweetimator")
    assert row["spearman"] == twin.correlation
    assert "snip" in {row["estimator"] for row in one.estimators}
    assert one.parameters == next(row["spearman"] for row in one.estimators if row["estimator"] == "params")


def test_collect__orders_batch_sizes_as_numbers(content):
    assert [each.info.spec.batch_size for each in content.profiles] == [64, 64, 128]


def test_collect__says_why_a_picture_is_not_there(content):
    assert "9 architectures were measured" in content.profiles[0].pictures["num-archs"].missing


def test_collect__compares_every_group_of_settings_once(content):
    assert [(note, picture.name) for note, picture in content.settings] == [
        ("toy, digits, seed 0", "batch-size"),
        ("toy, digits, batch size 64", "seed"),
    ]
    assert all(picture.svg for _, picture in content.settings)


def test_collect__of_a_profile_that_is_not_there_names_those_that_are(store):
    with pytest.raises(NotAStoreError, match=f"no profile toy/x; it has .*{NAME}"):
        collect(store, profiles=["toy/x"])


def test_collect__tells_how_far_it_is(content):
    assert TOLD[0] == (f"{NAME}: estimators", 0, 21)
    assert [done for _, done, _ in TOLD] == list(range(22))
    assert TOLD[-1] == ("settings", 21, 21)


def test_report__of_a_profile_without_rows_says_so(make_store, tmp_path):
    path = make_store(tmp_path / "s.zarr")
    spec = ProfileSpec.from_attrs(open_store(path)[NAME].attrs["spec"])
    create_profile(path, replace(spec, seed=9), arch=[f"arch{i}" for i in range(12)], layers=["stem"], shard_size=12)
    text = report(path, tmp_path / "r.html", profiles=["toy/digits/bs64-seed9"], bootstrap=5).read_text()
    assert "No architecture was measured yet" in text


def test_report__of_a_damaged_profile_says_so_and_shows_the_others(store, tmp_path):
    copy = tmp_path / "s.zarr"
    shutil.copytree(store, copy)
    (file,) = (path for path in (copy / NAME / "grad_count" / "c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    found = collect(copy, profiles=[NAME, "toy/digits/bs64-seed1"], bootstrap=5)
    assert "cannot be decoded" in found.profiles[0].damage
    assert found.profiles[1].pictures["sweetness"].svg
    text = render(found)
    assert "This profile is damaged" in text
    assert "sweetgrad verify" in text


def test_render__says_what_was_measured_and_how(content, page):
    text = page.read_text()
    for words in (
        "9 of 12",
        "c0ffee",
        "batch sha256",
        "snip",
        "made up",
        "10.1016/j.neunet.2023.09.012",
        "[1e-4, 5e-4)",
    ):
        assert words in text
    for profile in content.profiles:
        assert profile.info.content_digest in text


def test_render__says_where_counts_are_estimated(content, page):
    assert "counts are estimated" not in page.read_text()
    assert "counts are estimated" in render(replace(content, grid=IntervalGrid(split=11)))


def test_render__escapes_what_a_store_says(page, hostile):
    tags = Tags(page.read_text()).tags
    assert not [tag for tag, _ in tags if tag in ("script", "img", "iframe", "object", "embed", "form", "base")]
    assert not [attribute for _, attributes in tags for attribute in attributes if attribute.startswith("on")]
    assert "&lt;img src=http://127.0.0.1/x onerror=alert(1)&gt;" in page.read_text()


def test_render__names_no_address_to_load_from(page):
    tags = Tags(page.read_text()).tags
    addresses = [
        value
        for tag, attributes in tags
        for key, value in attributes.items()
        if key in ("href", "src", "xlink:href", "srcset", "data", "poster", "action")
    ]
    assert addresses
    assert not [address for address in addresses if not address.startswith(("#", "data:"))]
    assert not re.findall(r"url\((?!#)[^)]*\)|@import", page.read_text())


def test_render__has_every_id_once(page):
    ids = Tags(page.read_text()).ids
    assert sorted(ids) == sorted(set(ids))


def test_inner_svg__keeps_its_references_and_takes_the_colours_of_the_page():
    text = (
        '<?xml version="1.0"?><svg height="9pt" viewBox="0 0 9 9" width="9pt" version="1.1"><!-- <x> --><metadata>m</metadata>'
        '<path id="a" style="fill: #2b2f36"/><use href="#a" clip-path="url(#c)"/></svg>'
    )
    assert _inner_svg(text, prefix="p/q") == (
        '<svg  viewBox="0 0 9 9"  version="1.1"><path id="p-q-a" style="fill: var(--ink)"/>'
        '<use href="#p-q-a" clip-path="url(#p-q-c)"/></svg>'
    )


def test_render__says_which_architectures_a_sweetness_is_of(store, content, page):
    text = page.read_text()
    best = content.profiles[0].best
    assert f"sweetness {best.sweetness:.3f} over the first {best.num_archs}<" in text  # the tile
    drawn = plot_depth(proportion_by_depth(open_profile(store, NAME), [(0, 1)]))
    assert "Of all 9 architectures measured: sweetness, median, middle 50% and 80%" in drawn.get_suptitle()


def scheme(number):
    """Variables of the page, 0 in light and 1 in dark mode: name to colour."""
    style = resources.files("sweetgrad.analysis.report").joinpath("page.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[number]
    return {
        name: "#" + "".join(2 * digit for digit in colour) if len(colour) == 3 else f"#{colour}"
        for name, colour in re.findall(r"(--[\w-]+): #(\w+);", block)
    }


def contrast(one, other):
    """Ratio of WCAG 2, from 1 to 21."""
    bright, dark = sorted((luminance(one) + 0.05, luminance(other) + 0.05), reverse=True)
    return bright / dark


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def test_page__in_light_mode_has_the_colours_that_pictures_are_drawn_in():
    light = scheme(0)
    drawn = {variable[4:-1]: colour for colour, variable in _THEMED.items() if colour != "#000000"}
    assert drawn == {name: light[name] for name in drawn}
    assert set(light) == set(scheme(1))


@pytest.mark.parametrize("number", [0, 1])
def test_page__shows_every_density_on_its_paper_and_the_crowd_best(number):
    colours = scheme(number)
    against_paper = [contrast(colours[f"--density-{level}"], colours["--paper"]) for level in range(len(DENSITY))]
    assert against_paper[0] > 1.4
    assert against_paper == sorted(against_paper)
    assert contrast(colours["--ink"], colours["--paper"]) > 7


def test_picture__of_a_heatmap_marks_the_best_pair_in_two_tones(content):
    picture = content.profiles[0].pictures["heatmap"].svg
    marks = re.findall(r"fill-opacity: 0; stroke: ([^;]+); stroke-width: [\d.]+; stroke-linejoin: miter", picture)
    assert marks[:2] == ["var(--ink)", "var(--paper)"]


def test_picture__of_many_points_takes_the_densities_of_the_page():
    names = [f"a{i}" for i in range(3000)]
    values = xr.DataArray(np.random.RandomState(0).rand(3000), {"arch": names}, "arch")
    file = StringIO()
    save(plot_scatter(score_and_accuracy(values, values**9, bootstrap=0)), file, format="svg")
    drawn = _inner_svg(file.getvalue(), prefix="p")
    assert {f"var(--density-{level})" for level in range(len(DENSITY))} <= set(re.findall(r"var\([\w-]+\)", drawn))
    assert not any(colour in drawn for colour in DENSITY)


@pytest.mark.parametrize(("width", "dark"), [(375, False), (1280, False), (1280, True)])
def test_page__in_a_browser_loads_nothing_complains_of_nothing_and_fits(browser, page, width, dark):
    seen = browser.look(page, width=width, dark=dark)
    assert [address for address in seen.requests if not address.startswith("data:")] == [page.as_uri()]
    assert seen.complaints == []
    assert seen.scroll_width <= width
    assert "toy/digits/bs128-seed0" in seen.text
    # Every drawing is as wide as its frame, and none is empty.
    sizes = browser.evaluate("[...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().width)")
    assert len(sizes) == 20
    assert min(sizes) > 250
    assert max(sizes) <= width


def test_browser__would_see_a_page_that_loads_complains_and_overflows(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<img src='http://127.0.0.1:9/x.png'><div style='width:2000px'>x</div><script>console.error('no')</script>"
    )
    seen = browser.look(page, width=375)
    assert "http://127.0.0.1:9/x.png" in seen.requests
    assert seen.complaints
    assert seen.scroll_width > 375


def test_report__spells_a_missing_number_with_a_dash():
    from sweetgrad.analysis.report.page import _number, _shown

    assert [_number(None), _number(np.nan), _number(-0.25)] == ["\N{EN DASH}", "\N{EN DASH}", "\N{MINUS SIGN}0.250"]
    assert _shown(["Doe, Jane", "Roe"]) == "Doe, Jane, Roe"
    assert [_shown(True), _shown([3, 32, 32]), _shown("")] == [
        "yes",
        "3 \N{MULTIPLICATION SIGN} 32 \N{MULTIPLICATION SIGN} 32",
        "\N{EN DASH}",
    ]
