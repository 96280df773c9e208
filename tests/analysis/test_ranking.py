"""Which architectures to pick, and whether to believe it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis import IntervalGrid, aggregate, best_interval, proportion, rank_architectures, verdict
from sweetgrad.analysis.aggregation import Aggregation
from sweetgrad.analysis.sweetness import sweetness_by_arch, weightless_share
from sweetgrad.analysis.verdict import verdict_on

ARCHS = ["a", "b", "c", "d", "e"]
VALUES = {
    "sweetimator": [5.0, 9.0, 9.0, np.nan, 1.0],
    "params": [50.0, 40.0, 30.0, 20.0, 10.0],
    "te_nas_condition": [3.0, np.inf, 1.0, 2.0, 5.0],
}
ACCURACY = xr.DataArray([70.0, 93.5, 91.0, 95.0], {"arch": ["a", "b", "c", "x"]}, "arch")


@pytest.fixture
def scores() -> xr.Dataset:
    coords = {"arch": ARCHS, "estimator": list(VALUES)}
    return xr.Dataset({"score": (("arch", "estimator"), np.array(list(VALUES.values())).T)}, coords)


def test_rank_architectures__puts_the_best_first_and_leaves_out_what_has_no_score(scores: xr.Dataset) -> None:
    ranked = rank_architectures(scores, show=["params", "params"], accuracies={"own/test": ACCURACY})
    assert ranked["arch"].values.tolist() == ["b", "c", "a", "e"]
    assert ranked["rank"].values.tolist() == [1, 1, 3, 4]
    assert ranked["params"].values.tolist() == [40, 30, 50, 10]
    np.testing.assert_array_equal(ranked["own/test"], [93.5, 91.0, 70.0, np.nan])
    # Below the best of these, not of the benchmark: x was not ranked.
    np.testing.assert_array_equal(ranked["regret"], [0, 2.5, 23.5, np.nan])
    assert ranked.attrs == {"ranked_by": ["sweetimator"], "num_unscored": 1}
    assert list(ranked.to_dataframe().columns) == ["rank", "sweetimator", "params", "own/test", "regret"]


def test_rank_architectures__knows_where_less_is_better(scores: xr.Dataset) -> None:
    ranked = rank_architectures(scores, by=["te_nas_condition"])
    assert ranked["arch"].values.tolist() == ["c", "d", "a", "e", "b"]


@pytest.mark.parametrize("method", ["log_ranks", "ranks"])
def test_rank_architectures__aggregates_several(scores: xr.Dataset, method: Aggregation) -> None:
    names = ["sweetimator", "te_nas_condition"]
    ranked = rank_architectures(scores, by=names, method=method)
    expected = aggregate(scores["score"].sel(estimator=names), method=method, signs={"te_nas_condition": -1})
    assert ranked["arch"].values[0] == "c"
    xr.testing.assert_equal(ranked["combined"], expected.sel(arch=ranked["arch"]).rename("combined"))
    assert (np.diff(ranked["combined"]) <= 0).all()


def test_rank_architectures__names_what_there_are_scores_of(scores: xr.Dataset) -> None:
    with pytest.raises(
        ValueError, match="no scores of 'snip': there are scores of sweetimator, params, te_nas_condition"
    ):
        rank_architectures(scores, show=["snip"])
    with pytest.raises(ValueError, match="no architecture has a score of sweetimator"):
        rank_architectures(scores.isel(arch=[3]))


def test_verdict__says_what_speaks_against_an_interval(make_profile: Callable[..., xr.Dataset]) -> None:
    best = best_interval(make_profile(), IntervalGrid(split=1), bootstrap=10)
    sure = replace(best, win_rate=0.5, weightless_share=0.0)
    assert verdict(sure, correlation=0.5, baselines={"params": 0.5}) == []
    unsure = replace(sure, win_rate=0.49, weightless_share=0.125)
    uncertain, weightless = verdict(unsure)
    assert "it wins in 49% of the resamples" in uncertain
    assert str(unsure.runner_up) in uncertain
    assert weightless.startswith("12% of the layers that were compared have no weights")
    assert len(verdict(replace(unsure, weightless="skip"))) == 1
    (worse,) = verdict(correlation=-0.1, baselines={"params": 0.2, "flops": 1.0, "params_live": -0.2})
    assert worse.startswith("flops (1.00) and params (.20) rank these architectures better than the interval (-.10)")


def test_verdict_on__compares_over_architectures_with_accuracy(scores: xr.Dataset) -> None:
    assert verdict_on(scores, None) == []
    assert verdict_on(scores, ACCURACY) == []
    (worse,) = verdict_on(scores, ACCURACY.copy(data=[95.0, 90.0, 80.0, 1.0]))
    assert worse.startswith("params (1.00) ranks these architectures better than the interval")


def test_best_interval__may_skip_layers_without_weights(
    make_profile: Callable[..., xr.Dataset], complete: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    profile = make_profile(4, ["cell"] * 5)
    profile.grad_count[:3, 2, 0] = 0  # only other parameters
    profile = complete(profile)
    grid = IntervalGrid(split=1)
    without = profile.isel(layer=[0, 1, 3, 4])
    found = sweetness_by_arch(profile, grid, weightless="skip")
    xr.testing.assert_equal(found.isel(arch=slice(3)), sweetness_by_arch(without, grid).isel(arch=slice(3)))
    xr.testing.assert_equal(found.isel(arch=slice(3, 4)), sweetness_by_arch(profile, grid).isel(arch=slice(3, 4)))
    assert not found.equals(sweetness_by_arch(profile, grid))
    assert proportion(profile, grid, weightless="skip").isel(arch=0, layer=4).isnull().all()
    assert weightless_share(profile) == pytest.approx(3 / 20)
    best = best_interval(profile, grid, weightless="skip", bootstrap=2)
    assert best.weightless == "skip"
    assert best.weightless_share == pytest.approx(3 / 20)
    with pytest.raises(ValueError, match="weightless must be one of zero, skip, got 'drop'"):
        best_interval(profile, grid, weightless="drop")  # type: ignore[arg-type]
