"""Sums of gradients bin by bin, so that estimators of gradients can be asked for the weights of any interval."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweetgrad.profiling.counting import find_bins
from sweetgrad.profiling.estimators.protocol import Detailed, Probe
from sweetgrad.profiling.spaces.protocol import kind_of
from sweetgrad.store import KINDS, MOMENTS, NUM_BINS

__all__ = ["moments"]


def moments(probe: Probe) -> Detailed:
    """Sums of abs(g), g^2 and abs(w g) over the parameters of every layer, kind and bin, the bins those of the histogram.

    Not a score, but what scores are made of, by `sweet_snip` and its like, for any interval without running a network.
    In the place of the score stands the squared norm of the gradient of the weights. The sums are in double precision, rounded to
    single; in the bin of gradients that are not finite, they are not either.
    """
    layers = probe.network.layer_parameters()
    arrays = {variable.name: np.zeros((len(layers), len(KINDS), NUM_BINS)) for variable in MOMENTS.arrays}
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
