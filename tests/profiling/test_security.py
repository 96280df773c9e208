"""Foreign files made to harm: none of them runs anything, exhausts memory, or writes outside."""

import gzip
import io
import os
import pickle
import tarfile
import tracemalloc
import zipfile
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from sweetgrad.profiling import load_examples, load_space
from sweetgrad.profiling.datasets import _files
from sweetgrad.profiling.datasets._files import _extract
from sweetgrad.store import read_accuracy_file
from sweetgrad.store.benchmarks import opening


class Touch:
    """Makes a folder when its pickle is loaded."""

    def __init__(self, path, function=os.mkdir):
        self.args = function, (str(path),)

    def __reduce__(self):
        return self.args


@contextmanager
def little_memory(most=64 << 20):
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


def line(path) -> bytes:
    return str(path).encode()


def pickles(ran):
    """Pickles that make the folder ``ran``, in every way that a pickle can name what it calls."""
    name = line(ran)
    short = bytes([len(name)]) + name
    lazy = f"__import__('os').mkdir({str(ran)!r})"
    batch = {"data": np.zeros((1, 768), "u1"), "labels": [1]}
    return {
        **{f"protocol {i}": pickle.dumps({**batch, "extra": Touch(ran)}, i) for i in range(6)},
        **{f"eval {i}": pickle.dumps(Touch(lazy, eval), i) for i in range(6)},
        "alone": pickle.dumps(Touch(ran)),
        "as a key": pickle.dumps({(Touch(ran),): 1}),
        "object array": pickle.dumps({"data": np.array([Touch(ran)], dtype=object), "labels": [1]}),
        "record array": pickle.dumps({"data": np.array([(Touch(ran),)], dtype=[("a", object)]), "labels": [1]}),
        "object scalar": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR"
        + pickle.dumps(Touch(ran))[2:-1]
        + b"tR.",
        "GLOBAL": b"cos\nmkdir\n(S'" + name + b"'\ntR.",
        "GLOBAL, Python 2": b"cposix\nmkdir\n(U" + short + b"tR.",
        "INST": b"(S'" + name + b"'\nios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\nS'" + name + b"'\no.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c" + short + b"\x85R.",
        "STACK_GLOBAL, dotted": b"\x80\x04\x8c\x08builtins\x8c\x0f__import__.__a\x93.",
        "STACK_GLOBAL through an allowed class": b"\x80\x04\x8c\x08builtins\x8c\x18complex.__class__.__mro__\x93.",
        "NEWOBJ": b"\x80\x02cos\nmkdir\n(S'" + name + b"'\nt\x81.",
        "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c" + short + b"\x85}\x92.",
        "BUILD with a hostile state": b"\x80\x02ccollections\nOrderedDict\n)R(cos\nmkdir\n(S'" + name + b"'\ntRtb.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT4": b"\x80\x02\x84\xff\xff\x00\x00.",
        "PERSID": b"Pos.mkdir\n.",
        "nested BINPERSID": b"\x80\x02(Pos\n(cos\nmkdir\n(S'" + name + b"'\ntRtQl.",
        "a pickle in a pickle": pickle.dumps(Touch(b"", pickle.loads)),
        "copyreg": b"ccopyreg\n_reconstructor\n(cos\nmkdir\nc__builtin__\nobject\nNtR.",
        "getattr": b"c__builtin__\ngetattr\n(cnumpy\ndtype\nS'__init__'\ntR.",
        "numpy.load": b"cnumpy\nload\n(S'" + name + b"'\ntR.",
        "numpy f2py": b"cnumpy.f2py.crackfortran\nmyeval\n(S'" + lazy.encode() + b"'\ntR.",
        "encode by a registered codec": b"c_codecs\nencode\n(VAAAA\nVzlib_codec\ntR.",
        "array made of a buffer of its choice": b"cnumpy\nndarray\n((I2\nttR.",
        "array whose bytes are objects": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI00\nI01\ntRI00\nS'" + b"A" * 8 + b"'\ntb.",
    }


