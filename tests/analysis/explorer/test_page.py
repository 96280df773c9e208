"""The page in headless Chromium: its numbers equal those of Python, and it does what people do."""

import json
import math
import time

import numpy as np
import pytest

from sweetgrad.analysis import (
    Interval,
    IntervalGrid,
    aggregate,
    best_interval,
    heatmap,
    ndcg,
    rank_correlation,
    regret_at,
    score,
)
from sweetgrad.analysis.comparison import open_estimator_scores
from sweetgrad.analysis.explorer import collect, explore, render
from sweetgrad.analysis.figures import proportion_by_depth
from sweetgrad.analysis.sweetness import sweetness_by_arch
from sweetgrad.store import EDGES, open_accuracy, open_profile

pytest.importorskip("jinja2")
pytest.importorskip("websockets")

CLOSE = {"rel": 1e-9, "abs": 1e-12}
TYPED = ("1/7001", "2.5e-11", "3.21e-5", "123", "1e-300", "0.000123")
"""Thresholds that are no edges."""


def ask(browser, expression):
    """Value of an expression, numbers that JSON lacks as text."""
    plain = "(_, v) => typeof v === 'number' && !Number.isFinite(v) ? String(v) : v"
    return json.loads(browser.evaluate(f"(async () => JSON.stringify((await {expression}) ?? null, {plain}))()"))


@pytest.fixture(scope="module")
def tab(browser, page):
    seen = browser.look(page, width=1280)
    ask(browser, "sweetgrad.ready")
    browser.seen = seen
    return browser


def wait_for(browser, expression):
    for _ in range(100):
        if ask(browser, expression):
            return
        time.sleep(0.05)
    raise AssertionError(f"in vain: {expression}")


def random_interval(random, edges):
    lower, upper = sorted(random.choice(len(edges), 2, replace=False))
    return edges[lower], edges[upper]


def asked(number):
    """A random interval (a quarter of them not exact), accuracy, split and k."""
    random = np.random.RandomState(number)
    thresholds = ["0", *map(str, EDGES), "inf"]
    lower, upper = random_interval(random, thresholds)
    if number % 4 == 3:
        typed = sorted({str(random.choice(TYPED)), upper}, key=lambda text: Interval("0", text).upper)
        lower, upper = typed if len(typed) == 2 else ("0", typed[0])
    accuracy = random.choice(["cifar10/test/200", "digits/test/200", "digits/valid/200"])
    return lower, upper, str(accuracy), int(random.randint(1, 11)), int(random.randint(1, 40))


@pytest.mark.parametrize("number", range(20))
def test_numbers__equal_those_of_python(tab, explored, number):
    store, name = explored
    lower, upper, selector, split, k = asked(number)
    ask(tab, f"sweetgrad.set({json.dumps({'acc': selector, 'split': split, 'k': k})})")
    assert ask(tab, f"sweetgrad.setInterval({lower!r}, {upper!r})")
    found = ask(tab, "sweetgrad.numbers()")

    profile = open_profile(store, name).load()
    interval = Interval(lower, upper)
    scores, labels = score(profile, interval), open_accuracy(store, "nas-bench-201", selector)
    assert found["scores"] == pytest.approx(scores.values.tolist(), **CLOSE)
    assert found["estimated"] == bool(scores["estimated"])
    assert found["text"] == str(interval) or found["estimated"] or lower == "1e-300"  # below all float32
    for method in ("spearman", "kendall"):
        twin = rank_correlation(scores, labels, method=method, bootstrap=0)
        assert float(found[method]) == pytest.approx(twin.correlation, nan_ok=True, **CLOSE)
        assert found["numArchs"] == twin.num_archs
    assert float(found["ndcg"]) == pytest.approx(ndcg(scores, labels, k, bootstrap=0).value, **CLOSE)
    assert float(found["regret"]) == pytest.approx(regret_at(scores, labels, k, bootstrap=0).value, **CLOSE)

    first = profile.isel(arch=slice(100))
    assert found["sweetness"] == pytest.approx(float(sweetness_by_arch(first, [interval]).mean()), **CLOSE)
    depth = proportion_by_depth(first, [interval])["proportion"].sel(quantile=0.5).values[0]
    assert found["depth"] == pytest.approx(depth.tolist(), **CLOSE)
    best = best_interval(profile, IntervalGrid(split=split), bootstrap=1)
    assert found["chosen"] == str(best.interval)
    assert found["grid"] == pytest.approx(best.table["sweetness"].values.tolist(), **CLOSE)
    sweeter = int((best.table["sweetness"].values > found["sweetness"] + 1e-12).sum())
    assert found["place"] == 1 + sweeter


