"""A user's own search space, data set, estimator or block without a package: ``FILE.py:NAME`` in place of a registered name."""

import copyreg
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from sweetgrad.profiling.models import run_file

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[^:/\\]+)", re.DOTALL)


def is_reference(name: str) -> bool:
    """Whether a name is ``FILE.py:NAME``.

    Examples
    --------
    >>> is_reference("mine.py:Mine"), is_reference("nas-bench-201")
    (True, False)
    """
    return _REFERENCE.fullmatch(name) is not None


def absolute(name: str) -> str:
    """A reference with the absolute path of its file, which every process of a machine understands; other names as they are."""
    file, own = _parts(name)
    return f"{file.resolve()}:{own}" if file is not None else name


def own_name(name: str) -> str:
    """The name in a file, by which what it names is stored; other names as they are.

    Examples
    --------
    >>> own_name("estimators/mine.py:grad_max"), own_name("snip")
    ('grad_max', 'snip')
    """
    return _parts(name)[1]


def load_own(reference: str) -> Any:
    """What a reference names. This runs the file: only load code that you trust.

    Raises
    ------
    ValueError
        If there is no such file, running it raises, or it has nothing of that name.
    """
    file, own = _parts(reference)
    assert file is not None
    if not file.is_file():
        raise ValueError(f"no such file: {file}; own code is given as FILE.py:NAME, got {reference!r}")
    module = _module(str(file.resolve()), _digest(file))
    try:
        return getattr(module, own)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise ValueError(f"{file} has no {own!r}; it has {', '.join(public) or 'nothing'}") from None


def digests_of(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the file of each reference among some names, by the file's name; the first 16 digits."""
    files = {file for file, _ in map(_parts, names) if file is not None}
    return {file.name: _digest(file)[:16] for file in sorted(files)}


def call_with_known(function: Callable[..., Any], *positional: Any, **keywords: Any) -> Any:
    """Call a function with those of the arguments that it takes, since short code need not take what it does not use.

    Examples
    --------
    >>> call_with_known(lambda seed: seed + 1, "folder", seed=4, download=False)
    5
    """
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    chosen = {key: value for key, value in keywords.items() if takes_all or key in known}
    places = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in chosen
    ]
    given = positional[: len(places)]
    try:
        inspect.signature(function).bind(*given, **chosen)
    except TypeError as error:
        name = getattr(function, "__name__", function)
        raise ValueError(f"{name} cannot be called with what there is: {error}") from None
    return function(*given, **chosen)


def remade_by(made: Any, make: Callable[..., Any], reference: str, **arguments: Any) -> None:
    """Let other processes make an object of a file's class anew, for pickle cannot find that class in any package there."""
    if isinstance(made, type) or type(made).__module__.partition(".")[0] == "sweetgrad":
        return
    _MADE[type(made)] = partial(make, absolute(reference), **arguments)
    copyreg.pickle(type(made), _reduced)


_MADE: dict[type, Callable[[], Any]] = {}


def _reduced(made: Any) -> tuple[Callable[[], Any], tuple[()]]:
    return _MADE[type(made)], ()


def _parts(name: str) -> tuple[Path | None, str]:
    match = _REFERENCE.fullmatch(name)
    return (Path(match["file"]).expanduser(), match["name"]) if match else (None, name)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _module(path: str, digest: str) -> Any:
    """The module of a file; run once for what it holds, so that a class is the same one at every call."""
    return run_file(Path(path))