NAMES = list(pickles("x"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
        ("cifar100", "cifar-100-python/train"),
        ("imagenet16-120", "ImageNet16/train_data_batch_1"),
    ],
)
def test_load_images__runs_no_pickle(tmp_path, dataset, file, name):
    ran, path = tmp_path / "ran", tmp_path / file
    path.parent.mkdir()
    path.write_bytes(pickles(ran)[name])
    with pytest.raises(ValueError, match=path.name):
        load_examples(dataset, data_dir=tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "name",
    ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "protocol 0", "object array", "eval 4", "BUILD with a hostile state"],
)
def test_pickles__do_act_where_nothing_stops_them(tmp_path, name):
    """So that the tests above can fail."""
    ran = tmp_path / "ran"
    with suppress(Exception):
        pickle.loads(pickles(ran)[name])  # noqa: S301
    assert ran.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"]r\xff\xff\xff\x7f.", r"expected a pickled dict.*got list"),  # pickle makes 32 GiB of list for it
        (b"]p4000000000\n.", r"expected a pickled dict.*got list"),
        (b"c__builtin__\nbytearray\n(I99999999999\ntR.", r"makes bytes of a int: refused"),
        (b"c__builtin__\nbytes\n(I99999999999\ntR.", r"makes bytes of a int: refused"),
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.", "cannot be read as a pickle"),
        (b"\x80\x04\x8a\xff" + b"x.", "cannot be read as a pickle"),
        (b"(" * 100_000 + b".", "cannot be read as a pickle"),
        (b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'S2000000000'\nI00\nI01\ntRS''\ntR.", "cannot be read as"),
        # An array of 10^11 texts of no bytes, which a copy would make texts of one.
        (
            b"cnumpy.core.numeric\n_frombuffer\n(c_codecs\nencode\n(V\nVlatin1\ntRcnumpy\ndtype\n(S'S0'\nI00\nI01\ntR(I99999999999\n"
            b"tS'C'\ntR.",
            "numbers or strings",
        ),
    ],
)
def test_load_images__makes_nothing_of_a_few_bytes(tmp_path, content, message):
    (tmp_path / "data_batch_1").write_bytes(content)
    with little_memory(), pytest.raises(ValueError, match=message):
        load_examples("cifar10", data_dir=tmp_path)


def test_load_images__makes_no_array_of_labels_in_labels(tmp_path):
    labels = [1, 2]
    for _ in range(40):
        labels = [labels, labels]
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": np.zeros((2, 3072), "u1"), "labels": labels}))
    with little_memory(), pytest.raises(ValueError, match="must be 2 integers, got a list with other elements"):
        load_examples("cifar10", data_dir=tmp_path)


# .npz


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_npz__with_objects_is_refused_and_not_run(tmp_path, which, protocol):
    ran, path = tmp_path / "ran", tmp_path / "imagenet16_120.npz"
    arrays = {"x": np.zeros((1, 16, 16, 3), "u1"), "y": np.zeros(1, "u1"), which: np.array([Touch(ran)], dtype=object)}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"without objects.*allow_pickle=False"):
        load_examples("imagenet16-120", data_dir=tmp_path)
    assert not ran.exists()


def test_npz__that_is_a_pickle_or_an_npy_of_objects_is_refused(tmp_path):
    ran, path = tmp_path / "ran", tmp_path / "imagenet16_120.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.array([Touch(ran)], dtype=object))
    for content in (pickle.dumps(Touch(ran)), buffer.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"must be an intact \.npz"):
            load_examples("imagenet16-120", data_dir=tmp_path)
        assert not ran.exists()


def test_npz__bombs_are_refused(tmp_path):
    path = tmp_path / "imagenet16_120.npz"
    np.savez_compressed(path, x=np.zeros((400_000, 16, 16, 3), "u1"), y=np.zeros(1, "u1"))
    assert path.stat().st_size < 1 << 20
    with little_memory(), pytest.raises(ValueError, match=r"x\.npy.*would decompress to 307,200,128"):
        load_examples("imagenet16-120", data_dir=tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 16, 16, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with little_memory(), pytest.raises(ValueError, match=r"x\.npy declares 768,000,000,000,000,000 bytes"):
        load_examples("imagenet16-120", data_dir=tmp_path)


# Tables


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.pq", "t.pkl", "t.pickle"])
def test_tables__that_are_pickles_are_refused_and_not_run(tmp_path, name):
    ran, path = tmp_path / "ran", tmp_path / name
    for content in (pickle.dumps(Touch(ran)), pickle.dumps(Touch(ran), 0), gzip.compress(pickle.dumps(Touch(ran)))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name):
            read_accuracy_file(path, space="nas-bench-201")
        for space in ("nas-bench-101", "nas-bench-201"):
            with pytest.raises(ValueError, match=path.name):
                load_space(space, table=path)
    assert not ran.exists()


class _ForeignType(pyarrow.ExtensionType):  # type: ignore[misc]  # pyarrow has no types
    """What old versions of pyarrow took for an order to unpickle."""

    def __init__(self, payload):
        self.payload = payload
        super().__init__(pyarrow.int64(), "arrow.py_extension_type")

    def __arrow_ext_serialize__(self):
        return self.payload

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage, _serialized):
        return cls(b"")


