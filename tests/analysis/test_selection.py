"""nDCG, precision and regret of the k best: by hand, beside scikit-learn, and by every order of equal scores."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.analysis import SelectionQuality, ndcg, precision_at, rank_correlation, regret_at
from sweetgrad.store import read_accuracy_file
from sweetgrad.store.benchmarks.shipped import shipped_table

Measure = Callable[..., SelectionQuality]
MEASURES = pytest.mark.parametrize("measure", [ndcg, precision_at, regret_at])
INF, NAN = math.inf, math.nan


def by_arch(values: Sequence[float] | np.ndarray) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, "f8"), {"arch": [f"a{i}" for i in range(len(values))]}, "arch")


def value(
    measure: Measure, scores: Sequence[float] | np.ndarray, accuracy: Sequence[float] | np.ndarray, k: int
) -> float:
    return measure(by_arch(scores), by_arch(accuracy), k, bootstrap=0).value


def gains(accuracy: np.ndarray) -> np.ndarray:
    """Gains by a common factor smaller, since scikit-learn converts them to integers of 64 bits in a check of its own."""
    return np.asarray((2**accuracy - 1) / 2**60)


def literal(measure: Measure, order: Sequence[int], accuracy: Sequence[float], k: int) -> float:
    """The measure of one order of the architectures, the best first, straight from its definition."""
    chosen, ranked = [accuracy[i] for i in order[:k]], sorted(accuracy, reverse=True)
    if measure is ndcg:
        gain, best = (
            sum((2**value - 1) / math.log2(1 + j) for j, value in enumerate(values, start=1))
            for values in (chosen, ranked[:k])
        )
        return gain / best
    if measure is precision_at:
        return sum(value >= ranked[k - 1] for value in chosen) / k
    return ranked[0] - max(chosen)


@pytest.mark.parametrize(
    ("accuracy", "spearman", "expected"),
    [([80, 70, 100, 90, 60, 50, 40, 30, 20, 10], 0.90, 0.50), ([100, 90, 80, 70, 60, 50, 10, 20, 30, 40], 0.88, 1.00)],
)
def test_ndcg__is_that_of_the_papers_example(accuracy: list[float], spearman: float, expected: float) -> None:
    # Figure 2 of VKDNW (which prints the second correlation, 0.879, as 0.89).
    scores = np.arange(10, 0, -1)
    assert value(ndcg, scores, accuracy, 10) == pytest.approx(expected, abs=5e-3)
    found = rank_correlation(by_arch(scores), by_arch(accuracy), bootstrap=0).correlation
    assert found == pytest.approx(spearman, abs=5e-3)


@MEASURES
@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from([-INF, 0, 1, 2.5]), st.sampled_from([10, 50.5, 51, 90])), min_size=1, max_size=5
    ),
    data=st.data(),
)
def test_measure__is_the_mean_over_all_orders_of_equal_scores(
    measure: Measure, pairs: list[tuple[float, float]], data: st.DataObject
) -> None:
    scores, accuracy = (list(column) for column in zip(*pairs, strict=True))
    k = data.draw(st.integers(1, len(pairs)))
    orders = [
        order
        for order in map(list, itertools.permutations(range(len(pairs))))
        if all(scores[i] >= scores[j] for i, j in itertools.pairwise(order))
    ]
    expected = np.mean([literal(measure, order, accuracy, k) for order in orders])
    assert value(measure, scores, accuracy, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_values", [10_000, 30, 2])
@pytest.mark.parametrize("k", [1, 17, 300])
def test_ndcg__equals_scikit_learn(num_values: int, k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.RandomState(k)
    accuracy = random.uniform(10, 95, 300).round(1)
    scores = random.randint(0, num_values, 300) + accuracy
    scores = np.where(random.rand(300) < 0.3, random.randint(0, num_values, 300), scores)
    expected = metrics.ndcg_score([gains(accuracy)], [scores], k=k)
    assert value(ndcg, scores, accuracy, k) == pytest.approx(expected, rel=1e-10)


def test_measures__of_a_real_benchmark() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    table = read_accuracy_file(shipped_table("nas-bench-201"), space="nas-bench-201")
    wide = table.query("dataset == 'cifar10' and split == 'test'").pivot(index="arch", columns="epochs")["accuracy"]
    short, full = (wide[epochs].to_numpy() for epochs in (12, 200))
    assert value(ndcg, short, full, 1000) == pytest.approx(metrics.ndcg_score([gains(full)], [short], k=1000))
    chosen = short >= 86.5
    k = int(chosen.sum())
    assert 500 < k < 1000
    threshold = np.sort(full)[-k]
    assert value(precision_at, short, full, k) == pytest.approx((full[chosen] >= threshold).mean())
    assert value(regret_at, short, full, 1) == pytest.approx(full.max() - full[short == short.max()].mean())


@MEASURES
def test_measure__of_accuracy_itself_is_perfect_with_ties(measure: Measure) -> None:
    accuracy = [50, 90, 90, 90, 20]
    for k in range(1, 6):
        assert value(measure, accuracy, accuracy, k) == pytest.approx(0.0 if measure is regret_at else 1.0)


@MEASURES
@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(-5, 5).map(lambda x: round(x, 1)), min_size=3, max_size=12), seed=st.integers(0, 99))
def test_measure__is_invariant_under_monotone_transforms(measure: Measure, values: list[float], seed: int) -> None:
    accuracy = np.random.RandomState(seed).uniform(0, 100, len(values))
    other = np.exp(np.array(values)) * 3 - 8
    assert value(measure, other, accuracy, 2) == value(measure, values, accuracy, 2)


@MEASURES
def test_measure__puts_minus_infinity_last_and_leaves_out_nan(measure: Measure) -> None:
    scores, accuracy = [4, NAN, -INF, 2, 1, 3], [70, 99, 95, 60, NAN, 80]
    result = measure(by_arch(scores), by_arch(accuracy), 3, bootstrap=0)
    assert (result.num_archs, result.k) == (4, 3)
    assert math.isnan(result.low)
    # In the order of scores: 70, 80, 60, and 95, which is not selected.
    assert result.value == pytest.approx(literal(measure, [0, 1, 2, 3], [70, 80, 60, 95], 3))


@MEASURES
def test_measure__joins_on_architecture(measure: Measure) -> None:
    random = np.random.RandomState(0)
    scores, accuracy = by_arch(random.rand(40)), by_arch(random.uniform(5, 95, 50))
    expected = measure(scores, accuracy.isel(arch=slice(40)), 9)
    found = measure(scores.isel(arch=random.permutation(40)), accuracy.isel(arch=random.permutation(50)), 9)
    assert found.value == pytest.approx(expected.value)
    assert found.num_archs == 40


@MEASURES
def test_measure__bootstraps_as_the_literal_twin(measure: Measure) -> None:
    random = np.random.RandomState(1)
    accuracy = random.uniform(80, 95, 60).round(1)
    scores = (accuracy + random.normal(size=60) * 4).round()  # with ties
    result = measure(by_arch(scores), by_arch(accuracy), 7, bootstrap=50, seed=7, level=0.9)
    draw = np.random.RandomState(7)
    samples = [draw.randint(0, 60, 60) for _ in range(50)]
    # What a resample holds twice is two architectures with equal scores.
    resampled = [value(measure, scores[rows], accuracy[rows], 7) for rows in samples]
    np.testing.assert_allclose([result.low, result.high], np.quantile(resampled, [0.05, 0.95]), atol=1e-12)
    assert result.low < result.high
    assert str(result).endswith(f"@7 {result.value:.3f} [{result.low:.3f}, {result.high:.3f}] over 60 architectures")


@MEASURES
def test_measure__says_what_is_wrong(measure: Measure) -> None:
    a = by_arch([1, 2, 3])
    for arguments, message in (
        ((a, a, 0), "k must be from 1 to the 3 architectures that have a score and an accuracy, got 0"),
        ((a, by_arch([1, NAN, 3]), 3), "k must be from 1 to the 2 architectures"),
        ((a, by_arch([1, 2, 101]), 1), r"accuracies must be in %, from 0 to 100, got 1.0 to 101.0"),
        (
            (a.expand_dims(estimator=["snip"]), a, 1),
            r"scores must have the dims \(arch,\), got \('estimator', 'arch'\)",
        ),
        ((a, a.isel(arch=[0, 0]), 1), "'a0' occurs more than once in the second array"),
        ((a, a.assign_coords(arch=["x", "y", "z"]), 1), "no architecture is in both"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(*arguments)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        measure(a, a, 1, level=95)
    with pytest.raises(ValueError, match="bootstrap must be 0 or more"):
        measure(a, a, 1, bootstrap=-1)
