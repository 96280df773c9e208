"""Estimators of one network, as guests of its forward and backward pass: none changes the counts, nor another estimator."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
    guests = _Guests(builder, x, y, estimators, seed=seed)
    if count or any(_need(estimator) != "network" for estimator in estimators.values()):
        measured = guests.join_pass(count=count)
        network, logits = measured.network, measured.logits
    else:
        measured, network, logits = None, builder.network(), None
    return measured, guests.finish(network, logits)


class _Guests:
    """Estimators of one network; those that watch the pass or need its graph take part in it, the others come after it.

    Attributes
    ----------
    scores
        Of the estimators that are done.
    seen
        What the ``watch`` of each estimator yielded.
    """

    def __init__(
        self, builder: Builder, x: Tensor, y: Tensor, estimators: Mapping[str, Estimator], *, seed: int
    ) -> None:
        self._builder, self._x, self._y = builder, x, y
        self._estimators, self._seed = estimators, seed
        self.scores: dict[str, Score] = {}
        self.seen: dict[str, Any] = {}

    def join_pass(self, *, count: bool) -> Measured:
        """Measure the network with all that take part in the pass.

        If that raises, the network is measured alone; if that works, each guest is given a network and a pass of its own, to find
        out which of them failed.
        """
        guests = {name: e for name, e in self._estimators.items() if _takes_part(e)}
        try:
            return self._measure(guests, count=count)
        except Exception:
            if not guests:
                raise
            self.scores.clear()
            self.seen.clear()
        alone = self._measure({}, count=count)
        for name, estimator in guests.items():
            start = time.perf_counter()
            try:
                self._measure({name: estimator}, count=False)
            except Exception as error:
                self.scores[name] = _failure(error, start)
        return alone

    def finish(self, network: Network, logits: Tensor | None) -> dict[str, Score]:
        """Score what is left, on the network as the pass left it; returns all scores."""
        left = {name: estimator for name, estimator in self._estimators.items() if name not in self.scores}
        # Our own leave the network as it is, which tests show; what others do to it is undone for the next one.
        foreign = {name for name, estimator in left.items() if not _is_ours(estimator)}
        snapshot = _Snapshot(network.module) if foreign and len(left) > 1 else None
        for name in left:
            self.scores[name] = self._score(name, network, self._x, logits)
            if snapshot is not None and name in foreign:
                snapshot.restore()
        return {name: self.scores[name] for name in self._estimators}

    def _measure(self, guests: Mapping[str, Estimator], *, count: bool) -> Measured:
        """Measure a new network with these guests; the seconds are without theirs."""
        seconds = 0.0
        network: Network

        @contextmanager
        def watch(built: Network) -> Iterator[None]:
            nonlocal network, seconds
            network = built
            with ExitStack() as stack:
                for name, estimator in guests.items():
                    if (watching := _watch(estimator)) is not None:
                        self.seen[name] = stack.enter_context(watching(network))
                yield
            seconds += sum(_seconds_of(self.seen.get(name)) for name in guests)

        def on_graph(x: Tensor, logits: Tensor) -> None:
            nonlocal seconds
            if x.is_cuda:  # what the forward pass has still to do there is its own time
                torch.cuda.synchronize(x.device)
            start = time.perf_counter()
            state = torch.get_rng_state()
            for name, estimator in guests.items():
                if _need(estimator) == "graph":
                    self.scores[name] = self._score(name, network, x, logits)
                    if x.requires_grad and not _is_ours(estimator):
                        x.detach().copy_(self._x)
            torch.set_rng_state(state)
            seconds += time.perf_counter() - start

        needs_graph = any(_need(estimator) == "graph" for estimator in guests.values())
        measured = measure(
            self._builder.network,
            self._x,
            self._y,
            watch=watch,
            on_graph=on_graph if needs_graph else None,
            count=count,
        )
        return replace(measured, seconds=measured.seconds - seconds)

    def _score(self, name: str, network: Network, x: Tensor, logits: Tensor | None) -> Score:
        """Score of one estimator, from the seed."""
        estimator, seen, y = self._estimators[name], self.seen.get(name), self._y
        if not _is_ours(
            estimator
        ):  # it may change its images and labels; those that the graph begins with must stay these
            x, y = x if x.requires_grad else x.clone(), y.clone()
        probe = Probe(network, x, y, self._builder.whole, self._builder.thin, logits, seen)
        torch.manual_seed(self._seed)
        start = time.perf_counter()
        try:
            result = estimator(probe)
            value, arrays = (result.score, result.arrays) if isinstance(result, Detailed) else (float(result), {})
        except Exception as error:  # an estimator that fails on one network has no score there; all else stands
            return _failure(error, start)
        elapsed = time.perf_counter() - start + _seconds_of(seen)
        if not math.isfinite(value):
            return Score(value, elapsed, STATUS["failed"], f"the score is {value}")
        return Score(value, elapsed, STATUS["ok"], "", arrays)


def _failure(error: Exception, start: float) -> Score:
    known = isinstance(error, EstimatorError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    value = error.score if isinstance(error, EstimatorError) else math.nan
    return Score(value, time.perf_counter() - start, STATUS["failed"], message)


def _seconds_of(seen: Any) -> float:
    """What watching took, where it was timed."""
    return float(getattr(seen, "seconds", 0.0))


def _takes_part(estimator: Estimator) -> bool:
    """Whether an estimator does something during the pass."""
    return _watch(estimator) is not None or _need(estimator) == "graph"


def _need(estimator: Estimator) -> Need:
    return getattr(estimator, "needs", "gradients")


def _watch(estimator: Estimator) -> Watch | None:
    return getattr(estimator, "watch", None)


def _is_ours(estimator: Estimator) -> bool:
    return str(getattr(estimator, "__module__", "")).startswith("sweetgrad.profiling.estimators.")


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
