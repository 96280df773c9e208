"""Run the estimators of one network as guests of its forward and backward pass, so that none affects the counts or another."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators.protocol import Detailed, Estimator, EstimatorError, Need, Probe, Statistics, Watch
from sweetgrad.profiling.measure import Builder, Measured, measure
from sweetgrad.profiling.spaces.protocol import Network
from sweetgrad.store import STATUS


@dataclass(frozen=True)
class Score:
    """Result of one estimator or block on one network; ``status`` as in `STATUS`, ``value`` of a block is NaN."""

    value: float
    seconds: float
    status: int
    message: str
    arrays: Statistics = field(default_factory=dict)


K = TypeVar("K")


def measure_with_estimators(
    builder: Builder,
    x: Tensor,
    y: Tensor,
    estimators: Mapping[K, Estimator],
    *,
    seed: int,
    count: bool = True,
    second: tuple[Tensor, Tensor] | None = None,
) -> tuple[Measured, dict[K, Score]]:
    """Measure one network and run estimators on it: the counts and all estimators that can share a pass use the same one.

    Parameters
    ----------
    builder
        Builds the network; more than once only if an estimator makes the pass fail.
    x, y
        Inputs and targets of the batch, on the network's device.
    estimators
        Estimators, and functions that measure a block, by their name or block.
    seed
        Seed of the random numbers of each estimator, so that a score does not depend on what ran before.
    count
        Whether to count gradients. If not, and no estimator needs the pass, it is not run.
    second
        Inputs and targets of the second batch.

    Returns
    -------
    measured
        As returned by `measure`, without the seconds of estimators; if no pass was run, without logits and counts.
    scores
        A `Score` for every estimator. If it raises or its score is not finite, its status is failed and the message says why.

    Raises
    ------
    Exception
        Any exception of the network in the shared pass, but none of an estimator.
    """
    guests = {name: _Guest(estimator, builder, x, y, seed, second) for name, estimator in estimators.items()}
    if count or any(guest.need != "network" for guest in guests.values()):
        measured = _measure(builder, x, y, [guest for guest in guests.values() if guest.takes_part], count=count)
    else:
        start = time.perf_counter()
        measured = Measured(builder.network(), None, None, seconds=time.perf_counter() - start)
    _score_the_rest([guest for guest in guests.values() if guest.score is None], measured.network, measured.logits)
    return measured, {name: guest.done() for name, guest in guests.items()}


def _measure(builder: Builder, x: Tensor, y: Tensor, guests: Sequence["_Guest"], *, count: bool) -> Measured:
    """Measure the network with all estimators that take part in the pass.

    If that raises, the network is measured alone. If that succeeds, each guest gets a network and a pass of its own, to find out
    which of them failed.
    """
    try:
        measured = measure(builder.network, x, y, task=builder.task, guests=guests, count=count)
        return replace(measured, seconds=measured.seconds - sum(guest.seconds for guest in guests))
    except Exception:
        if not guests:
            raise
    alone = measure(builder.network, x, y, task=builder.task, count=count)
    for guest in guests:
        guest.seen = guest.score = None
        start = time.perf_counter()
        try:
            measure(builder.network, x, y, task=builder.task, guests=[guest], count=False)
        except Exception as error:
            guest.score = _failure(error, start)
    return alone


def _score_the_rest(guests: Sequence["_Guest"], network: Network, logits: Tensor | None) -> None:
    """Call the estimators that run after the pass."""
    # Built-in estimators do not change the network, as tests show; changes by others are undone for the next one.
    needs_snapshot = len(guests) > 1 and not all(guest.is_built_in for guest in guests)
    snapshot = _Snapshot(network.module) if needs_snapshot else None
    for guest in guests:
        guest.call(network, guest.x, logits)
        if snapshot is not None and not guest.is_built_in:
            snapshot.restore()


_BUILT_IN = ("sweetgrad.profiling.estimators.", "sweetgrad.profiling.blocks.")


@dataclass
class _Guest:
    """One estimator on one network; it is a `Guest` of the pass if it watches the pass or needs its graph.

    Attributes
    ----------
    seen
        The value that its ``watch`` yielded.
    score
        Its score; None until it is called.
    seconds
        Time that it spent during the pass.
    """

    estimator: Estimator
    builder: Builder
    x: Tensor
    y: Tensor
    seed: int
    second: tuple[Tensor, Tensor] | None = None
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
    def is_built_in(self) -> bool:
        return str(getattr(self.estimator, "__module__", "")).startswith(_BUILT_IN)

    @contextmanager
    def watch(self, network: Network) -> Iterator[None]:
        if self.watches is None:
            yield
            return
        with self.watches(network) as self.seen:
            yield
        self.seconds += _seconds_of(self.seen)

    def on_graph(self, network: Network, x: Tensor, logits: Tensor) -> None:
        _finish(x)
        start = time.perf_counter()
        self.call(network, x, logits)
        if x.requires_grad and not self.is_built_in:
            x.detach().copy_(self.x)
        self.seconds += time.perf_counter() - start

    def call(self, network: Network, x: Tensor, logits: Tensor | None) -> None:
        """Call the estimator and set its score."""
        y, second = self.y, self.second
        if not self.is_built_in:  # it may change the batch, but the graph starts at these very images
            x, y = x if x.requires_grad else x.clone(), y.clone()
            second = None if second is None else (second[0].clone(), second[1].clone())
        build_thin = partial(thin_network, self.builder)
        probe = Probe(
            network,
            x,
            y,
            self.builder.whole,
            build_thin,
            logits,
            self.seen,
            second=second,
            seed=self.seed,
            task=self.builder.task,
            is_whole=self.builder.is_whole,
        )
        torch.manual_seed(self.seed)
        _finish(x)
        start = time.perf_counter()
        try:
            result = self.estimator(probe)
            value, arrays = _parts(result)
            _finish(x)
        except Exception as error:  # a failed estimator must not affect anything else
            self.score = _failure(error, start)
            return
        seconds = time.perf_counter() - start + _seconds_of(self.seen)
        if math.isfinite(value) or isinstance(result, Mapping):
            self.score = Score(value, seconds, STATUS["ok"], "", arrays)
        else:
            self.score = Score(value, seconds, STATUS["failed"], f"the score is {value}")

    def done(self) -> Score:
        """Return the score, after the estimator was called."""
        assert self.score is not None
        return self.score


def _finish(x: Tensor) -> None:
    """Wait for a GPU, so that work that is still pending there counts as the time of what asked for it."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def _parts(result: float | Detailed | Statistics) -> tuple[float, Statistics]:
    """The score, which a block does not have, and the arrays."""
    if isinstance(result, Mapping):
        return math.nan, result
    return (result.score, result.arrays) if isinstance(result, Detailed) else (float(result), {})


def thin_network(builder: Builder) -> nn.Module:
    """The narrow and shallow variant of a network; `EstimatorError` if the search space has none."""
    module = builder.thin()
    if module is None:
        raise EstimatorError(
            f"{builder.space.name} has no thin networks: "
            "the space does not define build_thin(arch_id, *, in_channels, num_classes)"
        )
    return module


def _failure(error: Exception, start: float) -> Score:
    known = isinstance(error, EstimatorError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    value = error.score if isinstance(error, EstimatorError) else math.nan
    return Score(value, time.perf_counter() - start, STATUS["failed"], message)


def _seconds_of(seen: Any) -> float:
    """Time that watching took, if it was recorded."""
    return float(getattr(seen, "seconds", 0.0))


class _Snapshot:
    """Weights, gradients, running statistics and modes, to restore what an estimator changes."""

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
    # NaN is not equal to itself, so such tensors are restored needlessly.
    return a.dtype == b.dtype and torch.equal(a, b)
