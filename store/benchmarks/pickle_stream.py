"""Read a pickle opcode by opcode, creating only the objects that are needed.

The archives of NAS-Bench-201 and NATS-Bench are pickles of gigabytes, most of which are losses and times of single epochs, or the
weights of trained networks. `load_pickle` would create an object for every number, which takes tens of gigabytes. Here, values of
keys that are not needed are skipped, weights that the pickle only refers to are not read, and a part is reduced as soon as it is
complete, by a function of ours.

Nothing that the pickle names is imported or called: a full name is in a table or is refused, as in
`sweetgrad.store.benchmarks.unpickle`. The only memory that grows with the length of the file is a table of the memoised objects,
eight bytes each, in which only strings are kept.
"""

import re
import struct
from collections.abc import Callable, Mapping, Sized
from typing import Any, BinaryIO, NoReturn

import numpy as np

from sweetgrad.store.benchmarks.unpickle import (
    DtypeStub,
    UnsafePickleError,
    check_key,
    encode_text,
    make_scalar,
    refused_name,
    words_of,
)

MAX_NUMBER = 64
"""Largest size of one number in bytes."""


class _Dropped:
    """Placeholder for everything that was skipped."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DROPPED"


DROPPED = _Dropped()
"""Placeholder for an object that was skipped, or that has no values that are needed."""


def _ordered() -> dict[Any, Any]:
    return {}


def _encoded(text: str, encoding: str | bytes) -> Any:
    return encode_text(text, encoding) if len(text) <= MAX_NUMBER else DROPPED


class _Name:
    """A function that the pickle names; the result of ``None`` is dropped."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function


_INERT = _Name()
_EMPTY = _Name(_ordered)
_TORCH = {"_utils": ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"), "storage": ("_load_from_bytes",)}
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "Untyped", "Typed")
_NAMES: dict[tuple[str, str], _Name] = {
    ("collections", "OrderedDict"): _EMPTY,
    ("collections", "defaultdict"): _Name(lambda *_factory: {}),
    ("_codecs", "encode"): _Name(_encoded),
    ("numpy", "dtype"): _Name(DtypeStub),
    ("numpy", "ndarray"): _INERT,
    **{(f"{module}.multiarray", "scalar"): _Name(make_scalar) for module in ("numpy.core", "numpy._core")},
    **{(f"{module}.multiarray", "_reconstruct"): _INERT for module in ("numpy.core", "numpy._core")},
    **{(f"{module}.numeric", "_frombuffer"): _INERT for module in ("numpy.core", "numpy._core")},
    **{
        (module, name): _INERT for module in ("__builtin__", "builtins") for name in ("set", "frozenset", "list", "int")
    },
    **{(f"torch.{module}", name): _INERT for module, names in _TORCH.items() for name in names},
    **{(module, f"{kind}Storage"): _INERT for module in ("torch", "torch.storage", "torch.cuda") for kind in _STORAGES},
    **{("torch", name): _INERT for name in ("Size", "device", "float32", "float64", "int64")},
    ("torch.nn.parameter", "Parameter"): _INERT,
}


def find(module: Any, name: Any) -> _Name:
    """The entry of a name in the table.

    Raises
    ------
    UnsafePickleError
        If plain data does not need it.
    """
    found = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    if found is None:
        raise refused_name(module, name)
    return found


def make(name: Any, args: Any) -> Any:
    """Call a named function; returns a number, an empty dictionary, or `DROPPED`."""
    if not isinstance(name, _Name) or type(args) is not tuple:
        raise UnsafePickleError("the pickle calls an object that is not a function: refused")
    if name.function is None or any(argument is DROPPED for argument in args):
        return DROPPED
    return name.function(*args)


_CHUNK = 1 << 20
_MAX_TEXT = 1 << 16
_MAX_TEXTS = 1 << 28
_MAX_DEPTH = 256
_MAX_STACK = 1 << 22
_MAX_KEPT = 1 << 23
_MAX_NUMBERED = 1 << 27

