"""The test kits of data sets and estimators: what is right passes, and each rule is broken once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sweetgrad.profiling import EstimatorError, Examples
from sweetgrad.profiling.testing import DataCheckError, EstimatorCheckError, check_estimator, check_examples

TINY = Examples("tiny", np.zeros((12, 3, 4, 4), "float32"), np.arange(12) % 3, num_classes=3)


@pytest.mark.parametrize("name", ["digits", "synthetic", "text"])
def test_check_examples__passes_what_comes_with_the_package(name: str) -> None:
    check_examples(name)


def test_check_examples__passes_examples_and_functions() -> None:
    parts = {"train": np.arange(8), "test": np.arange(8, 12)}
    check_examples(TINY)
    check_examples(lambda: replace(TINY, splits=parts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a/b"}, "its name becomes part of a path"),
        ({"task": "chess"}, "unknown task 'chess'; the tasks are image-classification"),
        ({"y": np.arange(11) % 3}, "12 inputs and 11 targets"),
        ({"num_classes": 2}, r"labels must be in 0..1, but 4 are not"),
        ({"x": np.zeros((12, 3, 4, 4))}, "images must be float32 of shape"),
        ({"x": np.full((12, 3, 4, 4), np.nan, "float32")}, "12 of 12 images contain NaN"),
        ({"splits": {"train": np.arange(13)}}, "split 'train' must hold positions from 0 to 11"),
        (
            {"splits": {"train": np.arange(9), "test": np.arange(8, 12)}},
            "1 examples are in the splits 'train' and 'test'",
        ),
    ],
)
def test_check_examples__names_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataCheckError, match=message):
        check_examples(replace(TINY, **changes))


def test_check_examples__notices_what_is_another_at_every_load() -> None:
    random = np.random.RandomState()
    with pytest.raises(DataCheckError, match="loading it again gives other examples"):
        check_examples(lambda: replace(TINY, x=random.randn(12, 3, 4, 4).astype("float32")))
    with pytest.raises(DataCheckError, match="too few for a batch of 13"):
        check_examples(TINY, batch_size=13)
    with pytest.raises(DataCheckError, match="Examples, got tuple"):
        check_examples(lambda: (TINY.x, TINY.y))  # type: ignore[arg-type, return-value]


def grad_max(probe: Any) -> float:
    return max(float(p.grad.abs().max()) for p in probe.network.module.parameters() if p.grad is not None)


def sometimes(probe: Any) -> float:
    if sum(p.numel() for p in probe.network.module.parameters()) < 80_000:
        raise EstimatorError("sometimes: the network is too small")
    return 1.0


def of_torch(probe: Any) -> float:
    return float(torch.rand(1))


@pytest.mark.parametrize("right", ["snip", "naswot", grad_max, sometimes, of_torch])
def test_check_estimator__passes_what_keeps_the_rules(right: str | Callable[..., Any]) -> None:
    check_estimator(right)


def in_turn() -> Callable[..., float]:
    numbers: Iterator[int] = iter(range(1000))
    return lambda probe: float(next(numbers))


def zeroes_first_weights(probe: Any) -> float:
    with torch.no_grad():
        next(probe.network.module.parameters()).grad.zero_()
    return 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda probe: float("nan"), "on architecture 7 the score is nan. Return a finite number"),
        (lambda probe: probe.nothing, "on architecture 7 it raised AttributeError"),
        (in_turn(), "its scores are others in another order of networks: keep no state"),
    ],
)
def test_check_estimator__names_what_is_wrong(wrong: Callable[..., Any], message: str) -> None:
    with pytest.raises(EstimatorCheckError, match=message):
        check_estimator(wrong)


def test_check_estimator__needs_one_score() -> None:
    def never(probe: Any) -> float:
        raise EstimatorError("never: there is none")

    with pytest.raises(EstimatorCheckError, match="no score for any of 3 networks: never: there is none"):
        check_estimator(never)


def test_check_estimator__may_change_gradients_which_are_put_back() -> None:
    check_estimator(zeroes_first_weights)
