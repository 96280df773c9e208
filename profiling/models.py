"""A person's own network, named on a command line: a file and a function in it."""

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
    """Load a function that builds a network. This runs the file or imports the module: only name code that you trust.

    Parameters
    ----------
    name
        ``FILE.py:FUNCTION``, or ``PACKAGE.MODULE:FUNCTION`` for what is installed, e.g. ``torchvision.models:resnet18``. The
        function (or class) is called without arguments and returns an ``nn.Module``; a name may also stand for a module that is
        there already. A file can import what lies beside it, as under ``python FILE.py``.

    Returns
    -------
    The function; what it raises, or returns other than an ``nn.Module``, is a ValueError that names it.

    Raises
    ------
    ValueError
        If the file or the function is not there, or loading it raises.

    Examples
    --------
    >>> load_model("torch.nn:Identity")()
    Identity()
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute:
        raise ValueError(
            f"a network is FILE.py:FUNCTION, such as model.py:build, or PACKAGE.MODULE:FUNCTION, such as "
            f"torchvision.models:resnet18; got {name!r}"
        )
    module = _run_file(Path(place).expanduser()) if place.endswith(".py") else _import(place)
    found = getattr(module, attribute, None)
    if found is None:
        raise ValueError(f"{place} has no {attribute!r}.{_nearest(attribute, module)}")
    if not isinstance(found, nn.Module) and not callable(found):
        raise ValueError(f"{name} is {type(found).__name__}: name a function that returns an nn.Module")
    return lambda: _build(name, found)


def _build(name: str, found: nn.Module | Callable[[], object]) -> nn.Module:
    if isinstance(found, nn.Module):
        return found
    try:
        module = found()
    except Exception as error:  # whatever a person's code raises
        at_the_call = isinstance(error, TypeError) and len(traceback.extract_tb(error.__traceback__)) == 1
        advice = ". It is called without arguments: call it in a function of your own" if at_the_call else ""
        raise ValueError(f"{name} raised {_where(error)}{advice}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} returned {type(module).__name__}: it must return the network, an nn.Module")
    return module


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = sorted(each.name for each in path.parent.glob("*.py"))[:10] if path.parent.is_dir() else []
        raise ValueError(f"no such file: {path}" + (f"; beside it lie {', '.join(near)}" if near else ""))
    # A name that no installed package has: model.py may well stand beside a package "model".
    spec = importlib.util.spec_from_file_location(f"_sweetgrad_model_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends itself must not end us without a word
        del sys.modules[spec.name]
        raise ValueError(f"{path} cannot be loaded: {_where(error)}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever another package's code raises
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"module {name!r} cannot be imported: {error}. Install the package that has it; a file of your own is named by "
                "its path, such as ./model.py:build"
            ) from error
        raise ValueError(
            f"module {name!r} is there, but importing it fails: {_where(error)}. Mend that installation; "
            f"python -c 'import {name}' shows the same error in full"
        ) from error


def _where(error: BaseException) -> str:
    """What was raised, by what it was caused, and the last line of the person's own file on the way to it."""
    told = "; caused by ".join(f"{type(each).__name__}: {each}" for each in _with_causes(error))
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
    frames = [
        each for each in frames if not each.filename.startswith("<frozen") and each.filename != importlib.__file__
    ]
    if isinstance(error, SyntaxError) or not frames:
        return told
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return f"{told} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _with_causes(error: BaseException) -> list[BaseException]:
    """An error and those that it was raised from or while handling, as a traceback shows them; few, if there are many."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain and len(chain) < _MAX_CAUSES:
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return chain


def _nearest(attribute: str, module: ModuleType) -> str:
    own = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
    near = difflib.get_close_matches(attribute, own, n=3) or own[:10]
    return f" Did you mean {', '.join(near)}?" if near else " It defines no function"
