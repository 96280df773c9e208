import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sweetgrad.store.benchmarks.unpickle import UnsafePickleError, load_pickle


class _Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class _State:
    """Pickles as BUILD of ``state`` on what the function returns."""

    def __init__(self, function, args, state):
        self.reduced = function, args, state

    def __reduce__(self):
        return self.reduced


def _loads(data: bytes, **keywords):
    return load_pickle(io.BytesIO(data), **keywords)


@pytest.mark.parametrize("protocol", range(6))
def test_load_pickle__refuses_and_does_not_run_a_command(tmp_path, protocol):
    ran = tmp_path / "ran"
    data = pickle.dumps(_Call(os.system, f"touch {ran}"), protocol)
    with pytest.raises(UnsafePickleError, match=r"(posix|nt)\.system.*nothing was executed"):
        _loads(data)
    assert not ran.exists()
    pickle.loads(data)  # the same bytes do run where nothing stops them  # noqa: S301
    assert ran.exists()


@pytest.mark.parametrize(
    ("function", "args", "name"),
    [(eval, ("1 + 1",), "eval"), (getattr, ((), "__class__"), "getattr"), (__import__, ("this",), "__import__")],
)
def test_load_pickle__refuses_builtins_that_are_no_data(function, args, name):
    with pytest.raises(UnsafePickleError, match=f"builtins.{name}"):
        _loads(pickle.dumps(_Call(function, *args)))


@pytest.mark.parametrize(
    "line", [b"c__builtin__\neval\n", b"cnumpy\nload\n", b"cbuiltins\nset.__class__\n", b"Psomewhere\n"]
)
def test_load_pickle__refuses_names_inside_allowed_modules(line):
    with pytest.raises(UnsafePickleError, match="refused"):
        _loads(line + b".")


def test_load_pickle__refuses_functions_as_data_or_with_attributes():
    with pytest.raises(UnsafePickleError, match="contains a function"):
        _loads(b"(lcnumpy\ndtype\na.")
    with pytest.raises(UnsafePickleError, match="sets attributes"):
        _loads(b"cnumpy\ndtype\n(dS'a'\nI1\nsb.")
    with pytest.raises(UnsafePickleError, match=r"calls numpy\.ndarray"):
        _loads(b"cnumpy\nndarray\n((I2\nttR.")
    with pytest.raises(UnsafePickleError, match="codec"):
        _loads(b"c_codecs\nencode\n(Vabc\nVzlib\ntR.")


def test_load_pickle__refuses_bytes_that_claim_to_be_objects():
    # With numpy.dtype itself this array reads its bytes as a pointer, and the process dies.
    fields = ("a",), {"a": (_Call(np.dtype, "O"), 0)}
    dtype = _State(np.dtype, ("V8", False, True), (3, "|", None, *fields, 8, 1, 0))
    for code in (dtype, _State(np.dtype, ("u8", False, True), (3, "<", None, *fields, 8, 1, 0))):
        array = _State(np.ndarray, ((0,),), (1, (1,), code, False, b"\x10" + bytes(7)))
        array.reduced = (np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), array.reduced[2])
        with pytest.raises(ValueError, match="numbers or strings"):
            _loads(pickle.dumps(array))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype="u1").reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.array([1, 256], dtype=">i4"),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(["ab", "c"]),
        np.array([b"ab", b"c"]),
        np.zeros((0, 3), "f4"),
        np.array(7),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_load_pickle__reads_arrays_of_every_protocol(protocol, array):
    loaded = _loads(pickle.dumps({"x": [array, (array, 1)]}, protocol))["x"]
    for found in (loaded[0], loaded[1][0]):
        assert type(found) is np.ndarray
        assert found.dtype == array.dtype
        assert found.flags.writeable
        np.testing.assert_array_equal(found, array)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(st.sampled_from(["u1", "<f4", ">f8", "<i8", "?", "<U3"]), hnp.array_shapes(max_dims=3, max_side=4)),
    st.integers(0, 5),
)
def test_load_pickle__returns_what_was_pickled(array, protocol):
    loaded = _loads(pickle.dumps(array, protocol))
    assert loaded.dtype == array.dtype
    assert loaded.tobytes() == array.tobytes()


@pytest.mark.parametrize("protocol", range(6))
def test_load_pickle__reads_containers_scalars_and_dtypes(protocol):
    value = OrderedDict(
        a={1, 2},
        b=frozenset("x"),
        c=b"\xff",
        d=bytearray(b"q"),
        e=1j,
        f=np.float32(0.5),
        g=np.dtype(">i2"),
        h=(None, True, "é"),
    )
    loaded = _loads(pickle.dumps(value, protocol))
    assert loaded == value
    assert type(loaded) is OrderedDict
    assert type(loaded["f"]) is np.float32


def test_load_pickle__keeps_shared_and_cyclic_containers():
    shared = [np.arange(2)]
    value = {"a": shared, "b": (shared, shared)}
    value["self"] = value
    loaded = _loads(pickle.dumps(value))
    assert loaded["self"] is loaded
    assert loaded["a"] is loaded["b"][0] is loaded["b"][1]


def test_load_pickle__walks_tuples_inside_tuples_once():
    value = ()
    for _ in range(60):
        value = (value, value)  # 2^60 leaves if each were visited
    assert len(_loads(pickle.dumps(value))) == 2


# By hand, the opcodes of Python 2.7 for {"data": array([[0xF1, 2]], uint8), "labels": [3]} (protocol 2, as the official batches).
_PYTHON2 = (
    b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04"
    b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x02\xf1\x02tbU\x06labelsq\x07]q\x08K\x03au."
)


@pytest.mark.parametrize(("encoding", "key"), [("bytes", b"data"), ("latin1", "data")])
def test_load_pickle__reads_python2_batches(encoding, key):
    loaded = _loads(_PYTHON2, encoding=encoding)
    np.testing.assert_array_equal(loaded[key], np.array([[0xF1, 2]], dtype="u1"))
    assert next(reversed(loaded.values())) == [3]


def test_load_pickle__names_the_path_of_a_truncated_or_damaged_pickle(tmp_path: Path):
    whole = pickle.dumps({"data": np.arange(100), "labels": [1, 2]})
    path = tmp_path / "train_data_batch_1"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"train_data_batch_1 cannot be read .*download the file again"):
            load_pickle(path)
    path.write_bytes(whole)
    assert load_pickle(str(path))["labels"] == [1, 2]


def test_load_pickle__checks_the_bytes_of_an_array():
    data = pickle.dumps(np.arange(4, dtype="u1"), 2).replace(b"K\x04\x85", b"K\x03\x85")
    with pytest.raises(ValueError, match="has 3 bytes, got 4"):
        _loads(data)
    with pytest.raises(ValueError, match="numbers or strings, this one has dtype object"):
        _loads(pickle.dumps(np.array([None])))


def test_load_pickle__says_that_a_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_pickle(tmp_path / "absent")
