"""Every format version as it was written: what later versions of the package must still be able to read."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweetgrad.analysis import Interval, interval_counts
from sweetgrad.store import (
    COUNTS,
    EDGES,
    FORMAT_VERSION,
    Profile,
    bin_bounds,
    empty_rows,
    info,
    list_profiles,
    open_accuracy,
    open_estimators,
    open_profile,
    open_store,
    status,
    verify,
)

FORMAT_PAGE = (Path(__file__).resolve().parents[2] / "docs" / "store-format.md").read_text(encoding="utf-8")
DATA = Path(__file__).resolve().parents[1] / "data"
NAME = "toy/synthetic/bs4-seed42"


@pytest.fixture(params=[1, 2], ids=lambda version: f"format-{version}")
def golden(request):
    return DATA / f"format-{request.param}.zarr"


def test_golden_store__is_small_and_of_its_format_version(golden):
    files = [path for path in golden.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 150_000
    assert len(files) < 90
    version = json.loads((golden / "zarr.json").read_text())["attributes"]["schema_version"]
    assert golden.name == f"format-{version}.zarr"
    assert version <= FORMAT_VERSION
    assert (DATA / f"format-{FORMAT_VERSION}.zarr").is_dir()


def test_golden_store__verifies_clean(golden):
    assert verify(golden) == []


def test_golden_store__holds_the_numbers_that_were_written(golden):
    assert list_profiles(golden) == [NAME]
    profile = open_profile(golden, NAME)
    assert dict(profile.sizes) == {"arch": 10, "layer": 3, "kind": 2, "bin": 345}
    assert profile["arch"].values[[0, 9]].tolist() == ["|op_a~0|", "|op_j~0|"]
    assert profile["layer"].values.tolist() == ["stem", "cell1", "head"]
    assert profile["layer_type"].values[0].tolist() == [1, 2, 4]
    assert profile["status"].values.tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1, 0]
    assert profile["message"].values[3] == "RuntimeError: out of memory"
    assert profile["num_params"].values[0].tolist() == [[64, 84], [71, 73], [62, 53]]
    assert np.flatnonzero(profile["grad_count"].values[0, 1, 0, :20]).tolist() == [4, 6, 13]
    assert profile["grad_count_network"].values[8, 0, 340:].tolist() == [1, 1, 0, 0, 2]
    assert int(profile["grad_count"].sum()) == 3195
    assert float(profile["grad_abs_sum"][0, 0, 0]) == 0.5416612508918196
    assert profile["loss"].values[[0, 8]].tolist() == [2.25, 2.75]
    assert np.isnan(profile["loss"].values[[3, 9]]).all()
    assert profile["digest"].values[[0, 9]].tolist() == [8891040349369932920, 0]


def test_golden_store__holds_the_seeded_counts(golden):
    """The twin: the same generator, drawn here, gives every count that is stored."""
    profile = open_profile(golden, NAME, chunks=None)
    random = np.random.RandomState(20231)
    for i in (0, 1, 2, 4, 5, 6, 7, 8):
        counts = random.poisson(0.2, size=(3, 2, 345))
        assert np.array_equal(profile["grad_count"].values[i], counts)
        assert np.array_equal(profile["grad_abs_sum"].values[i], random.random_sample((3, 2)))
        assert np.array_equal(profile["grad_sq_sum"].values[i], random.random_sample((3, 2)))
    assert not profile["grad_count"].values[[3, 9]].any()


def test_golden_store__has_the_bounds_of_bins_nearest_to_their_edges_whatever_its_format(golden):
    for profile in (open_profile(golden, NAME), open_profile(golden, NAME, chunks=None), open_store(golden)[NAME]):
        for name, bounds in zip(("bin_lower", "bin_upper"), bin_bounds(), strict=True):
            np.testing.assert_array_equal(profile[name].values, bounds)
            assert profile[name].attrs["doc"]
    assert open_profile(golden, NAME)["bin_lower"].values[2:-1].tolist() == [float(edge) for edge in EDGES]


(RECIPE,) = re.findall(r"<!-- recipe -->\n```python\n(.*?)^```", FORMAT_PAGE, re.MULTILINE | re.DOTALL)


def test_recipe__of_the_page_with_plain_xarray_counts_what_interval_counts_does(golden, monkeypatch):
    """For every edge as the lower and as the upper bound, on the files as they are."""
    here = f'"{golden}", group="{NAME}"'
    code = RECIPE.replace('"nb201.zarr", group="nas-bench-201/digits/bs64-seed42"', here)
    assert here in code
    head, found, rest = code.partition("low, high = ")
    assert found
    opened: dict[str, Any] = {}
    exec(head, opened)
    opened["measured"].load()
    select = compile(rest.partition("\n")[2], "recipe", "exec")
    intervals = [*((edge, EDGES[-1]) for edge in EDGES[:-1]), *((0, edge) for edge in EDGES), (EDGES[40], EDGES[41])]
    expected = interval_counts(open_profile(golden, NAME, chunks=None), [Interval(*pair) for pair in intervals])
    expected = expected.values[opened["profile"]["status"].values == 1].astype(np.int64)
    for number, (low, high) in enumerate(intervals):
        names = {**opened, "low": float(low), "high": float(high)}
        exec(select, names)
        np.testing.assert_array_equal(names["counts"].values, expected[..., number])


def test_golden_store__status_and_info(golden):
    (found,) = status(golden)
    assert (found.num_ok, found.num_failed, found.num_not_run, found.num_shards_started) == (8, 1, 1, 1)
    profile = info(golden, NAME).profiles[0]
    assert profile.content_digest == "87eaefda2624a9b04d4ee0442d72a9a097e948ad10735c8eba031c9ca6d8061c"
    assert (profile.spec.batch_size, profile.spec.seed, profile.spec.input_shape) == (4, 42, (3, 8, 8))
    assert profile.runs[0]["script"] == "make_golden_store.py"
    assert [row.rows for row in Profile.open(golden, NAME).plan(range(10), retry_failed=True)] == [(3, 9)]


def test_golden_store__accuracies_and_estimators(golden):
    test = open_accuracy(golden, "toy", "cifar10/test")
    assert test.values[:8].tolist() == [50.0, 51.5, 53.0, 54.5, 56.0, 57.5, 59.0, 60.5]
    assert np.isnan(test.values[8:]).all()
    assert open_accuracy(golden, "toy", "cifar10/valid/200").values[:2].tolist() == [91.25, 92.5]
    assert open_estimators(golden, NAME)["score"].values[:9, 0].tolist() == [i / 4 for i in range(9)]
    assert {NAME, "toy/accuracy"} <= {node.path.strip("/") for node in open_store(golden).subtree}


@pytest.mark.parametrize("row", [3, 9])
def test_golden_store__can_be_continued(golden, tmp_path, row):
    shutil.copytree(golden, tmp_path / "s.zarr")
    (shard,) = Profile.open(tmp_path / "s.zarr", NAME).plan([row], retry_failed=True)
    rows = empty_rows([f"|op_{'abcdefghij'[row]}~0|"], [row], layers=["stem", "cell1", "head"])
    rows["status"][0] = 1
    Profile.open(tmp_path / "s.zarr", NAME).write(shard, {COUNTS: rows})
    assert verify(tmp_path / "s.zarr") == []
    assert open_profile(tmp_path / "s.zarr", NAME)["status"].values[row] == 1
