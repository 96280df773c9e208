"""Sums over the entries of each parameter tensor: in the pass of the counts, over two batches, and of SynFlow.

Shape legend: P = entries of all tensors, one tensor after another; T = tensors.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.estimators._layers import forward_hooks, restored_buffers
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, Statistics, measures, require_real
from sweetgrad.profiling.estimators.pruning import (
    channel_products,
    conv_or_linear,
    fisher_information,
    flow_gradients,
)
from sweetgrad.profiling.measure import forward_backward
from sweetgrad.profiling.spaces.protocol import Network
from sweetgrad.store import STATISTICS, ProfileSpec


def parameters_along(network: Network, axis: str) -> list[Tensor]:
    """Parameters of an axis in the order of its names."""
    return [parameter for _, parameter in network.named_parameters()[axis].values()]


def layers_along(network: Network, axis: str) -> NDArray[np.int64]:
    """Position of the layer of each parameter of an axis, shape (T,)."""
    place = {layer.name: row for row, layer in enumerate(network.layers)}
    return np.array([place[layer] for layer, _ in network.named_parameters()[axis].values()], dtype=np.int64)


@dataclass
class _Layers:
    """Output positions of each weight for one image, by its identity, in the first pass; and what Fisher information needs."""

    of_weight: dict[int, int] = field(default_factory=dict)
    products: dict[int, tuple[nn.Module, Tensor]] = field(default_factory=dict)
    is_over: bool = False

    def add(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        if self.is_over or not isinstance(weight, Tensor):
            return
        is_transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        values, channels = (inputs[0], weight.shape[0]) if is_transposed else (output, _num_outputs(layer, weight))
        positions = values.numel() // (len(values) * channels)
        self.of_weight[id(weight)] = self.of_weight.get(id(weight), 0) + positions

    def end(self, *_: object) -> None:
        self.is_over = True


def _num_outputs(layer: nn.Module, weight: Tensor) -> int:
    channels = getattr(layer, "out_channels", weight.shape[0])
    assert isinstance(channels, int)
    return channels


@contextmanager
def _watch_layers(network: Network) -> Iterator[_Layers]:
    seen = _Layers()
    with (
        channel_products(network) as seen.products,
        forward_hooks(conv_or_linear(network.module), seen.add),
        forward_hooks(iter([network.module]), seen.end),
    ):
        yield seen


def _positions(probe: Probe) -> list[int]:
    """Output positions of each weight tensor; the whole network runs one image if the network skips some."""
    network, seen = probe.network, probe.seen
    if any(id(layer.weight) not in seen.of_weight for layer in conv_or_linear(network.module)):
        network = probe.build()
        with torch.no_grad(), _watch_layers(network) as seen:
            network.module.eval()(probe.x[:1])  # eval mode: BatchNorm may fail on a single image
    return [seen.of_weight.get(id(weight), 0) for weight in parameters_along(network, "tensor")]


@measures(STATISTICS["tensor_sums"], watch=_watch_layers)
def tensor_sums(probe: Probe) -> Statistics:
    """Sums over weights and gradients of every parameter tensor, in double precision."""
    require_real(probe.network.module, "tensor_sums")
    weights, vectors = (parameters_along(probe.network, axis) for axis in ("tensor", "vector"))
    w, g = flat(weights), _flat_gradients(weights)
    sums = {
        "weight_sq_sum": w * w,
        "weight_grad_sum": w * g,
        "weight_grad_abs_sum": np.abs(w * g),
        "grad_abs_sum": np.abs(g),
        "grad_sq_sum": g * g,
        "grad_sum": g,
    }
    h = _flat_gradients(vectors)
    fisher: dict[int, float] = {}
    for layer, information in fisher_information(probe.seen.products).items():
        fisher[id(layer.weight)] = fisher.get(id(layer.weight), 0.0) + information
    return {
        "tensor_size": _sizes(weights),
        "tensor_positions": np.array(_positions(probe), np.uint32),
        "tensor_channels": np.array([weight.shape[0] for weight in weights], np.uint32),
        **{f"tensor_{name}": _by_tensor(np.add, terms, weights) for name, terms in sums.items()},
        "tensor_grad_abs_max": _by_tensor(np.maximum, np.abs(g), weights),
        "tensor_fisher_sum": np.array([fisher.get(id(weight), 0.0) for weight in weights]),
        "vector_size": _sizes(vectors),
        "vector_grad_sum": _by_tensor(np.add, h, vectors),
        "vector_grad_sq_sum": _by_tensor(np.add, h * h, vectors),
        "vector_grad_abs_max": _by_tensor(np.maximum, np.abs(h), vectors),
    }


def second_batch_settings(spec: ProfileSpec, batch: Batch) -> dict[str, Any]:
    """SHA-256 of the second batch; raises ``ValueError`` if there is none."""
    if batch.second is None:
        raise ValueError("a block needs a second batch, but the batch has none: Batch(…, second=…)")
    return {"batch_sha256": batch.second.sha256}


@measures(STATISTICS["second_batch"], settings=second_batch_settings)
def second_batch(probe: Probe) -> Statistics:
    """Mean and standard deviation, over two batches, of the gradient of every weight.

    Li et al., "ZiCo", ICLR 2023, with K = 2 batches and gradients set to zero between them.
    """
    require_real(probe.network.module, "second_batch")
    weights = parameters_along(probe.network, "tensor")
    first, second = gradients_of_two_batches(probe, "second_batch")
    return {
        "tensor_snr_sum": _by_tensor(np.add, signal_to_noise(first, second), weights),
        "tensor_num_varying": _by_tensor(np.add, (first != second).astype(np.int64), weights),
        "tensor_grad_var_sum": _by_tensor(np.add, (first - second) ** 2 / 4, weights),
        "tensor_mean_grad_abs_sum": _by_tensor(np.add, np.abs(first + second) / 2, weights),
    }


def gradients_of_two_batches(probe: Probe, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients of all weights for the batch, which are in ``.grad``, and for the second batch alone; shape (P,) each.

    The network is left with the former. ``name`` is that of the block, for messages.
    """
    if probe.second is None:
        raise EstimatorError(f"{name}: there is no second batch")
    module, weights = probe.network.module, parameters_along(probe.network, "tensor")
    first = _flat_gradients(weights)
    before = [(parameter, parameter.grad) for parameter in module.parameters()]
    try:
        with restored_buffers(module):
            forward_backward(module, *probe.second, task=probe.task)
        second = _flat_gradients(weights)
    finally:
        for parameter, grad in before:
            parameter.grad = grad
    return first, second


