import re

import numpy as np
import pytest
import xarray as xr

from sweetgrad.analysis.search import (
    Scores,
    SearchBenchmark,
    SearchSettings,
    evolution,
    join_histories,
    random_search,
    run_searches,
    run_selections,
    search_table,
    select_architectures,
    trajectories,
)

SETTINGS = SearchSettings(num_runs=6, budget=300.0, seed=1)


@pytest.fixture
def tiny():
    """Four architectures: the third looks best after a short training, and the first is best after a long one."""
    accuracy = xr.DataArray(
        [[[70.0, 71.0]], [[60.0, 61.0]], [[50.0, 51.0]], [[40.0, 41.0]]],
        {"arch": list("wxyz"), "dataset": ["cifar10"], "split": ["valid", "test"]},
        ("arch", "dataset", "split"),
    )
    return SearchBenchmark(tuple("wxyz"), np.array([30.0, 20.0, 40.0, 10.0]), np.array([1.0, 2.0, 3.0, 4.0]), accuracy)


@pytest.fixture
def history():
    """Two runs: best so far x, w, w, y and z, x."""
    rows, seconds = [[1, 0, 1, 2], [3, 1, -1, -1]], [[2.0, 3.0, 5.0, 8.0], [4.0, 6.0, np.nan, np.nan]]
    return xr.Dataset({"arch_index": (("run", "step"), rows), "seconds": (("run", "step"), seconds)})


def test_search_table__reports_what_looked_best(tiny, history):
    found = search_table(join_histories({"a": history}), tiny, published={"a": (1.0, 2.0), "b": (3.0, 4.0)})
    assert found["mean"].values.tolist() == [[[55.0, 56.0]]]  # y and x
    assert found["sd"].values == pytest.approx(np.full((1, 1, 2), 50**0.5))
    assert found["published"].values.tolist() == [[[1.0, 2.0]]]
    assert (found["num_trained"].item(), found["seconds"].item()) == (3.0, 7.0)


def test_search_table__has_no_spread_of_one_run(tiny, history):
    found = search_table(join_histories({"a": history.isel(run=[0])}), tiny)
    assert found["mean"].values.tolist() == [[[50.0, 51.0]]]
    assert np.isnan(found["sd"]).all()
    assert np.isnan(found["published"]).all()


def test_join_histories__pads_the_shorter(tiny, history):
    joined = join_histories({"a": history, "b": history.isel(step=[0])})
    assert joined.sizes == {"algorithm": 2, "run": 2, "step": 4}
    assert joined.arch_index.sel(algorithm="b").values.tolist() == [[1, -1, -1, -1], [3, -1, -1, -1]]
    assert search_table(joined, tiny)["num_trained"].values.tolist() == [3.0, 1.0]


def test_trajectories__follow_what_would_be_reported(tiny, history):
    found = trajectories(join_histories({"a": history}), tiny, times=[1.9, 2.0, 4.0, 6.0, 9.0])
    # The first run: -, 61 (x), 71 (w), 71, 51 (y); the second: -, -, 41 (z), 61 (x), 61.
    assert found["median"].values[0] == pytest.approx([np.nan, np.nan, 56.0, 66.0, 56.0], nan_ok=True)
    assert found["lower"].values[0, 2] == pytest.approx(41 + 30 / 4)
    assert found["upper"].values[0, 2] == pytest.approx(71 - 30 / 4)
    assert trajectories(join_histories({"a": history}), tiny).time.values[-1] == 8.0


def literal_selection(benchmark, run, num, key):
    random = np.random.RandomState([1, run])
    drawn = [int(random.random_sample() * len(benchmark)) for _ in range(num)]
    return max(drawn, key=lambda row: key[row])


def test_select_architectures__is_the_literal_one(benchmark, make_scores):
    scores = make_scores(benchmark, seconds=0.5, setup=3.0)
    by_score = select_architectures(benchmark, num_archs=7, scores=scores, num_runs=6, seed=1)
    by_accuracy = select_architectures(benchmark, num_archs=7, optimal="cifar100/valid", num_runs=6, seed=1)
    accuracy = benchmark.accuracy.sel(dataset="cifar100", split="valid").values
    for run in range(6):
        assert by_score.arch_index[run].item() == literal_selection(benchmark, run, 7, scores.values)
        assert by_accuracy.arch_index[run].item() == literal_selection(benchmark, run, 7, accuracy)
    assert (by_score.seconds == 6.5).all()
    assert (by_accuracy.seconds == 0).all()
    with pytest.raises(ValueError, match="num_archs must be at least 1, got 0"):
        select_architectures(benchmark, num_archs=0)
    with pytest.raises(ValueError, match="not both"):
        select_architectures(benchmark, num_archs=1, scores=scores, optimal="cifar10/test")


