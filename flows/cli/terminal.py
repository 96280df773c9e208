"""The console of the program: text from a store is printed as text and never obeyed by a terminal, and no table is cut."""

import codecs
import os
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from sweetgrad.store.redaction import redacted

UNFOLDED = 10_000
"""Columns in which no line folds."""

# Escape sequences can hide lines, set titles, or type; marks of direction can show a name as another one.
_CONTROLS = [*range(9), *range(11, 32), *range(0x7F, 0xA0)]
_DIRECTIONS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_VISIBLE = str.maketrans(dict.fromkeys((*_CONTROLS, *_DIRECTIONS), "�"))


# What stands for a character that the encoding of the output lacks.
_PLAIN = {"█": "#", "─": "-", "±": "+-", "…": "...", "\u2013": "-", "—": "-", "\u00d7": "x", "\u2019": "'"}


def accept_any_encoding(*streams: TextIO) -> None:
    """Let streams write every text, whatever their encoding: what it lacks becomes plain ASCII, ``#`` in place of ``█``."""
    codecs.register_error("sweetgrad", _in_plain)
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="sweetgrad")


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


def _without_credentials(what: Any) -> Any:
    if isinstance(what, Text):
        plain = redacted(what.plain)
        return what if plain == what.plain else Text(plain)
    return redacted(what) if isinstance(what, str) else what


class Terminal(Console):
    """A `rich.console.Console` that shows what it prints as text: no markup, and control characters instead of obeying them.

    What is to be bold is a `rich.text.Text`.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, **options)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = UNFOLDED  # a file or another program, which want a command on one line and a row on one line

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, without credentials; a line that is longer than the terminal is left to it, never cut."""
        super().print(*map(_without_credentials, objects), **{"crop": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of a renderable; rich's own controls, of bars for example, are segments apart."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(segment.text.translate(_VISIBLE), segment.style)


def progress() -> Progress:
    """A bar on standard error, which goes away when it is done; nothing where that is no terminal."""
    console = Terminal(stderr=True)
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


_MIN_FOLDED = 16


class _WholeTable(Table):
    """A table that never cuts a cell: what may fold is folded, and if that is not enough, lines are longer than the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render as wide as the columns that do not fold need, and `_MIN_FOLDED` for each that does."""
        natural = Measurement.get(console, options.update(max_width=UNFOLDED), self).maximum
        spare = sum(max(0, _width(column) - _MIN_FOLDED) for column in self.columns if not column.no_wrap)
        yield from super().__rich_console__(console, options.update(max_width=max(options.max_width, natural - spare)))


def plain_table(*columns: str) -> Table:
    """A table with a rule under its header, numbers to the right of the first column, which folds where there is no room."""
    table = _WholeTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        if number:
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def _width(column: Column) -> int:
    texts = [str(column.header), *map(str, column.cells)]
    return max(cell_len(line) for text in texts for line in text.split("\n"))
