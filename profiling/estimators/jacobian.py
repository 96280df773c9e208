"""Neural Architecture Search without Training (Mellor et al.): Jacobian covariance, and NASWOT, which replaced it."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators._layers import forward_hooks
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, estimator
from sweetgrad.profiling.spaces.protocol import Network

_K = 1e-5


@estimator(needs="graph", tasks=IMAGES)
def jacob_cov(probe: Probe) -> float:
    r"""Kullback-Leibler divergence of the correlations between the images' Jacobians from no correlation.

    .. math:: - \sum_i \log(v_i + k) + 1 / (v_i + k), \quad k = 10^{-5}

    with the eigenvalues v of the correlation matrix, over images, of the gradient of the sum of the logits with respect to each
    image: Mellor et al., "Neural Architecture Search without Training", first version, arXiv 2006.04647v1.
    """
    eigenvalues = torch.linalg.eigvalsh(jacobian_correlation(probe, "jacob_cov"))
    return -float((torch.log(eigenvalues + _K) + 1 / (eigenvalues + _K)).sum())


def jacobian_correlation(probe: Probe, name: str) -> Tensor:
    """Correlation matrix, over images, of the gradient of the sum of the logits with respect to each image, shape (N, N)."""
    if len(probe.x) < 2:
        raise EstimatorError(f"{name}: a correlation needs at least 2 images, got a batch of 1")
    if not probe.x.is_floating_point():
        raise EstimatorError(f"{name}: the input must be floating-point to have a gradient, got {probe.x.dtype}")
    assert probe.logits is not None
    (jacobian,) = torch.autograd.grad(probe.logits.sum(), probe.x, retain_graph=True, allow_unused=True)
    if jacobian is None:
        raise EstimatorError(f"{name}: the output does not depend on the images")
    correlation = torch.corrcoef(jacobian.reshape(len(jacobian), -1).double())
    if not correlation.isfinite().all():
        raise EstimatorError(f"{name}: the gradient of the output with respect to some image is constant or not finite")
    return correlation


_MIN_UNITS = 32
"""Units from which on int8 matrix products are used: with one unit they are wrong (torch 2.13)."""

_SKIPPED = "skipped"
"""In place of a node in the graph: a ReLU that the network would skip, and that only runs to be observed."""


@dataclass
class Patterns:
    """Which units of which ReLUs are on for the same images.

    Attributes
    ----------
    calls
        For each call of a ReLU its module, its node in the graph, its agreement matrix, and how many units are on for an image.
    called
        All ReLUs that were called.
    recent
        Inputs of the last calls, each with the last two of its call.
    seconds
        Time that recording took.
    """

    calls: list[tuple[nn.Module, Any, Tensor, int]] = field(default_factory=list)
    called: set[nn.Module] = field(default_factory=set)
    recent: deque[tuple[Tensor, Tensor, int]] = field(default_factory=lambda: deque(maxlen=4))
    seconds: float = 0.0

    def add(self, relu: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Record one call; a forward hook."""
        start = time.perf_counter()
        self.called.add(relu)
        given = inputs[0]
        # ReLUs on edges that leave the same node of a cell have the same input, so their matrix is computed once.
        known = next(((kernel, num_on) for tensor, kernel, num_on in self.recent if tensor is given), None)
        if known is None:
            on = _units_that_are_on(output.detach())
            known = _agreements(on)
            self.observe(relu, on)
            if output is not given:  # an in-place ReLU overwrites its input
                self.recent.append((given, *known))
        self.calls.append((relu, output.grad_fn if torch.is_grad_enabled() else _SKIPPED, *known))
        self.seconds += time.perf_counter() - start

    def observe(self, relu: nn.Module, on: Tensor) -> None:
        """Called with 1 where a unit is on for an image and 0 elsewhere, (N, units), once for ReLUs that have the same input."""

    def counted(self, logits: Tensor) -> list[tuple[nn.Module, Tensor, int]]:
        """Calls, without their nodes, that the backward pass from the logits reaches, or that only ran to be observed."""
        reached = _reached(logits)
        return [(relu, kernel, on) for relu, node, kernel, on in self.calls if node in reached or node is _SKIPPED]


