"""Read foreign files that are pickles, without running anything that they name.

Our own store never holds a pickle. The official CIFAR and ImageNet16 batches and some benchmark tables are pickles, and a pickle
may call any function it likes. Here it may name only what such files need, and each name stands for a function of this module
that checks its arguments. Even NumPy's own functions are not handed out: the state of a pickled dtype may declare bytes to be
Python objects, and reading such an array follows pointers of the file's choosing.
"""

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["DtypeStub", "UnsafePickleError", "encode_text", "load_pickle", "make_scalar", "refused_name"]


class UnsafePickleError(ValueError):
    """A pickle names something that data has no need of; it was refused before anything ran."""


def refused_name(module: object, name: object) -> UnsafePickleError:
    """The error for a name that is in no table."""
    return UnsafePickleError(
        f"the pickle wants {module}.{name}, which data has no need of: refused, and nothing was executed. "
        "Do not open this file in another program; get the data from its publisher."
    )


def load_pickle(file_or_path: BinaryIO | str | Path, *, encoding: str = "bytes") -> Any:
    r"""Read a pickle of plain data: containers, numbers, text and numeric NumPy arrays.

    Parameters
    ----------
    file_or_path
        A file open for reading bytes, or a path.
    encoding
        How the 8-bit strings of Python 2 are read. The default keeps them ``bytes``, which is what they were: nothing is guessed,
        and nothing fails to decode. So official batches have keys such as ``b"data"``; ``"latin1"`` makes them text.

    Returns
    -------
    The object. Arrays are copies, writable, with their byte order kept.

    Raises
    ------
    UnsafePickleError
        If the pickle names anything but the containers and array types that data needs; nothing was executed.
    ValueError
        If the pickle is truncated or damaged, or holds arrays of Python objects or records.
    io.UnsupportedOperation
        If the file cannot be read twice (it is looked through before it is loaded).
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import io
    >>> load_pickle(io.BytesIO(pickle.dumps({"labels": np.arange(3)})))
    {'labels': array([0, 1, 2])}
    >>> load_pickle(io.BytesIO(b"cos\nsystem\n(S'true'\ntR."))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    sweetgrad.store.unpickle.UnsafePickleError: pickle: the pickle wants os.system, which data has no need of: refused, ...
    """
    if isinstance(file_or_path, str | Path):
        with Path(file_or_path).open("rb") as file:
            return _load(file, str(file_or_path), encoding)
    return _load(file_or_path, str(getattr(file_or_path, "name", "pickle")), encoding)


def _load(file: BinaryIO, where: str, encoding: str) -> Any:
    try:
        _check_memo(file)
        return _without_stubs(_Unpickler(file, encoding=encoding).load(), {})
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{where}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise ValueError(
            f"{where} cannot be read as a pickle of plain data ({type(error).__name__}: {error}). "
            "If it is truncated or damaged, get the file again."
        ) from error


def _check_memo(file: BinaryIO) -> None:
    """Refuse numbers of remembered objects that no pickle of this size has: its memo would be a list of that length, at once."""
    start, size = file.tell(), file.seek(0, io.SEEK_END)
    file.seek(start)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > size:
            raise UnsafePickleError(f"the pickle has {size:,} bytes and numbers an object {argument:,}: refused")
    file.seek(start)


class _Allowed:
    """One function that a pickle may call. Not the function itself, because a pickle can also set attributes of what it names."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError("the pickle sets attributes of a function: refused")


class DtypeStub:
    """Stands for ``numpy.dtype``: booleans, numbers and fixed-width text only."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: str | bytes, *_align_copy: object) -> None:
        dtype = np.dtype(_text(code))
        if dtype.kind not in "biufcSU" or dtype.itemsize == 0:  # NumPy would copy texts of no bytes into texts of one
            raise ValueError(f"arrays must hold numbers or text, this one has dtype {dtype}")
        self.dtype: np.dtype[Any] = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, order, subarray, names, fields = state[:5]
        if subarray is not None or names is not None or fields is not None:
            raise ValueError("arrays must hold numbers or text, this one holds records")
        self.dtype = self.dtype.newbyteorder(_text(order))  # type: ignore[arg-type]


class _Array:
    """Stands for an array until the pickle has given its content."""

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
    array: NDArray[Any] = np.ndarray(shape, dtype.dtype, buffer=raw, order="F" if order == "F" else "C")
    if array.nbytes != len(raw):
        raise ValueError(f"an array of shape {shape} and dtype {dtype.dtype} has {array.nbytes} bytes, got {len(raw)}")
    return array.copy(order="K")


def _from_buffer(data: object, dtype: DtypeStub, shape: Any, order: str, axis_order: Any = None) -> NDArray[Any]:
    # Order "K" is NumPy's for an array that is contiguous after its axes are permuted.
    array = _array(data, dtype, shape, order)
    return array if axis_order is None else array.transpose(axis_order)


def make_scalar(dtype: DtypeStub, data: object) -> Any:
    """Stands for ``numpy.core.multiarray.scalar``: one number or text, from its bytes."""
    return _array(data, dtype, (), "C")[()]


def encode_text(text: str, encoding: str | bytes) -> bytes:
    """Stands for ``_codecs.encode``: how Python 3 writes bytes in protocols 0 to 2; any other codec is no data."""
    if _text(encoding) != "latin1":
        raise UnsafePickleError(f"the pickle wants the codec {encoding!r}: refused")
    return text.encode("latin1")


def _bytes(kind: type[bytes | bytearray], *args: Any) -> bytes | bytearray:
    if any(isinstance(argument, int) for argument in args):
        raise UnsafePickleError(f"the pickle makes {args[0]} bytes out of nothing: refused")
    return kind(*args)


def _ndarray(*_args: object) -> NoReturn:
    raise UnsafePickleError("the pickle calls numpy.ndarray itself: refused")


def _text(value: str | bytes) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value


_BUILTINS: dict[str, Any] = {t.__name__: t for t in (complex, frozenset, set)}
_BUILTINS |= {t.__name__: _Allowed(partial(_bytes, t)) for t in (bytearray, bytes)}
_MULTIARRAY = {"_reconstruct": _Allowed(_Array), "scalar": _Allowed(make_scalar)}
_ALLOWED: dict[str, dict[str, Any]] = {
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
    "_codecs": {"encode": _Allowed(encode_text)},
    "collections": {"OrderedDict": OrderedDict},
    "numpy": {"dtype": _Allowed(DtypeStub), "ndarray": _Allowed(_ndarray)},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": {"_frombuffer": _Allowed(_from_buffer)},
    "numpy._core.numeric": {"_frombuffer": _Allowed(_from_buffer)},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Nothing is imported: a name is in the table, whole, or it is refused.
        try:
            return _ALLOWED[module][name]
        except KeyError:
            raise refused_name(module, name) from None

    def persistent_load(self, pid: object) -> NoReturn:
        raise UnsafePickleError(f"the pickle refers to an object outside itself ({pid!r}): refused")


def _without_stubs(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """Put arrays and dtypes in the place of what stood for them; ``done`` keeps shared and cyclic objects shared."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, DtypeStub):
        return value.dtype
    if isinstance(value, _Allowed):
        raise UnsafePickleError("the pickle holds a function: refused")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in done:
        return done[id(value)][1]
    if isinstance(value, tuple):
        done[id(value)] = (value, tuple(_without_stubs(item, done) for item in value))
        return done[id(value)][1]
    done[id(value)] = (value, value)
    for key in value if isinstance(value, dict) else range(len(value)):
        value[key] = _without_stubs(value[key], done)
    return value
