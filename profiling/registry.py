"""Find spaces, data sets and estimators by name: built in or a third party's, through one kind of entry point."""

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Literal

__all__ = ["load", "names"]

Group = Literal["spaces", "datasets", "estimators"]


def names(group: Group) -> list[str]:
    """Names registered in the entry-point group ``sweetgrad.<group>``, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"sweetgrad.{group}")})


def load(group: Group, name: str) -> Callable[..., Any]:
    """Import what is registered under ``name``.

    Raises
    ------
    ValueError
        If nothing is; the nearest names and all names are given.

    Examples
    --------
    >>> load("datasets", "digit")
    Traceback (most recent call last):
    ValueError: no data set named 'digit'. Did you mean 'digits'? Registered: cifar10, cifar100, digits, ...
    """
    for entry in entry_points(group=f"sweetgrad.{group}"):
        if entry.name == name:
            return entry.load()  # type: ignore[no-any-return]
    known = names(group)
    near = difflib.get_close_matches(name, known, n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    what = {"spaces": "search space", "datasets": "data set", "estimators": "estimator"}[group]
    raise ValueError(f"no {what} named {name!r}.{hint} Registered: {', '.join(known)}")
