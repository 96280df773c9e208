import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.analysis.search import OperationGrid

ARCHS = [
    "|" + "|+|".join(f"{op}~{i}" for i, op in enumerate(cell)) + "|" for cell in itertools.product("xyz", repeat=4)
]


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(0, 80), st.integers(0, 3), st.integers(0, 1))
def test_mutate__changes_one_edge_to_the_operation_asked_for(seed, row, edge, shift):
    archs = np.random.RandomState(seed).permutation(ARCHS).tolist()
    grid = OperationGrid(archs)
    found = grid.mutate(np.array([row]), np.array([edge]), np.array([shift])).item()
    before, after = grid.codes[row], grid.codes[found]
    assert np.flatnonzero(before != after).tolist() == [edge]
    assert after[edge] == (before[edge] + 1 + shift) % 3
    assert archs[found].split("+")[edge] == f"|{'xyz'[after[edge]]}~{edge}|"


def test_mutate__reaches_every_neighbour_of_many_at_once():
    grid = OperationGrid(ARCHS)
    edge, shift = np.divmod(np.arange(8), 2)
    neighbours = grid.mutate(np.repeat([[0], [40]], 8, axis=1), edge[None, :].repeat(2, 0), shift[None, :].repeat(2, 0))
    for start, found in zip((0, 40), neighbours, strict=True):
        expected = [row for row in range(81) if (grid.codes[row] != grid.codes[start]).sum() == 1]
        assert sorted(found.tolist()) == expected


def test_rows__undoes_codes():
    grid = OperationGrid(ARCHS[::-1])
    assert grid.rows(grid.codes).tolist() == list(range(81))
    assert (len(grid), grid.operations) == (81, ("x", "y", "z"))


@pytest.mark.parametrize(
    ("archs", "message"),
    [
        (ARCHS[1:], "that is 81 architectures; got 80, of which 80 are different"),
        ([*ARCHS[1:], ARCHS[1]], "got 81, of which 80 are different"),
        (["|x~0|", "|x~0|+|y~0|"], r"operations on the same edges, \|op~node\|…, got '\|x~0\|\+\|y~0\|'"),
        (["0-1-2"], "got '0-1-2'"),
    ],
)
def test_grid__refuses_what_is_no_grid(archs, message):
    with pytest.raises(ValueError, match=message):
        OperationGrid(archs)
