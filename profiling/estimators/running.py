"""Run estimators on one network: one forward and backward pass serves all that can share it, and none disturbs another."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.estimators.protocol import Detailed, Estimator, EstimatorError, Need, Probe, Watch
from sweetgrad.profiling.measure import forward_backward
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


def run_estimators(
    make: Callable[[], Probe],
    estimators: Mapping[str, Estimator],
    *,
    seed: int,
    on_gradients: Callable[[Network, float, float], None] | None = None,
) -> dict[str, Score]:
    """Score one network.

    Parameters
    ----------
    make
        Builds the network from its seed, and the probe around it; called again only where an estimator spoilt the network.
    estimators
        Name to estimator.
    seed
        Seed of each estimator's own random numbers, so that a score does not depend on what ran before.
    on_gradients
        Called with the network, the loss, and the seconds that building and the shared pass took without the calls of estimators,
        as soon as the gradients of the pass are in place. None, and no estimator that needs them: no pass is run.

    Returns
    -------
    A `Score` for every estimator. One that raises, or whose score is not finite, has status failed and says why.

    Raises
    ------
    Exception
        Whatever the network raises in the shared pass; what an estimator raises is never let through.
    """
    scores: dict[str, Score] = {}
    seen: Mapping[str, Any] = {}
    start = time.perf_counter()
    probe = make()
    built = time.perf_counter() - start
    if on_gradients is not None or any(_need(each) != "network" for each in estimators.values()):
        shared = _shared_pass(make, probe, estimators, scores, seed=seed)
        probe, seen = shared.probe, shared.seen
        if on_gradients is not None:
            on_gradients(probe.network, shared.loss, built + shared.seconds)
    left = {name: each for name, each in estimators.items() if name not in scores}
    # Our own leave the network as it is, which tests show; what others do to it is put back, for the next one.
    foreign = {name for name, each in left.items() if not _is_ours(each)}
    snapshot = _Snapshot(probe.network.module) if foreign and len(left) > 1 else None
    for name, each in left.items():
        scores[name] = _score(each, _given(each, replace(probe, seen=seen.get(name))), seed=seed)
        if snapshot is not None and name in foreign:
            snapshot.restore()
    return {name: scores[name] for name in estimators}


@dataclass(frozen=True)
class _Pass:
    """The probe after a pass, its loss, what was seen, and what it took without the calls of estimators."""

    probe: Probe
    loss: float
    seen: Mapping[str, Any]
    seconds: float


def _shared_pass(
    make: Callable[[], Probe],
    probe: Probe,
    estimators: Mapping[str, Estimator],
    scores: dict[str, Score],
    *,
    seed: int,
) -> _Pass:
    """Run the one pass with everything that looks on or needs its graph.

    If it raises, the network is tried alone; if that works, each that looked on is given a network and a pass of its own, to find
    out which it was.
    """
    guests = {name: each for name, each in estimators.items() if _watch(each) or _need(each) == "graph"}
    try:
        return _one_pass(probe, guests, scores, seed=seed)
    except Exception:
        if not guests:
            raise
        scores.clear()
    alone = _one_pass(make(), {}, scores, seed=seed)
    seen: dict[str, Any] = {}
    for name, each in guests.items():
        start = time.perf_counter()
        try:
            seen |= _one_pass(make(), {name: each}, scores, seed=seed).seen
        except Exception as error:
            scores[name] = _failure(error, start)
    return replace(alone, seen=seen)


def _one_pass(probe: Probe, guests: Mapping[str, Estimator], scores: dict[str, Score], *, seed: int) -> _Pass:
    on_graph = {name: each for name, each in guests.items() if _need(each) == "graph"}
    watches = {name: watch for name, each in guests.items() if (watch := _watch(each))}

    seconds_of_guests = 0.0

    def with_graph(x: Tensor, logits: Tensor) -> None:
        nonlocal seconds_of_guests
        if x.is_cuda:  # what the forward pass has still to do there is its own time
            torch.cuda.synchronize(x.device)
        start = time.perf_counter()
        state = torch.get_rng_state()
        for name, each in on_graph.items():
            scores[name] = _score(
                each, _given(each, replace(probe, x=x, logits=logits, seen=seen.get(name))), seed=seed
            )
            if x.requires_grad and not _is_ours(each):
                x.detach().copy_(probe.x)
        torch.set_rng_state(state)
        seconds_of_guests = time.perf_counter() - start

    start = time.perf_counter()
    with ExitStack() as stack:
        seen = {name: stack.enter_context(watch(probe.network)) for name, watch in watches.items()}
        logits, loss = forward_backward(
            probe.network.module, probe.x, probe.y, on_graph=with_graph if on_graph else None
        )
    seconds = time.perf_counter() - start - seconds_of_guests - sum(map(_seconds_of, seen.values()))
    return _Pass(replace(probe, logits=logits), loss, seen, seconds)


def _score(function: Estimator, probe: Probe, *, seed: int) -> Score:
    torch.manual_seed(seed)
    start = time.perf_counter()
    try:
        result = function(probe)
        value, arrays = (result.score, result.arrays) if isinstance(result, Detailed) else (float(result), {})
    except Exception as error:  # an estimator that fails on one network has no score there; all else stands
        return _failure(error, start)
    seconds = time.perf_counter() - start + _seconds_of(probe.seen)
    if not math.isfinite(value):
        return Score(value, seconds, STATUS["failed"], f"the score is {value}")
    return Score(value, seconds, STATUS["ok"], "", arrays)


def _failure(error: Exception, start: float) -> Score:
    known = isinstance(error, EstimatorError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    value = error.score if isinstance(error, EstimatorError) else math.nan
    return Score(value, time.perf_counter() - start, STATUS["failed"], message)


def _seconds_of(seen: Any) -> float:
    """What looking on took, where it was timed."""
    return float(getattr(seen, "seconds", 0.0))


def _given(function: Estimator, probe: Probe) -> Probe:
    """What an estimator is given: one that is not ours gets images and labels of its own, which it may change."""
    if _is_ours(function):
        return probe
    # The images that the graph begins with must stay these, and are put back.
    x = probe.x if probe.x.requires_grad else probe.x.clone()
    return replace(probe, x=x, y=probe.y.clone())


def _need(function: Estimator) -> Need:
    return getattr(function, "needs", "gradients")


def _watch(function: Estimator) -> Watch | None:
    return getattr(function, "watch", None)


def _is_ours(function: Estimator) -> bool:
    return str(getattr(function, "__module__", "")).startswith("sweetgrad.profiling.estimators.")


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
