import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from sweetgrad.analysis import best_interval, score
from sweetgrad.analysis.best_interval import sweetest
from sweetgrad.analysis.findings import GRIDS, Chooser, judge, read_candidates
from sweetgrad.analysis.findings.choosing import candidates, columns_of, mean_sweetness


@pytest.fixture(scope="module")
def profile(make_profile):
    return make_profile(60, seed=3)


@pytest.fixture(scope="module")
def read(profile):
    accuracy = xr.DataArray(np.random.RandomState(0).rand(60), {"arch": profile.arch.values}, ("arch",))
    return read_candidates(profile, accuracy, profile.arch.values.tolist())


@pytest.mark.parametrize("grid", ["split 2", "splits 1 to 10 at once", "sliding, ratio 2"])
def test_sweetest__is_the_best_interval_of_those_architectures(profile, read, grid):
    subset = np.arange(60) < 20
    columns = columns_of(grid)
    (first,) = sweetest(mean_sweetness(read.sweetness.values, subset[None])[:, columns])
    assert candidates()[columns[first]] == best_interval(profile, GRIDS[grid], num_archs=20, bootstrap=1).interval


def test_sweetest__takes_the_first_of_equal_ones():
    assert sweetest(np.array([[0.3, 0.1 + 0.2, 0.0], [0.0, 0.1 + 0.2, 0.3]])).tolist() == [0, 1]


def test_read_candidates__scores_and_keeps_to_the_architectures_asked_for(profile):
    read = read_candidates(profile, None, ["a7", "a2"])
    assert read.arch.values.tolist() == ["a2", "a7"]
    assert np.isnan(read.accuracy).all()
    expected = score(profile, candidates()[5]).sel(arch=["a2", "a7"])
    assert (read.score.values[:, 5] == expected.values).all()


def test_judge__chooses_by_the_sweetness_that_a_chooser_brings(read):
    column = columns_of("split 2")[4]
    sweetness = xr.zeros_like(read.sweetness)
    sweetness[:, column] = 1.0  # all choose the same
    judged = judge(
        read.assign(score=xr.zeros_like(read.score)),
        {"a": Chooser(sweetness=sweetness, num_archs=5)},
        replicates=2,
        draws=3,
    )
    assert judged.win_rate.sel(chooser="a").values[column] == 1
    assert (judged.correlation == 0).all()  # a constant score ranks nothing


def test_judge__pairs_its_choosers_and_repeats_itself(read):
    choosers = {"paper": Chooser(num_archs=10), "same": Chooser(num_archs=10), "more": Chooser(num_archs=30)}
    judged = judge(read, choosers, replicates=4, draws=5)
    assert judged.identical(judge(read, choosers, replicates=4, draws=5))
    assert (judged.correlation.sel(chooser="paper") == judged.correlation.sel(chooser="same")).all()
    np.testing.assert_allclose(judged.win_rate.sum("interval"), 1)
    # A whole half always chooses the same in all draws of a replicate.
    assert (judged.win_rate.sel(chooser="more") * 4 % 1 < 1e-9).all()


def test_judge__slow_twin(read):
    """The first replicate, step by step."""
    judged = judge(read, {"paper": Chooser(num_archs=30)}, replicates=1, draws=1)
    random = np.random.RandomState(0)
    order = random.permutation(60)
    random.rand(1, 30)
    others = random.choice(order[30:], 30)
    means = read.sweetness.isel(arch=order[:30]).mean("arch").values[columns_of("split 2")]
    chosen = columns_of("split 2")[np.argmax(np.round(means, 12))]
    expected = spearmanr(read.score.values[others, chosen], read.accuracy.values[others]).statistic
    assert float(judged.correlation[0, 0]) == pytest.approx(expected)


def test_judge__needs_halves_that_are_large_enough(read):
    with pytest.raises(ValueError, match="two halves of at least 100 architectures, got 60 in all"):
        judge(read, {"paper": Chooser()})
