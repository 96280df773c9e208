"""The part of the page on searches, with a small space in the place of NAS-Bench-201."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis.reproduction import page
from sweetgrad.analysis.search import run_selections, search_inputs, search_table
from sweetgrad.store.pages import render

NUM_ARCHS = 81


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(page, "NAS_BENCH_201_ARCHS", NUM_ARCHS)


@pytest.fixture
def accuracies():
    archs = ["".join(f"|{op}~0|" for op in cell) for cell in itertools.product("abc", repeat=4)]
    dims, random = ("arch", "dataset", "split", "epochs"), np.random.RandomState(0)
    coords = {"arch": archs, "dataset": ["cifar10"], "split": ["test", "valid"], "epochs": [12, 200]}
    shape = (NUM_ARCHS, 1, 2, 2)
    data = {"accuracy": (dims, 90 * random.random_sample(shape)), "train_seconds": (dims, np.full(shape, 500.0))}
    return xr.Dataset(data, coords)


@pytest.fixture
def stored(accuracies):
    shape = (NUM_ARCHS, 2)
    scores = np.random.RandomState(1).random_sample(shape)
    scores[5, 1] = np.nan
    return xr.Dataset(
        {"score": (("arch", "estimator"), scores), "seconds": (("arch", "estimator"), np.full(shape, 0.5))},
        {"arch": accuracies.arch.values, "estimator": np.array(["naswot", "zen_score"], dtype=object)},
    )


def measured(make_profile, accuracies, status=None):
    profile = make_profile(NUM_ARCHS, status=status).assign_coords(arch=accuracies.arch.values)
    profile.profile_seconds[:] = 0.25
    return profile


def search_section(profile, stored, accuracies):
    """First cell to the other cells of the rows of both tables, and the text of the section."""
    tables = page.search_tables(profile, stored, accuracies)
    template = Path(page.__file__).with_name("search.md.j2")
    text = render(template, tables=tables, paper_archs=page.NAS_BENCH_201_ARCHS)
    lines = [block.splitlines()[2:] for block in text.split("\n\n") if block.startswith("|")]
    rows = [[[cell.strip() for cell in line.strip("|").split(" | ")] for line in table] for table in lines]
    return *({row[0]: row[1:] for row in table} for table in rows), text


def test_search_section__has_selections_and_searches_beside_the_papers(make_profile, accuracies, stored):
    profile = measured(make_profile, accuracies)
    selected, searched, text = search_section(profile, stored, accuracies)
    # Estimators without all scores, and numbers above a tenth of the space, are left out.
    assert list(selected) == ["random/1"]
    plain, assisted = ["random", "rea", "reinforce", "bohb"], ["s-rea", "s-reinforce", "s-bohb", "s-bohb-model"]
    own = [f"{name}/sweetimator{cost}" for cost in ("", "+cost") for name in assisted]
    assert list(searched) == [*plain, *own]
    valid, paper, verdict = searched["rea"][:3]
    assert paper == "91.08"
    assert float(verdict.split(",")[0]) == pytest.approx(float(valid.split()[0]) - 91.08, abs=0.006)
    assert verdict.endswith("**outside**")
    assert searched["random"][1:3] == ["", ""]
    assert searched["rea"][-2:] == ["24.0", "12,000"]
    assert "12,000 simulated" in text
    assert "have a score so far" not in text


def test_search_section__of_a_part_selects_among_it(make_profile, accuracies, stored, monkeypatch):
    monkeypatch.setattr(page, "_NUM_ARCHS", (2, 6, 50))
    status = np.ones(NUM_ARCHS, dtype=int)
    status[[3, 5]] = 0
    profile = measured(make_profile, accuracies, status)
    selected, searched, text = search_section(profile, stored, accuracies)
    assert "Only 79 of the 81 architectures have a score so far" in text
    # The row without a zen_score has no Sweetimator either, so zen_score is complete.
    assert {"sweetimator/2", "naswot/6", "zen_score/6", "optimal/6"} <= set(selected)
    assert not any(name.endswith("/50") for name in selected)
    assert list(searched) == ["random", "rea", "reinforce", "bohb"]
    inputs = search_inputs(profile, stored, accuracies, estimators=["sweetimator", "naswot"], among_scored=True)
    assert len(inputs.benchmark) == 79
    table = search_table(run_selections(inputs.benchmark, scores=inputs.charged, num_archs=(2, 6)), inputs.benchmark)
    one = table.sel(algorithm="naswot/6", dataset="cifar10", split="valid")
    assert selected["naswot/6"][0] == f"{float(one['mean']):.2f} ± {float(one['sd']):.2f}"
    assert selected["naswot/6"][-1] == "3"


def test_search_section__needs_the_short_trainings_of_all(make_profile, accuracies, stored):
    profile = measured(make_profile, accuracies)
    assert page.search_tables(profile, stored, accuracies.sel(epochs=[200])) is None
    accuracies.accuracy[0] = np.nan
    assert page.search_tables(profile, stored, accuracies) is None
