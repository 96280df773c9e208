"""What a page holds, and what is asked for in vain."""

import base64
import gzip
import json
import re
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from sweetgrad.analysis import best_interval
from sweetgrad.analysis.explorer import collect, explore, render
from sweetgrad.store import NotAStoreError, Profile, open_accuracy, open_profile

pytest.importorskip("jinja2")


def test_collect__has_the_counts_of_the_store(explored):
    store, name = explored
    (page,) = collect(store)[1]
    profile = open_profile(store, name).load()
    assert list(page.archs) == profile["arch"].values.tolist()
    np.testing.assert_array_equal(page.arrays["counts"], profile["grad_count_network"].values[:, 0])
    assert page.facts["accuracies"] == ["cifar10/test/200", "digits/test/200", "digits/valid/200"]
    assert page.facts["accuracy"] == "digits/test/200"
    assert "snip" in {each["name"] for each in page.facts["estimators"]}


def test_collect__closes_up_the_layers_that_are_compared(explored):
    store, name = explored
    (page,) = collect(store)[1]
    profile = open_profile(store, name).load()
    assert page.arrays["layer_depth"][:5].tolist() == [4, 5, 5, 5, 4]
    np.testing.assert_array_equal(page.arrays["layer_counts"][0, 3], profile["grad_count"].values[0, 5, 0])
    assert not page.arrays["layer_counts"][0, 4].any()
    np.testing.assert_array_equal(page.arrays["layer_params"][1], profile["num_params"].values[1, 1:6, 0])


def test_collect__of_many_rows_takes_a_sample_and_keeps_those_that_choose(explored):
    store, name = explored
    (page,) = collect(store, most_rows=50)[1]
    assert (page.facts["numRows"], page.facts["numMeasured"], page.facts["numChoosers"]) == (50, 130, 100)
    assert len(page.archs) == 50
    assert page.arrays["layer_counts"].shape[0] == 100
    archs = open_profile(store, name)["arch"].values
    for place, row in enumerate(page.arrays["layer_rows"]):
        assert row < 0 or page.archs[row] == archs[place]
    assert collect(store, most_rows=50)[1][0].archs == page.archs


def test_collect__takes_the_table_of_the_package_where_the_store_has_none(
    write_profile, make_profile, tmp_path, explored
):
    spec = Profile.open(*explored).spec
    rows = make_profile(3).assign_coords(arch=list(collect(explored[0])[1][0].archs[:3]))
    digest = sha256("".join(f"{name}\n" for name in rows.arch.values).encode()).hexdigest()
    write_profile(tmp_path / "s.zarr", replace(spec, dataset="cifar10", arch_sha256=digest), rows)
    (page,) = collect(tmp_path / "s.zarr")[1]
    assert page.facts["accuracySource"] == "nas-bench-201"
    assert page.facts["accuracy"] == "cifar10/test/200"


def test_explore__errors_say_what_there_is(explored, tmp_path):
    store, name = explored
    with pytest.raises(NotAStoreError, match=f"no profile nope; it has {name}"):
        explore(store, tmp_path / "x.html", profiles=["nope"])
    with pytest.raises(ValueError, match="no accuracies 'digits/tset'; available: cifar10/test/200"):
        explore(store, tmp_path / "x.html", accuracy="digits/tset")
    with pytest.raises(ValueError, match=r"expected the suffix \.html"):
        explore(store, tmp_path / "x.pdf")


def test_render__escapes_what_a_store_says(store, hostile):
    text = render(*collect(store))
    outside = re.sub(r"(?s)<script.*?</script>", "", text)
    assert "<img" not in outside
    assert "&lt;img src=http://127.0.0.1/x" in outside
    content = re.search(r'(?s)<script type="application/json" id="content">(.*?)</script>', text)
    assert content
    assert "<" not in content[1]


def test_render__packs_arrays_by_planes_of_bytes(explored, page):
    text = page.read_text(encoding="utf-8")
    (content,) = collect(explored[0])[1]
    packed = re.search(r'id="data-0-counts">([^<]*)<', text)
    assert packed
    planes = np.frombuffer(gzip.decompress(base64.b64decode(packed[1])), np.uint8)
    counts = content.arrays["counts"]
    assert counts.max() < 256  # so one plane is enough
    np.testing.assert_array_equal(planes.reshape(counts.shape), counts)
    grids = json.loads(re.search(r'(?s)id="content">(.*?)</script>', text)[1])["grids"]
    assert {split: len(bins) for split, bins in grids.items()} == {str(s): 2 + 11 * (s - s // 10) for s in range(1, 11)}
    assert best_interval(open_profile(*explored)).num_archs == 100


def test_collect__begins_with_the_accuracy_that_is_asked_for(explored):
    (page,) = collect(explored[0], accuracy="digits/valid")[1]
    assert page.facts["accuracy"] == "digits/valid/200"
    assert np.nanmax(open_accuracy(explored[0], "nas-bench-201", "digits/valid")) <= 95
