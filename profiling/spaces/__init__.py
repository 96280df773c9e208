"""Search spaces: architectures by index, and the networks they stand for."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweetgrad.profiling.registry import load
from sweetgrad.profiling.spaces.protocol import Layer, Network, SearchSpace, kind_of

__all__ = ["Layer", "Network", "SearchSpace", "kind_of", "load_space"]


def load_space(name: str, *, table: str | Path | None = None, options: Mapping[str, Any] | None = None) -> SearchSpace:
    """Make a registered search space.

    Parameters
    ----------
    name
        Name in the entry-point group ``sweetgrad.spaces``.
    table
        File that lists or orders the architectures, for the spaces that take one.
    options
        Parameters of the space, such as ``{"channels": 16, "cells": 8}``, for the spaces that have any.

    Raises
    ------
    ValueError
        If no space has that name (the nearest are given), it has no such option, or the table is missing or malformed.

    Examples
    --------
    >>> len(load_space("nas-bench-201"))
    15625
    """
    make = load("spaces", name)
    if options:
        known = [each.name for each in inspect.signature(make).parameters.values() if each.kind is each.KEYWORD_ONLY]
        unknown = [key for key in options if key not in known]
        if unknown:
            raise ValueError(f"space {name!r} has no option {unknown[0]!r}; its options: {', '.join(known) or 'none'}")
    space = make(table, **(options or {}))
    if not isinstance(space, SearchSpace):
        raise ValueError(f"space {name!r} lacks a part of the protocol; see sweetgrad.profiling.spaces.SearchSpace")
    return space
