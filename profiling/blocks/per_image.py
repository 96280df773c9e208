"""Gradients of single images: signs, squares, and their Gram matrix.

Shape legend: N = images, P = weights of one layer (or some of them).
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from sweetgrad.profiling.blocks.images import eigenvalues
from sweetgrad.profiling.blocks.tensors import parameters_along
from sweetgrad.profiling.estimators._layers import restored_buffers
from sweetgrad.profiling.estimators.per_sample import UnsupportedLayerError, per_sample_gradients
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, Statistics, measures, require_real
from sweetgrad.store import STATISTICS

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

    def receive(weight: nn.Parameter, grads_NP: Tensor) -> None:
        row = place[id(weight)]
        signs[row] += float(grads_NP.sign().sum(0).abs().sum(dtype=torch.float64))
        products = (grads_NP @ grads_NP.T).double()
        squares[row] += float(products.diagonal().sum())
        gram.add_(products)

    try:
        per_sample_gradients(
            module,
            lambda: F.cross_entropy(module(probe.x), probe.y, reduction="sum"),
            receive,
            batch_norm="instance",
        )
    except UnsupportedLayerError:
        signs[:], squares[:] = 0, 0
        gram.zero_()
        _image_by_image(probe, receive)
    except EstimatorError as error:
        raise EstimatorError(f"per_image: {error}") from None
    if not gram.isfinite().all():
        raise EstimatorError("per_image: a gradient is not finite")
    return {"tensor_sign_sum": signs, "tensor_image_grad_sq_sum": squares, "gram_eigenvalue": eigenvalues(gram)}


def _image_by_image(probe: Probe, receive: Callable[[nn.Parameter, Tensor], None]) -> None:
    module = probe.network.module
    weights = [p for p in parameters_along(probe.network, "tensor") if p.requires_grad]
    if len(probe.x) * sum(weight.numel() for weight in weights) > _MAX_VALUES:
        raise EstimatorError(
            "per_image: a weight is in another layer than convolutions and linear layers, and the gradients of all images do not "
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
        receive(weight, torch.stack(rows))  # type: ignore[arg-type]  # parameters of a network