def relu_modules(module: nn.Module) -> Iterator[nn.Module]:
    """ReLU modules of a network."""
    return (m for m in module.modules() if isinstance(m, nn.ReLU | nn.ReLU6))


@contextmanager
def record_patterns(network: Network, patterns: Patterns) -> Iterator[Patterns]:
    """Record all ReLU calls of a network."""
    # Cells that skip dead paths can run the ReLUs on them.
    cells: list[Any] = [m for m in network.module.modules() if hasattr(m, "run_every_relu")]
    try:
        for cell in cells:
            cell.run_every_relu = True
        with forward_hooks(relu_modules(network.module), patterns.add):
            yield patterns
    finally:
        for cell in cells:
            cell.run_every_relu = False
        patterns.recent.clear()


def _record(network: Network) -> AbstractContextManager[Patterns]:
    return record_patterns(network, Patterns())


@estimator(watch=_record, tasks=IMAGES)
def naswot(probe: Probe) -> float:
    r"""``log abs det K``, where K counts, for each pair of images, the ReLU units that are on for both or off for both.

    .. math:: K = \sum_r x_r x_r^T + (1 - x_r) (1 - x_r)^T

    with :math:`x_r` (N, units) = 1 where the input of ReLU r is greater than 0, over every ReLU that the backward pass reaches:
    Mellor et al., "Neural Architecture Search without Training", ICML 2021. (The code released with the
    Sweet Gradient paper has no such kernel; its NASWOT is `jacob_cov`.) ReLUs on dead paths, which the space's networks skip, are
    included; if the network cannot run them, one forward pass of the whole network is run.
    """
    patterns, logits = probe.seen, probe.logits
    if patterns.called != set(relu_modules(probe.network.module)):
        whole = probe.build()
        with _record(whole) as patterns:
            logits = whole.module(probe.x)
    assert logits is not None
    kernels = [kernel for _, kernel, _ in patterns.counted(logits)]
    if not kernels:
        raise EstimatorError("naswot: no nn.ReLU module of this network is reached by the backward pass")
    sign, log_det = torch.linalg.slogdet(torch.stack(kernels).double().sum(0))
    if sign == 0:
        raise EstimatorError(
            "naswot: the kernel is singular: some images have the same pattern, and log(0) is -inf", score=-math.inf
        )
    return float(log_det)


def _units_that_are_on(output: Tensor) -> Tensor:
    """1 where a unit of a ReLU is on for an image and 0 elsewhere, shape (N, units), in the type that `_num_both` multiplies."""
    if output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last):
        # In memory order, which saves a transposition; a sum over units does not depend on it.
        output = output.permute(0, 2, 3, 1)
    values = output.reshape(len(output), -1)
    num_units = values.shape[1]
    has_int8 = output.device.type == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability()
    if has_int8 and num_units >= _MIN_UNITS:
        return (values > 0).view(torch.int8)  # which these processors multiply four times as fast
    on = torch.empty_like(values, dtype=torch.float32 if num_units < 2**24 else torch.float64)
    return torch.gt(values, 0, out=on)


def _agreements(on: Tensor) -> tuple[Tensor, int]:
    """Number of ReLU units in which each pair of images agrees, shape (N, N), exactly; and how many are on in all."""
    both_on = _num_both(on)
    num_on = both_on.diagonal()
    return on.shape[1] - num_on[:, None] - num_on[None, :] + 2 * both_on, int(num_on.sum())


def _num_both(on: Tensor) -> Tensor:
    """Number of units that are on for both of each pair of images, exactly, shape (N, N)."""
    return torch._int_mm(on, on.T) if on.dtype == torch.int8 else on @ on.T


def _reached(logits: Tensor) -> set[Any]:
    """Nodes of the graph that the backward pass from ``logits`` reaches."""
    reached, stack = set(), [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in reached:
            reached.add(node)
            stack.extend(next_node for next_node, _ in node.next_functions)
    return reached
