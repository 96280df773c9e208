"""Gradients of single images: signs, squares, their Gram matrix; and how gradients agree in every bin of the histogram.

Shape legend: N = images, P = weights of one layer (or some of them), or all of a network, B = bins.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
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
from sweetgrad.profiling.estimators._layers import restored_buffers
from sweetgrad.profiling.estimators.per_sample import Entries, Receive, UnsupportedLayerError, per_sample_gradients
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, Statistics, measures, require_real
from sweetgrad.profiling.spaces.protocol import kind_of
from sweetgrad.store import NUM_BINS, STATISTICS

_MAX_VALUES = 1 << 27
"""Gradients of all images in memory, where a layer requires a pass for each image: 512 MiB in single precision."""


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


def each_image_alone(probe: Probe, name: str, receive: Receive, start_again: Callable[[], None]) -> None:
    """Call ``receive`` with the gradients of the loss of each image as a batch of one in train mode, for every weight.

    Parameters
    ----------
    probe
        The network and its batch.
    name
        Name of the block, for messages.
    receive
        As in `per_sample_gradients`.
    start_again
        Called if a weight turns out to need a pass for each image, after which everything is received once more.

    Raises
    ------
    EstimatorError
        If a norm has too few values, or the gradients of all images do not fit in memory.
    """
    module = probe.network.module
    try:
        per_sample_gradients(
            module,
            lambda: F.cross_entropy(module(probe.x), probe.y, reduction="sum"),
            receive,
            batch_norm="instance",
        )
    except UnsupportedLayerError:
        start_again()
        _image_by_image(probe, name, receive)
    except EstimatorError as error:
        raise EstimatorError(f"{name}: {error}") from None


def _image_by_image(probe: Probe, name: str, receive: Receive) -> None:
    module = probe.network.module
    weights = [p for p in module.parameters() if p.requires_grad and kind_of(p) == "weight"]
    if len(probe.x) * sum(weight.numel() for weight in weights) > _MAX_VALUES:
        raise EstimatorError(
            f"{name}: a weight is in another layer than convolutions and linear layers, and the gradients of all images do not "
            "fit in memory"
        )
    grads: list[list[Tensor]] = [[] for _ in weights]
    for n in range(len(probe.x)):
        with restored_buffers(module):
            loss = F.cross_entropy(module(probe.x[n : n + 1]), probe.y[n : n + 1])
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        for rows, weight, grad in zip(grads, weights, found, strict=True):
            rows.append((torch.zeros_like(weight) if grad is None else grad).reshape(-1))
    for weight, rows in zip(weights, grads, strict=True):
        receive(weight, (), torch.stack(rows))


@measures(STATISTICS["sweet_bins"], settings=second_batch_settings)
def sweet_bins(probe: Probe) -> Statistics:
    """How gradients agree over two batches, and over the images, in every bin of the histogram.

    From these, ``effective_zico`` and ``effective_gradsign`` of the code released with Sweet Gradient follow for any interval. A
    weight is in the bin of its gradient of the (first) batch.
    """
    module = probe.network.module
    require_real(module, "sweet_bins")
    weights = parameters_along(probe.network, "tensor")
    first, second = gradients_of_two_batches(probe, "sweet_bins")
    bins = find_bins(np.abs(first).astype(np.float32)).astype(np.int64)
    lengths = [weight.numel() for weight in weights]
    tensor = np.repeat(np.arange(len(weights)), lengths)
    layers = np.repeat(layers_along(probe.network, "tensor"), lengths)
    signs = {id(weight): torch.zeros(weight.shape, dtype=torch.float64) for weight in weights}

    def receive(weight: nn.Parameter, entries: Entries, grads_NP: Tensor) -> None:
        target = signs[id(weight)][entries]
        target.copy_(grads_NP.sign().sum(0).abs().reshape(target.shape))

    each_image_alone(probe, "sweet_bins", receive, lambda: None)
    is_negative = (first < 0).astype(np.int64)
    return {
        "snr_bin_sum": _in_bins(signal_to_noise(first, second), tensor, bins, num=len(weights)),
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
