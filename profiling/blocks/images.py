"""How the images of the batch are told apart: by their Jacobians, by the patterns of ReLUs, by the outputs of layers.

Shape legend: N = images, L = layers.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.blocks.layers import output_modules
from sweetgrad.profiling.estimators._layers import forward_hooks
from sweetgrad.profiling.estimators.jacobian import Patterns, jacobian_correlation, record_patterns, relu_modules
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, Statistics, measures
from sweetgrad.profiling.measure import forward_backward
from sweetgrad.profiling.spaces.protocol import Network
from sweetgrad.store import STATISTICS

_K = 1e-5

_PATTERN_IMAGES = 16
"""Images over which the pattern of a unit is taken, as SWAP does; a pattern is then a number of 16 bits."""


@measures(STATISTICS["image_jacobian"], needs="graph", tasks=IMAGES)
def image_jacobian(probe: Probe) -> Statistics:
    """Spectrum of the correlation between the images' Jacobians (Mellor et al., arXiv 2006.04647v1), and its logarithm by class.

    The latter is what EPE-NAS (Lopes et al., ICANN 2021) sums.
    """
    correlation = jacobian_correlation(probe, "image_jacobian")
    assert probe.logits is not None
    log_corr = torch.log(correlation.abs() + _K)
    of_class = np.full(probe.logits.shape[1], np.nan)
    for label in probe.y.unique():
        same = probe.y == label
        of_class[int(label)] = float(log_corr[same][:, same].sum())
    return {
        "jacobian_eigenvalue": torch.linalg.eigvalsh(correlation).cpu().numpy(),
        "jacobian_class_log_corr": of_class,
    }


class _LayerPatterns(Patterns):
    """Agreement matrices, and for each layer the patterns of its units and how many are off."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        # A module inside another layer's module belongs to the layer itself.
        self.layer_of = {
            module: row for row, layer in enumerate(network.layers) for top in layer.modules for module in top.modules()
        }
        # ReLUs outside of all layers are in the last row.
        self.has_pattern = np.zeros((len(network.layers) + 1, 1 << _PATTERN_IMAGES), dtype=bool)

    def observe(self, relu: nn.Module, on: Tensor) -> None:
        row = self.layer_of.get(relu, -1)
        bits = np.packbits(on[:_PATTERN_IMAGES].cpu().numpy() > 0, axis=0)  # (1 or 2, units)
        pattern = bits[0].astype(np.uint16) if len(bits) == 1 else bits[0].astype(np.uint16) << 8 | bits[1]
        self.has_pattern[row, pattern] = True


@dataclass
class _Watched:
    """What `relu_patterns` keeps of a pass."""

    patterns: _LayerPatterns
    output_log_det: dict[int, float] = field(default_factory=dict)
    gradients: dict[int, Tensor] = field(default_factory=dict)
    is_over: bool = False
    seconds_of_outputs: float = 0.0

    @property
    def seconds(self) -> float:
        """Time that watching took."""
        return self.patterns.seconds + self.seconds_of_outputs


