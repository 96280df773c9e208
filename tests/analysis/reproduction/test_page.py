import hashlib
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr

from sweetgrad.analysis import best_interval, loss_summary, params, rank_correlation, score
from sweetgrad.analysis.reproduction import rank_sweetimator, reproduction_page
from sweetgrad.analysis.reproduction.ranking import difference
from sweetgrad.store import (
    Profile,
    ProfileSpec,
    Shard,
    create_profile,
    import_accuracy,
    open_accuracy,
    open_profile,
)
from tests._scores import split_scores

NUM_ARCHS = 120
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
    """Profiles at two batch sizes and two seeds, one of a data set without accuracies, and accuracies of two lengths."""
    path = tmp_path_factory.mktemp("reproduction") / "s.zarr"
    specs = [SPEC, replace(SPEC, batch_size=128), replace(SPEC, seed=1), replace(SPEC, dataset="cifar100")]
    for seed, spec in enumerate(specs):
        rows = make_profile(NUM_ARCHS, seed=seed)
        rows.profile_seconds[:] = 0.5
        write_profile(path, spec, rows)
    accuracy = np.random.RandomState(0).permutation(NUM_ARCHS) / 2
    parts = [
        pd.DataFrame(
            {"arch": rows.arch.values, "dataset": "cifar10", "split": split, "epochs": epochs, "accuracy": values}
        )
        for split, epochs, values in (("test", 200, accuracy), ("test", 12, -accuracy), ("valid", 200, -accuracy))
    ]
    table = pd.concat(parts)
    import_accuracy(path, space=SPEC.space, table=table.assign(accuracy=table.accuracy / 4 + 70), source="made up")
    return path


@pytest.fixture(scope="module")
def page(path):
    return reproduction_page([path], bootstrap=20)


