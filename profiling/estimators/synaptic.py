"""SynFlow: how much signal flows through the weights, whatever the data."""

import math

import torch
from torch.func import functional_call

from sweetgrad.profiling.estimators._patches import without_batch_norm
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, estimator, require_real
from sweetgrad.profiling.spaces.protocol import kind_of

__all__ = ["synflow"]


@estimator(needs="network")
def synflow(probe: Probe) -> float:
    r"""Logarithm of SynFlow: ``sum abs(w * dR/dw)`` over conv and linear weights, R the sum of the outputs for an image of ones.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020. BatchNorm is
    left out, every parameter is replaced by its absolute value, and all is computed in double precision, since R of a deep
    network is too large for single precision.
    """
    module = probe.network.module
    require_real(module, "synflow")
    positive = {name: p.detach().double().abs().requires_grad_() for name, p in module.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in module.named_buffers()}
    weights = [p for p in positive.values() if kind_of(p) == "weight"]
    ones = torch.ones_like(probe.x[:1], dtype=torch.float64)
    with without_batch_norm(module):
        flow = functional_call(module, {**positive, **buffers}, (ones,)).sum()
    grads = torch.autograd.grad(flow, weights, allow_unused=True)
    total = sum(float((w.detach() * g).abs().sum()) for w, g in zip(weights, grads, strict=True) if g is not None)
    if total == 0:
        raise EstimatorError("synflow: nothing flows from the input to the output, and log(0) is -inf", score=-math.inf)
    return math.log(total)
