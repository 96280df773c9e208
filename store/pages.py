"""Jinja templates and Markdown tables for data cards, run summaries, reports and findings."""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sweetgrad.store.access import Location
from sweetgrad.store.redaction import redacted


def html_path(out: str | Path, *, what: str) -> Path:
    """The file of a page; raises ``ValueError`` if it has the suffix of another format. ``what`` it is, such as ``a report``."""
    path = Path(out).expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{what} is an HTML file: expected the suffix .html, got {str(out)!r}")
    return path


def render(template: Path, *, filters: Mapping[str, Callable[..., Any]] = MappingProxyType({}), **values: Any) -> str:
    """Fill a template, in which `markdown_table` is available as ``table``.

    Parameters
    ----------
    template
        File beside the module that computes ``values``; it may include others there. In a ``.html.j2`` file, text is escaped.
    filters
        Further filters of the template.
    values
        Variables of the template. A name in the template that is not among them raises.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=template.name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["table"] = markdown_table
    environment.filters |= filters
    return environment.get_template(template.name).render(values)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Write a table in Markdown, without columns in which every cell is empty.

    Examples
    --------
    >>> print(markdown_table(["a", "paper", "b"], [["1", "", "x|y"]]))
    | a | b |
    | --- | --- |
    | 1 | x\|y |
    """
    rows = list(rows)
    columns = [number for number in range(len(header)) if any(row[number] for row in rows)]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(line[number]) for number in columns) + " |" for line in lines)


def with_interval(value: float, low: float, high: float) -> str:
    """Write an estimate and its confidence interval; empty for NaN.

    Examples
    --------
    >>> with_interval(0.8831, 0.867, 0.896)
    '0.883 (0.867 to 0.896)'
    """
    return "" if math.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def quoted(locations: Iterable[Location]) -> str:
    """Locations as on a command line: relative paths and URLs as they are, of an absolute path the last part."""
    texts = (redacted(location).rstrip("/") for location in locations)
    return shlex.join(text.rpartition("/")[2] if text.startswith("/") else text for text in texts)


def _cell(text: str) -> str:
    # A line break would end the row, and a bar would end the cell.
    return " ".join(text.split()).replace("|", "\\|")
