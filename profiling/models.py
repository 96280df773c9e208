"""Load a user's own network, given on the command line as a file and the name of a function in it."""

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

_MAX_CAUSES = 4


def load_model(name: str) -> Callable[[], nn.Module]:
    """Load a function that builds a network. This runs the file or imports the module: only load code that you trust.

    Parameters
    ----------
    name
        ``FILE.py:FUNCTION``, or ``PACKAGE.MODULE:FUNCTION`` for an installed package, e.g. ``torchvision.models:resnet18``.
        The function (or class) is called without arguments and returns an ``nn.Module``; the name may also be that of an
        ``nn.Module`` itself. A file can import modules in its folder, as under ``python FILE.py``.

    Returns
    -------
    The function; it raises ValueError if the loaded function raises or does not return an ``nn.Module``.

    Raises
    ------
    ValueError
        If the file or the function does not exist, or loading it raises.

    Examples
    --------
    >>> load_model("torch.nn:Identity")()
    Identity()
    """
    location, colon, attribute = name.rpartition(":")
    if not colon or not location or not attribute:
        raise ValueError(
            f"a network must be given as FILE.py:FUNCTION, such as model.py:build, or PACKAGE.MODULE:FUNCTION, such as "
            f"torchvision.models:resnet18; got {name!r}"
        )
    module = run_file(Path(location).expanduser()) if location.endswith(".py") else _import(location)
    target = getattr(module, attribute, None)
    if target is None:
        raise ValueError(f"{location} has no {attribute!r}.{_nearest(attribute, module)}")
    if not isinstance(target, nn.Module) and not callable(target):
        raise ValueError(f"{name} is of type {type(target).__name__}: name a function that returns an nn.Module")
    return lambda: _build(name, target)


def _build(name: str, target: nn.Module | Callable[[], object]) -> nn.Module:
    if isinstance(target, nn.Module):
        return target
    try:
        module = target()
    except Exception as error:  # a user's code may raise anything
        at_the_call = isinstance(error, TypeError) and len(traceback.extract_tb(error.__traceback__)) == 1
        advice = ". It is called without arguments: wrap it in a function of your own" if at_the_call else ""
        raise ValueError(f"{name} raised {_where(error)}{advice}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} returned {type(module).__name__}: it must return the network, an nn.Module")
    return module


def run_file(path: Path) -> ModuleType:
    """Run a file as a module of its own; ``ValueError`` if there is none, or it raises."""
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*.py"))[:10] if path.parent.is_dir() else []
        raise ValueError(f"no such file: {path}" + (f"; its folder has {', '.join(near)}" if near else ""))
    # A name that no installed package has: there may be a package "model" beside model.py.
    spec = importlib.util.spec_from_file_location(f"_sweetgrad_model_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[spec.name] = module  # dataclasses and pickle look up their module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that exits must not end this process silently
        del sys.modules[spec.name]
        raise ValueError(f"{path} cannot be loaded: {_where(error)}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # code of another package may raise anything
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"module {name!r} cannot be imported: {error}. Install the package that contains it; give a file of your own "
                "by its path, such as ./model.py:build"
            ) from error
        raise ValueError(
            f"module {name!r} is installed, but importing it fails: {_where(error)}. Repair the installation; "
            f"python -c 'import {name}' shows the full error"
        ) from error


def _where(error: BaseException) -> str:
    """The error with its causes, and the line of the user's own file that led to it."""
    summary = "; caused by ".join(f"{type(cause).__name__}: {cause}" for cause in _with_causes(error))
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is in this module
    frames = [
        frame for frame in frames if not frame.filename.startswith("<frozen") and frame.filename != importlib.__file__
    ]
    if isinstance(error, SyntaxError) or not frames:
        return summary
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return f"{summary} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _with_causes(error: BaseException) -> list[BaseException]:
    """An error and its chain of causes, as a traceback shows them; only the first few."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain and len(chain) < _MAX_CAUSES:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _nearest(attribute: str, module: ModuleType) -> str:
    own = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
    near = difflib.get_close_matches(attribute, own, n=3) or own[:10]
    return f" Did you mean {', '.join(near)}?" if near else " It does not define any function"
