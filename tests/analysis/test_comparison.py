import numpy as np
import pytest
import xarray as xr
from scipy.stats import kendalltau, rankdata, spearmanr

from sweetgrad.analysis import (
    compare_estimators,
    compare_selections,
    estimator_scores,
    ndcg,
    params,
    params_live,
    params_weights,
    rank_correlation,
    score,
    te_nas,
    te_nas_nobn,
)
from sweetgrad.analysis.comparison import published_figures
from sweetgrad.analysis.figures import plot_comparison
from sweetgrad.analysis.published import TABLE_1

INTERVAL = ("1e-4", "5e-4")
TE_NAS = ["te_nas_condition", "te_nas_condition_nobn", "te_nas_regions", "te_nas_regions_nobn"]


def make_stored(profile: xr.Dataset, names: list[str], seed: int = 0) -> xr.Dataset:
    random = np.random.RandomState(seed)
    shape = (profile.sizes["arch"], len(names))
    data = {"score": random.random_sample(shape), "seconds": random.random_sample(shape).astype("float32")}
    return xr.Dataset(
        {key: (("arch", "estimator"), value) for key, value in data.items()},
        coords={"arch": profile.arch.values, "estimator": np.array(names, dtype=object)},
    )


def test_te_nas__is_the_sum_of_two_ranks(make_profile):
    stored = make_stored(make_profile(6), TE_NAS).score
    stored[0, 0], stored[1, 2], stored[2, 0], stored[3, 2] = np.inf, np.nan, stored[4, 0], stored[5, 2]
    have = [0, 2, 3, 4, 5]
    condition, regions = (stored.sel(estimator=name).values[have] for name in ("te_nas_condition", "te_nas_regions"))
    expected = rankdata(regions) - rankdata(condition)
    assert te_nas(stored).values[have].tolist() == expected.tolist()
    assert np.isnan(te_nas(stored).values[1])


def test_te_nas_nobn__is_a_difference(make_profile):
    stored = make_stored(make_profile(3), TE_NAS).score
    expected = stored.sel(estimator="te_nas_regions_nobn") - stored.sel(estimator="te_nas_condition_nobn")
    np.testing.assert_array_equal(te_nas_nobn(stored).values, expected.values)


def test_estimator_scores__holds_what_is_stored_what_the_histogram_holds_and_combinations(make_profile):
    profile = make_profile(5, status=[1, 1, 2, 0, 1])
    stored = make_stored(profile, ["params", "snip", *TE_NAS])
    found = estimator_scores(profile, stored, INTERVAL)
    names = ["sweetimator", "params", "params_weights", "params_live", "snip", *TE_NAS, "te_nas", "te_nas_nobn"]
    assert found.estimator.values.tolist() == names
    assert found.score.dims == found.seconds.dims == ("arch", "estimator")
    by_name = {name: found.score.sel(estimator=name).values for name in names}
    np.testing.assert_array_equal(by_name["sweetimator"], score(profile, INTERVAL).values)
    np.testing.assert_array_equal(by_name["params_weights"], params_weights(profile).values)
    np.testing.assert_array_equal(by_name["params_live"], params_live(profile).values)
    np.testing.assert_array_equal(by_name["params"], stored.score.sel(estimator="params").values)  # as stored
    np.testing.assert_array_equal(by_name["te_nas"], te_nas(stored.score).values)
    times = found.seconds.sel(estimator="te_nas").values
    np.testing.assert_allclose(times, stored.seconds.sel(estimator=TE_NAS[::2]).sum("estimator").values)


def test_estimator_scores__without_stored_estimators(make_profile):
    profile = make_profile(3)
    found = estimator_scores(profile, make_stored(profile, []), INTERVAL)
    assert found.estimator.values.tolist() == ["sweetimator", "params", "params_weights", "params_live"]
    np.testing.assert_array_equal(found.score.sel(estimator="params").values, params(profile).values)


def test_estimator_scores__counts_of_parameters_have_not_the_seconds_of_a_pass(make_profile):
    profile = make_profile(3)
    stored = make_stored(profile, ["params"])
    seconds = estimator_scores(profile, stored, INTERVAL).seconds.sel
    np.testing.assert_array_equal(seconds(estimator="params"), stored.seconds.sel(estimator="params"))
    assert seconds(estimator="params_weights").isnull().all()
    for name in ("sweetimator", "params_live"):
        np.testing.assert_array_equal(seconds(estimator=name), profile.profile_seconds)


