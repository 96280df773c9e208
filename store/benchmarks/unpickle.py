"""Read untrusted pickles without running anything that they name.

Our own store has no pickles. The official CIFAR and ImageNet16 batches and some benchmark tables are pickles, and a pickle can
call any function. Here it may name only what such files need, and each name stands for a function of this module that checks its
arguments. Even NumPy's own functions are not exposed: the state of a pickled dtype may declare bytes to be Python objects, and
reading such an array follows pointers that the file chooses.

A few bytes must not take gigabytes or hours, or cause a crash. The size of the created objects is limited by that of the file;
nothing is read beyond its end; nested objects are neither hashed nor printed, since a tuple that contains another one twice, and
so on sixty times, has too many leaves, and since C recursion is limited only by the stack.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

_MAX_DEPTH = 100
_MAX_KEY_PARTS = 64
_MAX_KEY_INT = 1 << 64
_MAX_WORDS = 200
_COPIES = 8  # of each byte of the file: as a string, as bytes, as an array, and as much again
_SPARE = 1 << 20

_ATOMS = (str, bytes, int, float, complex, bool, type(None), np.generic)


class UnsafePickleError(ValueError):
    """A pickle names something that plain data does not need; it was refused before anything was executed."""


def refused_name(module: object, name: object) -> UnsafePickleError:
    """The error for a name that is not in a table."""
    return UnsafePickleError(
        f"the pickle refers to {_plain(module)}.{_plain(name)}, which plain data does not need: refused, and nothing was "
        "executed. Do not open this file in another program; get the data from its publisher."
    )


def short(value: object) -> str:
    """Short form of a value for a message; only the type unless it is a string or bytes, since its content may be endless."""
    return repr(value[:_MAX_WORDS]) if isinstance(value, str | bytes) else f"a {type(value).__name__}"


def words_of(error: Exception) -> str:
    """Short form of an error; only its type if its argument is an object from the file."""
    first = error.args[0] if error.args else ""
    return f"{type(error).__name__}: {first[:_MAX_WORDS]}" if isinstance(first, str) else type(error).__name__


def _plain(name: object) -> str:
    return name[:_MAX_WORDS] if isinstance(name, str) else short(name)


def check_key(key: Any) -> None:
    """Raise UnsafePickleError unless a key is a number, a string or a short tuple of them: hashing others could take forever."""
    parts = key if type(key) is tuple else (key,)
    for part in parts[:_MAX_KEY_PARTS]:
        if not isinstance(part, _ATOMS):
            raise UnsafePickleError(f"the pickle has a {type(key).__name__} as a key: refused")
        if isinstance(part, int) and not -_MAX_KEY_INT < part < _MAX_KEY_INT:
            raise UnsafePickleError("the pickle has a number of more than 64 bits as a key: refused")
    if len(parts) > _MAX_KEY_PARTS:
        raise UnsafePickleError(f"the pickle has a key of {len(parts):,} parts: refused")


def load_pickle(file_or_path: BinaryIO | str | Path, *, encoding: str = "bytes") -> Any:
    r"""Read a pickle of plain data: containers, numbers, text and numeric NumPy arrays.

    Parameters
    ----------
    file_or_path
        A file open for reading bytes, or a path.
    encoding
        Encoding of the 8-bit strings of Python 2. The default keeps them as ``bytes``, so that decoding cannot fail: official
        batches have keys such as ``b"data"``. ``"latin1"`` decodes them.

    Returns
    -------
    The object. Arrays are writable copies in their original byte order.

    Raises
    ------
    UnsafePickleError
        If the pickle names anything but the containers and array types that plain data needs, or is nested more deeply or expands
        further than plain data; nothing was executed.
    ValueError
        If the pickle is truncated or damaged, or has arrays of Python objects or records.
    io.UnsupportedOperation
        If the size of the file cannot be determined before it is read.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import io
    >>> load_pickle(io.BytesIO(pickle.dumps({"labels": np.arange(3)})))
    {'labels': array([0, 1, 2])}
    >>> load_pickle(io.BytesIO(b"cos\nsystem\n(S'true'\ntR."))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    sweetgrad.store.benchmarks.unpickle.UnsafePickleError: pickle: the pickle refers to os.system, ...
    """
    if isinstance(file_or_path, str | Path):
        with Path(file_or_path).open("rb") as file:
            return _load(file, str(file_or_path), encoding)
    return _load(file_or_path, str(getattr(file_or_path, "name", "pickle")), encoding)


def _load(file: BinaryIO, where: str, encoding: str) -> Any:
    try:
        return _without_stubs(_Unpickler(file, encoding=encoding).load(), {}, 0)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{where}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise any error
        raise ValueError(
            f"{where} cannot be read as a pickle of plain data ({words_of(error)}). "
            "If it is truncated or damaged, download the file again."
        ) from error


class _Allowed:
    """Wrapper of a function that a pickle may call, since a pickle could also set attributes of the function itself."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError("the pickle sets attributes of a function: refused")


