"""Training-free estimators that share the one backward pass of the histogram.

An estimator is a callable ``estimator(network) -> float``, registered in the entry-point group ``sweetgrad.estimators``. It is
called after the backward pass, with the gradients in place, and leaves them as they are for the next one; what it returns is
stored beside the histogram.
"""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from sweetgrad.profiling.spaces.protocol import Network

__all__ = ["Estimator", "grad_norm", "snip"]

Estimator: TypeAlias = Callable[[Network], float]
"""From a network with gradients in place to its score."""


def grad_norm(network: Network) -> float:
    """Sum over conv and linear weights (parameters of two or more dimensions) of the L2 norm of the gradient.

    Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. A missing gradient counts as 0.

    Examples
    --------
    >>> import torch
    >>> from sweetgrad.profiling.spaces import Layer
    >>> module = torch.nn.Linear(2, 1)
    >>> module(torch.tensor([3.0, 4.0])).backward()
    >>> grad_norm(Network(module, (Layer("head", "head", (module,)),)))
    5.0
    """
    return float(sum(weight.grad.double().norm() for weight in _weights(network) if weight.grad is not None))


def snip(network: Network) -> float:
    """Sum over conv and linear weights of ``abs(w * dJ/dw)`` (Lee et al., "SNIP", ICLR 2019); a missing gradient counts as 0."""
    return float(sum((w.detach() * w.grad).abs().double().sum() for w in _weights(network) if w.grad is not None))


def _weights(network: Network) -> list[nn.Parameter]:
    return [parameter for parameter in network.module.parameters() if parameter.ndim >= 2]