@contextmanager
def _watch(network: Network) -> Iterator[_Watched]:
    seen = _Watched(_LayerPatterns(network))
    modules = output_modules(network)
    row_of = {module: row for row, module in modules.items()}
    gradients = (
        seen.gradients
    )  # a hook of the graph must not hold `seen`, which holds nodes of the graph: neither would be freed

    def on_output(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if seen.is_over or not isinstance(output, Tensor):
            return
        start = time.perf_counter()
        row = row_of[module]
        seen.output_log_det[row] = _corr_log_det(output.detach())
        seen.seconds_of_outputs += time.perf_counter() - start
        if output.requires_grad:
            # Estimators that need the graph run passes through it first; the shared pass is the last and overwrites them.
            output.register_hook(lambda grad: gradients.__setitem__(row, grad.detach()))

    def end(*_: object) -> None:
        seen.is_over = True

    with ExitStack() as stack:
        stack.enter_context(record_patterns(network, seen.patterns))
        stack.enter_context(forward_hooks(iter(row_of), on_output))
        stack.enter_context(forward_hooks(iter([network.module]), end))
        yield seen


@measures(STATISTICS["relu_patterns"], watch=_watch, tasks=IMAGES)
def relu_patterns(probe: Probe) -> Statistics:
    """Spectrum of naswot's kernel (Mellor et al., ICML 2021), and by layer what WRCor and SWAP count of it.

    Kernels are those of the estimator `naswot`. If the network skips ReLUs or layers because their output is zero, and cannot
    run them (NAS-Bench-201), the whole network is run.
    """
    network, seen, logits = probe.network, probe.seen, probe.logits
    is_whole = seen.patterns.called == set(relu_modules(network.module))
    if not is_whole or seen.output_log_det.keys() != output_modules(network).keys():
        network = probe.build()
        with _watch(network) as seen:
            logits, _ = forward_backward(network.module, probe.x, probe.y)
    assert logits is not None
    counted = seen.patterns.counted(logits)
    if not counted:
        raise EstimatorError("relu_patterns: no nn.ReLU module of this network is reached by the backward pass")
    num_layers = len(network.layers)
    by_layer: dict[int, Tensor] = {}
    num_on, num_values = np.zeros(num_layers + 1), np.zeros(num_layers + 1)
    for relu, kernel, count in counted:
        row = seen.patterns.layer_of.get(relu, num_layers)
        by_layer[row] = by_layer[row] + kernel if row in by_layer else kernel
        num_on[row] += count
        num_values[row] += len(kernel) * int(kernel[0, 0])
    rows = sorted(by_layer)
    by_row = torch.stack([by_layer[row] for row in rows]).double()
    _, log_det = torch.linalg.slogdet(by_row)
    has_pattern = seen.patterns.has_pattern
    with np.errstate(invalid="ignore"):
        zero_share = 1 - num_on / num_values
    gradient_log_det = {row: _corr_log_det(grad) for row, grad in seen.gradients.items()}
    return {
        "pattern_eigenvalue": eigenvalues(by_row.sum(0)),
        "pattern_log_det": _along_layers(dict(zip(rows, log_det.tolist(), strict=True)), num_layers),
        "output_corr_log_det": _along_layers(seen.output_log_det, num_layers),
        "output_grad_corr_log_det": _along_layers(gradient_log_det, num_layers),
        "num_patterns": has_pattern[:num_layers].sum(1),
        "num_patterns_network": int(has_pattern.any(0).sum()),
        "zero_share": zero_share[:num_layers],
    }


def eigenvalues(matrix: Tensor) -> NDArray[np.float64]:
    """Eigenvalues of a symmetric matrix without negative ones, ascending; 0 if they are as small as rounding errors."""
    found = torch.linalg.eigvalsh(matrix)
    tolerance = found[-1] * len(matrix) * torch.finfo(matrix.dtype).eps
    values: NDArray[np.float64] = torch.where(found > tolerance, found, torch.zeros_like(found)).cpu().numpy()
    return values


def _corr_log_det(values: Tensor) -> float:
    """log(abs(det)) of the absolute correlations between images; NaN if the values of an image are all equal."""
    if values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)  # in memory order, on which the correlation does not depend
    rows = values.reshape(len(values), -1)
    # The mean is taken off the products and not off the values, of which that would take a copy.
    mean = rows.mean(1).double()
    cov = (rows @ rows.T).double() / rows.shape[1] - mean[:, None] * mean[None, :]
    scale = cov.diagonal().clamp(min=0).sqrt()
    correlation = (cov / scale[:, None] / scale[None, :]).abs()
    return float(torch.linalg.slogdet(correlation)[1]) if correlation.isfinite().all() else float("nan")


def _along_layers(values: dict[int, float], num_layers: int) -> NDArray[np.float64]:
    rows = np.full(num_layers, np.nan)
    for row, value in values.items():
        if row < num_layers:
            rows[row] = value
    return rows