def test_heatmap__equals_that_of_python(tab, explored):
    store, name = explored
    ask(tab, "sweetgrad.set({acc: 'digits/test/200', split: 3})")
    wait_for(tab, "sweetgrad.heatmap().done")
    found = ask(tab, "sweetgrad.heatmap()")
    labels = open_accuracy(store, "nas-bench-201", "digits/test")
    twin = heatmap(open_profile(store, name), labels, IntervalGrid(split=3)).values
    values = np.array([float(value) for value in found["values"]]).reshape(found["num"], -1)
    np.testing.assert_allclose(values, twin, rtol=1e-9, atol=1e-12)


def test_combination__equals_aggregate(tab, explored):
    store, name = explored
    ask(tab, "sweetgrad.set({acc: 'digits/test/200', members: ['snip', 'params', 'score'], x: 'combination'})")
    ask(tab, "sweetgrad.setInterval('1e-4', '5e-4')")
    found = ask(tab, "sweetgrad.numbers()")
    scores = open_estimator_scores(store, name, open_profile(store, name), (1e-4, 5e-4))
    combined = aggregate(scores.sel(estimator=["snip", "params", "sweetimator"]))
    twin = rank_correlation(combined, open_accuracy(store, "nas-bench-201", "digits/test"), bootstrap=0)
    assert found["combination"] == pytest.approx(twin.correlation, **CLOSE)
    assert found["scatter"] == pytest.approx(twin.correlation, **CLOSE)
    ask(tab, "sweetgrad.set({members: [], x: 'score'})")


def test_axes__take_any_estimator(tab, explored):
    store, name = explored
    ask(tab, "sweetgrad.set({acc: 'digits/test/200', x: 'snip', y: 'accuracy', ranks: true})")
    scores = open_estimator_scores(store, name, open_profile(store, name), (1e-4, 5e-4))["score"].sel(estimator="snip")
    twin = rank_correlation(scores, open_accuracy(store, "nas-bench-201", "digits/test"), bootstrap=0)
    assert ask(tab, "sweetgrad.numbers()")["scatter"] == pytest.approx(twin.correlation, **CLOSE)
    assert "by snip" in tab.evaluate("document.getElementById('top-title').textContent")
    ask(tab, "sweetgrad.set({x: 'score', ranks: false})")


