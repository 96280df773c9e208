import numpy as np

from sweetgrad.store import COUNTS, KINDS, NUM_BINS, STATUS, VARIABLES, empty_rows
from sweetgrad.store.format.arrays import chunking

SIZES = {"arch": 15625, "layer": 19, "kind": 2, "bin": NUM_BINS}


def test_variables__are_written_with_status_last_and_the_digest_before_it():
    assert [v.name for v in COUNTS.variables][-2:] == ["digest", "status"]
    assert list(VARIABLES)[: len(COUNTS.variables)] == [v.name for v in COUNTS.variables]


def test_variables__all_say_what_they_are():
    for variable in VARIABLES.values():
        assert variable.doc.endswith(".")
        assert set(variable.dims) <= set(SIZES)
        assert variable.dims[0] == "arch" or variable.role == "coord"


def test_empty_rows__have_the_dims_dtypes_and_fill_of_the_table():
    rows = empty_rows(["a", "b"], [7, 3], layers=["stem", "head"])
    for variable in COUNTS.variables:
        assert rows[variable.name].dims == variable.dims
        assert variable.dtype == "str" or rows[variable.name].dtype == variable.dtype
        values = rows[variable.name].values
        fill = np.full(values.shape, variable.fill, dtype=values.dtype)
        assert np.array_equal(values, fill, equal_nan=values.dtype.kind == "f")
    assert rows["arch_index"].values.tolist() == [7, 3]
    assert rows["kind"].values.tolist() == list(KINDS)
    assert STATUS["not run"] == 0


def test_chunking__one_chunk_a_kind_in_shards_of_625():
    assert chunking(VARIABLES["grad_count"], sizes=SIZES, shard_size=625) == ((625, 19, 1, 345), (625, 19, 2, 345))
    assert chunking(VARIABLES["grad_count_network"], sizes=SIZES, shard_size=7) == ((7, 1, 345), (7, 2, 345))
    assert chunking(VARIABLES["layer_type"], sizes=SIZES, shard_size=625) == ((625, 19), None)
    assert chunking(VARIABLES["loss"], sizes=SIZES, shard_size=625) == ((625,), None)
    assert chunking(VARIABLES["bin_lower"], sizes=SIZES, shard_size=625) == ((345,), None)
