"""Tables of the program: whole in a file, folded on a narrow terminal, never cut."""

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

from sweetgrad.flows.cli.terminal import UNFOLDED

__all__ = ["plain_table"]

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
