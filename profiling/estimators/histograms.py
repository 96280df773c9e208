"""Histograms of what the cells of a network put out, in the bins of the gradients (the paper's Appendix D)."""

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
from sweetgrad.profiling.estimators.protocol import Detailed, EstimatorError, Probe, estimator
from sweetgrad.profiling.spaces.protocol import Network, kind_of
from sweetgrad.store import KINDS, MOMENT_VARIABLES, NUM_BINS

_COUNTED_TYPES = ("cell", "reduction")
"""Layers whose output is counted: those whose proportion the released method follows with depth."""

_MOST = np.iinfo(np.uint32).max
"""What the store can count. 512 images of 64 channels and 32 x 32 pixels are 33 million."""


def cells_of(network: Network) -> dict[int, nn.Module]:
    """Module whose output is the layer's, by the position of the layer in depth order, for every cell and reduction.

    Raises
    ------
    EstimatorError
        If there is no such layer, or one is made of several modules, of which nobody says which puts the output out.
    """
    layers = [(row, layer) for row, layer in enumerate(network.layers) if layer.type in _COUNTED_TYPES]
    if not layers:
        raise EstimatorError(
            f"activations: the network has no layer of the type {' or '.join(_COUNTED_TYPES)}, so it has no cells to look at"
        )
    for _, layer in layers:
        if len(layer.modules) != 1:
            raise EstimatorError(
                f"activations: layer {layer.name!r} is made of {len(layer.modules)} modules, and which of them puts its output "
                "out is not said; the search space must build each cell as one module: Layer(name, type, (module,))"
            )
    return {row: layer.modules[0] for row, layer in layers}


@dataclass
class _Seen:
    """Counts of the layers that were called, what is wrong with an output, the seconds that counting took."""

    counts: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    problem: str = ""
    seconds: float = 0.0
    is_over: bool = False

    def add(self, row: int, name: str, output: object) -> None:
        start = time.perf_counter()
        if isinstance(output, Tensor):
            if output.is_cuda:  # what the forward pass has still to do there is its own time
                torch.cuda.synchronize(output.device)
                start = time.perf_counter()
            self.counts[row] = self.counts.get(row, 0) + _histogram(output)
        else:
            self.problem = f"layer {name!r} puts out {type(output).__name__}, not one tensor"
        self.seconds += time.perf_counter() - start


def _histogram(output: Tensor) -> NDArray[np.int64]:
    """Counts of absolute values, shape (B,); in single precision, as gradients are compared."""
    magnitude = in_memory_order(output.detach()).abs().float()
    counts: NDArray[np.int64] = count_gradients(magnitude, np.array([magnitude.numel()], dtype=np.int64))[0]
    return counts


@contextmanager
def _watch_cells(network: Network) -> Iterator[_Seen]:
    seen = _Seen()
    try:
        cells = cells_of(network)
    except EstimatorError as error:
        seen.problem, cells = str(error).removeprefix("activations: "), {}
    row_of = {module: row for row, module in cells.items()}

    def count(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if seen.is_over:
            return
        row = row_of[module]
        # Counted now and not after the pass: whatever follows may change the output in place, and memory is freed.
        seen.add(row, network.layers[row].name, output)

    def end(*_: object) -> None:  # an estimator that needs the graph may run passes of its own
        seen.is_over = True

    with forward_hooks(iter(row_of), count), forward_hooks(iter([network.module]), end):
        yield seen


@estimator(watch=_watch_cells)
def activations(probe: Probe) -> Detailed:
    """Absolute values that every cell, and every reduction between cells, puts out for the batch, counted in the bins.

    Not a score but a histogram, layer by layer, exact as that of the gradients; in the place of the score stands how many values
    were counted. A layer that runs several times in a pass is counted each time. Cells that a network leaves out because they put
    out zeros (NAS-Bench-201) are looked at in the whole network.
    """
    seen: _Seen = probe.seen
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
            f"activations: the forward pass never calls the module of layer {not_called[0]!r}, so its output is not known; a "
            "layer's module must be one that the network calls, no list of others"
        )
    counts = np.zeros((len(probe.network.layers), NUM_BINS), dtype=np.int64)
    for row, count in seen.counts.items():
        counts[row] = count
    if counts.max() > _MOST:
        raise EstimatorError(f"activations: {counts.max()} values lie in one bin, and the store counts to {_MOST}")
    return Detailed(float(counts.sum()), {"activation_count": counts.astype(np.uint32)})


def moments(probe: Probe) -> Detailed:
    """Sums of abs(g), g^2 and abs(w g) over the parameters of every layer, kind and bin, the bins those of the histogram.

    Not a score, but what scores are made of, by `sweet_snip` and its like, for any interval without running a network.
    In the place of the score stands the squared norm of the gradient of the weights. The sums are in double precision, rounded to
    single; in the bin of gradients that are not finite, they are not either.
    """
    layers = probe.network.layer_parameters()
    arrays = {name: np.zeros((len(layers), len(KINDS), NUM_BINS)) for name in MOMENT_VARIABLES}
    for row, parameters in enumerate(layers):
        for parameter in parameters:
            if parameter.grad is not None:
                _add(arrays, (row, KINDS.index(kind_of(parameter))), parameter.detach(), parameter.grad)
    squares = arrays["grad_sq_bin_sum"][:, KINDS.index("weight")].sum()
    with np.errstate(over="ignore"):
        return Detailed(float(squares), {name: array.astype(np.float32) for name, array in arrays.items()})


def _add(arrays: dict[str, NDArray[np.float64]], place: tuple[int, int], value: Tensor, grad: Tensor) -> None:
    # A magnitude is binned in single precision, as the histogram does it.
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
