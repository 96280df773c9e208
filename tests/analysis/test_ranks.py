import numpy as np
import pytest
from scipy.stats import spearmanr

from sweetgrad.analysis.ranks import spearman_by_column, spearman_within


def test_spearman_by_column__is_scipys() -> None:
    random = np.random.RandomState(2)
    columns, accuracy = random.randint(0, 20, (60, 3)).astype(float), random.rand(60)
    expected = [spearmanr(column, accuracy).statistic for column in columns.T]
    np.testing.assert_allclose(spearman_by_column(columns, accuracy), expected)
    assert spearman_by_column(np.ones((4, 1)), np.arange(4.0)).tolist() == [0.0]


def test_spearman_within__is_the_mean_over_groups_by_their_size() -> None:
    random = np.random.RandomState(1)
    x, y, group = random.randint(0, 9, 200).astype(float), random.rand(200), random.randint(0, 4, 200) * 0.5
    found = [spearmanr(x[group == g], y[group == g]).statistic for g in np.unique(group)]
    sizes = [(group == g).sum() for g in np.unique(group)]
    assert spearman_within(x, y, group) == pytest.approx(np.average(found, weights=sizes))


def test_spearman_within__leaves_out_groups_that_cannot_be_ranked() -> None:
    x, group = np.array([1.0, 1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1, 1])
    assert spearman_within(x, np.arange(5.0), group) == pytest.approx(1)
    assert np.isnan(spearman_within(np.ones(4), np.arange(4.0), np.zeros(4)))
