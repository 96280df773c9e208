"""Training-free estimators that share the one backward pass of the histogram.

An estimator is a callable ``estimator(network) -> float``, registered in the entry-point group ``sweetgrad.estimators``. It is called
after the backward pass, with the gradients in place; what it returns is stored beside the histogram.
"""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from sweetgrad.profiling.spaces.protocol import Network

__all__ = ["Estimator", "grad_norm", "snip"]

Estimator: TypeAlias = Callable[[Network], float]
"""From a network with gradients in place to its score."""


def grad_norm(network: Network) -> float:
    """Sum over convolutions and linear layers of the L2 norm of the weight's gradient (Abdelfattah et al., ICLR 2021)."""
    return float(sum(weight.grad.double().norm() for weight in _weights(network) if weight.grad is not None))


def snip(network: Network) -> float:
    """Sum over convolution and linear weights of ``abs(w * dJ/dw)`` (Lee et al., ICLR 2019)."""
    return float(sum((w.detach() * w.grad).abs().double().sum() for w in _weights(network) if w.grad is not None))


def _weights(network: Network) -> list[nn.Parameter]:
    return [parameter for parameter in network.module.parameters() if parameter.ndim >= 2]
