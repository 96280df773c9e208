"""Search spaces, data sets, estimators and blocks by name, found by entry points: built-in ones and those of other packages."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from sweetgrad.profiling.batches import Batch, Examples, draw_batch
from sweetgrad.profiling.own_code import call_with_known, is_reference, load_own, own_name, remade_by
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store.spaces import unknown_name

_OF_A_SPACE = ("name", "variant", "init", "layer_names", "input_size", "__len__", "arch_id", "build")

Group = Literal["spaces", "datasets", "estimators", "blocks"]

_KINDS: dict[Group, str] = {
    "spaces": "search space",
    "datasets": "data set",
    "estimators": "estimator",
    "blocks": "block",
}


def names(group: Group) -> list[str]:
    """Names registered in the entry-point group ``sweetgrad.<group>``, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"sweetgrad.{group}")})


def require(group: Group, wanted: Iterable[str]) -> None:
    """Raise ``ValueError``, as `load` does, for a name that is not registered; only what a file names is imported."""
    registered = names(group)
    for name in wanted:
        if is_reference(name):
            load(group, name)
        elif name not in registered:
            raise unknown_name(_KINDS[group], name, registered)


def load(group: Group, name: str) -> Callable[..., Any]:
    """Import the object that is registered under ``name``, or that a file has: ``FILE.py:NAME`` (`load_own`).

    Raises
    ------
    ValueError
        If the name is not registered (the message has the nearest names and all names), or the object cannot be imported.

    Examples
    --------
    >>> load("datasets", "cifra10")
    Traceback (most recent call last):
    ValueError: no data set named 'cifra10'. Did you mean 'cifar10' or 'cifar100'? Registered: cifar10, cifar100, digits, ...
    """
    if is_reference(name):
        # Spaces and data sets say their names themselves; a score is stored by this one.
        if group in ("estimators", "blocks") and own_name(name) in names(group):
            raise ValueError(f"{own_name(name)!r} is a registered {_KINDS[group]}: rename that of {name}")
        own: Callable[..., Any] = load_own(name)
        return own
    for entry in entry_points(group=f"sweetgrad.{group}"):
        if entry.name == name:
            try:
                loaded: Callable[..., Any] = entry.load()
            except (ImportError, AttributeError) as error:
                raise ValueError(
                    f"{_KINDS[group]} {name!r} ({entry.value}) cannot be imported: {error}. Repair or remove the package that "
                    "registers it"
                ) from error
            return loaded
    raise unknown_name(_KINDS[group], name, names(group))


def load_space(name: str, *, table: str | Path | None = None, options: Mapping[str, Any] | None = None) -> SearchSpace:
    """Make a registered search space, or one of a file.

    Parameters
    ----------
    name
        Name in the entry-point group ``sweetgrad.spaces``; or ``FILE.py:NAME``, a class, a function or a space itself.
    table
        File that lists or orders the architectures, for the spaces that take one.
    options
        Options of the space, such as ``{"channels": 16, "cells": 8}``, for the spaces that have any.

    Raises
    ------
    ValueError
        If there is no space of that name (the message has the nearest), it does not have such an option, or the table is missing
        or malformed.

    Examples
    --------
    >>> len(load_space("nas-bench-201"))
    15625
    """
    make = load("spaces", name)
    if options:
        parameters = inspect.signature(make).parameters.values()
        known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        unknown = [key for key in options if key not in known]
        if unknown:
            raise ValueError(f"space {name!r} has no option {unknown[0]!r}; its options: {', '.join(known) or 'none'}")
    if is_reference(name):
        space = call_with_known(make, table, **(options or {})) if callable(make) else make
    else:
        space = make(table, **(options or {}))
    if not isinstance(space, SearchSpace):
        lacking = [each for each in _OF_A_SPACE if not hasattr(space, each)]
        raise ValueError(
            f"space {name!r} does not implement the protocol sweetgrad.profiling.spaces.SearchSpace: "
            f"it lacks {', '.join(lacking) or 'a method'}"
        )
    if is_reference(name):
        remade_by(space, load_space, name, table=table, options=options)
    return space


def load_examples(name: str, *, data_dir: Path | str | None = None, seed: int = 42, download: bool = False) -> Examples:
    """Load a registered data set, or one of a file.

    Parameters
    ----------
    name
        Name in the entry-point group ``sweetgrad.datasets``, such as ``cifar10``; or ``FILE.py:NAME``, a function or the
        `Examples` themselves.
    data_dir
        Folder with the files of the data set, or its parent folder.
    seed
        Seed of a data set that is generated (``synthetic``); others ignore it.
    download
        Whether to download missing files to ``data_dir``, if the data set has an address.

    Raises
    ------
    ValueError
        If there is no data set of that name (the message has the nearest), or a file is damaged.
    FileNotFoundError
        If its files are not there.

    Examples
    --------
    >>> load_examples("digits").x.shape
    (1797, 3, 8, 8)
    """
    folder = None if data_dir is None else Path(data_dir).expanduser()
    make: Any = load("datasets", name)
    if not is_reference(name):
        images: Examples = make(folder, seed=seed, download=download)
        return images
    own = call_with_known(make, folder, seed=seed, download=download) if callable(make) else make
    if not isinstance(own, Examples):
        raise ValueError(
            f"data set {name!r} must be sweetgrad.profiling.Examples or a function that returns them, got {own!r:.80}"
        )
    return own


def load_batch(
    name: str,
    *,
    batch_size: int = 64,
    seed: int = 42,
    augment: bool = False,
    data_dir: Path | str | None = None,
    download: bool = False,
    second: bool = False,
) -> Batch:
    """Load a data set and draw the one batch of a profile: `load_examples`, then `draw_batch`; ``second`` as in the latter.

    Raises
    ------
    ValueError, FileNotFoundError
        As in `load_examples`; and if the batch is larger than the data set.

    Examples
    --------
    >>> load_batch("digits", batch_size=4).y
    array([6, 9, 3, 7])
    """
    images = load_examples(name, data_dir=data_dir, seed=seed, download=download)
    return draw_batch(images, batch_size=batch_size, seed=seed, augment=augment, second=second)
