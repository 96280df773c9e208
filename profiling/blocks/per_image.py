"""Gradients of single images: signs, squares, their Gram matrix; and how gradients agree in every bin of the histogram.

Shape legend: N = images, P = weights of one layer (or some of them), or all of a network, B = bins.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.blocks.images import eigenvalues
from sweetgrad.profiling.blocks.tensors import (
    flat,
    gradients_of_two_batches,
    layers_along,
    parameters_along,
    second_batch_settings,
    signal_to_noise,
)
from sweetgrad.profiling.counting import find_bins
from sweetgrad.profiling.estimators.per_sample import Entries, each_image_alone
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, Statistics, measures, require_real
from sweetgrad.store import NUM_BINS, STATISTICS


@measures(STATISTICS["per_image"], needs="network")
def per_image(probe: Probe) -> Statistics:
    """Sums over the gradients of the images, each a batch of one in train mode, and the spectrum of their Gram matrix.

    The signs are those of GradSign (Zhang & Jia, ICLR 2022); the Gram matrix is the tangent kernel of the loss.
    """
    module = probe.network.module
    require_real(module, "per_image")
    weights = parameters_along(probe.network, "tensor")
    if not weights:
        raise EstimatorError("per_image: the network has no conv or linear weight")
    place = {id(weight): row for row, weight in enumerate(weights)}
    signs, squares = np.zeros(len(weights)), np.zeros(len(weights))
    gram = torch.zeros(len(probe.x), len(probe.x), dtype=torch.float64, device=probe.x.device)

    def receive(weight: nn.Parameter, entries: Entries, grads_NP: Tensor) -> None:
        row = place[id(weight)]
        signs[row] += float(grads_NP.sign().sum(0).abs().sum(dtype=torch.float64))
        products = (grads_NP @ grads_NP.T).double()
        squares[row] += float(products.diagonal().sum())
        gram.add_(products)

    def start_again() -> None:
        signs[:], squares[:] = 0, 0
        gram.zero_()

    each_image_alone(probe, "per_image", receive, start_again)
    if not gram.isfinite().all():
        raise EstimatorError("per_image: a gradient is not finite")
    return {"tensor_sign_sum": signs, "tensor_image_grad_sq_sum": squares, "gram_eigenvalue": eigenvalues(gram)}


@measures(STATISTICS["sweet_bins"], settings=second_batch_settings, tasks=IMAGES)
def sweet_bins(probe: Probe) -> Statistics:
    """How gradients agree over two batches, and over the images, in every bin of the histogram.

    From these, ``effective_zico`` and ``effective_gradsign`` of the code released with Sweet Gradient follow for any interval. A
    weight is in the bin of its gradient of the (first) batch.
    """
    module = probe.network.module
    require_real(module, "sweet_bins")
    weights = parameters_along(probe.network, "tensor")
    first, second = gradients_of_two_batches(probe, "sweet_bins")
    snr = flat([signal_to_noise(a, b) for a, b in zip(first, second, strict=True)])
    signed = flat(first)
    bins = find_bins(np.abs(signed).astype(np.float32)).astype(np.int64)
    lengths = [weight.numel() for weight in weights]
    tensor = np.repeat(np.arange(len(weights)), lengths)
    layers = np.repeat(layers_along(probe.network, "tensor"), lengths)
    signs = {id(weight): torch.zeros(weight.shape, dtype=torch.float64) for weight in weights}

    def receive(weight: nn.Parameter, entries: Entries, grads_NP: Tensor) -> None:
        target = signs[id(weight)][entries]
        target.copy_(grads_NP.sign().sum(0).abs().reshape(target.shape))

    each_image_alone(probe, "sweet_bins", receive, lambda: None)
    is_negative = (signed < 0).astype(np.int64)
    return {
        "snr_bin_sum": _in_bins(snr, tensor, bins, num=len(weights)),
        "sign_bin_sum": _in_bins(
            flat([signs[id(weight)] for weight in weights]),
            2 * layers + is_negative,
            bins,
            num=2 * len(probe.network.layers),
        ).reshape(-1, 2, NUM_BINS),
    }


def _in_bins(
    terms_P: NDArray[np.float64], group_P: NDArray[np.int64], bins_P: NDArray[np.int64], *, num: int
) -> NDArray[np.float64]:
    """Sum of the terms of each group in each bin, shape (num, B)."""
    sums: NDArray[Any] = np.bincount(group_P * NUM_BINS + bins_P, weights=terms_P, minlength=num * NUM_BINS)
    return sums.reshape(num, NUM_BINS)
