"""Spectrum of the empirical Fisher information of a few parameters (VKDNW).

Shape legend: N = images, K = classes, T = parameter tensors.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.blocks.noise import noise_like, noise_settings, reinitialised
from sweetgrad.profiling.estimators._layers import BatchNorm, eval_mode, is_plain_layer
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, Statistics, measures, require_real
from sweetgrad.store import STATISTICS, ProfileSpec

_MAX_TENSORS = 128
_DECILES = np.arange(1, 10) / 10


def _settings(spec: ProfileSpec, batch: Batch) -> dict[str, Any]:
    return {**noise_settings(spec, batch), "mode": "eval"}


@measures(STATISTICS["vkdnw"], needs="network", settings=_settings, tasks=IMAGES)
def vkdnw(probe: Probe) -> Statistics:
    """Deciles of the singular values of the Fisher information of the first entry of each of the first 128 parameter tensors.

    Tybl & Neumann, "Training-free Neural Architecture Search through Variance of Knowledge of Deep Network Weights", CVPR 2025:
    the mean over images of ``J' (diag(p) - p p') J``, J the derivatives of the logits and p their softmax.
    """
    module = probe.network.module
    if probe.x.ndim != 4:
        raise EstimatorError(f"vkdnw: images (N, C, H, W) are needed, got {tuple(probe.x.shape)}")
    require_real(module, "vkdnw")
    images = noise_like(probe, tuple(probe.x.shape))
    with reinitialised(module, probe.seed), torch.enable_grad(), eval_mode(module):
        logits, jacobian_NKT = _jacobian(module, images)
    p = logits.softmax(1).double()
    middle = torch.einsum("nk,nkt->nt", p, jacobian_NKT)
    fisher = torch.einsum("nk,nks,nkt->st", p, jacobian_NKT, jacobian_NKT) - middle.T @ middle
    singular = torch.linalg.svdvals(fisher / len(p)).cpu().numpy()
    return {
        "fisher_decile": np.quantile(singular, _DECILES),
        "num_parameter_tensors": sum(1 for _ in module.parameters()),
    }


@dataclass
class _Uses:
    """Every call of a layer that has one of the parameters: the layer, its input and its output."""

    anchor: Tensor
    calls: list[tuple[nn.Module, Tensor, Tensor]] = field(default_factory=list)

    def add(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # What depends on no image, such as a norm of zeros, is part of the graph as well.
        output = output if output.requires_grad else output + self.anchor
        self.calls.append((layer, inputs[0].detach(), output))
        return output


def _jacobian(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K), and the derivatives of each with respect to the first entry of each tensor, shape (N, K, T).

    One backward pass for each class, to the outputs of the layers: from these follow the derivatives of single entries.
    """
    column = {id(parameter): t for t, parameter in enumerate(list(module.parameters())[:_MAX_TENSORS])}
    layers = [m for m in module.modules() if any(id(p) in column for p in m.parameters(recurse=False))]
    for layer in layers:
        if not (is_plain_layer(layer) or isinstance(layer, BatchNorm)):
            raise EstimatorError(
                f"vkdnw: only convolutions, linear layers and batch norms are supported, got {type(layer).__name__}"
            )
    uses = _Uses(torch.zeros((), device=images.device, requires_grad=True))
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(uses.add).remove)
        logits = module(images.clone().requires_grad_())
    outputs = [output for _, _, output in uses.calls]
    jacobian = torch.zeros(*logits.shape, len(column), dtype=torch.float64, device=images.device)
    for k in range(logits.shape[1]):
        grads = torch.autograd.grad(logits[:, k].sum(), outputs, retain_graph=True, allow_unused=True)
        for (layer, x, _), grad in zip(uses.calls, grads, strict=True):
            if grad is not None:
                for name, values in _first_entries(layer, x, grad).items():
                    parameter = getattr(layer, name)
                    if id(parameter) in column:
                        jacobian[:, k, column[id(parameter)]] += values.double()
    return logits.detach(), jacobian


def _first_entries(layer: Any, x: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """Derivatives with respect to the first entry of each parameter of a layer, from that of its output; shape (N,) each."""
    if isinstance(layer, nn.Linear):
        x, grad = (values.reshape(len(values), -1, values.shape[-1])[:, :, 0] for values in (x, grad))
        return {"weight": (x * grad).sum(1), "bias": grad.sum(1)}
    total = grad[:, 0].flatten(1)
    if isinstance(layer, BatchNorm):
        if layer.running_mean is None or layer.running_var is None:
            raise EstimatorError("vkdnw: a BatchNorm has no running statistics, which eval mode needs")
        normalised = (x[:, 0] - layer.running_mean[0]) * (layer.running_var[0] + layer.eps).rsqrt()
        return {"weight": (normalised.flatten(1) * total).sum(1), "bias": total.sum(1)}
    padding = [each for size in reversed(layer.padding) for each in (size, size)]
    padded = F.pad(x[:, 0], padding)
    for dim, (stride, size) in enumerate(zip(layer.stride, grad.shape[2:], strict=True), start=1):
        padded = padded.narrow(dim, 0, (size - 1) * stride + 1)
        padded = padded.index_select(dim, torch.arange(0, padded.shape[dim], stride, device=x.device))
    return {"weight": (padded.flatten(1) * total).sum(1), "bias": total.sum(1)}
