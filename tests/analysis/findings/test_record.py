"""Combinations: judged on all architectures, found on one half alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kendalltau, rankdata

from sweetgrad.analysis.findings.record import (
    FIXED,
    NUM_CANDIDATES,
    POOL,
    Signals,
    combine,
    find_candidates,
    record_tables,
)

NUM = 60
NAMES = [*POOL[:8], "params", "flops"]


def make_signals(seed=0, title="Space, Data"):
    random = np.random.RandomState(seed)
    accuracy = random.uniform(50, 90, NUM)
    noise = {name: accuracy + random.normal(0, 10 + 8 * place, NUM) for place, name in enumerate(NAMES)}
    noise["az_trainability"][:5] = -np.inf
    arch = [f"a{i}" for i in range(NUM)]
    scores = xr.DataArray(np.stack([*noise.values()], 1), {"arch": arch, "estimator": NAMES}, ("arch", "estimator"))
    spec = SimpleNamespace(space="nas-bench-201", dataset="cifar10")
    profile = SimpleNamespace(title=title, info=SimpleNamespace(spec=spec))
    return Signals(profile, "[1e-3, 1e-2)", scores, xr.DataArray(accuracy, {"arch": arch}, "arch"))


def test_combine__is_the_sum_of_log_ranks():
    signals = make_signals()
    columns = [signals.scores.sel(estimator=name).values for name in FIXED.split(" + ")]
    expected = sum(np.log(rankdata(column) / NUM) for column in columns)
    np.testing.assert_allclose(combine(signals, FIXED.split(" + ")).values, expected)


def test_find_candidates__looks_at_no_accuracy_of_the_other_half():
    signals = make_signals()
    found = find_candidates(signals)
    assert len(set(found)) == NUM_CANDIDATES
    assert all(2 <= len(each.split(" + ")) <= 5 for each in found)
    half = np.random.RandomState(0).permutation(NUM)[: NUM // 2]
    spoilt = signals.accuracy.copy(deep=True)
    other = np.setdiff1d(np.arange(NUM), half)
    spoilt.values[other] = 0
    spoilt_scores = signals.scores.copy(deep=True)
    spoilt_scores.values[other] = 7
    assert find_candidates(Signals(signals.profile, "", spoilt_scores, spoilt)) == found
    there = signals.scores.isel(arch=half)

    def tau(members):
        total = sum(np.log(rankdata(there.sel(estimator=name).values)) for name in members.split(" + "))
        return kendalltau(total, signals.accuracy.values[half]).statistic

    taus = [tau(each) for each in found]
    assert taus == pytest.approx(sorted(taus, reverse=True))
    assert taus[0] >= tau(FIXED)


def test_record_tables__names_what_ranks_better_than_the_fixed_combination():
    signals = make_signals()
    (table,) = record_tables([signals], find_candidates(signals), bootstrap=5)
    tau = {row[0].strip("*"): float(row[2].split()[0]) for row in table.rows}
    for name in ("params", "sweetimator"):
        values = signals.scores.sel(estimator=name).values
        assert tau[name] == pytest.approx(kendalltau(values, signals.accuracy.values).statistic, abs=6e-4)
    parts = [*FIXED.split(" + "), "params", "flops", "naswot"]
    assert table.losses == sorted((n for n in parts if tau[n] > tau[FIXED]), key=lambda n: -tau[n])
    assert table.published.startswith("tau .776")
    assert len(table.rows) >= 8 + NUM_CANDIDATES - 1