def test_parquet__runs_no_pickle_in_a_type_or_in_metadata(tmp_path):
    ran, path = tmp_path / "ran", tmp_path / "t.parquet"
    payload = pickle.dumps(Touch(ran))
    storage = pyarrow.array([1, 2])
    column = pyarrow.ExtensionArray.from_storage(_ForeignType(payload), storage)
    table = pyarrow.table({"arch": column}).replace_schema_metadata({b"pandas": payload, b"PANDAS_ATTRS": payload})
    pyarrow.parquet.write_table(table, path)
    assert (
        b"arrow.py_extension_type" in pyarrow.parquet.read_metadata(path).metadata[b"ARROW:schema"]
        or path.stat().st_size
    )
    with pytest.raises(ValueError, match=r"t\.parquet"):
        read_accuracy_file(path, space="nas-bench-201")
    assert not ran.exists()


def test_tables__that_swell_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MAX_TABLE_BYTES", 1 << 20)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"arch,dataset,split,epochs,accuracy\n" + b"a,b,c,1,50.5\n" * 300_000))
    for read in (
        lambda: read_accuracy_file(path, space="nas-bench-201"),
        lambda: load_space("nas-bench-101", table=path),
        lambda: load_space("nas-bench-201", table=path),
    ):
        with little_memory(), pytest.raises(ValueError, match="more than 1,048,576 bytes when it is decompressed"):
            read()
    for name in ("t.zip", "t.tar", "t.csv.zst"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ValueError, match="unpack it first"):
            read_accuracy_file(tmp_path / name, space="nas-bench-201")


def test_parquet__that_swells_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    zeros = pyarrow.array(np.zeros(5_000_000, "i1"))
    pyarrow.parquet.write_table(pyarrow.table({f"c{i}": zeros for i in range(41)}), path)
    assert path.stat().st_size < 1 << 20
    with little_memory(), pytest.raises(ValueError, match="declares 5,000,000 rows of 41 columns"):
        read_accuracy_file(path, space="nas-bench-201")


# Archives of data sets


def tar(*members, content=b"harm"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content) if member.size else None)
    return buffer.getvalue()


FILE = tarfile.REGTYPE


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../outside", FILE, "")], "outside"),
        ([("a/../../outside", FILE, "")], "outside"),
        ([("a", tarfile.SYMTYPE, "/etc"), ("a/outside", FILE, "")], "a is a link or a device"),
        ([("a", tarfile.SYMTYPE, ".."), ("a/outside", FILE, "")], "a is a link or a device"),
        ([("a", tarfile.LNKTYPE, "../outside")], "a is a link or a device"),
        ([("a", tarfile.CHRTYPE, "")], "a is a link or a device"),
        ([("a", tarfile.BLKTYPE, "")], "a is a link or a device"),
        ([("a", tarfile.FIFOTYPE, "")], "a is a link or a device"),
    ],
)
def test_extract__refuses_members_that_lead_outside(tmp_path, members, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_bytes(b"mine")
    archive = tmp_path / "in/a.tar.gz"
    archive.write_bytes(tar(("good", FILE, ""), *members))
    with pytest.raises(ValueError, match=f"cannot be extracted safely: .*{message}"):
        _extract(archive, tmp_path / "in")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "in",
        "in/a.tar.gz",
        "outside",
    ]
    assert (tmp_path / "outside").read_bytes() == b"mine"


def test_extract__refuses_a_bomb_before_it_writes(tmp_path, monkeypatch):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar(("a", FILE, ""), ("b", FILE, ""), content=bytes(10 << 20)))
    monkeypatch.setattr(_files, "_MAX_EXTRACTED_BYTES", 15 << 20)
    written = []
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda *_, **__: written.append(1))
    with pytest.raises(
        ValueError, match=r"at most 10,000 files with 15,728,640 bytes, but the first 2 have 20,971,520"
    ):
        _extract(archive, tmp_path)
    monkeypatch.setattr(_files, "_MAX_EXTRACTED_BYTES", 1 << 30)
    monkeypatch.setattr(_files, "_MAX_MEMBERS", 1)
    with pytest.raises(ValueError, match="at most 1 files"):
        _extract(archive, tmp_path)
    assert not written
