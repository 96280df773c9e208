import collections
import io
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.store.benchmarks import pickle_stream
from sweetgrad.store.benchmarks.pickle_stream import DROPPED, PickleStream
from sweetgrad.store.benchmarks.unpickle import UnsafePickleError


def load(data, **options):
    return PickleStream(io.BytesIO(data), where="file", **options).load()


ATOMS = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.integers(0, 300) | st.tuples(st.text(), st.integers(1 - 2**64, 2**64 - 1))
CURVES = st.dictionaries(st.integers(0, 255), st.floats(allow_nan=False), min_size=4)
DATA = st.recursive(
    ATOMS | CURVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner, inner)
)


@settings(max_examples=60, deadline=None)
@given(DATA, st.integers(2, 5), st.sampled_from([1, 5, 64, 1 << 20]))
def test_load__gives_what_pickle_gives(value, protocol, chunk):
    before, pickle_stream._CHUNK = pickle_stream._CHUNK, chunk
    try:
        assert load(pickle.dumps([value, value], protocol)) == [value, value]
    finally:
        pickle_stream._CHUNK = before


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), DATA), st.integers(2, 5))
def test_load__what_is_dropped_leaves_the_rest_as_it_is(value, protocol):
    data = pickle.dumps({"keep": value, "drop": [value, {"keep": value}], "last": value}, protocol)
    assert load(data, drop={"drop"}) == {"keep": value, "drop": DROPPED, "last": value}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_load__texts_of_dropped_parts_can_be_referred_to(protocol):
    names = [f"x-valid@{epoch}" for epoch in range(300)]
    value = {"losses": dict.fromkeys(names, 0.5), "accuracies": {name: i / 8 for i, name in enumerate(names)}}
    assert load(pickle.dumps(value, protocol), drop={"losses"})["accuracies"] == value["accuracies"]
    value = dict(reversed(value.items()))
    assert load(pickle.dumps(value, protocol), drop={"losses"})["accuracies"] == value["accuracies"]


def test_load__collapses_a_part_when_it_is_complete():
    value = {
        "runs": [{"losses": collections.OrderedDict((e, float(e)) for e in range(2000))} for _ in range(3)],
        "name": "n",
    }
    seen = []
    found = load(
        pickle.dumps(value), collapse={"losses": lambda losses: seen.append(len(losses)) or sum(losses.values())}
    )
    assert found == {"runs": [{"losses": 1999000.0}] * 3, "name": "n"}
    assert seen == [2000] * 3


@pytest.mark.parametrize("protocol", range(3, 6))
def test_load__numbers_of_numpy_and_tensors_of_torch(protocol):
    value = {
        "a": np.float32(0.5),
        "b": np.float64(0.25),
        "t": torch.zeros(70_000),
        "p": torch.nn.Parameter(torch.ones(2)),
        "z": 1,
    }
    found = load(pickle.dumps(value, protocol))
    assert found == {"a": 0.5, "b": 0.25, "t": DROPPED, "p": DROPPED, "z": 1}
    assert type(found["a"]) is np.float32


def test_load__several_pickles_one_after_the_other_and_not_more():
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps({"a": 2}) + b"\xff" * 100)
    stream = PickleStream(file, where="file")
    assert [stream.load(), stream.load()] == [1, {"a": 2}]
    with pytest.raises(ValueError, match="opcode 0xff"):
        stream.load()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_load__refuses_and_does_not_run_a_command(tmp_path, protocol):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for value in (Evil(), {"drop": Evil()}, [1, (Evil(),)]):
        with pytest.raises(
            UnsafePickleError, match=r"file: the pickle refers to (posix|nt)\.system.*nothing was executed"
        ):
            load(pickle.dumps(value, protocol), drop={"drop"})
    assert not (tmp_path / "ran").exists()


