"""Options of commands: those of a function, from its signature and docstring, and those that several commands share."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from sweetgrad.flows.cli.arguments import (
    PICTURES,
    expanded,
    integers,
    locate,
    only_profile,
    read_options,
    split_names,
    written_as,
)
from sweetgrad.flows.parameters import Parameter, parameters_of

# Larger values would fill a machine, or take years, before anything can report it.
MOST = 1_000_000
MOST_RUNS = 100_000
MOST_PROCESSES = 10_000


def picture(description: str, *names: str) -> Any:
    """An option for the file of a figure."""
    return typer.Option(*names, help=description, show_default=False, callback=written_as(*PICTURES))


StoresArgument = Annotated[list[str], typer.Argument(help="Paths or URLs of stores.", metavar="STORE...")]
StoreArgument = Annotated[str, typer.Argument(help="Path or URL of the store.", show_default=False)]
ProfileArgument = Annotated[
    str | None,
    typer.Argument(help="Profile in the store; may be omitted if there is only one.", show_default=False),
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Storage option for a store at a URL, e.g. anon=true; VALUE may be JSON. Repeatable.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
AccuracyOption = Annotated[
    str | None,
    typer.Option(
        help="Trained accuracy: DATASET/SPLIT[/EPOCHS] (default: test accuracy on the data set of the profile).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for another program.")]
WeightlessOption = Annotated[
    Literal["zero", "skip"],
    typer.Option(help="What layers without weights count as: proportion 0, as in the released method, or nothing."),
]
PageOption = Annotated[
    Path | None,
    typer.Option(
        help="Markdown file to write (default: print the page).",
        show_default=False,
        callback=written_as(".md", ".markdown", ".txt"),
    ),
]
MaxOption = Annotated[str, typer.Option("--max", help="Largest threshold.")]
MinOption = Annotated[str, typer.Option("--min", help="Smallest threshold.")]
SlidingOption = Annotated[
    int | None,
    typer.Option(
        help="Choose from windows [t, RATIO*t) that start at every stored edge instead of from a grid; 2 to 10.",
        metavar="RATIO",
        show_default=False,
    ),
]
SplitOption = Annotated[int, typer.Option(help="Parts per order of magnitude; 1 to 10 are exact.")]

# What only a command line has of a parameter, by its name.
_SETTINGS: dict[str, dict[str, Any]] = {
    "batch_size": {"max": MOST},
    "checkpoint": {"callback": written_as()},
    "cycles": {"max": MOST},
    "epochs": {"max": MOST},
    "limit": {"max": MOST},
    "num_classes": {"name": "--classes", "max": MOST},
    "num_random": {"name": "--random", "max": MOST},
    "population": {"max": MOST},
    "search_seed": {"min": 0, "max": 2**32 - 1},
    "shard_size": {"max": MOST},
    "space_options": {"name": "--space-option", "metavar": "KEY=VALUE"},
    "threads": {"max": MOST_PROCESSES},
    "tournament": {"max": MOST},
    "workers": {"max": MOST_PROCESSES},
}


def options_of(function: Callable[..., Any], *, without: Collection[str] = ()) -> Callable[..., Any]:
    """Decorate a command so that it offers the parameters of a function, and gets their values as that function takes them.

    A parameter of the command itself whose type is `Annotated` is an option of the command line alone. It replaces a parameter of
    the function that has its name, or else stands after the parameter before it. One with a plain type stands where the function
    has it. A store is given as a `Location`, with ``--storage-option``, and a profile may be omitted if there is only one.

    Parameters
    ----------
    function
        Function whose signature and docstring declare the options (`parameters_of`).
    without
        Parameters that are not offered.
    """
    declared = {name: parameter for name, parameter in parameters_of(function).items() if name not in without}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = {
            name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if get_origin(parameter.annotation) is Annotated
        }
        names = _order(list(declared), list(inspect.signature(command).parameters), own)
        parameters = [own[name] if name in own else _option(name, declared[name]) for name in names]
        if "store" in declared:
            parameters.append(_keyword("storage_option", StorageOption, None))

        @wraps(command)
        def run(**values: Any) -> None:
            inherited = {name for name in declared if name not in own}
            given = {
                name: _value(declared[name], value) if name in inherited else value for name, value in values.items()
            }
            if "store" in declared:
                given["store"] = locate(given["store"], given.pop("storage_option"))
            if "profile" in declared:
                given["profile"] = given["profile"] or only_profile(given["store"])
            command(**given)

        described: Any = run  # a type checker knows no signature of a function
        described.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _order(declared: list[str], of_command: list[str], own: Mapping[str, Any]) -> list[str]:
    """Names of the function's parameters, with each of the command's own after the one that stands before it."""
    names, position = list(declared), len(declared)
    for name in of_command:
        if name in names:
            position = names.index(name) + 1
        elif name in own:
            names.insert(position, name)
            position += 1
    return names


def _option(name: str, parameter: Parameter) -> inspect.Parameter:
    if name == "profile":
        return _keyword(name, ProfileArgument, None)
    if parameter.default is inspect.Parameter.empty and get_origin(parameter.annotation) is None:
        argument = typer.Argument(help=parameter.description, show_default=False)
        return _keyword(name, Annotated[str, argument], inspect.Parameter.empty)
    kind, default = _kind(parameter)
    settings = dict(_SETTINGS.get(name, {}))
    names = [settings.pop("name")] if "name" in settings else [f"--{name.replace('_', '-')}"] if kind is bool else []
    option = typer.Option(
        *names,
        help=f"{parameter.description}{' Repeatable.' if get_origin(kind) is list else ''}",
        show_default=default not in (None, ""),
        **({"callback": expanded} if Path in get_args(kind) else {}) | settings,
    )
    return _keyword(name, Annotated[kind if default is not None else kind | None, option], default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _kind(parameter: Parameter) -> tuple[Any, Any]:
    """Type and default that a parameter has on the command line, where a sequence is one text with commas."""
    annotation, default = parameter.annotation, parameter.default
    if Path in get_args(annotation):
        return Path | None, default
    if _is_mapping(annotation):
        return list[str], None
    if get_origin(annotation) is Sequence:
        return str, "" if default is inspect.Parameter.empty else ",".join(map(str, default))
    return str if get_origin(annotation) is Literal or isinstance(annotation, str) else annotation, default


def _value(parameter: Parameter, value: Any) -> Any:
    """A value from the command line as the function takes it."""
    if Path in get_args(parameter.annotation):
        return value
    if _is_mapping(parameter.annotation):
        return read_options(value, what="a space option", example="channels=16")
    if get_origin(parameter.annotation) is Sequence:
        return integers(value) if get_args(parameter.annotation) == (int,) else split_names(value)
    return value


def _is_mapping(annotation: Any) -> bool:
    return any(get_origin(member) is Mapping for member in get_args(annotation))