class DtypeStub:
    """Replaces ``numpy.dtype``: booleans, numbers and fixed-width strings only."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: str | bytes, *_align_copy: object) -> None:
        dtype = np.dtype(_text(code)[:_MAX_WORDS])
        if (
            dtype.kind not in "biufcSU" or dtype.itemsize == 0
        ):  # NumPy would copy strings of no bytes into strings of one
            raise ValueError(f"arrays must have numbers or strings, this one has dtype {dtype}")
        self.dtype: np.dtype[Any] = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, order, subarray, names, fields = state[:5]
        if subarray is not None or names is not None or fields is not None:
            raise ValueError("arrays must have numbers or strings, this one has records")
        self.dtype = self.dtype.newbyteorder(_text(order)[:1])  # type: ignore[arg-type]


class _Array:
    """Placeholder for an array until the pickle provides its content."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *_type_shape_code: object) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: object, dtype: DtypeStub, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    if not isinstance(dtype, DtypeStub):
        raise ValueError(f"expected a dtype, got {type(dtype).__name__}")
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray):
        raise ValueError(f"expected the bytes of an array, got {type(raw).__name__}")
    if type(shape) is not tuple or len(shape) > _MAX_KEY_PARTS or not all(type(size) is int for size in shape):
        raise ValueError(f"expected the shape of an array, got {short(shape)}")
    array: NDArray[Any] = np.ndarray(shape, dtype.dtype, buffer=raw, order="F" if order == "F" else "C")
    if array.nbytes != len(raw):
        raise ValueError(f"an array of shape {shape} and dtype {dtype.dtype} has {array.nbytes} bytes, got {len(raw)}")
    return array.copy(order="K")


def _from_buffer(data: object, dtype: DtypeStub, shape: Any, order: str, axis_order: Any = None) -> NDArray[Any]:
    # Order "K" is NumPy's for an array that is contiguous after its axes are permuted.
    array = _array(data, dtype, shape, order)
    return array if axis_order is None else array.transpose(axis_order)


def make_scalar(dtype: DtypeStub, data: object) -> Any:
    """Replaces ``numpy.core.multiarray.scalar``: one number or string, from its bytes."""
    return _array(data, dtype, (), "C")[()]


def encode_text(text: str, encoding: str | bytes) -> bytes:
    """Replaces ``_codecs.encode``, by which Python 3 writes bytes in protocols 0 to 2; any other codec is refused."""
    if _text(encoding) != "latin1":
        raise UnsafePickleError(f"the pickle refers to the codec {short(encoding)}: refused")
    return text.encode("latin1")


def _bytes(kind: type[bytes | bytearray], *args: Any) -> bytes | bytearray:
    """Bytes as pickles create them: empty, or from other bytes or a latin-1 string. A number would allocate that many bytes."""
    match args:
        case ():
            return kind()
        case (bytes() | bytearray() as content,):
            return kind(content)
        case (str() as text, str() | bytes() as encoding):
            return kind(encode_text(text, encoding))
    raise UnsafePickleError(f"the pickle makes bytes of {', '.join(map(short, args))}: refused")


def _keyed(kind: type[Any], items: object = ()) -> Any:
    """A set of the items of a list, or an ordered dictionary of its pairs."""
    if not isinstance(items, list | tuple):
        raise UnsafePickleError(f"the pickle makes a {kind.__name__} of {short(items)}: refused")
    for item in items:
        check_key(item[0] if kind is OrderedDict else item)
    return kind(items)


def _ndarray(*_args: object) -> NoReturn:
    raise UnsafePickleError("the pickle calls numpy.ndarray itself: refused")


def _text(value: object) -> str:
    if not isinstance(value, str | bytes):
        raise ValueError(f"expected a string, got {short(value)}")
    return value.decode("ascii") if isinstance(value, bytes) else value


