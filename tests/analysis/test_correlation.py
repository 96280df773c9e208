from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import spearmanr

from sweetgrad.analysis import Interval, IntervalGrid, correlation_by_interval, heatmap, rank_correlation, score
from sweetgrad.analysis.correlation import Method, spearman_by_column, spearman_within

Make = Callable[..., xr.Dataset]
SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}
METHODS = pytest.mark.parametrize("method", ["spearman", "kendall"])


def by_arch(values: list[float] | np.ndarray, prefix: str = "a") -> xr.DataArray:
    return xr.DataArray(np.asarray(values, "f8"), {"arch": [f"{prefix}{i}" for i in range(len(values))]}, "arch")


@METHODS
@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3.5, -1, np.nan]), st.sampled_from([0, 1, 2, 7, np.nan])),
        min_size=3,
        max_size=30,
    )
)
def test_rank_correlation__equals_scipy_with_ties_and_nan(method: Method, pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs, "f8").T
    kept = ~(np.isnan(a) | np.isnan(b))
    if len(np.unique(a[kept])) < 2 or len(np.unique(b[kept])) < 2:
        return
    result = rank_correlation(by_arch(a), by_arch(b), method=method, bootstrap=0)
    expected = SCIPY[method](a, b, nan_policy="omit").statistic
    assert result.correlation == pytest.approx(expected, abs=1e-12)
    assert result.num_archs == kept.sum()
    assert np.isnan([result.low, result.high]).all()


@METHODS
def test_rank_correlation__joins_on_architecture(method: Method) -> None:
    random = np.random.RandomState(0)
    a, b = by_arch(random.random_sample(20)), by_arch(random.random_sample(25))
    shuffled = b.isel(arch=random.permutation(25))
    result = rank_correlation(a, shuffled, method=method, bootstrap=0)
    assert result.correlation == pytest.approx(SCIPY[method](a.values, b.values[:20]).statistic, abs=1e-12)
    assert result.num_archs == 20


@METHODS
def test_rank_correlation__is_nan_for_a_constant(method: Method) -> None:
    result = rank_correlation(by_arch([1, 1, 1]), by_arch([1, 2, 3]), method=method, bootstrap=5)
    assert np.isnan([result.correlation, result.low, result.high]).all()


@METHODS
def test_rank_correlation__bootstraps_as_the_literal_twin(method: Method) -> None:
    random = np.random.RandomState(1)
    a = random.randint(0, 20, 60)
    b = a + random.normal(size=60) * 8
    result = rank_correlation(by_arch(a), by_arch(b), method=method, bootstrap=50, seed=7, level=0.9)
    draw = np.random.RandomState(7)
    samples = [draw.randint(0, 60, 60) for _ in range(50)]
    literal = [SCIPY[method](a[i], b[i]).statistic for i in samples]
    np.testing.assert_allclose([result.low, result.high], np.quantile(literal, [0.05, 0.95]), atol=1e-12)
    assert result.low < result.correlation < result.high
    assert str(result).startswith(f"{method} {result.correlation:.3f} [{result.low:.3f}, {result.high:.3f}] over 60")


def test_rank_correlation__refuses_fewer_than_no_resamples() -> None:
    values = xr.DataArray([1.0, 2.0, 3.0], dims="arch", coords={"arch": ["a", "b", "c"]})
    with pytest.raises(ValueError, match="bootstrap must be 0 or more"):
        rank_correlation(values, values, bootstrap=-1)


def test_rank_correlation__says_what_is_wrong() -> None:
    a = by_arch([1, 2, 3])
    with pytest.raises(
        ValueError, match=r"no architecture is in both: the first starts with .*a0.*, the second with .*b0"
    ):
        rank_correlation(a, by_arch([1, 2], "b"))
    with pytest.raises(ValueError, match="'a1' occurs more than once in the second array"):
        rank_correlation(a, a.isel(arch=[0, 1, 1]))
    with pytest.raises(ValueError, match="at least 2 architectures with both values, got 1"):
        rank_correlation(a, by_arch([1, np.nan, np.nan]))
    with pytest.raises(ValueError, match="method must be 'spearman' or 'kendall', got 'pearson'"):
        rank_correlation(a, a, method="pearson")  # type: ignore[arg-type]  # the error is what is tested
    with pytest.raises(ValueError, match="first array needs a dimension arch"):
        rank_correlation(xr.DataArray([1, 2], dims="arch"), a)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        rank_correlation(a, a, level=95)


@METHODS
@pytest.mark.parametrize("lazy", [False, True])
def test_correlation_by_interval__equals_scipy_in_every_column(make_profile: Make, method: Method, lazy: bool) -> None:
    profile = make_profile(15, status=[1, 0] + 12 * [1] + [2], top=2)
    accuracy = by_arch(np.random.RandomState(2).randint(85, 95, 14)).isel(arch=slice(None, None, -1))
    accuracy[3] = np.nan
    grid = IntervalGrid(1, 1e-4, 3)
    asked = profile.chunk(arch=4) if lazy else profile
    result = correlation_by_interval(asked, accuracy, grid, method=method)
    scores = score(profile, grid).isel(arch=slice(14))
    for i, interval in enumerate(grid):
        x, y = scores.values[:, i], accuracy.values[::-1]
        assert result.values[i] == pytest.approx(SCIPY[method](x, y, nan_policy="omit").statistic, abs=1e-12)
        assert result.interval.values[i] == str(interval)
    assert result.attrs["num_archs"] == 12


@METHODS
def test_heatmap__has_every_pair_of_thresholds(make_profile: Make, method: Method) -> None:
    profile = make_profile(10)
    accuracy = by_arch(np.random.RandomState(2).normal(size=10))
    grid = IntervalGrid(1, 0.01, 2)
    table = heatmap(profile, accuracy, grid, method=method)
    edges = grid.thresholds
    assert table.dims == ("lower", "upper")
    for low, high in combinations(edges, 2):
        expected = rank_correlation(
            score(profile, Interval(low, high)),
            accuracy,
            method=method,
            bootstrap=0,
        )
        assert table.sel(lower=float(low), upper=float(high)) == pytest.approx(expected.correlation)
    assert np.isfinite(table).sum() == len(edges) * (len(edges) - 1) / 2


def test_spearman_by_column__is_scipys() -> None:
    random = np.random.RandomState(2)
    columns, accuracy = random.randint(0, 20, (60, 3)).astype(float), random.rand(60)
    expected = [spearmanr(column, accuracy).statistic for column in columns.T]
    np.testing.assert_allclose(spearman_by_column(columns, accuracy), expected)
    assert spearman_by_column(np.ones((4, 1)), np.arange(4.0)).tolist() == [0.0]


def test_spearman_within__is_the_mean_over_groups_by_their_size() -> None:
    random = np.random.RandomState(1)
    x, y, group = random.randint(0, 9, 200).astype(float), random.rand(200), random.randint(0, 4, 200).astype(float) / 2
    found = [spearmanr(x[group == g], y[group == g]).statistic for g in np.unique(group)]
    sizes = [(group == g).sum() for g in np.unique(group)]
    assert spearman_within(x, y, group) == pytest.approx(np.average(found, weights=sizes))


def test_spearman_within__leaves_out_groups_that_cannot_be_ranked() -> None:
    x, group = np.array([1.0, 1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1, 1])
    assert spearman_within(x, np.arange(5.0), group) == pytest.approx(1)
    assert np.isnan(spearman_within(np.ones(4), np.arange(4.0), np.zeros(4)))
