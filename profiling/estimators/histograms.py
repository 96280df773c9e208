"""Arrays over the bins of the histogram: activations of cells (the paper's Appendix D) and moments of gradients."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.counting import count_gradients, find_bins, in_memory_order
from sweetgrad.profiling.estimators._layers import forward_hooks
from sweetgrad.profiling.estimators.protocol import IMAGES, Detailed, EstimatorError, Probe, measures
from sweetgrad.profiling.spaces.protocol import Network, kind_of
from sweetgrad.store import ACTIVATIONS, KINDS, MOMENTS, NUM_BINS

_COUNTED_TYPES = ("cell", "reduction")
"""Layers whose output is counted: those over which the released method computes sweetness."""

_MAX_COUNT = np.iinfo(np.uint32).max
"""Largest count in the store; 512 images of 64 channels and 32 x 32 pixels have 33 million values."""


def cells_of(network: Network) -> dict[int, nn.Module]:
    """Module of every cell and reduction, by the position of the layer in depth order.

    Raises
    ------
    EstimatorError
        If there is no such layer, or one consists of several modules, so that its output is ambiguous.
    """
    layers = [(row, layer) for row, layer in enumerate(network.layers) if layer.type in _COUNTED_TYPES]
    if not layers:
        raise EstimatorError(f"activations: the network has no layer of type {' or '.join(_COUNTED_TYPES)}")
    for _, layer in layers:
        if len(layer.modules) != 1:
            raise EstimatorError(
                f"activations: layer {layer.name!r} consists of {len(layer.modules)} modules, so its output is ambiguous; "
                "the search space must build each cell as one module: Layer(name, type, (module,))"
            )
    return {row: layer.modules[0] for row, layer in layers}


@dataclass
class _Activations:
    """Counts of the layers called so far, a problem with an output, and the seconds that counting took."""

    counts: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    problem: str = ""
    seconds: float = 0.0
    is_over: bool = False

    def add(self, row: int, name: str, output: object) -> None:
        start = time.perf_counter()
        if isinstance(output, Tensor):
            if output.is_cuda:  # pending work of the forward pass is not counting time
                torch.cuda.synchronize(output.device)
                start = time.perf_counter()
            self.counts[row] = self.counts.get(row, 0) + _histogram(output)
        else:
            self.problem = f"layer {name!r} returns {type(output).__name__}, not one tensor"
        self.seconds += time.perf_counter() - start


def _histogram(output: Tensor) -> NDArray[np.int64]:
    """Counts of absolute values, shape (B,); in single precision, as gradients are compared."""
    magnitude = in_memory_order(output.detach()).abs().float()
    counts: NDArray[np.int64] = count_gradients(magnitude, np.array([magnitude.numel()], dtype=np.int64))[0]
    return counts


@contextmanager
def _watch_cells(network: Network) -> Iterator[_Activations]:
    seen = _Activations()
    try:
        cells = cells_of(network)
    except EstimatorError as error:
        seen.problem, cells = str(error).removeprefix("activations: "), {}
    row_of = {module: row for row, module in cells.items()}

    def count(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if seen.is_over:
            return
        row = row_of[module]
        # Counted now and not after the pass: later layers may change the output in place, and its memory can be freed.
        seen.add(row, network.layers[row].name, output)

    def end(*_: object) -> None:  # estimators that need the graph may run further passes
        seen.is_over = True

    with forward_hooks(iter(row_of), count), forward_hooks(iter([network.module]), end):
        yield seen


@measures(ACTIVATIONS, watch=_watch_cells, tasks=IMAGES)
def activations(probe: Probe) -> Detailed:
    """Absolute values of the output of every cell and reduction for the batch, counted in the bins.

    Not a score but an exact histogram for each layer, like that of the gradients; the score is the number of values counted. A
    layer that runs several times in a pass is counted each time. If a network skips cells because their output is zero
    (NAS-Bench-201), the whole network is run.
    """
    seen: _Activations = probe.seen
    cells = {} if seen.problem else cells_of(probe.network)
    if seen.counts.keys() != cells.keys() and not seen.problem:
        whole = probe.build()
        with torch.no_grad(), _watch_cells(whole) as seen:
            whole.module(probe.x)
    if seen.problem:
        raise EstimatorError(f"activations: {seen.problem}")
    not_called = [probe.network.layers[row].name for row in cells if row not in seen.counts]
    if not_called:
        raise EstimatorError(
            f"activations: the forward pass never calls the module of layer {not_called[0]!r}, so it has no output; the "
            "module of a layer must be one that the network calls, not a container"
        )
    counts = np.zeros((len(probe.network.layers), NUM_BINS), dtype=np.int64)
    for row, count in seen.counts.items():
        counts[row] = count
    if counts.max() > _MAX_COUNT:
        raise EstimatorError(
            f"activations: {counts.max()} values are in one bin, but the store can only count to {_MAX_COUNT}"
        )
    return Detailed(float(counts.sum()), {"activation_count": counts.astype(np.uint32)})


@measures(MOMENTS)
def moments(probe: Probe) -> Detailed:
    """Sums of abs(g), g^2 and abs(w g) over the parameters of every layer, kind and bin, the bins those of the histogram.

    Not a score: `sweet_snip` and similar scores are computed from these sums, for any interval, without running a network. The
    score is the squared norm of the gradient of the weights. The sums are computed in double precision and rounded to single; in
    the bin of gradients that are not finite, they are not finite either.
    """
    layers = probe.network.layer_parameters()
    arrays = {variable.name: np.zeros((len(layers), len(KINDS), NUM_BINS)) for variable in MOMENTS.contents}
    for row, parameters in enumerate(layers):
        for parameter in parameters:
            if parameter.grad is not None:
                _add(arrays, (row, KINDS.index(kind_of(parameter))), parameter.detach(), parameter.grad)
    squares = arrays["grad_sq_bin_sum"][:, KINDS.index("weight")].sum()
    with np.errstate(over="ignore"):
        return Detailed(float(squares), {name: array.astype(np.float32) for name, array in arrays.items()})


def _add(arrays: dict[str, NDArray[np.float64]], place: tuple[int, int], value: Tensor, grad: Tensor) -> None:
    # Magnitudes are binned in single precision, as in the histogram.
    magnitude = _flat(grad.abs())
    bins = find_bins(magnitude.astype(np.float32))
    with np.errstate(invalid="ignore", over="ignore"):
        terms = {
            "grad_abs_bin_sum": magnitude,
            "grad_sq_bin_sum": magnitude.astype(np.float64) ** 2,
            "weight_grad_bin_sum": _flat(value.abs()).astype(np.float64) * magnitude,
        }
        for name, term in terms.items():
            arrays[name][place] += np.bincount(bins, weights=term, minlength=NUM_BINS)


def _flat(tensor: Tensor) -> NDArray[np.floating]:
    values: NDArray[np.floating] = (
        tensor.to("cpu", torch.promote_types(tensor.dtype, torch.float32)).reshape(-1).numpy()
    )
    return values
