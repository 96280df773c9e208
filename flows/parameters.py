"""The parameters of a function as its signature and docstring declare them, which a command line and a deployment offer."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docstring_parser


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function.

    Attributes
    ----------
    annotation, default
        As in the signature; the default is `inspect.Parameter.empty` where there is none.
    description
        Its entry in the docstring, on one line.
    """

    annotation: Any
    default: Any
    description: str


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Parameters of a function by name, in the order of its signature; ``console``, which is for Python callers, is left out.

    An entry of the docstring that reads "As in `profile`." stands for that of `sweetgrad.flows.profile`.

    Raises
    ------
    KeyError
        If the docstring has no entry for a parameter.

    Examples
    --------
    >>> from sweetgrad.flows import profile
    >>> parameters_of(profile)["seed"]
    Parameter(annotation=<class 'int'>, default=42, description='Seed of the batch and of the initialisation.')
    """
    descriptions = _descriptions(function)
    return {
        name: Parameter(parameter.annotation, parameter.default, descriptions[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "console"
    }


def command_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """The ``sweetgrad`` command of a function with these arguments, without those that are the default.

    Tables of a cluster are left out: a command line has no room for them. Secrets are, too.

    Examples
    --------
    >>> from sweetgrad.flows import profile
    >>> command_of(profile, {"store": "my store.zarr", "archs": "0:9", "seed": 42, "augment": True})
    "sweetgrad profile 'my store.zarr' --archs 0:9 --augment"
    """
    from sweetgrad.store.access import command_line  # here, so that reading the options of a command does not load zarr

    defaults = {name: parameter.default for name, parameter in parameters_of(function).items()}
    words = [function.__name__, arguments["store"]]
    for key, value in (arguments.get("space_options") or {}).items():
        words += ["--space-option", f"{key}={value}"]
    for name, value in arguments.items():
        if name == "store" or value in (None, [], defaults[name]) or isinstance(value, Mapping):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, Sequence) and not isinstance(value, str):
            words.append(",".join(value))
        elif value is not True:  # an object has no place on a command line
            words.append(str(value) if isinstance(value, str | int | float | Path) else "…")
    return command_line(*words)


def _descriptions(function: Callable[..., Any]) -> dict[str, str]:
    from sweetgrad import flows

    docstring = docstring_parser.parse(function.__doc__ or "", style=docstring_parser.DocstringStyle.NUMPYDOC)
    descriptions = {}
    for entry in docstring.params:
        text = " ".join((entry.description or "").split())
        for name in re.split(r",\s*", entry.arg_name):
            reference = re.fullmatch(r"As in `(\w+)`\.", text)
            descriptions[name] = _descriptions(getattr(flows, reference[1]))[name] if reference else text
    return descriptions