def test_compare_estimators__is_scipy_for_each_best_first(make_profile):
    profile = make_profile(30)
    stored = make_stored(profile, ["bad", "empty", "good", "snip"])
    accuracy = xr.DataArray(np.arange(30.0), {"arch": profile.arch.values}, "arch")
    stored.score[:, 0], stored.score[:, 1], stored.score[:, 2] = -accuracy.values, np.nan, accuracy.values
    stored.score[:4, 3] = np.nan
    stored.score[4, 3] = -np.inf
    scores = estimator_scores(profile, stored, INTERVAL)
    table = compare_estimators(scores, accuracy, published=published_figures("nas-bench-201", "cifar10"), bootstrap=30)
    names = table.estimator.values.tolist()
    assert names[0] == "good"
    assert names[-2:] == ["bad", "empty"]
    snip = table.sel(estimator="snip")
    values = stored.score.values[4:, 3]
    assert snip.spearman.item() == pytest.approx(spearmanr(values, accuracy.values[4:]).statistic)
    assert snip.kendall.item() == pytest.approx(kendalltau(values, accuracy.values[4:]).statistic)
    assert snip.num_archs.item() == 26
    assert snip.published.item() == 0.638
    assert snip.seconds.item() == pytest.approx(np.median(stored.seconds.values[:, 3]))
    expected = rank_correlation(stored.score.sel(estimator="snip"), accuracy, bootstrap=30)
    assert (snip.spearman_low.item(), snip.spearman_high.item()) == (expected.low, expected.high)
    assert np.isnan(table.spearman.sel(estimator="empty"))
    assert np.isnan(table.published.sel(estimator="good"))


def test_table_1__has_the_figures_of_the_paper():
    assert {dataset: figures["sweetimator"] for dataset, figures in TABLE_1["nas-bench-201"].items()} == {
        "cifar10": 0.888,
        "cifar100": 0.859,
        "imagenet16-120": 0.835,
    }
    assert TABLE_1["nas-bench-201"]["cifar100"]["gradsign"] == 0.792
    with pytest.raises(TypeError):
        TABLE_1["nas-bench-201"]["cifar10"]["snip"] = 1


def test_plot_comparison__draws_a_bar_for_each_estimator_that_has_scores(make_profile, tmp_path):
    profile = make_profile(20)
    stored = make_stored(profile, ["empty", "snip"])
    stored.score[:, 0] = np.nan
    accuracy = xr.DataArray(np.arange(20.0), {"arch": profile.arch.values}, "arch")
    table = compare_estimators(estimator_scores(profile, stored, INTERVAL), accuracy, bootstrap=20)
    figure = plot_comparison(table, path=tmp_path / "picture.svg")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == ["params", "params_live", "params_weights", "snip", "sweetimator"]
    assert len(figure.axes[0].patches) == 5
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_compare_selections__is_each_measure_best_first_and_negates_where_less_is_better():
    arch = [f"a{i}" for i in range(6)]
    accuracy = xr.DataArray([90.0, 80, 70, 60, 50, 40], {"arch": arch}, "arch")
    columns = {
        "params": [6.0, 5, 4, 3, 2, 1],
        "te_nas_condition": [6.0, 5, 4, 3, 2, 1],
        "snip": [np.nan, np.nan, np.nan, np.nan, 2, 1],
    }
    values = np.array(list(columns.values())).T
    scores = xr.Dataset({"score": (("arch", "estimator"), values)}, coords={"arch": arch, "estimator": list(columns)})
    found = compare_selections(scores, accuracy, 3, bootstrap=20)
    assert found["estimator"].values.tolist() == ["params", "te_nas_condition"]
    assert found.ndcg.values[0] == 1
    assert found.precision.values.tolist() == [1, 0]
    assert found.regret.values.tolist() == [0, 30]
    quality = ndcg(scores["score"].sel(estimator="params", drop=True), accuracy, 3, bootstrap=20)
    assert (found.ndcg_low.values[0], found.ndcg_high.values[0]) == (quality.low, quality.high)
    with pytest.raises(ValueError, match="no estimator has scores of 7 architectures"):
        compare_selections(scores, accuracy, 7, bootstrap=0)
