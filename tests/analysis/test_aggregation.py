"""Sums of (log) ranks: by hand, by a literal twin, and what they must not depend on."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from sweetgrad.analysis import aggregate
from sweetgrad.analysis.aggregation import Aggregation

METHODS = pytest.mark.parametrize("method", ["log_ranks", "ranks"])
INF, NAN = math.inf, math.nan


def table(*columns: list[float], names: str = "xyzw") -> xr.DataArray:
    values = np.array(columns, "f8").T
    archs = [f"a{i}" for i in range(len(values))]
    return xr.DataArray(values, {"arch": archs, "estimator": list(names[: len(columns)])}, ("arch", "estimator"))


@st.composite
def tables(draw: st.DrawFn) -> xr.DataArray:
    """Up to four estimators with ties, failures (NaN) and worst scores (-inf), of two architectures or more with all scores."""
    num, num_members = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    value = st.sampled_from([-3.0, -0.5, 0.0, 1.0, 1.5, 40.0, -INF, NAN])
    columns = [draw(st.lists(value, min_size=num, max_size=num)) for _ in range(num_members)]
    whole = [[0.0, 7.0, *column] for column in columns]
    return table(*whole)


def literal(scores: xr.DataArray, method: str) -> list[float]:
    """Each architecture of the set by itself, with scipy's ranks."""
    rows = scores.values
    whole = [row for row in rows if not any(math.isnan(value) for value in row)]
    expected = []
    for row in rows:
        if any(math.isnan(value) for value in row):
            expected.append(NAN)
            continue
        total = 0.0
        for j, value in enumerate(row):
            column = [other[j] for other in whole]
            rank = rankdata(column)[column.index(value)]
            total += math.log(rank / len(whole)) if method == "log_ranks" else rank / len(whole)
        expected.append(total)
    return expected


def test_aggregate__by_hand() -> None:
    # Ranks of x: 1, 2.5, 2.5, 4. Of y: 4, 1.5, 3, 1.5, with two failures that tie.
    scores = table([1, 5, 5, 9], [3, -INF, 2, -INF])
    expected = [(1 / 4) * (4 / 4), (2.5 / 4) * (1.5 / 4), (2.5 / 4) * (3 / 4), (4 / 4) * (1.5 / 4)]
    np.testing.assert_allclose(np.exp(aggregate(scores)), expected)
    np.testing.assert_allclose(aggregate(scores, method="ranks"), [5 / 4, 4 / 4, 5.5 / 4, 5.5 / 4])
    weighted = aggregate(scores, weights={"x": 2, "y": -0.5}, method="ranks")
    np.testing.assert_allclose(weighted, [(2 - 2) / 4, (5 - 0.75) / 4, (5 - 1.5) / 4, (8 - 0.75) / 4])


@METHODS
@given(scores=tables())
def test_aggregate__equals_the_literal_twin(method: Aggregation, scores: xr.DataArray) -> None:
    result = aggregate(scores, method=method)
    np.testing.assert_allclose(result.values, literal(scores, method), atol=1e-12)
    assert result["arch"].values.tolist() == scores["arch"].values.tolist()


@METHODS
@given(scores=tables(), slope=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_aggregate__is_invariant_under_monotone_transforms(
    method: Aggregation, scores: xr.DataArray, slope: float, shift: float
) -> None:
    other = scores.copy(data=np.arctan(scores.values) * slope + shift)
    inside = scores["arch"].values[::2]
    for within in (None, ["a0", "a1", *inside]):
        expected = aggregate(scores, method=method, within=within)
        xr.testing.assert_identical(aggregate(other, method=method, within=within), expected)


@METHODS
@given(scores=tables(), data=st.data())
def test_aggregate__follows_its_architectures_and_not_their_order(
    method: Aggregation, scores: xr.DataArray, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(scores.sizes["arch"])))
    expected = aggregate(scores, method=method)
    shuffled = aggregate(scores.isel(arch=order).transpose("estimator", "arch"), method=method)
    xr.testing.assert_allclose(shuffled.sel(arch=expected["arch"]), expected)


@given(scores=tables())
def test_aggregate__of_a_sign_is_that_of_negated_scores(scores: xr.DataArray) -> None:
    negated = scores.copy()
    negated[:, 0] *= -1
    np.testing.assert_array_equal(aggregate(scores, signs={"x": -1}), aggregate(negated))


@METHODS
def test_aggregate__of_one_estimator_orders_as_it_does(method: Aggregation) -> None:
    values = [3.0, -INF, 8.0, 3.0, NAN, 1.0]
    result = aggregate(table(values), method=method)
    assert pd.Series(result.values).rank().equals(pd.Series(values).rank())


