"""Find spaces, data sets and estimators by name: built in or a third party's, through one kind of entry point."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Literal

from sweetgrad.store.spaces import unknown_name

Group = Literal["spaces", "datasets", "estimators"]


def names(group: Group) -> list[str]:
    """Names registered in the entry-point group ``sweetgrad.<group>``, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"sweetgrad.{group}")})


def load(group: Group, name: str) -> Callable[..., Any]:
    """Import what is registered under ``name``.

    Raises
    ------
    ValueError
        If nothing is, with the nearest names and all names; or if it cannot be imported.

    Examples
    --------
    >>> load("datasets", "digit")
    Traceback (most recent call last):
    ValueError: no data set named 'digit'. Did you mean 'digits'? Registered: cifar10, cifar100, digits, ...
    """
    what = {"spaces": "search space", "datasets": "data set", "estimators": "estimator"}[group]
    for entry in entry_points(group=f"sweetgrad.{group}"):
        if entry.name == name:
            try:
                return entry.load()  # type: ignore[no-any-return]
            except (ImportError, AttributeError) as error:
                raise ValueError(
                    f"{what} {name!r} ({entry.value}) cannot be imported: {error}. Repair or remove the package that registers it"
                ) from error
    raise unknown_name(what, name, names(group))