def press(tab, key, *, target):
    tab.evaluate(f"document.getElementById({target!r}).focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key)


def mouse(tab, kind, x, y, **more):
    tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", **more)


def place_of(tab, expression):
    """Middle of an element in the window, scrolled into view."""
    code = f"(() => {{ const e = {expression}; e.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
    return ask(tab, code + "const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()")


def test_thresholds__move_by_key(tab):
    ask(tab, "sweetgrad.set({split: 2})")
    ask(tab, "sweetgrad.setInterval('1e-4', '5e-4')")
    press(tab, "ArrowRight", target="handle-lower")
    assert ask(tab, "sweetgrad.numbers().lower") == "1/9000"
    press(tab, "PageUp", target="handle-upper")
    assert ask(tab, "sweetgrad.numbers().upper") == "1e-3"
    press(tab, "End", target="handle-lower")  # no further than the other one
    assert ask(tab, "sweetgrad.numbers().lower") == "9e-4"
    press(tab, "End", target="handle-upper")
    slider = ask(
        tab,
        "Object.fromEntries(Array.from(document.getElementById('handle-upper').attributes, a => [a.name, a.value]))",
    )
    assert (slider["role"], slider["aria-valuetext"], slider["aria-valuenow"]) == ("slider", "inf", "344")
    assert "Upper threshold" in slider["aria-label"]


def test_thresholds__are_dragged_and_snap_to_edges(tab):
    ask(tab, "sweetgrad.setInterval('1e-4', '5e-4')")
    left, top, width, _ = place_of(tab, "document.querySelector('#handle-upper .grip')")
    x, y = left + width / 2, top + 6
    mouse(tab, "mousePressed", x, y, buttons=1, clickCount=1)
    for step in range(1, 6):
        mouse(tab, "mouseMoved", x + 20 * step, y, buttons=1)
    mouse(tab, "mouseReleased", x + 100, y, clickCount=1)
    wait_for(tab, "sweetgrad.numbers().upper !== '5e-4'")
    time.sleep(0.1)
    found = ask(tab, "sweetgrad.numbers()")
    assert found["lower"] == "1e-4"
    assert not found["estimated"]
    assert Interval("1e-3", "1").lower < Interval("0", found["upper"]).upper < 1


def test_thresholds__that_are_typed_are_estimated_or_refused(tab):
    def type_in(field, text):
        code = f"(() => {{ const f = document.getElementById({field!r}); f.value = {text!r}; "
        return ask(tab, code + "f.dispatchEvent(new Event('change')); return f.getAttribute('aria-invalid'); })()")

    ask(tab, "sweetgrad.setInterval('1e-4', '5e-4')")
    assert type_in("lower", "1.23e-4") is None
    assert ask(tab, "[sweetgrad.numbers().estimated, document.getElementById('estimated').hidden]") == [True, False]
    for nonsense in ("", "x", "1e-3", "-1", "1/0"):
        assert type_in("lower", nonsense) == "true"
    assert ask(tab, "sweetgrad.numbers().lower") == "1.23e-4"


def test_scatter__names_the_architecture_under_the_pointer(tab, explored):
    ask(tab, "sweetgrad.set({x: 'score', y: 'accuracy', acc: 'digits/test/200', arch: null})")
    left, top, *_ = place_of(tab, "document.getElementById('scatter')")
    row = ask(tab, "sweetgrad.numbers().top[0]")
    x, y = ask(tab, f"sweetgrad.pointOf({row})")
    mouse(tab, "mouseMoved", left + x + 1, top + y + 1)
    assert ask(tab, "sweetgrad.numbers().hovered") == row
    arch = open_profile(*explored)["arch"].values[row]
    assert arch in tab.evaluate("document.getElementById('arch-text').textContent")
    assert "in to 1" in tab.evaluate("document.querySelector('#cell svg').getAttribute('aria-label')")
    assert "proportion by layer" in tab.evaluate("document.getElementById('arch-facts').textContent")
    assert tab.evaluate("document.getElementById('arch-layers').getBoundingClientRect().height") > 20
    mouse(tab, "mousePressed", left + x + 1, top + y + 1, buttons=1, clickCount=1)
    mouse(tab, "mouseReleased", left + x + 1, top + y + 1, clickCount=1)
    assert ask(tab, "sweetgrad.numbers().arch") == row


def test_scatter__lists_the_architectures_of_a_region(tab):
    left, top, width, height = place_of(tab, "document.getElementById('scatter')")
    mouse(tab, "mousePressed", left + 60, top + 15, buttons=1, clickCount=1)
    mouse(tab, "mouseMoved", left + width / 2, top + height / 2, buttons=1)
    mouse(tab, "mouseMoved", left + width - 20, top + height - 50, buttons=1)
    mouse(tab, "mouseReleased", left + width - 20, top + height - 50, clickCount=1)
    assert "in the region" in tab.evaluate("document.getElementById('top-title').textContent")
    tab.evaluate("document.getElementById('clear-region').click()")
    assert "in the region" not in tab.evaluate("document.getElementById('top-title').textContent")


def test_search__finds_by_string_and_by_index(tab, explored):
    archs = open_profile(*explored)["arch"].values
    for text, row in ((archs[77], 77), ("101", 101)):
        code = f"(() => {{ const f = document.getElementById('search'); f.value = {text!r}; "
        ask(
            tab,
            code
            + "f.dispatchEvent(new Event('input')); document.querySelector('#found button').click(); return 1; })()",
        )
        assert ask(tab, "sweetgrad.numbers().arch") == row


def test_table__has_the_best_scores_and_is_csv(tab, explored):
    ask(tab, "sweetgrad.set({k: 7, x: 'score', acc: 'digits/test/200'})")
    ask(tab, "sweetgrad.setInterval('1e-4', '5e-4')")
    scores = score(open_profile(*explored), (1e-4, 5e-4)).values
    lines = ask(tab, "sweetgrad.csv()").splitlines()
    assert lines[0].startswith('"rank","arch","index","score [1e-4, 5e-4)","regret"')
    assert [int(line.split(",")[2]) for line in lines[1:]] == np.argsort(-scores, kind="stable")[:7].tolist()
    assert ask(tab, "document.querySelectorAll('#top-body tr').length") == 7


def test_link__keeps_the_state(tab, page):
    ask(tab, "sweetgrad.set({acc: 'digits/valid/200', split: 5, k: 3, arch: 9})")
    ask(tab, "sweetgrad.setInterval('1/7000', '0.002')")
    wait_for(tab, "location.hash.includes('t2=2e-3')")
    before = ask(tab, "sweetgrad.numbers()")
    link = ask(tab, "location.hash")
    tab.evaluate("location.hash = '#t1=1e-9&t2=nonsense&split=99&acc=x&k=-3'")
    wait_for(tab, "sweetgrad.numbers().arch === null")
    assert ask(tab, "sweetgrad.numbers()")["lower"] != before["lower"]
    tab.evaluate(f"location.hash = {link!r}")
    wait_for(tab, "sweetgrad.numbers().arch === 9")
    assert ask(tab, "sweetgrad.numbers()") == before


def test_thresholds__are_dragged_by_a_finger_on_a_phone(browser, page):
    browser.look(page, width=390)
    ask(browser, "sweetgrad.ready")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    ask(browser, "sweetgrad.setInterval('1e-4', '5e-4')")
    left, top, width, height = place_of(browser, "document.querySelector('#handle-lower .grip')")
    x, y = left + width / 2 - 2, top + height / 2
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    for step in range(1, 6):
        browser.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x - 10 * step, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    wait_for(browser, "sweetgrad.numbers().lower !== '1e-4'")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    found = ask(browser, "sweetgrad.numbers()")
    assert Interval("0", found["lower"]).upper < Interval("0", "1e-4").upper
    assert found["upper"] == "5e-4"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_page__fits_its_window_and_loads_nothing(browser, page, width, dark):
    seen = browser.look(page, width=width, dark=dark)
    ask(browser, "sweetgrad.ready")
    assert [each for each in seen.requests if not each.startswith(("file:", "blob:", "data:"))] == []
    assert sum(each.startswith("file:") for each in seen.requests) == 1
    assert seen.complaints == []
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    assert not math.isnan(ask(browser, "sweetgrad.readyAfter"))


def test_page__of_hostile_text_shows_it_as_text(browser, store, hostile, tmp_path):
    seen = browser.look(explore(store, tmp_path / "h.html"), width=1280)
    ask(browser, "sweetgrad.ready")
    assert [each for each in seen.requests if not each.startswith(("file:", "blob:", "data:"))] == []
    assert hostile in browser.evaluate("document.querySelector('h1').textContent")
    assert ask(browser, "document.querySelectorAll('img').length") == 0
    assert ask(browser, "sweetgrad.numbers().numArchs") == 9
    names = ask(browser, "Array.from(document.querySelectorAll('#profile option'), (o) => o.textContent)")
    assert names == sorted(names)
    assert len(names) == 3
    before = ask(browser, "sweetgrad.numbers().scores")
    code = "(() => { const p = document.getElementById('profile'); p.value = '2'; p.dispatchEvent(new Event('change')); })()"
    ask(browser, code)
    wait_for(browser, f"document.getElementById('about').textContent.includes({names[2]!r})")
    assert ask(browser, "sweetgrad.numbers().scores") != before


def test_page__of_a_sample_says_so_and_still_chooses_with_the_first_100(browser, explored, tmp_path):
    store, name = explored
    path = tmp_path / "sample.html"
    path.write_text(render(*collect(store, most_rows=50)), encoding="utf-8")
    browser.look(path, width=1280)
    ask(browser, "sweetgrad.ready")
    text = browser.evaluate("document.getElementById('notes').textContent")
    assert "uniform sample of 50 of the 130 architectures" in text
    found = ask(browser, "sweetgrad.numbers()")
    assert len(found["scores"]) == 50
    best = best_interval(open_profile(store, name), bootstrap=1)
    assert found["chosen"] == str(best.interval)
    assert found["sweetness"] == pytest.approx(best.sweetness, **CLOSE)
