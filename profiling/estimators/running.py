"""Estimators of one network, as guests of its forward and backward pass: none changes the counts, nor another estimator."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.estimators.protocol import Detailed, Estimator, EstimatorError, Need, Probe, Watch
from sweetgrad.profiling.measure import Builder, Measured, measure
from sweetgrad.profiling.spaces.protocol import Network
from sweetgrad.store import STATUS


@dataclass(frozen=True)
class Score:
    """What is stored of one estimator and one network; ``status`` as in `STATUS`, ``arrays`` as in `Detailed`."""

    value: float
    seconds: float
    status: int
    message: str
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def measure_with_estimators(
    builder: Builder,
    x: Tensor,
    y: Tensor,
    estimators: Mapping[str, Estimator],
    *,
    seed: int,
    count: bool = True,
) -> tuple[Measured | None, dict[str, Score]]:
    """Measure one network and score it: one pass serves the counts and all estimators that can share it.

    Parameters
    ----------
    builder
        Builds the network; more than once only where an estimator made the pass fail.
    x, y
        Images and labels of the batch, on the network's device.
    estimators
        Name to estimator.
    seed
        Seed of each estimator's own random numbers, so that a score does not depend on what ran before.
    count
        Whether to count gradients. If not, and no estimator needs a pass, none is run.

    Returns
    -------
    measured
        As from `measure`, its seconds without those of estimators; None where no pass was run.
    scores
        A `Score` for every estimator. One that raises, or whose score is not finite, has status failed and says why.

    Raises
    ------
    Exception
        Whatever the network raises in the shared pass; never what an estimator raises.
    """
    guests = {name: _Guest(estimator, builder, x, y, seed) for name, estimator in estimators.items()}
    measured, network, logits = None, None, None
    if count or any(guest.need != "network" for guest in guests.values()):
        measured = _measure(builder, x, y, [guest for guest in guests.values() if guest.takes_part], count=count)
        network, logits = measured.network, measured.logits
    _score_the_rest([guest for guest in guests.values() if guest.score is None], network or builder.network(), logits)
    return measured, {name: guest.done() for name, guest in guests.items()}


def _measure(builder: Builder, x: Tensor, y: Tensor, guests: Sequence["_Guest"], *, count: bool) -> Measured:
    """Measure the network with all estimators that take part in the pass.

    If that raises, the network is measured alone; if that works, each guest is given a network and a pass of its own, to find out
    which of them failed.
    """
    try:
        measured = measure(builder.network, x, y, guests=guests, count=count)
        return replace(measured, seconds=measured.seconds - sum(guest.seconds for guest in guests))
    except Exception:
        if not guests:
            raise
    alone = measure(builder.network, x, y, count=count)
    for guest in guests:
        guest.seen = guest.score = None
        start = time.perf_counter()
        try:
            measure(builder.network, x, y, guests=[guest], count=False)
        except Exception as error:
            guest.score = _failure(error, start)
    return alone


def _score_the_rest(guests: Sequence["_Guest"], network: Network, logits: Tensor | None) -> None:
    """Call the estimators that come after the pass, on the network as the pass left it."""
    # Our own leave the network as it is, which tests show; what others do to it is undone for the next one.
    keeps_a_copy = len(guests) > 1 and not all(guest.is_ours for guest in guests)
    snapshot = _Snapshot(network.module) if keeps_a_copy else None
    for guest in guests:
        guest.call(network, guest.x, logits)
        if snapshot is not None and not guest.is_ours:
            snapshot.restore()


@dataclass
class _Guest:
    """One estimator, and what it has seen of one network; a `Guest` of the pass if it watches it or needs its graph.

    Attributes
    ----------
    seen
        What its ``watch`` yielded.
    score
        Its score, once it was called.
    seconds
        Time that it took during the pass.
    """

    estimator: Estimator
    builder: Builder
    x: Tensor
    y: Tensor
    seed: int
    seen: Any = None
    score: Score | None = None
    seconds: float = 0.0

    @property
    def need(self) -> Need:
        return getattr(self.estimator, "needs", "gradients")

    @property
    def needs_graph(self) -> bool:
        return self.need == "graph"

    @property
    def watches(self) -> Watch | None:
        return getattr(self.estimator, "watch", None)

    @property
    def takes_part(self) -> bool:
        return self.needs_graph or self.watches is not None

    @property
    def is_ours(self) -> bool:
        return str(getattr(self.estimator, "__module__", "")).startswith("sweetgrad.profiling.estimators.")

    @contextmanager
    def watch(self, network: Network) -> Iterator[None]:
        if self.watches is None:
            yield
            return
        with self.watches(network) as self.seen:
            yield
        self.seconds += _seconds_of(self.seen)

    def on_graph(self, network: Network, x: Tensor, logits: Tensor) -> None:
        if x.is_cuda:  # what the forward pass has still to do there is its own time
            torch.cuda.synchronize(x.device)
        start = time.perf_counter()
        self.call(network, x, logits)
        if x.requires_grad and not self.is_ours:
            x.detach().copy_(self.x)
        self.seconds += time.perf_counter() - start

    def call(self, network: Network, x: Tensor, logits: Tensor | None) -> None:
        """Call the estimator and keep its score."""
        y = self.y
        if not self.is_ours:  # it may change the batch; but the images that the graph begins with must stay these
            x, y = x if x.requires_grad else x.clone(), y.clone()
        probe = Probe(network, x, y, self.builder.whole, self.builder.thin, logits, self.seen)
        torch.manual_seed(self.seed)
        start = time.perf_counter()
        try:
            result = self.estimator(probe)
            value, arrays = (result.score, result.arrays) if isinstance(result, Detailed) else (float(result), {})
        except Exception as error:  # an estimator that fails on one network has no score there; all else stands
            self.score = _failure(error, start)
            return
        seconds = time.perf_counter() - start + _seconds_of(self.seen)
        if math.isfinite(value):
            self.score = Score(value, seconds, STATUS["ok"], "", arrays)
        else:
            self.score = Score(value, seconds, STATUS["failed"], f"the score is {value}")

    def done(self) -> Score:
        """Its score; every estimator has been called by now."""
        assert self.score is not None
        return self.score


def _failure(error: Exception, start: float) -> Score:
    known = isinstance(error, EstimatorError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    value = error.score if isinstance(error, EstimatorError) else math.nan
    return Score(value, time.perf_counter() - start, STATUS["failed"], message)


def _seconds_of(seen: Any) -> float:
    """What watching took, where it was timed."""
    return float(getattr(seen, "seconds", 0.0))


class _Snapshot:
    """Weights, gradients, running statistics and modes, to put back what an estimator changed."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._modes = [(m, m.training) for m in module.modules()]
        self._parameters = [(p, _copy(p.data), p.grad, _copy(p.grad), p.requires_grad) for p in module.parameters()]
        self._buffers = [(b, b.clone()) for b in module.buffers()]

    def restore(self) -> None:
        with torch.no_grad():
            for parameter, data, grad, grad_data, requires_grad in self._parameters:
                if not _same(parameter.data, data):
                    parameter.data = data.clone()
                if grad is not None and not _same(grad, grad_data):
                    grad = grad_data.clone()
                parameter.grad = grad
                parameter.requires_grad_(requires_grad)
            for buffer, value in self._buffers:
                if not _same(buffer, value):
                    buffer.data = value.clone()
        for module, mode in self._modes:
            module.training = mode


def _copy(tensor: Any) -> Any:
    return None if tensor is None else tensor.clone()


def _same(a: Tensor, b: Tensor) -> bool:
    # NaN gradients differ from themselves, and are put back for nothing.
    return a.dtype == b.dtype and torch.equal(a, b)
