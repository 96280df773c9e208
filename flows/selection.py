"""Which architectures a command selects: ``all``, ``0:100``, ``sample:500``, ``unique``, or one by its string."""

import re
from collections.abc import Sequence
from pathlib import Path

_SAMPLE_SEED = 42


def select_archs(selection: str, archs: Sequence[str], *, space: str) -> Sequence[int]:
    """Indices that a selection stands for, ascending: a `range` wherever they are one, since a space may have millions.

    Parameters
    ----------
    selection
        ``all``; ``START:STOP`` (STOP excluded; either may be left out); ``sample:N``, a uniform sample without
        replacement, always the same, of which a smaller one is a part; ``unique``, the first of every class of cells that are the
        same in other words (`class_of`); one index; one architecture, by its string or, in NAS-Bench-101, its hash; or ``@FILE``,
        a text file with one of these two on each line.
    archs
        Architecture strings of the space.
    space
        Name of the space.

    Raises
    ------
    ValueError
        If the selection is malformed or out of bounds, or the space has no classes.

    Examples
    --------
    >>> archs = [f"arch{i}" for i in range(10)]
    >>> select_archs("0:3", archs, space="mine"), select_archs("sample:3", archs, space="mine")
    (range(0, 3), [1, 5, 8])
    """
    num_archs = len(archs)
    if selection.startswith("@"):
        return _listed(Path(selection[1:]).expanduser(), archs, space)
    if selection == "all":
        return range(num_archs)
    if match := re.fullmatch(r"sample:(\d{1,18})", selection):
        size = int(match[1])
        if not 1 <= size <= num_archs:
            raise ValueError(f"a sample must have 1 to {num_archs} architectures (the size of the space), got {size}")
        import numpy as np

        # One seed for all profiles: those of several batches and seeds can be compared architecture by architecture.
        # RandomState, because NumPy promises never to change its stream.
        return sorted(np.random.RandomState(_SAMPLE_SEED).permutation(num_archs)[:size].tolist())
    if match := re.fullmatch(r"(\d{0,18}):(\d{0,18})", selection):
        start, stop = int(match[1] or 0), int(match[2] or num_archs)
        if not 0 <= start < stop <= num_archs:
            raise ValueError(f"a range of architectures must lie in 0:{num_archs} and not be empty, got {selection}")
        return range(start, stop)
    if selection == "unique":
        return _first_of_each_class(archs, space)
    try:
        return range(place := _one(selection, archs, space), place + 1)
    except ValueError as error:
        if re.fullmatch(r"\d{1,18}", selection):
            raise
        raise ValueError(
            f"expected all, START:STOP, sample:N, unique, @FILE, an index or an architecture of {space}, got {selection!r}: "
            f"{error}"
        ) from None


def _listed(file: Path, archs: Sequence[str], space: str) -> Sequence[int]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"cannot read the architectures of {file}: {error.strerror}") from error
    wanted = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    place = {arch: index for index, arch in enumerate(archs)} if len(wanted) > 1 else {}
    rows = set()
    for number, name in wanted:
        try:
            rows.add(place[name] if name in place else _one(name, archs, space))
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from None
    if not rows:
        raise ValueError(f"{file} names no architecture: it needs an index or an architecture string on each line")
    return sorted(rows)


def _one(name: str, archs: Sequence[str], space: str) -> int:
    """Index of the architecture that an index, a string or a hash names."""
    if re.fullmatch(r"\d{1,18}", name):
        if int(name) >= len(archs):
            raise ValueError(f"architectures are numbered 0 to {len(archs) - 1}, got {name}")
        return int(name)
    from sweetgrad.store.spaces import find_arch

    return find_arch(space, archs, name)


def _first_of_each_class(archs: Sequence[str], space: str) -> list[int]:
    from sweetgrad.store.spaces import class_of

    name_of = class_of(space)
    if name_of is None:
        raise ValueError(
            f"{space} has no classes of architectures that are the same network in other words: choose all"
        )
    first: dict[str, int] = {}
    for index, arch in enumerate(archs):
        first.setdefault(name_of(arch), index)
    return list(first.values())
