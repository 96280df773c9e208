"""A few bytes of a pickle become neither gigabytes nor hours nor a crash, whichever of the two readers reads them."""

import io
import json
import pickle
import subprocess
import sys

import pytest

from sweetgrad.store.benchmarks.unpickle import UnsafePickleError, load_pickle, short, words_of

DEEP = 200_000  # so deep, a hash ends the process
LEAVES = b")" + b"2\x86" * 60  # a tuple that holds the same twice, sixty times: 2^60 leaves
IN_EACH_OTHER = b")" + b"\x85" * 5000
LISTS = b"]" * 5000 + b"a" * 4999
NUMPY_INT = (
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x02i8K\x00K\x01tRU\x08\x00\x00\x00\x00\x02\x00\x00\x00tR"
)

COPY = b"0cbuiltins\nbytearray\nh\x00\x85R"

HOSTILE = {
    "bytes of a numpy integer": b"\x80\x02c__builtin__\nbytearray\n" + NUMPY_INT + b"\x85R.",
    "bytes of an integer": b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
    "bytes of a list": b"\x80\x02c__builtin__\nbytes\n]K\x01a\x85R.",
    "bytes announced": b"\x80\x04\x8e\x00\x00\x00\x00\x02\x00\x00\x00abc.",
    "bytearray announced": b"\x80\x05\x96\x00\x00\x00\x00\x02\x00\x00\x00abc.",
    "text announced": b"\x80\x04\x8d\x00\x00\x00\x00\x02\x00\x00\x00abc.",
    "frame announced": b"\x80\x04\x95\x00\x00\x00\x00\x02\x00\x00\x00K\x01.",
    "number of an object": b"\x80\x02]r\xff\xff\xff\x7f.",
    **{
        f"{what} {name}": b"\x80\x04" + before + content + after
        for what, content in (("leaves", LEAVES), ("depth", IN_EACH_OTHER), ("lists", LISTS))
        for name, before, after in (
            ("as a key", b"}", b"K\x01s."),
            ("as a key of several", b"}(", b"K\x01u."),
            ("as a key of an old dictionary", b"(", b"K\x01d."),
            ("in a key", b"}", b"\x85K\x01s."),
            ("in a set", b"\x8f(", b"\x90."),
            ("in a frozenset", b"(", b"\x91."),
            ("in a set that is called", b"cbuiltins\nset\n](", b"e\x85R."),
            ("as pairs of a dictionary", b"ccollections\nOrderedDict\n](", b"K\x01\x86e\x85R."),
            ("as a module", b"", b"\x8c\x01x\x93."),
            ("as a name", b"\x8c\x01x", b"\x93."),
            ("as a reference", b"", b"Q."),
            ("as bytes", b"cbuiltins\nbytes\n", b"\x85R."),
            ("as a codec", b"c_codecs\nencode\n\x8c\x01x", b"\x86R."),
            ("as a text", b"c_codecs\nencode\n", b"\x8c\x06latin1\x86R."),
            ("as a dtype", b"cnumpy\ndtype\n", b"\x85R."),
            ("as an order", b"cnumpy\ndtype\n\x8c\x02i8\x85R(K\x03", b"NNNtb."),
            ("as a shape", b"cnumpy.core.numeric\n_frombuffer\n(C\x01xcnumpy\ndtype\n\x8c\x02u1\x85R", b"\x8c\x01CtR."),
            ("as a function", b"", b")R."),
            ("as a state", b"]", b"b."),
            ("as a complex number", b"cbuiltins\ncomplex\n", b"\x85R."),
            ("alone", b"", b"."),
        )
    },
    "great depth as a key": b"\x80\x04})" + b"\x85" * DEEP + b"K\x01s.",
    "great depth as a name": b"\x80\x04\x8c\x01x)" + b"\x85" * DEEP + b"\x93.",
    "copies of copies": b"\x80\x03B\x00\x00\x10\x00" + bytes(1 << 20) + b"q\x00" + 5000 * COPY + b".",
    "equal hashes": b"\x80\x02}("
    + b"".join(
        b"\x8a" + bytes([len(raw)]) + raw + b"K\x01"
        for number in range(1, 20_000)
        for raw in [(number * (2**61 - 1)).to_bytes(16, "little")]
    )
    + b"u.",
    "a key of many parts": b"\x80\x02}(" + b"K\x01" * 10**4 + b"tq\x00K\x01s" + b"h\x00K\x01s" * 10**4 + b".",
}  # fmt: skip

READ_ALL = """
import io, json, resource, sys, time
from sweetgrad.store.benchmarks.pickle_stream import PickleStream
from sweetgrad.store.benchmarks.unpickle import load_pickle
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (400 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
reader = sys.argv[1]
for name, data in json.load(sys.stdin).items():
    file, begun = io.BytesIO(data.encode("latin1")), time.process_time()
    try:
        load_pickle(file) if reader == "load_pickle" else PickleStream(file, where="it").load()
        said = ""
    except ValueError as error:
        said = str(error)
    print(json.dumps([name, said, time.process_time() - begun]), flush=True)
"""


@pytest.mark.parametrize("reader", ["load_pickle", "stream"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds the memory of a process by /proc and rlimit")
def test_readers__refuse_in_few_words_what_would_grow_beyond_measure(reader):
    text = json.dumps({name: data.decode("latin1") for name, data in HOSTILE.items()})
    done = subprocess.run([sys.executable, "-c", READ_ALL, reader], input=text, capture_output=True, text=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (results[-1:], done.stderr[-500:])
    assert len(results) == len(HOSTILE)
    for name, said, cpu_s in results:
        assert len(said) < 1000, name
        assert "MemoryError" not in said, name
        assert cpu_s < 20, name
    if reader == "load_pickle":  # the other one passes over what nobody wants
        assert [name for name, said, _ in results if not said] == ["number of an object", "leaves alone"]


def test_load_pickle__makes_bytes_of_bytes_and_of_text_only():
    for value in (b"", bytearray(), bytearray(b"\xffq"), b"\xffq"):
        for protocol in range(6):
            assert load_pickle(io.BytesIO(pickle.dumps(value, protocol))) == value
    with pytest.raises(UnsafePickleError, match="makes bytes of a int64"):
        load_pickle(io.BytesIO(HOSTILE["bytes of a numpy integer"]))


def test_load_pickle__takes_keys_that_data_has():
    value = {("cifar10", 777): 1, b"x": 2, 2**63: 3, -0.5: 4, None: 5, (): 6, frozenset: 7}
    del value[frozenset]
    value["set"] = {("a", 1), "b"}
    for protocol in range(6):
        assert load_pickle(io.BytesIO(pickle.dumps(value, protocol))) == value


def test_words__of_errors_and_values_are_few():
    nested = ()
    for _ in range(60):
        nested = (nested, nested)
    assert short(nested) == "a tuple"
    assert len(short("x" * 10**6)) < 300
    assert words_of(KeyError(nested)) == "KeyError"
    assert len(words_of(ValueError("x" * 10**6))) < 300