def test_run_selections__holds_random_every_estimator_and_the_optimum(benchmark, make_scores):
    found = run_selections(benchmark, scores=[make_scores(benchmark)], num_archs=(2, 5), num_runs=6, seed=1)
    assert found.algorithm.values.tolist() == ["random/1", "made-up/2", "optimal/2", "made-up/5", "optimal/5"]
    mean = search_table(found, benchmark)["mean"].sel(dataset="cifar10", split="test", drop=True)
    best = [mean.sel(algorithm=name).item() for name in ("random/1", "optimal/2", "optimal/5")]
    assert best == sorted(best)
    assert mean.sel(algorithm="made-up/2") <= mean.sel(algorithm="optimal/2")


def test_run_selections__names_what_accuracies_there_are(benchmark):
    with pytest.raises(ValueError, match=r"no accuracies digits/test .* available data sets: cifar10"):
        run_selections(benchmark, optimal="digits/test", num_runs=2)
    history = select_architectures(benchmark, num_archs=1, num_runs=2)
    with pytest.raises(ValueError, match="no accuracies digits/test"):
        trajectories(join_histories({"a": history}), benchmark, dataset="digits")


def test_run_searches__holds_every_algorithm_with_and_without_cost(benchmark, make_scores):
    free, paid = make_scores(benchmark), make_scores(benchmark, seconds=0.5)
    found = run_searches(benchmark, SETTINGS, scores=[free, paid], pool=4)
    assisted = [f"{name}/made-up" for name in ("s-rea", "s-reinforce", "s-bohb", "s-bohb-model")]
    expected = ["random", "rea", "reinforce", "bohb", *assisted, *(f"{name}+cost" for name in assisted)]
    assert found.algorithm.values.tolist() == expected
    alone = evolution(benchmark, SETTINGS, scores=paid, pool=4)
    joined = found.sel(algorithm="s-rea/made-up+cost", drop=True).isel(step=slice(alone.sizes["step"]))
    np.testing.assert_array_equal(joined.arch_index, alone.arch_index)
    np.testing.assert_array_equal(joined.seconds, alone.seconds)
    assert found.attrs == {"num_runs": 6, "budget_s": 300.0, "seed": 1, "pool": 4}


def test_run_searches__the_same_seed_gives_the_same_and_another_does_not(benchmark, make_scores):
    scores = [make_scores(benchmark)]
    first, again = (run_searches(benchmark, SETTINGS, scores=scores) for _ in range(2))
    assert first.identical(again)
    other = run_searches(benchmark, SearchSettings(6, 300.0, seed=2), scores=scores)
    assert not other.arch_index.isel(step=0).equals(first.arch_index.isel(step=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithms": ["darts"]}, "expected algorithms among random, rea, .*; got darts"),
        ({"algorithms": []}, "got none"),
        ({"algorithms": ["s-rea"]}, "s-rea need the scores of an estimator"),
        ({"pool": 0}, "pool must be at least 1"),
    ],
)
def test_run_searches__refuses(benchmark, options, message):
    with pytest.raises(ValueError, match=message):
        run_searches(benchmark, SETTINGS, **options)


def test_runs__a_budget_smaller_than_one_training_says_so(benchmark, make_scores):
    slowest = benchmark.arch[int(benchmark.seconds.argmax())]
    needed = int(np.ceil(benchmark.seconds.max()))
    message = f"{re.escape(f'a budget of 10 s is smaller than one training: {slowest} takes')}.*give at least {needed}"
    with pytest.raises(ValueError, match=message):
        random_search(benchmark, SearchSettings(budget=10.0))
    random_search(benchmark, SearchSettings(3, budget=needed))
    with pytest.raises(ValueError, match="smaller than one training after 40 s for choosing the interval"):
        evolution(benchmark, SearchSettings(budget=40.0), scores=make_scores(benchmark, setup=40.0))
    dear = Scores("dear", np.zeros(27), np.full(27, 90.0))
    with pytest.raises(ValueError, match="smaller than one training with its scores"):
        run_searches(benchmark, SETTINGS, scores=[dear], algorithms=["s-reinforce"])
    for budget in (np.inf, np.nan):
        with pytest.raises(ValueError, match="must be a number of seconds"):
            random_search(benchmark, SearchSettings(budget=budget))
    with pytest.raises(ValueError, match="expected at least one run, got 0"):
        random_search(benchmark, SearchSettings(num_runs=0))


def test_selection_on_nas_bench_201__is_that_of_the_paper(nas_bench_201):
    """Yang et al. 2023: one at random 83.20 / 86.61, the optimum of 10 89.92 / 93.06, of 100 91.05 / 93.84."""
    table = search_table(run_selections(nas_bench_201, num_archs=(10, 100)), nas_bench_201)
    for name, paper in (("random/1", (83.20, 86.61)), ("optimal/10", (89.92, 93.06)), ("optimal/100", (91.05, 93.84))):
        one = table.sel(algorithm=name, dataset="cifar10")
        margin = 5 * (2 / 500) ** 0.5 * one["sd"].values
        assert (np.abs(one["mean"].values - paper) < margin).all(), (name, one["mean"].values)
