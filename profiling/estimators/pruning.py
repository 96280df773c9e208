"""Scores of pruning at initialisation, summed over a network: gradient norm, SNIP, Fisher, SynFlow."""

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sweetgrad.profiling.estimators._layers import forward_hooks, without_batch_norm
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, estimator, require_real, weights_of
from sweetgrad.profiling.spaces.protocol import Network, kind_of


def grad_norm(probe: Probe) -> float:
    """Sum over conv and linear layers of the L2 norm of the gradient of their weight.

    Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. A missing gradient counts as 0.
    """
    return float(sum(w.grad.abs().double().norm() for w in weights_of(probe.network.module) if w.grad is not None))


def snip(probe: Probe) -> float:
    """Sum over conv and linear weights of ``abs(w * dJ/dw)`` (Lee et al., "SNIP", ICLR 2019); a missing gradient counts as 0."""
    pairs = [(w.detach(), w.grad) for w in weights_of(probe.network.module) if w.grad is not None]
    return float(sum((w * grad).abs().double().sum() for w, grad in pairs))


@contextmanager
def channel_products(network: Network) -> Iterator[dict[int, tuple[nn.Module, Tensor]]]:
    """(layer, sum over positions of output * gradient, shape (N, channels)) for every call of a conv or linear layer."""
    products: dict[int, tuple[nn.Module, Tensor]] = {}
    num_calls = itertools.count()

    def on_output(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        value, call = output.detach(), next(num_calls)

        def on_gradient(grad: Tensor) -> None:
            product = value * grad
            channel = 1 if isinstance(layer, nn.modules.conv._ConvNd) else product.ndim - 1
            positions = [dim for dim in range(1, product.ndim) if dim != channel]
            # Estimators that need the graph run passes through it first; the shared pass is the last and overwrites them.
            products[call] = layer, product.sum(positions) if positions else product

        output.register_hook(on_gradient)

    with forward_hooks(conv_or_linear(network.module), on_output):
        yield products


@estimator(watch=channel_products, tasks=IMAGES)
def fisher(probe: Probe) -> float:
    r"""Sum over the output channels c of conv and linear layers of their Fisher information, times the weights of the channel.

    .. math:: \frac{|w_c|}{2N} \sum_n (\sum_{hw} a_{nchw}\, \partial J / \partial a_{nchw})^2

    with the outputs a of the layer: Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018;
    Turner et al., "BlockSwap", ICLR 2020; as in Abdelfattah et al., ICLR 2021.
    """
    require_real(probe.network.module, "fisher")
    if not any(True for _ in conv_or_linear(probe.network.module)):
        raise EstimatorError("fisher: the network has no convolution and no linear layer")
    return float(sum(fisher_information(probe.seen).values()))


def fisher_information(products: Mapping[int, tuple[nn.Module, Tensor]]) -> dict[nn.Module, float]:
    """The terms of `fisher` by layer, from what `channel_products` yields."""
    by_layer: dict[nn.Module, list[Tensor]] = {}
    for layer, product in products.values():
        by_layer.setdefault(layer, []).append(product)
    return {layer: _information(layer, torch.stack(parts).sum(0)) for layer, parts in by_layer.items()}


def _information(layer: nn.Module, product_NC: Tensor) -> float:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    per_channel = weight.numel() // product_NC.shape[1]
    return float(product_NC.double().square().mean(0).sum() / 2 * per_channel)


def conv_or_linear(module: nn.Module) -> Iterator[nn.Module]:
    """Convolutions and linear layers of a network."""
    return (m for m in module.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear))


@estimator(needs="network", tasks=IMAGES)
def synflow(probe: Probe) -> float:
    r"""Logarithm of SynFlow: ``sum abs(w * dR/dw)`` over conv and linear weights, R the sum of the outputs for an image of ones.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020. BatchNorm is
    removed, every parameter is replaced by its absolute value, and everything is computed in double precision, since R of a deep
    network is too large for single precision.
    """
    require_real(probe.network.module, "synflow")
    total = sum(product for _, product in flow_gradients(probe.network.module, probe.x[:1]))
    if total == 0:
        raise EstimatorError(
            "synflow: no signal flows from the input to the output, and log(0) is -inf", score=-math.inf
        )
    return math.log(total)


def flow_gradients(module: nn.Module, image: Tensor) -> list[tuple[nn.Parameter, float]]:
    """``sum abs(w * dR/dw)`` of every conv and linear weight; R as in `synflow`, for an image of ones like ``image``."""
    positive = {name: p.detach().double().abs().requires_grad_() for name, p in module.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in module.named_buffers()}
    weights = [
        (parameter, positive[name]) for name, parameter in module.named_parameters() if kind_of(parameter) == "weight"
    ]
    ones = torch.ones_like(image, dtype=torch.float64)
    with without_batch_norm(module):
        flow = functional_call(module, {**positive, **buffers}, (ones,)).sum()
    grads = torch.autograd.grad(flow, [value for _, value in weights], allow_unused=True)
    return [
        (parameter, 0.0 if grad is None else float((value.detach() * grad).abs().sum()))
        for (parameter, value), grad in zip(weights, grads, strict=True)
    ]
