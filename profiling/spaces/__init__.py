"""Search spaces: architectures by index, and the networks they stand for."""

from pathlib import Path

from sweetgrad.profiling.registry import load
from sweetgrad.profiling.spaces.protocol import Layer, Network, SearchSpace, kind_of

__all__ = ["Layer", "Network", "SearchSpace", "kind_of", "load_space"]


def load_space(name: str, *, table: str | Path | None = None) -> SearchSpace:
    """Make a registered search space.

    Parameters
    ----------
    name
        Name in the entry-point group ``sweetgrad.spaces``.
    table
        File that lists or orders the architectures, for the spaces that take one.

    Raises
    ------
    ValueError
        If no space has that name (the nearest are given), or the table is missing or malformed.

    Examples
    --------
    >>> len(load_space("nas-bench-201"))
    15625
    """
    space = load("spaces", name)(table)
    if not isinstance(space, SearchSpace):
        raise ValueError(f"space {name!r} lacks a part of the protocol; see sweetgrad.profiling.spaces.SearchSpace")
    return space
