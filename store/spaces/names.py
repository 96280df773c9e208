"""Search spaces by name: those that are registered, and how the store says which order their architectures have."""

import difflib
from collections.abc import Collection, Iterable
from importlib.metadata import entry_points
from pathlib import Path

_OWN = "the space's own ({})"
_ONLY = "built in"


def registered_spaces() -> list[str]:
    """Names in the entry-point group ``sweetgrad.spaces``, sorted; nothing is imported, so they need no torch."""
    return sorted({entry.name for entry in entry_points(group="sweetgrad.spaces")})


def unknown_name(what: str, name: str, known: Iterable[str], *, held: Iterable[str] = ()) -> ValueError:
    """The error for a name that is none of those that are registered, nor of those that the store holds; the nearest first."""
    known, held = list(known), list(held)
    near = difflib.get_close_matches(name, dict.fromkeys([*known, *held]), n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    in_store = f". In the store: {', '.join(held)}" if held else ""
    return ValueError(f"no {what} named {name!r}.{hint} Registered: {', '.join(known)}{in_store}")


def arch_order(space: object, table: str | Path | None) -> str:
    """What the runs of a profile record of the order of its architectures: a file that lists them, or the space's own.

    Parameters
    ----------
    space
        The search space; its attribute ``order``, if it has one, says in a word what its own order is.
    table
        The file that it was made with.
    """
    return f"file {Path(table).name}" if table else _OWN.format(getattr(space, "order", _ONLY))


def is_published_order(orders: Collection[str]) -> bool:
    """Whether an index of somebody else can refer to the order that the runs of a profile recorded.

    That of a file is a published list, and a space with one list only has no other. An order that a space makes up where it has
    no file, such as ``lexicographic``, is known to nobody else; and so is one that no run has recorded.

    Examples
    --------
    >>> is_published_order(["file nas-bench-201.csv.gz"]), is_published_order(["the space's own (built in)"])
    (True, True)
    >>> is_published_order(["the space's own (lexicographic)"]), is_published_order([])
    (False, False)
    """
    return any(order.startswith("file ") or order == _OWN.format(_ONLY) for order in orders)
