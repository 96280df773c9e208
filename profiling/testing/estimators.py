"""A test kit for estimators."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.profiling import registry
from sweetgrad.profiling.architectures import make_spec, profile_architectures
from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.estimators.protocol import is_defined_for
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store import STATUS

_BESIDE = ("snip", "grad_norm")


class EstimatorCheckError(AssertionError):
    """An estimator violates a rule; the message names it and says what to do."""


def check_estimator(
    estimator: Callable[..., Any] | str,
    *,
    space: SearchSpace | str = "nas-bench-201",
    dataset: str = "digits",
    archs: Sequence[int] = (7, 4000, 9000),
    batch_size: int = 8,
) -> None:
    """Check that an estimator follows the rules that profiling relies on; call it from a test.

    Parameters
    ----------
    estimator
        The function, or a name: registered in ``sweetgrad.estimators``, or ``FILE.py:NAME``.
    space, dataset, archs, batch_size
        Networks and batch to try it on.

    Raises
    ------
    EstimatorCheckError
        At the first violation. The rules: it is defined for the task of the networks; it returns one finite number, or raises
        `EstimatorError`, for every network, and a number for one of them at least; the same number again, whatever was measured
        before it and beside it; the counts of the gradients, and scores of other estimators, are what they are without it.

    Examples
    --------
    >>> check_estimator("params")
    """
    function = registry.load("estimators", estimator) if isinstance(estimator, str) else estimator
    searched = registry.load_space(space) if isinstance(space, str) else space
    batch = registry.load_batch(dataset, batch_size=batch_size)
    name = str(getattr(function, "__name__", function))

    def fail(problem: str) -> EstimatorCheckError:
        return EstimatorCheckError(f"estimator {name}: {problem}")

    if not is_defined_for(function, batch.task):
        raise fail(f"it is not defined for {batch.task}: give a space and a data set of its task")
    rows = _profiled(searched, archs, batch, {"this": function})
    status, message = rows["estimator_status"].values[:, 0], rows["estimator_message"].values[:, 0]
    for index, text in zip(archs, message, strict=True):
        if re.match(r"\w+(Error|Exception): ", text):
            raise fail(
                f"on architecture {index} it raised {text}. Raise EstimatorError where it has no score, and say why"
            )
        if text.startswith("the score is"):
            raise fail(f"on architecture {index} {text}. Return a finite number, or raise EstimatorError, and say why")
    if not (status == STATUS["ok"]).any():
        raise fail(f"it has no score for any of {len(archs)} networks: {message[0]}")
    again = _profiled(searched, [*reversed(archs)], batch, {"this": function}).isel(arch=slice(None, None, -1))
    others = {each: registry.load("estimators", each) for each in _BESIDE}
    without = _profiled(searched, archs, batch, others)
    beside = _profiled(searched, archs, batch, {**others, "this": function})
    for what, other in (("in another order of networks", again), (f"beside {' and '.join(_BESIDE)}", beside)):
        if not _same_scores(other, rows, "this"):
            raise fail(
                f"its scores are others {what}: keep no state, and draw random numbers from torch's generator, which is seeded "
                "before every call"
            )
    if not all(each["grad_count"].equals(without["grad_count"]) for each in (rows, beside)):
        raise fail("the counts of the gradients are others beside it: change nothing in the pass that they share")
    for name_of_other in _BESIDE:
        if not _same_scores(beside, without, name_of_other):
            raise fail(f"scores of {name_of_other} are others beside it: it must not replace modules of the network")


def _same_scores(one: xr.Dataset, other: xr.Dataset, estimator: str) -> bool:
    ours, theirs = (each["score"].sel(estimator=estimator).values for each in (one, other))
    return np.array_equal(ours, theirs, equal_nan=True)


def _profiled(space: SearchSpace, archs: Sequence[int], batch: Batch, estimators: dict[str, Any]) -> xr.Dataset:
    return profile_architectures(space, archs, batch, make_spec(space, batch), estimators=estimators)
