"""What a pickle that is read as a stream may name, and what stands in its place. Nothing is imported."""

from collections.abc import Callable
from typing import Any

from sweetgrad.store.benchmarks.unpickle import DtypeStub, UnsafePickleError, encode_text, make_scalar, refused_name

MAX_NUMBER = 64
"""Bytes of one number."""


class _Dropped:
    """Stands for all that was passed over."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DROPPED"


DROPPED = _Dropped()
"""In the place of an object that was passed over, or of one that holds no numbers of interest."""


def _ordered() -> dict[Any, Any]:
    return {}


def _encoded(text: str, encoding: str | bytes) -> Any:
    return encode_text(text, encoding) if len(text) <= MAX_NUMBER else DROPPED


class _Name:
    """A function that the pickle names; ``None`` makes what is dropped."""

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
    """What a name stands for.

    Raises
    ------
    UnsafePickleError
        If it is not one that plain data needs.
    """
    found = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    if found is None:
        raise refused_name(module, name)
    return found


def make(name: Any, args: Any) -> Any:
    """What a call of a named function gives: a number, an empty dictionary, or `DROPPED`."""
    if not isinstance(name, _Name) or type(args) is not tuple:
        raise UnsafePickleError("the pickle calls an object that is not a function: refused")
    if name.function is None or any(argument is DROPPED for argument in args):
        return DROPPED
    return name.function(*args)