_BUILTINS: dict[str, Any] = {"complex": _Allowed(complex)}
_BUILTINS |= {t.__name__: _Allowed(partial(_keyed, t)) for t in (frozenset, set)}
_BUILTINS |= {t.__name__: _Allowed(partial(_bytes, t)) for t in (bytearray, bytes)}
_MULTIARRAY = {"_reconstruct": _Allowed(_Array), "scalar": _Allowed(make_scalar)}
_ALLOWED: dict[str, dict[str, Any]] = {
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
    "_codecs": {"encode": _Allowed(encode_text)},
    "collections": {"OrderedDict": _Allowed(partial(_keyed, OrderedDict))},
    "numpy": {"dtype": _Allowed(DtypeStub), "ndarray": _Allowed(_ndarray)},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": {"_frombuffer": _Allowed(_from_buffer)},
    "numpy._core.numeric": {"_frombuffer": _Allowed(_from_buffer)},
}


class _Whole:
    """A file of known size that is never read beyond its end: a size that a pickle declares is allocated before it is read."""

    def __init__(self, file: BinaryIO) -> None:
        start = file.tell()
        self.size = file.seek(0, io.SEEK_END) - start
        file.seek(start)
        self._file, self._left = file, self.size

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise EOFError("the file ends inside an object")
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


class _Unpickler(pickle._Unpickler):
    """The standard library's Python implementation, in which each step can be checked before it is executed."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(self, file: BinaryIO, *, encoding: str) -> None:
        whole = _Whole(file)
        super().__init__(whole, encoding=encoding)
        self._budget = _COPIES * whole.size + _SPARE

    def find_class(self, module: str, name: str) -> Any:
        # Nothing is imported: a full name is in the table, or is refused.
        try:
            return _ALLOWED[module][name]
        except KeyError:
            raise refused_name(module, name) from None

    def persistent_load(self, pid: object) -> NoReturn:
        raise UnsafePickleError(f"the pickle refers to an object outside itself ({short(pid)}): refused")

    def _spend(self, parts: object) -> None:
        """Count the arguments of a function, which it copies: a few bytes could make it copy without end."""
        if isinstance(parts, tuple):
            self._budget -= sum(len(part) for part in parts if isinstance(part, str | bytes | bytearray | list | tuple))
        if self._budget < 0:
            raise UnsafePickleError("the pickle copies its content again and again: refused")

    def _load_reduce(self) -> None:
        self._spend(self.stack[-1])
        super().load_reduce()  # type: ignore[misc]

    def _load_build(self) -> None:
        self._spend(self.stack[-1])
        super().load_build()  # type: ignore[misc]

    def _load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def _load_setitem(self) -> None:
        check_key(self.stack[-2])
        super().load_setitem()  # type: ignore[misc]

    def _load_items(self, load: str, step: int) -> None:
        """Make the objects since the last mark a set, or a dictionary in which every other object is a key."""
        for key in self.stack[::step]:
            check_key(key)
        getattr(super(), load)()

    dispatch |= {
        pickle.REDUCE[0]: _load_reduce,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: lambda self: self._load_items("load_setitems", 2),
        pickle.DICT[0]: lambda self: self._load_items("load_dict", 2),
        pickle.ADDITEMS[0]: lambda self: self._load_items("load_additems", 1),
        pickle.FROZENSET[0]: lambda self: self._load_items("load_frozenset", 1),
    }


def _without_stubs(value: Any, done: dict[int, tuple[Any, Any]], depth: int) -> Any:
    """Replace placeholders by arrays and dtypes; ``done`` keeps shared and cyclic objects shared."""
    if depth > _MAX_DEPTH:
        raise UnsafePickleError(f"the pickle is nested deeper than {_MAX_DEPTH}: refused")
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, DtypeStub):
        return value.dtype
    if isinstance(value, _Allowed):
        raise UnsafePickleError("the pickle contains a function: refused")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in done:
        return done[id(value)][1]
    if isinstance(value, tuple):
        done[id(value)] = (value, tuple(_without_stubs(item, done, depth + 1) for item in value))
        return done[id(value)][1]
    done[id(value)] = (value, value)
    for key in value if isinstance(value, dict) else range(len(value)):
        value[key] = _without_stubs(value[key], done, depth + 1)
    return value
