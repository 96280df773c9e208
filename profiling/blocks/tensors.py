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
from sweetgrad.profiling.blocks.layers import whole_network
from sweetgrad.profiling.counting import in_memory_order
from sweetgrad.profiling.estimators._layers import eval_mode, forward_hooks, restored_buffers
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, Statistics, measures, require_real
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
    if all(id(layer.weight) in probe.seen.of_weight for layer in conv_or_linear(probe.network.module)):
        return _along_weights(probe.network, probe.seen)
    # Eval mode: BatchNorm may fail on a single image.
    with whole_network(probe) as network, eval_mode(network.module), torch.no_grad(), _watch_layers(network) as seen:
        network.module(probe.x[:1])
    return _along_weights(network, seen)


def _along_weights(network: Network, seen: _Layers) -> list[int]:
    return [seen.of_weight.get(id(weight), 0) for weight in parameters_along(network, "tensor")]


_SUMS = (
    "tensor_weight_sq_sum",
    "tensor_weight_grad_sum",
    "tensor_weight_grad_abs_sum",
    "tensor_grad_abs_sum",
    "tensor_grad_sq_sum",
    "tensor_grad_sum",
    "tensor_grad_abs_max",
)


def _sums(weight: Tensor, grad: Tensor) -> Tensor:
    """The sums of `_SUMS` of one tensor, in double precision."""
    w, g = _pair(weight, grad)
    absolute = g.abs()
    return torch.stack([w.dot(w), w.dot(g), (w * g).abs_().sum(), absolute.sum(), g.dot(g), g.sum(), absolute.max()])


def _table(rows: Sequence[Tensor], num: int) -> NDArray[np.float64]:
    """Numbers of each tensor, shape (T, num)."""
    table: NDArray[np.float64] = torch.stack(list(rows)).cpu().numpy() if rows else np.zeros((0, num))
    return table


@measures(STATISTICS["tensor_sums"], watch=_watch_layers)
def tensor_sums(probe: Probe) -> Statistics:
    """Sums over weights and gradients of every parameter tensor, in double precision."""
    require_real(probe.network.module, "tensor_sums")
    weights, vectors = (parameters_along(probe.network, axis) for axis in ("tensor", "vector"))
    # One tensor after another, which fits in the cache.
    sums = _table([_sums(weight, grad) for weight, grad in zip(weights, _gradients(weights), strict=True)], len(_SUMS))
    h = flat(_gradients(vectors))
    fisher: dict[int, float] = {}
    for layer, information in fisher_information(probe.seen.products).items():
        fisher[id(layer.weight)] = fisher.get(id(layer.weight), 0.0) + information
    return {
        "tensor_size": _sizes(weights),
        "tensor_positions": np.array(_positions(probe), np.uint32),
        "tensor_channels": np.array([weight.shape[0] for weight in weights], np.uint32),
        **dict(zip(_SUMS, sums.T, strict=True)),
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
    first, second = gradients_of_two_batches(probe, "second_batch")
    columns = _table([_agreement(a, b) for a, b in zip(first, second, strict=True)], 4).T
    names = ("tensor_snr_sum", "tensor_num_varying", "tensor_grad_var_sum", "tensor_mean_grad_abs_sum")
    return dict(zip(names, columns, strict=True))


def gradients_of_two_batches(probe: Probe, name: str) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of all weights for the batch, which are in ``.grad``, and for the second batch alone.

    The network is left with the former. ``name`` is that of the block, for messages.
    """
    if probe.second is None:
        raise EstimatorError(f"{name}: there is no second batch")
    module, weights = probe.network.module, parameters_along(probe.network, "tensor")
    first = _gradients(weights)
    before = [(parameter, parameter.grad) for parameter in module.parameters()]
    try:
        with restored_buffers(module):
            forward_backward(module, *probe.second, task=probe.task)
        second = _gradients(weights)
    finally:
        for parameter, grad in before:
            parameter.grad = grad
    return first, second


def signal_to_noise(first: Tensor, second: Tensor) -> Tensor:
    """Mean over standard deviation of the absolute values of two gradients, in double precision; 0 where they are equal."""
    a, b = first.double(), second.double()
    difference = (a - b).abs_()
    return torch.where(difference > 0, (a.abs() + b.abs()).div_(difference), 0.0)  # of NaN, 0 as well


def _agreement(first: Tensor, second: Tensor) -> Tensor:
    """The four numbers of `second_batch` of one tensor."""
    a, b = _pair(first, second)
    difference = a - b
    num_varying = (a != b).sum().double()
    return torch.stack(
        [signal_to_noise(a, b).sum(), num_varying, difference.dot(difference) / 4, (a + b).abs_().sum() / 2]
    )


@measures(STATISTICS["synflow"], needs="network", tasks=IMAGES)
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


def _pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of two tensors in the same order, if possible that in memory, shape (P,), in double precision."""
    flatten = in_memory_order if first.stride() == second.stride() else torch.flatten
    return flatten(first.detach()).double(), flatten(second.detach()).double()


def _gradients(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Their gradients; 0 where there is none."""
    return [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors]


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