# Runs of (epoch, number) and (memoised string, number): most of the bytes of an archive.
_EPOCHS = re.compile(rb"(?:K.G.{8}){4,}", re.DOTALL)
_EPOCH = np.dtype([("k", "u1"), ("epoch", "u1"), ("g", "u1"), ("number", ">f8")])
_REMEMBERED = re.compile(rb"(?:(?:h.|j.{4})G.{8}){4,}", re.DOTALL)


class PickleStream:
    """Read pickles of protocols 2 to 5, one after another, from a file that is only read forwards.

    Parameters
    ----------
    file
        Open for reading bytes.
    where
        Name of the file in error messages.
    drop
        Keys of dictionaries whose values, if they are containers or arrays, are skipped and replaced by `DROPPED`.
    collapse
        Functions by key: the value of the key is replaced by the result of its function. All containers that the pickle has
        memoised so far are then forgotten, so that a reduced part takes no memory.
    progress
        Called after every MiB.

    Examples
    --------
    >>> import io, pickle
    >>> data = pickle.dumps({"weights": [0.5] * 100, "losses": {0: 2.3, 1: 1.9}}, protocol=2)
    >>> PickleStream(io.BytesIO(data), where="data", drop={"weights"}, collapse={"losses": min}).load()
    {'weights': DROPPED, 'losses': 0}
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        where: str,
        drop: frozenset[str] | set[str] = frozenset(),
        collapse: Mapping[str, Callable[[Any], Any]] | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._file, self._where, self._drop, self._collapse = file, where, frozenset(drop), collapse or {}
        self._progress = progress
        self._data, self._at, self._taken = b"", 0, 0
        self._texts: dict[str, str] = {}
        self._texts_bytes = 0

    def load(self) -> Any:
        """The next pickle of the file.

        Raises
        ------
        UnsafePickleError
            If it names something that plain data does not need, or needs more memory than such files do.
        ValueError
            If it is truncated, damaged, or of another kind.
        """
        try:
            return self._load()
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{self._where}: {error}") from None
        except OSError:
            raise
        except Exception as error:  # damaged bytes can raise any error
            raise ValueError(
                f"{self._where} cannot be read as a pickle of plain data ({words_of(error)}). "
                "If it is truncated or damaged, download the file again."
            ) from error

    def _load(self) -> Any:
        stack: list[Any] = []
        marks: list[list[Any]] = []
        memo: list[Any] = []
        forgotten = kept = kept_before = 0
        dropping = False  # whether the next objects belong to a container that is skipped
        data, at = self._data, self._at
        while True:
            if len(data) - at < 16:
                self._data, self._at = data, at
                self._refill(16)
                data, at = self._data, self._at
                if sum(map(len, marks)) + len(stack) > _MAX_STACK or kept > _MAX_KEPT or len(memo) > _MAX_NUMBERED:
                    self._refuse("has more objects at a time than a file of accuracies")
            op = data[at]
            at += 1
            # Most frequent first; the names of the opcodes are those of the module pickle.
            if op == 0x4B:  # BININT1
                run = _EPOCHS.match(data, at - 1)
                if run is None:
                    stack.append(data[at])
                    at += 1
                else:
                    if not dropping:
                        pairs = np.frombuffer(data, _EPOCH, (run.end() - run.start()) // _EPOCH.itemsize, run.start())
                        both = zip(pairs["epoch"].tolist(), pairs["number"].tolist(), strict=True)
                        stack.extend(value for pair in both for value in pair)
                    at = run.end()
            elif op == 0x47:  # BINFLOAT
                stack.append(struct.unpack_from(">d", data, at)[0])
                at += 8
            elif op in (0x68, 0x6A):  # BINGET, LONG_BINGET
                run = _REMEMBERED.match(data, at - 1) if dropping else None
                if run is not None:
                    at = run.end()
                else:
                    size = 1 if op == 0x68 else 4
                    stack.append(memo[int.from_bytes(data[at : at + size], "little")])
                    at += size
            elif op in (0x71, 0x72, 0x94):  # BINPUT, LONG_BINPUT, MEMOIZE
                size = {0x71: 1, 0x72: 4, 0x94: 0}[op]
                number = int.from_bytes(data[at : at + size], "little") if size else len(memo)
                at += size
                if number > self._taken:
                    self._refuse(f"numbers an object {number:,} after {self._taken:,} bytes")
                if number == len(memo):
                    memo.append(stack[-1])
                else:
                    memo.extend([DROPPED] * (number + 1 - len(memo)))
                    memo[number] = stack[-1]
                kept += type(stack[-1]) in (dict, list)  # which is kept, even if it is skipped
            elif op in (0x58, 0x8C, 0x8D):  # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
                size = {0x58: 4, 0x8C: 1, 0x8D: 8}[op]
                length = int.from_bytes(data[at : at + size], "little")
                if length > _MAX_TEXT:
                    self._refuse(f"has a string of {length:,} bytes")
                at += size
                if len(data) - at < length:
                    self._data, self._at = data, at
                    self._refill(length)
                    data, at = self._data, self._at
                stack.append(self._text(data[at : at + length]))
                at += length
            elif op == 0x28:  # MARK
                if len(marks) >= _MAX_DEPTH:
                    self._refuse(f"is nested deeper than {_MAX_DEPTH}")
                dropping = bool(stack) and stack[-1] is DROPPED
                marks.append(stack)
                stack = []
            elif op in (0x73, 0x75):  # SETITEM, SETITEMS
                if op == 0x73:
                    value, key = stack.pop(), stack.pop()
                    items = [key, value]
                else:
                    items, stack = stack, marks.pop()
                    dropping = _is_inside_dropped(marks)
                target = stack[-1]
                if target is not DROPPED:
                    if type(target) is not dict or len(items) % 2:
                        raise ValueError(f"items are set on a {type(target).__name__}")
                    for key, value in zip(items[::2], items[1::2], strict=True):
                        check_key(key)
                        if type(key) is str and key in self._collapse and value is not DROPPED:
                            value = self._collapse[key](value)
                            for number in range(forgotten, len(memo)):
                                if isinstance(memo[number], dict | list):
                                    memo[number] = DROPPED
                            kept_before += 1 + (len(value) if isinstance(value, Sized) else 0)
                            forgotten, kept = len(memo), kept_before
                        target[key] = value
                    kept += len(items)
            elif op in (0x7D, 0x5D):  # EMPTY_DICT, EMPTY_LIST
                stack.append(DROPPED if dropping or self._is_dropped(stack) else {} if op == 0x7D else [])
            elif op in (0x61, 0x65):  # APPEND, APPENDS
                if op == 0x61:
                    items = [stack.pop()]
                else:
                    items, stack = stack, marks.pop()
                    dropping = _is_inside_dropped(marks)
                if stack[-1] is not DROPPED:
                    if type(stack[-1]) is not list:
                        self._refuse("appends to an object that is not a list")
                    stack[-1].extend(items)
                    kept += len(items)
            elif op in (0x85, 0x86, 0x87):  # TUPLE1, TUPLE2, TUPLE3
                size = op - 0x84
                if len(stack) < size:
                    raise IndexError("a tuple has more items than the stack")
                stack[-size:] = [tuple(stack[-size:])]
                kept += 1 + size
            elif op == 0x74:  # TUPLE
                made, stack = tuple(stack), marks.pop()
                dropping = _is_inside_dropped(marks)
                stack.append(made)
                kept += 1 + len(made)
            elif op == 0x29:  # EMPTY_TUPLE
                stack.append(())
            elif op in (0x4A, 0x4D):  # BININT, BININT2
                size = 4 if op == 0x4A else 2
                stack.append(int.from_bytes(data[at : at + size], "little", signed=op == 0x4A))
                at += size
            elif op == 0x8A:  # LONG1
                length = data[at]
                if len(data) - at - 1 < length:
                    self._data, self._at = data, at
                    self._refill(length + 1)
                    data, at = self._data, self._at
                stack.append(int.from_bytes(data[at + 1 : at + 1 + length], "little", signed=True))
                at += 1 + length
            elif op in (0x4E, 0x88, 0x89):  # NONE, NEWTRUE, NEWFALSE
                stack.append({0x4E: None, 0x88: True, 0x89: False}[op])
            elif op in (0x43, 0x42, 0x8E, 0x96):  # SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
                size = {0x43: 1, 0x42: 4}.get(op, 8)
                length = int.from_bytes(data[at : at + size], "little")
                self._data, self._at = data, at + size
                stack.append(self._bytes(length))
                data, at = self._data, self._at
            elif op in (0x63, 0x93):  # GLOBAL, STACK_GLOBAL
                if op == 0x93:
                    name, module = stack.pop(), stack.pop()
                else:
                    self._data, self._at = data, at
                    module, name = self._line(), self._line()
                    data, at = self._data, self._at
                stack.append(find(module, name))
            elif op in (0x52, 0x81):  # REDUCE, NEWOBJ
                args, name = stack.pop(), stack.pop()
                made = make(name, args)
                stack.append(DROPPED if type(made) is dict and (dropping or self._is_dropped(stack)) else made)
            elif op == 0x62:  # BUILD
                state, target = stack.pop(), stack[-1]
                if isinstance(target, DtypeStub):
                    target.__setstate__(state)
                elif target is not DROPPED and type(target) is not dict:
                    self._refuse(f"sets the state of a {type(target).__name__}")
            elif op == 0x51:  # BINPERSID: a torch storage, which is elsewhere in the file
                stack[-1] = DROPPED
            elif op == 0x8F:  # EMPTY_SET
                stack.append(DROPPED)
            elif op in (0x90, 0x91):  # ADDITEMS, FROZENSET
                stack = marks.pop()
                dropping = _is_inside_dropped(marks)
                if op == 0x91:
                    stack.append(DROPPED)
            elif op == 0x80:  # PROTO
                if not 2 <= data[at] <= 5:
                    raise ValueError(f"protocol {data[at]}, expected 2 to 5")
                at += 1
            elif op == 0x95:  # FRAME
                at += 8
            elif op == 0x2E:  # STOP
                self._data, self._at = data, at
                return stack.pop()
            else:
                raise ValueError(
                    f"opcode 0x{op:02x} at byte {self._taken - len(data) + at - 1:,} is not one that plain data needs"
                )

    def _is_dropped(self, stack: list[Any]) -> bool:
        """Whether the next container is the value of a key that is dropped."""
        return bool(stack) and type(stack[-1]) is str and stack[-1] in self._drop

    def _refill(self, num_bytes: int) -> None:
        """Read until at least that many bytes are available, if the file has them."""
        have = len(self._data) - self._at
        if have >= num_bytes:
            return
        parts = [self._data[self._at :]]
        while have < num_bytes and (part := self._file.read(_CHUNK)):
            parts.append(part)
            have += len(part)
            self._taken += len(part)
        self._data, self._at = b"".join(parts), 0
        self._progress()

    def _text(self, raw: bytes) -> str:
        """Return one object for equal strings, regardless of the pickle's memo."""
        text = raw.decode("utf-8", "surrogatepass")
        known = self._texts.setdefault(text, text)
        if known is text:
            self._texts_bytes += len(raw) + 64
            if self._texts_bytes > _MAX_TEXTS:
                self._refuse(f"has more than {_MAX_TEXTS:,} bytes of different strings")
        return known

    def _bytes(self, length: int) -> Any:
        """Read the bytes of one number in NumPy's format; anything longer is weights, and is skipped."""
        if length <= MAX_NUMBER:
            self._refill(length)
            self._at += length
            if self._at > len(self._data):
                raise EOFError("the file ends inside some bytes")
            return self._data[self._at - length : self._at]
        while length:
            self._refill(1)
            step = min(length, len(self._data) - self._at)
            if not step:
                raise EOFError("the file ends inside some bytes")
            self._at += step
            length -= step
        return DROPPED

    def _line(self) -> str:
        self._refill(512)
        end = self._data.index(b"\n", self._at, self._at + 512)
        line = self._data[self._at : end].decode("ascii")
        self._at = end + 1
        return line

    def _refuse(self, what: str) -> NoReturn:
        raise UnsafePickleError(f"the pickle {what}: refused")


def _is_inside_dropped(marks: list[list[Any]]) -> bool:
    return bool(marks) and bool(marks[-1]) and marks[-1][-1] is DROPPED
