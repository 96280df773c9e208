"""Tables and cells of the pages that are written in Markdown."""

import math
import shlex
from collections.abc import Iterable, Sequence

from sweetgrad.store import Location
from sweetgrad.store.redaction import redacted


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A table in Markdown; a column of which every cell is empty is left out.

    Examples
    --------
    >>> print(markdown_table(["a", "paper", "b"], [["1", "", "x|y"]]))
    | a | b |
    | --- | --- |
    | 1 | x\|y |
    """
    rows = list(rows)
    kept = [number for number in range(len(header)) if any(row[number] for row in rows)]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line[number].replace("|", "\\|") for number in kept) + " |" for line in lines)


def with_interval(value: float, low: float, high: float) -> str:
    """A cell: a correlation and its interval; empty for NaN.

    Examples
    --------
    >>> with_interval(0.8831, 0.867, 0.896)
    '0.883 (0.867 to 0.896)'
    """
    return "" if math.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def file_names(stores: Iterable[Location]) -> str:
    """Last parts of paths and URLs, as a command line names them."""
    return shlex.join(redacted(store).rstrip("/").rpartition("/")[2] for store in stores)
