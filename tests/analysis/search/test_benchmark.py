import re

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis.search import search_benchmark, search_inputs, search_scores

INTERVAL = ("1e-4", "5e-4")


def make_estimated(archs, names=("naswot", "te_nas_condition")):
    shape = (len(archs), len(names))
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return xr.Dataset(
        {"score": (("arch", "estimator"), values), "seconds": (("arch", "estimator"), values / 10)},
        {"arch": list(archs), "estimator": np.array(names, dtype=object)},
    )


def test_search_benchmark__is_sorted_and_has_what_is_seen_paid_and_reported(table):
    shuffled = table.isel(arch=np.random.RandomState(0).permutation(27))
    found = search_benchmark(shuffled)
    assert list(found.arch) == sorted(table.arch.values)
    short = table.sel(dataset="cifar10", split="valid", epochs=12)
    np.testing.assert_array_equal(found.fitness, short.accuracy)
    np.testing.assert_array_equal(found.seconds, short.train_seconds)
    expected = table.accuracy.sel(epochs=200, split=["valid", "test"]).transpose("arch", "dataset", "split")
    np.testing.assert_array_equal(found.accuracy, expected)


def test_search_benchmark__names_what_is_missing(table):
    name = table.arch.values[5]
    for where, what in (
        ({"dataset": "cifar10", "split": "valid", "epochs": 12}, "accuracy cifar10/valid/12"),
        ({"dataset": "cifar100", "split": "test", "epochs": 200}, "accuracy cifar100/test/200"),
    ):
        holed = table.copy(deep=True)
        holed.accuracy.loc[{**where, "arch": name}] = np.nan
        with pytest.raises(
            ValueError, match=re.escape(f"{what} is missing for 1 of 27 architectures, the first {name}")
        ):
            search_benchmark(holed)
    table.train_seconds.loc[{"dataset": "cifar10", "split": "valid", "epochs": 12, "arch": name}] = np.nan
    with pytest.raises(ValueError, match="train_seconds of cifar10/valid/12 is missing for 1 of 27"):
        search_benchmark(table)


def test_search_benchmark__a_data_set_that_nobody_trained_on_is_left_out(table):
    table.accuracy.loc[{"dataset": "cifar100"}] = np.nan
    assert search_benchmark(table).accuracy.dataset.values.tolist() == ["cifar10"]


@pytest.mark.parametrize("selector", ["cifar10/valid", "cifar10/valid/13", "svhn/valid/12", "a/b/c/d"])
def test_search_benchmark__refuses_an_accuracy_that_is_not_there(table, selector):
    with pytest.raises(ValueError, match="expected DATASET/SPLIT/EPOCHS of the table"):
        search_benchmark(table, fitness=selector)


def test_search_scores__are_in_the_order_of_the_benchmark(benchmark):
    estimated = make_estimated(benchmark.arch[::-1])
    free, paid = (search_scores(estimated, "naswot", benchmark, charge=each, setup_seconds=9) for each in (False, True))
    assert free.values.tolist() == list(range(52, -1, -2))
    assert (free.charged, free.seconds.sum(), free.setup_seconds) == (False, 0, 0)
    assert paid.charged
    assert paid.seconds == pytest.approx(free.values / 10)
    assert paid.setup_seconds == 9
    own = search_scores(estimated, "naswot", benchmark, charge=True, score_seconds=0.25)
    assert own.seconds.tolist() == [0.25] * 27


def test_search_scores__of_a_condition_number_the_smaller_is_the_better(benchmark):
    estimated = make_estimated(benchmark.arch)
    assert search_scores(estimated, "te_nas_condition", benchmark).values.argmax() == 0


def test_search_scores__names_what_is_missing(benchmark):
    estimated = make_estimated(benchmark.arch)
    with pytest.raises(ValueError, match="no estimator 'snip' in the profile; it has naswot, te_nas_condition"):
        search_scores(estimated, "snip", benchmark)
    message = f"score of naswot is missing for 3 of 27 architectures, the first {benchmark.arch[0]}"
    with pytest.raises(ValueError, match=re.escape(message)):
        search_scores(estimated.isel(arch=slice(3, None)), "naswot", benchmark)
    estimated.seconds[4, 0] = np.nan
    with pytest.raises(ValueError, match="cost of naswot is missing for 1 of 27"):
        search_scores(estimated, "naswot", benchmark, charge=True)
    with pytest.raises(ValueError, match="score_seconds must be 0 or more, got -1"):
        search_scores(estimated, "naswot", benchmark, charge=True, score_seconds=-1.0)


def test_search_inputs__charge_the_profile_and_the_choice_of_the_interval(make_profile, table):
    profile = make_profile(27).assign_coords(arch=table.arch.values)
    profile.profile_seconds[:] = np.arange(27) / 8
    stored = make_estimated(table.arch.values)
    found = search_inputs(profile, stored, table, estimators=["sweetimator", "naswot"])
    assert [each.name for each in found.free] == [each.name for each in found.charged] == ["sweetimator", "naswot"]
    assert [each.charged for each in (*found.free, *found.charged)] == [False, False, True, True]
    assert found.charged[0].setup_seconds == pytest.approx(np.arange(27).sum() / 8)
    assert found.charged[0].seconds == pytest.approx(np.arange(27) / 8)
    assert found.charged[1].setup_seconds == 0
    fixed = search_inputs(profile, stored, table, score_seconds=2.0)
    assert (fixed.charged[0].setup_seconds, fixed.charged[0].seconds.sum()) == (54.0, 54.0)
    assert search_inputs(profile, stored, table, estimators=()).free == ()


def test_search_inputs__among_scored_keeps_what_is_complete(make_profile, table):
    status = np.ones(27, dtype=int)
    status[[2, 7]] = 0
    profile = make_profile(27, status=status).assign_coords(arch=table.arch.values)
    profile.profile_seconds[:] = 1
    stored = make_estimated(table.arch.values)
    with pytest.raises(ValueError, match="score of sweetimator is missing for 2 of 27"):
        search_inputs(profile, stored, table)
    table.accuracy[4, 0, 0, 1] = np.nan
    found = search_inputs(profile, stored, table, among_scored=True)
    assert list(found.benchmark.arch) == [arch for i, arch in enumerate(table.arch.values) if i not in (2, 4, 7)]
    stored.score[:] = np.nan
    with pytest.raises(ValueError, match="no architecture has every accuracy and a score of naswot"):
        search_inputs(profile, stored, table, estimators=["naswot"], among_scored=True)
