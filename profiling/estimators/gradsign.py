"""GradSign: whether the images of a batch pull each weight in the same direction."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from sweetgrad.profiling.estimators._patches import keeping_buffers
from sweetgrad.profiling.estimators.per_sample import UnsupportedLayerError, each_gradient
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, estimator, require_real, weights_of

__all__ = ["gradsign"]


@estimator(needs="network")
def gradsign(probe: Probe) -> float:
    r"""Sum over conv and linear weights k of ``abs(sum_n sign(g_nk))``.

    Zhang & Jia, "GradSign: Model Performance Inference with Theoretical Insights", ICLR 2022. :math:`g_{nk}` is the gradient of
    the loss of image n, passed through the network alone in train mode: BatchNorm normalises it by its own statistics. A network
    with weights in other layers than convolutions and linear layers is run image by image.
    """
    module = probe.network.module
    require_real(module, "gradsign")
    if not any(True for _ in weights_of(module)):
        raise EstimatorError("gradsign: the network has no conv or linear weight")
    total = torch.zeros((), dtype=torch.float64, device=probe.x.device)

    def receive(weight: nn.Parameter, grads_NP: Tensor) -> None:
        total.add_(grads_NP.sign().sum(0).abs().sum(dtype=torch.float64))

    try:
        each_gradient(
            module,
            lambda: F.cross_entropy(module(probe.x), probe.y, reduction="sum"),
            receive,
            batch_norm="instance",
        )
    except UnsupportedLayerError:
        return _image_by_image(probe)
    except EstimatorError as error:
        raise EstimatorError(f"gradsign: {error}") from None
    return float(total)


def _image_by_image(probe: Probe) -> float:
    module = probe.network.module
    weights = [weight for weight in weights_of(module) if weight.requires_grad]
    signs = [torch.zeros_like(weight) for weight in weights]
    for n in range(len(probe.x)):
        with keeping_buffers(module):
            loss = F.cross_entropy(module(probe.x[n : n + 1]), probe.y[n : n + 1])
        for sign, grad in zip(signs, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            if grad is not None:
                sign += grad.sign()
    return float(sum(sign.abs().sum(dtype=torch.float64) for sign in signs))
