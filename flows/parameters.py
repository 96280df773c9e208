"""The parameters of a function as its signature and docstring declare them; a command line and a deployment offer these."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
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
