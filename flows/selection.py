"""Which architectures a command selects: ``all``, ``0:100``, ``sample:500``."""

import re
from collections.abc import Sequence

_SAMPLE_SEED = 42


def select_archs(selection: str, *, num_archs: int) -> Sequence[int]:
    """Indices that a selection stands for, ascending: a `range` wherever they are one, since a space may have millions.

    Parameters
    ----------
    selection
        ``all``; ``START:STOP`` (STOP excluded; either may be left out); ``sample:N``, a uniform sample without
        replacement, always the same, of which a smaller one is a part; or one index.
    num_archs
        Architectures in the space.

    Raises
    ------
    ValueError
        If the selection is malformed or out of bounds.

    Examples
    --------
    >>> select_archs("0:3", num_archs=10), select_archs("sample:3", num_archs=10)
    (range(0, 3), [1, 5, 8])
    """
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
    if re.fullmatch(r"\d{1,18}", selection):
        if int(selection) >= num_archs:
            raise ValueError(f"architectures are numbered 0 to {num_archs - 1}, got {selection}")
        return range(int(selection), int(selection) + 1)
    raise ValueError(f"expected all, START:STOP, sample:N or one index as the architectures, got {selection!r}")