def signal_to_noise(first_P: NDArray[np.float64], second_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over standard deviation of the absolute values of two gradients; 0 where they are equal."""
    mean, std = (np.abs(first_P) + np.abs(second_P)) / 2, np.abs(first_P - second_P) / 2
    return np.divide(mean, std, out=np.zeros_like(std), where=std > 0)


@measures(STATISTICS["synflow"], needs="network")
def synflow(probe: Probe) -> Statistics:
    """SynFlow of every weight tensor (Tanaka et al., NeurIPS 2020), as the estimator `synflow` sums it."""
    module = probe.network.module
    require_real(module, "synflow")
    flow = {id(weight): product for weight, product in flow_gradients(module, probe.x[:1])}
    weights = parameters_along(probe.network, "tensor")
    return {"tensor_flow_sum": np.array([flow.get(id(weight), 0.0) for weight in weights])}


def _sizes(tensors: Sequence[Tensor]) -> NDArray[np.uint32]:
    return np.array([tensor.numel() for tensor in tensors], np.uint32)


def flat(tensors: Sequence[Tensor]) -> NDArray[np.float64]:
    """Entries of all tensors, shape (P,), in double precision."""
    values = [tensor.detach().reshape(-1) for tensor in tensors]
    joined: NDArray[np.float64] = (torch.cat(values) if values else torch.zeros(0)).double().cpu().numpy()
    return joined


def _flat_gradients(tensors: Sequence[Tensor]) -> NDArray[np.float64]:
    """Gradients of all tensors, shape (P,); 0 where there is none."""
    return flat([tensor.new_zeros(tensor.shape) if tensor.grad is None else tensor.grad for tensor in tensors])


def _by_tensor(reduce: np.ufunc, terms_P: NDArray[Any], tensors: Sequence[Tensor]) -> NDArray[Any]:
    """Reduce the terms of each tensor, shape (T,)."""
    lengths = [tensor.numel() for tensor in tensors]
    if not lengths:
        return np.zeros(0)
    assert min(lengths) > 0
    assert math.fsum(lengths) == len(terms_P)
    starts = [0, *itertools.accumulate(lengths)][:-1]
    reduced: NDArray[Any] = reduce.reduceat(terms_P, starts)
    return reduced
