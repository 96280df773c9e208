"""Progress of a run: a bar on a terminal, periodic lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LOG_EVERY_S = 30.0


class Counter:
    """Counts architectures (or steps) done; thread-safe enough for one producer. Call it with the number that was finished.

    ``remark`` may be set to text that is shown with the count, such as the loss.
    """

    remark = ""

    def __init__(self, total: int, *, console: Console, done: int = 0, of: str = "architectures") -> None:
        self.total = total
        self.done = self._done_before = done
        self._of = of
        self._console = console
        self._start = self._last_line = time.monotonic()

    def __call__(self, count: int) -> None:
        """Add ``count`` of them."""
        self.done += count
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last_line > LOG_EVERY_S or self.done == self.total):
            self._last_line = now
            rate = (self.done - self._done_before) / (now - self._start)
            left = (self.total - self.done) / rate if rate else float("nan")
            self._console.print(
                f"{self.done}/{self.total} {self._of}{self.remark}, {rate:.2f} a second, {left:.0f} s left",
                markup=False,
            )

    def catch_up(self, done: int) -> None:
        """Count what others did meanwhile, until ``done`` are done in all."""
        if done > self.done:
            self(done - self.done)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{task.speed:.1f} {unit}/s" if task.speed else f"… {unit}/s", style="progress.data.speed")


@contextmanager
def progress_bar(
    total: int,
    *,
    console: Console,
    done: int = 0,
    doing: str = "profiling",
    of: str = "architectures",
    unit: str = "arch",
) -> Iterator[Counter]:
    """Show how many of ``total`` architectures are done, the rate, and the time left; yields the `Counter` to call.

    Parameters
    ----------
    total, done
        How many there are, and how many were done before.
    console
        Where to show it.
    doing, of, unit
        Words for what is done, what is counted, and one of it.
    """
    if not console.is_terminal:
        yield Counter(total, console=console, done=done, of=of)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    # The rate of the last minutes, so that a resumed run or a slow start does not distort it for long.
    with Progress(*columns, console=console, speed_estimate_period=120) as bar:
        task = bar.add_task(doing, total=total, completed=done, unit=unit)

        class Bar(Counter):
            def __call__(self, count: int) -> None:
                self.done += count
                bar.update(task, advance=count, description=doing + self.remark)

        yield Bar(total, console=console, done=done)
