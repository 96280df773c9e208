"""A test kit for data sets."""

import re
from collections.abc import Callable
from itertools import combinations

import numpy as np

from sweetgrad.profiling.batches import Examples, draw_batch
from sweetgrad.profiling.own_code import call_with_known
from sweetgrad.profiling.registry import load_examples
from sweetgrad.profiling.tasks import TASKS

_MOST_CHECKED = 100_000


class DataCheckError(AssertionError):
    """A data set violates a rule; the message names it and says what to do."""


def check_examples(
    examples: Examples | Callable[..., Examples] | str, *, data_dir: str | None = None, batch_size: int = 8
) -> None:
    """Check that a data set follows the rules that profiling relies on; call it from a test.

    Parameters
    ----------
    examples
        The examples, the function that loads them, or a name: registered in ``sweetgrad.datasets``, or ``FILE.py:NAME``.
    data_dir
        Folder with its files.
    batch_size
        Examples in the batches that are drawn.

    Raises
    ------
    DataCheckError
        At the first violation. The rules: it has a name that can stand in a path, a task of `TASKS`, and as many inputs as
        targets, as that task has them, finite and in range; loading it again gives the same examples; splits, if it has any, are
        positions of its examples, each in one split, and none is empty.

    Examples
    --------
    >>> from sweetgrad.profiling import Examples
    >>> check_examples(Examples("tiny", np.zeros((9, 3, 2, 2), "float32"), np.arange(9) % 3, num_classes=3))
    """

    def load() -> Examples:
        if isinstance(examples, str):
            return load_examples(examples, data_dir=data_dir)
        return call_with_known(examples, data_dir, seed=42, download=False) if callable(examples) else examples

    data = load()
    if not isinstance(data, Examples):
        raise DataCheckError(
            f"expected sweetgrad.profiling.Examples, got {type(data).__name__}: return Examples(name, x, y, …)"
        )

    def fail(problem: str) -> DataCheckError:
        return DataCheckError(f"data set {data.name}: {problem}")

    if not isinstance(data.name, str) or not re.fullmatch(r"[^\s/\\.][^\s/\\]*", data.name):
        raise fail("its name becomes part of a path in the store: use letters, digits and hyphens")
    if data.task not in TASKS:
        raise fail(f"unknown task {data.task!r}; the tasks are {', '.join(TASKS)}")
    if len(data.x) != len(data.y):
        raise fail(f"it has {len(data.x)} inputs and {len(data.y)} targets: each input needs its target")
    if len(data.x) < batch_size:
        raise fail(f"it has {len(data.x)} examples, too few for a batch of {batch_size}")
    try:
        some = np.linspace(0, len(data.x) - 1, min(len(data.x), _MOST_CHECKED)).astype(np.int64)
        TASKS[data.task].check(np.asarray(data.x[some]), data.y[some], data.num_classes)
    except ValueError as error:
        raise fail(str(error)) from None
    again = load()
    for seed in (0, 1):
        first, second = (draw_batch(each, batch_size=batch_size, seed=seed) for each in (data, again))
        if first.sha256 != second.sha256:
            raise fail("loading it again gives other examples: seed what is random, and sort what a folder lists")
    splits = {name: np.asarray(positions) for name, positions in (data.splits or {}).items()}
    for name, positions in splits.items():
        if not positions.size or positions.min() < 0 or positions.max() >= len(data.x):
            raise fail(f"split {name!r} must hold positions from 0 to {len(data.x) - 1}, and at least one")
    for one, other in combinations(splits, 2):
        if shared := np.intersect1d(splits[one], splits[other]).size:
            raise fail(
                f"{shared} examples are in the splits {one!r} and {other!r}: training would see what it is tested on"
            )
