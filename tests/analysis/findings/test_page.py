import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr

from sweetgrad.analysis import params_weights, score
from sweetgrad.analysis.findings import GRIDS, findings_page
from sweetgrad.analysis.findings.live import live_verdict
from sweetgrad.store import (
    ProfileSpec,
    create_profile,
    import_accuracy,
    open_accuracy,
    open_profile,
)

NUM_ARCHS = 210
SPEC = ProfileSpec(
    space="nas-bench-201",
    dataset="cifar10",
    batch_size=64,
    seed=42,
    num_classes=10,
    input_shape=(3, 32, 32),
    batch_sha256="0" * 64,
    arch_sha256=hashlib.sha256("".join(f"a{i}\n" for i in range(NUM_ARCHS)).encode()).hexdigest(),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory, make_profile, write_profile):
    """Three seeds, and a data set without accuracies."""
    path = tmp_path_factory.mktemp("findings") / "s.zarr"
    for seed, spec in enumerate([SPEC, replace(SPEC, seed=1), replace(SPEC, seed=2), replace(SPEC, dataset="digits")]):
        rows = make_profile(NUM_ARCHS, seed=seed)
        write_profile(path, spec, rows)
    accuracy = 10 + np.random.RandomState(0).permutation(NUM_ARCHS) / 4
    columns = {"arch": rows.arch.values, "dataset": "cifar10", "split": "test", "epochs": 200, "accuracy": accuracy}
    import_accuracy(path, space=SPEC.space, table=pd.DataFrame(columns), source="made up")
    return path


@pytest.fixture(scope="module")
def page(path):
    return findings_page([path], replicates=3)


def rows_below(page, start):
    """Cells of the first table after some words."""
    lines = page.split(start, 1)[1].split("| --- |", 1)[1].splitlines()[1:]
    table = lines[: next(i for i, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_page__tells_of_stability_also_where_there_is_no_accuracy(page):
    rows = {row[0]: row for row in rows_below(page, "## Stability")}
    assert len(rows) == 4
    assert rows["`nas-bench-201/digits/bs64-seed42`"][4:] == ["", "", ""]
    assert rows["`nas-bench-201/cifar10/bs64-seed42`"][4]


def test_page__judges_every_set_of_intervals_by_the_other_batches(page):
    rows = rows_below(page, "## Other sets")
    assert [row[0] for row in rows] == list(GRIDS)
    assert {row[-1] for row in rows[1:]} <= {"better", "worse", "open"}
    assert "mean of 2 other batches" in page
    assert "of the 2 other batches of NAS-Bench-201, CIFAR-10" in page


def test_page__averages_over_seeds_only_where_there_are_three(page):
    rows = rows_below(page, "### Over seeds")
    assert [row[0] for row in rows][2:4] == [
        "the mean of 2 others, 50 architectures of each",
        "the mean of 2 others, 100 architectures of each",
    ]
    assert rows[0][2] == ""  # the paper's rule gains nothing over itself
    assert "### Over batch sizes" not in page


def test_page__of_live_parameters_leaves_out_those_that_chose(page):
    assert rows_below(page, "## Gain due to live")[0][3] == "110"


def test_page__of_live_parameters_prints_the_estimate_and_not_the_mean_of_the_resamples(path, page):
    profile = open_profile(path, "nas-bench-201/cifar10/bs64-seed1")  # the first of three of the same size
    accuracy = open_accuracy(path, "nas-bench-201", "cifar10/test").reindex(arch=profile["arch"].values)
    row = rows_below(page, "## Gain due to live")[0]
    interval = next(piece for piece in GRIDS["split 2"] if str(piece) == row[2])
    for cell, values in ((row[4], params_weights(profile)), (row[6], score(profile, interval))):
        expected = spearmanr(values[100:], accuracy[100:]).statistic
        assert cell.startswith(f"{expected:.3f} (")


def test_page__is_the_same_again(path, page):
    assert findings_page([path], replicates=3) == page


def test_page__one_profile_in_two_stores_counts_once(path, tmp_path):
    copy = shutil.copytree(path, tmp_path / "copy.zarr")
    with pytest.raises(ValueError, match=r"s\.zarr and .*copy\.zarr both hold .*: join them with `sweetgrad merge`"):
        findings_page([path, copy])


def test_page__without_any_accuracy_says_what_to_do(tmp_path):
    empty = tmp_path / "empty.zarr"
    create_profile(empty, SPEC, arch=[f"a{i}" for i in range(NUM_ARCHS)], layers=["layer"])
    with pytest.raises(ValueError, match=r"none in .*empty\.zarr: `sweetgrad accuracy import STORE --space"):
        findings_page([empty])


@pytest.mark.parametrize(
    ("sweet", "groups", "expected"), [(0.9, 5, (50, "better")), (0.9, 0, (50, None)), (0.6, 5, (None, "better"))]
)
def test_live_verdict__has_a_share_only_where_there_is_a_gain(sweet, groups, expected):
    figures = {"params": 0.7, "params_live": 0.8, "sweet": sweet, "share_of_gain": 0.1 / (sweet - 0.7), "within": 0.4}
    gain = xr.Dataset(
        {name: ("resample", [value] * 3) for name, value in figures.items()}, attrs={"num_groups": groups}
    )
    assert live_verdict(gain) == expected


def test_page__says_in_words_how_much_of_the_gain_is_live_parameters(page):
    start = "* NAS-Bench-201, CIFAR-10, split 2: Sweetimator has no gain over the number of parameters."
    assert start in page
