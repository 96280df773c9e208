"""Baselines: numbers of parameters, and multiply-adds."""

import math

import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators._layers import forward_hooks
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, estimator, weights_of


@estimator(needs="network")
def params(probe: Probe) -> float:
    """Number of parameters, including those on dead paths."""
    return float(sum(parameter.numel() for parameter in probe.network.module.parameters()))


@estimator(needs="network")
def params_weights(probe: Probe) -> float:
    """Number of conv and linear weights."""
    return float(sum(weight.numel() for weight in weights_of(probe.network.module)))


def params_live(probe: Probe) -> float:
    """Number of conv and linear weights whose gradient is finite and not exactly 0."""
    grads = [weight.grad for weight in weights_of(probe.network.module) if weight.grad is not None]
    return float(sum(int(((grad != 0) & grad.isfinite()).sum()) for grad in grads))


@estimator(needs="network")
def flops(probe: Probe) -> float:
    """Multiply-adds of all convolutions and linear layers for one image; norms, pooling and additions are not counted.

    Operations on dead paths are included, as in the tables of the benchmarks. Counted by running one image.
    """
    module = probe.build().module
    total: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        # Each output value uses all weights of its channel; in a transposed convolution, each input value does.
        values = inputs[0] if isinstance(layer, nn.modules.conv._ConvTransposeNd) else output
        total.append(values.numel() * math.prod(weight.shape[1:]))

    layers = (m for m in module.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear))
    with torch.no_grad(), forward_hooks(layers, count):
        module.eval()(probe.x[:1])  # eval mode: BatchNorm may fail on a single image
    if not total:
        raise EstimatorError("flops: the network ran no convolution and no linear layer")
    return float(sum(total))