@METHODS
def test_aggregate__without_a_score_is_nan_and_counts_for_no_other(method: Aggregation) -> None:
    scores = table([1, 2, 3, 4, 9], [4, 2, 6, NAN, 9])
    result = aggregate(scores, method=method)
    assert np.isnan(result.values).tolist() == [False, False, False, True, False]
    np.testing.assert_array_equal(result.dropna("arch"), aggregate(scores.dropna("arch"), method=method))
    assert (result.attrs["reference"], result.attrs["num_reference"]) == ("4 of 5", 4)


def test_aggregate__outside_the_reference_set_ranks_by_its_place_among_those_inside() -> None:
    # The set is a1, a3, a4 with 10, 20, 20: ranks 1, 2.5, 2.5.
    scores = table([5, 10, 15, 20, 20, 20, 99, NAN])
    result = aggregate(scores, method="ranks", within=["a1", "a3", "a4"])
    np.testing.assert_allclose(result * 3, [0.5, 1, 1.5, 2.5, 2.5, 2.5, 3.5, NAN])
    assert (result.attrs["reference"], result.attrs["num_reference"]) == ("sample of 3", 3)


@given(scores=tables(), data=st.data())
def test_aggregate__inside_depends_on_nobody_outside(scores: xr.DataArray, data: st.DataObject) -> None:
    archs = scores["arch"].values.tolist()
    inside = ["a0", "a1", *data.draw(st.lists(st.sampled_from(archs), max_size=5))]
    result = aggregate(scores, within=inside)
    alone = aggregate(scores.sel(arch=result["arch"].isin(inside)))
    xr.testing.assert_allclose(result.sel(arch=alone["arch"]), alone)


def test_aggregate__takes_a_mask_by_its_architectures() -> None:
    scores = table([5, 1, 3, 2], [1, 2, 4, 3])
    mask = xr.DataArray([True, False, True, True], {"arch": ["a3", "a2", "a1", "a0"]}, "arch")
    xr.testing.assert_identical(aggregate(scores, within=mask), aggregate(scores, within=["a3", "a1", "a0"]))


def test_aggregate__says_what_it_was_made_of() -> None:
    scores = table([5, 1, 3], [1, 2, 4], [0, 0, 1])
    result = aggregate(scores, weights={"z": 3, "x": 1, "y": 0}, signs={"z": -1, "y": -1})
    assert result.attrs == {
        "units": "1",
        "method": "log_ranks",
        "members": ["x", "z"],
        "weights": [1.0, 3.0],
        "signs": [1, -1],
        "reference": "all 3",
        "num_reference": 3,
    }
    assert json.loads(json.dumps(result.attrs)) == result.attrs  # a store keeps attributes as JSON
    named = aggregate(scores, within=["a0", "a1"], reference="the 2 that were trained")
    assert named.attrs["reference"] == "the 2 that were trained"


def test_aggregate__reads_a_dataset_of_scores_lazily_or_not() -> None:
    scores = table([5, 1, 3], [1, 2, 4])
    data = xr.Dataset({"score": scores.chunk(arch=2), "seconds": scores})
    xr.testing.assert_identical(aggregate(data), aggregate(scores))


def test_aggregate__says_what_is_wrong() -> None:
    scores = table([5, 1, 3], [1, 2, 4])
    for arguments, message in (
        ({"method": "votes"}, "method must be one of log_ranks, ranks, got 'votes'"),
        ({"weights": {"snip": 1}}, "weights has 'snip', which is no estimator of the scores; they have x, y"),
        ({"weights": {"x": NAN}}, "weight of x must be a finite number, got nan"),
        ({"weights": {"x": 0}}, "no estimator takes part: give one of x, y"),
        ({"signs": {"y": 0}}, "sign of y must be 1 or -1, where less is better, got 0"),
        ({"signs": {"snip": -1}}, "signs has 'snip'"),
        ({"within": ["a0"]}, "at least 2 architectures with a score of x, y, got 1"),
        ({"within": ["a0", "b9"]}, "within names 1 architectures that have no row in scores, e.g. 'b9'"),
        ({"within": "a0"}, "within must be architecture strings"),
        ({"within": [True, True, False]}, "a mask without strings could be in another order"),
        ({"within": xr.DataArray([True, True], {"arch": ["a0", "a1"]}, "arch")}, "within has no entry for 'a2'"),
        ({"within": xr.DataArray([True, True, True], dims="arch")}, "within must have the dim arch"),
    ):
        with pytest.raises(ValueError, match=message):
            aggregate(scores, **arguments)
    with pytest.raises(ValueError, match=r"expected dims \(arch, estimator\)"):
        aggregate(scores.isel(estimator=0))
    with pytest.raises(ValueError, match="variable score, got loss"):
        aggregate(xr.Dataset({"loss": scores}))
    with pytest.raises(ValueError, match="arch 'a0' occurs more than once"):
        aggregate(scores.isel(arch=[0, 0, 1]))
