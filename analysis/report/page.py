"""The page of a report: one HTML file that needs nothing else."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.report.content import Progress, StoreReport, collect
from sweetgrad.store import Location
from sweetgrad.store.pages import render as render_template

_NONE, _MINUS, _TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", " \N{MULTIPLICATION SIGN} "


def report(
    location: Location,
    out: str | Path = "report.html",
    *,
    profiles: Sequence[str] | None = None,
    accuracy: str | None = None,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    bootstrap: int = 1000,
    progress: Progress | None = None,
) -> Path:
    """Write one HTML file about a store that needs nothing else to be viewed: no network, no script, no font.

    Parameters
    ----------
    location, profiles, accuracy, grid, bootstrap, progress
        As in `collect`.
    out
        The file.

    Returns
    -------
    Its path.

    Raises
    ------
    NotAStoreError
        As in `collect`.
    ValueError
        If ``out`` has the suffix of another format.
    ImportError
        If matplotlib is missing.
    """
    path = Path(out).expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a report is an HTML file: expected the suffix .html, got {str(out)!r}")
    content = collect(location, profiles=profiles, accuracy=accuracy, grid=grid, bootstrap=bootstrap, progress=progress)
    path.write_text(render(content), encoding="utf-8")
    return path


def render(content: StoreReport) -> str:
    """The page as text, in which everything is escaped: names and messages may come from anybody's store."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return render_template(
        Path(__file__).with_name("page.html.j2"),
        filters={"number": _number, "shown": _shown},
        report=content,
        style=style,
    )


def _number(value: float | None, form: str = ".3f") -> str:
    """A number, or a dash where there is none.

    Examples
    --------
    >>> _number(0.88777), _number(float("nan")) == _NONE, _number(1234, ",.0f")
    ('0.888', True, '1,234')
    """
    if value is None or math.isnan(value):
        return _NONE
    return format(value, form).replace("-", _MINUS)


def _shown(value: Any) -> str:
    """A value of a spec or of a run, as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        is_shape = all(isinstance(part, int) for part in value)
        return (_TIMES if is_shape else ", ").join(str(part) for part in value) or _NONE
    return _NONE if value in ("", None) else str(value)