def section(page, title):
    """Rows of the table under a heading, as lists of cells."""
    body = re.split(r"^#+ ", page.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in body.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_rank_sweetimator__is_the_best_interval_its_score_and_the_correlation(path):
    profile, accuracy = open_profile(path, SPEC.profile_name), open_accuracy(path, SPEC.space, "cifar10/test")
    found = rank_sweetimator(profile, accuracy, bootstrap=10)
    best = best_interval(profile, bootstrap=10)
    assert found.best == best
    assert found.correlation == rank_correlation(score(profile, best), accuracy, bootstrap=10)
    assert found.runner_up == rank_correlation(score(profile, best.runner_up), accuracy, bootstrap=10)


def test_page__table_1_has_our_figure_beside_the_papers(path, page):
    rows = {row[0].strip("*"): row for row in section(page, "Table 1: CIFAR-10, batch 64")}
    profile, accuracy = open_profile(path, SPEC.profile_name), open_accuracy(path, SPEC.space, "cifar10/test/200")
    ours = rank_correlation(score(profile, best_interval(profile)), accuracy, bootstrap=20)
    _, spearman, paper, verdict, kendall, _, archs = rows["sweetimator"]
    assert spearman == f"{ours.correlation:.3f} ({ours.low:.3f} to {ours.high:.3f})"
    assert (paper, archs) == ("0.888", "120")
    assert verdict == difference(ours.correlation, ours.low, ours.high, 0.888)
    assert kendall
    assert rows["params_live"][2:4] == ["", ""]  # the paper has none
    assert "* `sweetimator`: " in page
    assert "`cifar10/test`" in page
    assert "computed on all 15,625 architectures" in page


def test_page__ablations_use_the_profile_of_that_setting(path, page):
    title = "Table 5: CIFAR-10, batch size"
    assert [(row[0], row[4]) for row in section(page, title)] == [("64", "0.888"), ("128", "0.908")]
    assert [row[0] for row in section(page, "CIFAR-10, seed of the batch and of the initialisation")] == ["1", "42"]
    accuracy = open_accuracy(path, SPEC.space, "cifar10/test")
    other = rank_sweetimator(open_profile(path, replace(SPEC, batch_size=128).profile_name), accuracy, bootstrap=20)
    assert section(page, title)[1][3].startswith(f"{other.correlation.correlation:.3f} (")
    assert [row[0] for row in section(page, "Table 5: CIFAR-10, intervals in a decade")] == ["2", "3", "4", "5"]
    counts = section(page, "Table 5: CIFAR-10, number of architectures that choose the interval")
    assert [row[0] for row in counts] == ["100"]  # there are fewer than 150


def test_page__says_why_a_row_of_table_5_differs(page):
    body = page.split(" Table 5: CIFAR-10, intervals in a decade\n", 1)[1].split("\n### ", 1)[0]
    outside = [row[0] for row in section(page, "Table 5: CIFAR-10, intervals in a decade") if "outside" in row[5]]
    assert outside  # the profile is made up
    assert [line.split(":")[0] for line in body.splitlines() if line.startswith("* split")] == [
        f"* split {s}" for s in outside
    ]


@pytest.mark.parametrize(("published", "explains"), [(0.9, True), (0.1, False)])
def test_runner_up_explains__a_published_figure_in_its_interval(path, published, explains):
    profile, accuracy = open_profile(path, SPEC.profile_name), open_accuracy(path, SPEC.space, "cifar10/test")
    found = rank_sweetimator(profile, accuracy, bootstrap=10)
    runner_up = replace(found.runner_up, low=0.8, high=0.95)
    assert replace(found, runner_up=runner_up).runner_up_explains(published) == explains


TABLE_6 = "Table 6: CIFAR-10, Kendall's tau of methods that train"


def test_page__table_6_is_at_batch_128_beside_the_paper(path, page):
    (row,) = section(page, TABLE_6)
    profile = open_profile(path, replace(SPEC, batch_size=128).profile_name)
    accuracy = open_accuracy(path, SPEC.space, "cifar10/test")
    ours = rank_sweetimator(profile, accuracy, method="kendall", bootstrap=20).correlation
    assert row[:3] == ["**sweetimator**", "nothing", f"batch 128, {best_interval(profile).interval}"]
    assert row[3] == f"{ours.correlation:.3f} ({ours.low:.3f} to {ours.high:.3f})"
    assert row[4:] == ["0.736", difference(ours.correlation, ours.low, ours.high, 0.736), "120"]
    assert "are [quoted](#table-6-kendalls-tau-on-nas-bench-201-cifar-10)" in page


def test_page__table_6_has_estimators_that_train_and_says_which_batch_is_missing(path, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(path, store)
    shutil.rmtree(store / replace(SPEC, batch_size=128).profile_name)
    name, archs, num = SPEC.profile_name, open_profile(path, SPEC.profile_name)["arch"].values, 40
    facts = {"method": "SPOS", "settings": {"epochs": 7}, "num_train": 3200, "num_valid": 800, "train_seconds": 12.3}
    Profile.open(store, name).record_training("spos", facts)
    accuracy = open_accuracy(store, SPEC.space, "cifar10/test").reindex(arch=archs).values[:num]
    shape, rows = ("arch", "estimator"), np.ones((num, 1))
    values = {"score": accuracy[:, None], "seconds": rows, "message": rows.astype(str), "status": rows.astype("uint8")}
    coords = {"arch": archs[:num], "arch_index": ("arch", range(num)), "estimator": ["spos"]}
    scores = xr.Dataset({key: (shape, value) for key, value in values.items()}, coords)
    Profile.open(store, name).write(Shard(0, 0, NUM_ARCHS, range(num)), split_scores(scores))
    page = reproduction_page([store], bootstrap=20)
    sweet, spos, same = section(page, TABLE_6)
    assert (sweet[2].split(",")[0], sweet[4:]) == ("batch 64", ["0.736", "120"])
    assert (
        "batch size 128, and these stores contain no such profile with the same seed. Ours uses batch size 64" in page
    )
    assert spos[:2] == ["spos", "a supernet, 7 epochs of 3,200 images, 12 s"]
    assert spos[3:] == ["1.000 (1.000 to 1.000)", "", "40"]
    assert (same[0], same[5]) == ("sweetimator, of those 40", "40")
    assert "* `spos` (SPOS): accuracies of sub-networks with inherited weights on 800 images" in page
    assert "It saw 0.4% of the images of the NAS-Bench-201 recipe" in page
    assert not [row for row in section(page, "Table 1: CIFAR-10, batch 64") if "spos" in row[0]]


def test_page__begins_with_what_it_comes_to(path, page):
    (row,) = section(page, "Reproduction")
    profile, accuracy = open_profile(path, SPEC.profile_name), open_accuracy(path, SPEC.space, "cifar10/test")
    sweet, all_params = (
        rank_correlation(each, accuracy).correlation
        for each in (score(profile, best_interval(profile)), params(profile))
    )
    assert row[0] == "NAS-Bench-201, CIFAR-10"
    assert [row[1][:6].strip(), row[4][:6].strip()] == [f"{sweet:.3f}", f"{all_params:.3f}"]
    assert (row[2], row[5], row[7]) == ("0.888", "0.751", "120")


def test_page__initial_loss(path, page):
    (row,) = section(page, "Appendix A: initial loss")
    loss = loss_summary(open_profile(path, SPEC.profile_name))
    assert row == ["CIFAR-10", f"{loss.mean:.3f} ± {loss.sd:.3f}", "2.343 ± 0.043", "120"]


def test_page__leaves_out_what_has_no_accuracy(page):
    assert "cifar100" not in page.split("## Quoted tables")[0]


def test_page__quotes_rows_of_the_paper_that_are_not_measured(page):
    rows = {row[0]: row[1:] for row in section(page, "Table 2: NDS, Kendall's tau at batch 128")}
    assert rows["sweetimator"] == ["0.568", "0.506", "0.458", "0.449", "0.360"]
    rows = {row[0]: row[1:] for row in section(page, "Table 3: selection and search on NAS-Bench-201, accuracy in %")}
    assert rows["jacob_cov/1000"] == ["89.69", "92.96", "69.98", "69.86", "44.44", "43.95"]
    assert rows["a-rea"] == ["91.20", "", "71.95", "", "45.70", ""]
    rows = {row[0]: row[1:] for row in section(page, "Table 4: cells found in the DARTS space")}
    assert rows["Sweetimator"][:2] == ["2.62 ± 0.05", "3.4"]
    trained = {row[0]: row[2] for row in section(page, "Table 6: Kendall's tau on NAS-Bench-201, CIFAR-10")}
    assert trained["TNASP"] == "0.724"


def test_page__without_any_accuracy_says_what_to_do(tmp_path):
    empty = tmp_path / "empty.zarr"
    create_profile(empty, SPEC, arch=[f"a{i}" for i in range(NUM_ARCHS)], layers=["layer"])
    with pytest.raises(ValueError, match=r"none in .*empty\.zarr: `sweetgrad accuracy import STORE"):
        reproduction_page([empty])


def test_page__says_what_darts_networks_are(tmp_path, make_profile, write_profile):
    archs = [f"Genotype(normal=[('{op}', {i})])" for i in range(4) for op in ("none", "skip_connect", "sep_conv_3x3")]
    sha256 = hashlib.sha256("".join(f"{arch}\n" for arch in archs).encode()).hexdigest()
    spec = replace(SPEC, space="darts", space_options={"channels": 16, "cells": 8}, arch_sha256=sha256)
    rows = make_profile(len(archs)).assign_coords(arch=archs)
    rows.profile_seconds[:] = 0.5
    write_profile(tmp_path / "s.zarr", spec, rows)
    table = pd.DataFrame(
        {"arch": archs, "dataset": "cifar10", "split": "valid", "epochs": 200, "accuracy": range(50, 50 + len(archs))}
    )
    import_accuracy(tmp_path / "s.zarr", space="darts", table=table, source="made up")
    page = reproduction_page([tmp_path / "s.zarr"], bootstrap=5)
    assert "They have 16 channels and 8 cells, and 4 of their 12 cells contain the operation `none`" in page


def test_page__a_data_set_of_our_own_has_its_noise_ceiling_and_nothing_of_the_paper(
    tmp_path, make_profile, write_profile
):
    rows = make_profile(NUM_ARCHS)
    rows.profile_seconds[:] = 0.5
    write_profile(tmp_path / "s.zarr", replace(SPEC, dataset="digits"), rows)
    archs, random = rows.arch.values, np.random.RandomState(0)
    first = np.arange(NUM_ARCHS) / 2 + 20
    second = first + random.normal(scale=5, size=NUM_ARCHS)
    labels = {"digits": (first + second) / 2, "digits/seed0": first, "digits/seed1": second}
    for dataset, values in labels.items():
        table = pd.DataFrame({"arch": archs, "dataset": dataset, "split": "test", "epochs": 20, "accuracy": values})
        import_accuracy(tmp_path / "s.zarr", space=SPEC.space, table=table, source="made up")
    page = reproduction_page([tmp_path / "s.zarr"], bootstrap=5)
    assert "### digits, batch 64: not in the paper" in page
    better = labels["digits"] >= np.median(labels["digits"])
    for chosen, said in (
        (slice(None), "correlation between two of them is {:.3f} ("),
        (better, "the noise ceiling, and {:.3f} ("),
    ):
        assert said.format(spearmanr(first[chosen], second[chosen]).statistic) in page
    assert "The paper's figures are computed on" not in page