LONG = (1 << 40).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x04\x8d" + LONG, "a string of 1,099,511,627,776 bytes"),
        (b"\x80\x04]r\xff\xff\xff\x7f.", "numbers an object 2,147,483,647 after"),
        (b"\x80\x04" + b"(" * 300, "is nested deeper than 256"),
        (b"\x80\x04}((tK\x01s.", "damaged|key"),
        (b"\x80\x04}(K\x01K\x02\x86\x85K\x03u.", "has a tuple as a key"),
        (b"\x80\x04})R.", "calls an object that is not a function"),
        (b"\x80\x04K\x01K\x02b.", "sets the state of a int"),
        (b"\x80\x04K\x01K\x02a.", "appends to an object that is not a list"),
        (b"\x80\x04ctorch\nload\n.", r"refers to torch\.load"),
        (b"\x80\x04cnumpy.core.multiarray\nscalar.__class__\n.", "refers to numpy"),
        (b"\x80\x04c" + b"a" * 600, "damaged"),
        (b"\x80\x04\x8e" + LONG + bytes(10), "ends inside some bytes"),
        (b"\x80\x04B\xff\x00\x00\x00ab", "ends inside some bytes"),
        (b"\x80\x06.", "protocol 6, expected 2 to 5"),
        (b"(I1\nI2\nl.", "opcode 0x49"),
        (b"\x80\x04K", "truncated or damaged"),
        (b"\x80\x04h\x07.", "truncated or damaged"),
        (b"", "truncated or damaged"),
    ],
)
def test_load__names_what_it_refuses(data, message):
    with pytest.raises(ValueError, match=message):
        load(data)


def test_load__bounds_what_it_keeps(monkeypatch):
    monkeypatch.setattr(pickle_stream, "_CHUNK", 1 << 10)
    monkeypatch.setattr(pickle_stream, "_MAX_STACK", 3000)
    monkeypatch.setattr(pickle_stream, "_MAX_KEPT", 3000)
    monkeypatch.setattr(pickle_stream, "_MAX_TEXTS", 100_000)
    many = b"".join(b"K\x01a" for _ in range(5000))
    for data in (b"\x80\x04]" + b"N" * 9000, b"\x80\x04]" + many):
        with pytest.raises(UnsafePickleError, match="more objects at a time"):
            load(data + b".")
    with pytest.raises(UnsafePickleError, match="bytes of different strings"):
        load(pickle.dumps([str(i) for i in range(2000)]))
    nested = b"\x80\x04)" + b"\x85" * 9000, b"\x80\x04](" + b"(K\x01K\x01K\x01K\x01t" * 3000
    hidden = b"\x80\x04}\x8c\x01d}" + b"K\x01}\x94s" * 4000  # made under a key that is dropped, and numbered
    for data in (*nested, hidden):
        with pytest.raises(UnsafePickleError, match="more objects at a time"):
            load(data + b".", drop={"d"})
    with pytest.raises(UnsafePickleError, match="more objects at a time"):
        load(pickle.dumps([{"whole": list(range(900))} for _ in range(10)]), collapse={"whole": lambda value: value})
    # What is dropped does not count, and a part that is collapsed counts as one.
    assert load(pickle.dumps({"drop": list(range(9000))}), drop={"drop"}) == {"drop": DROPPED}
    parts = [{"sum": list(range(900))} for _ in range(10)]
    assert load(pickle.dumps(parts), collapse={"sum": sum}) == [{"sum": 404550}] * 10


@pytest.mark.parametrize("protocol", range(3, 6))
def test_load__keeps_no_more_bytes_than_a_number_has(protocol):
    assert load(pickle.dumps([b"1234", bytes(65), bytes(70_000)], protocol)) == [b"1234", DROPPED, DROPPED]
    text = b"c_codecs\nencode\nX\x46\x00\x00\x00" + b"a" * 70 + b"X\x06\x00\x00\x00latin1\x86R."
    assert load(b"\x80\x02" + text) is DROPPED


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_load__any_bytes_raise_nothing_but_value_errors(data):
    for start in (b"", b"\x80\x02", b"\x80\x04]("):
        error = None
        try:
            load(start + data)
        except Exception as raised:
            error = raised
        assert error is None or isinstance(error, ValueError), error  # UnsafePickleError is one
