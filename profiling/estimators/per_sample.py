"""Gradients of every weight for every image apart, layer by layer during one backward pass, and never all at once.

Shape legend: N = images, P = weights of one layer (or of some of its output channels).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from sweetgrad.profiling.estimators._patches import BatchNorm, patched_forward
from sweetgrad.profiling.estimators.protocol import EstimatorError, weights_of

__all__ = ["Receive", "UnsupportedLayerError", "each_gradient"]

Receive: TypeAlias = Callable[[nn.Parameter, Tensor], None]
"""Takes a weight and gradients of some or all of its entries, image by image, shape (N, P)."""

_MAX_VALUES = 1 << 24
"""Gradients held at a time: 64 MiB of single precision."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class UnsupportedLayerError(Exception):
    """A weight is used in a way that only a pass for each image alone can follow."""


def each_gradient(
    module: nn.Module,
    objective: Callable[[], Tensor],
    receive: Receive,
    *,
    batch_norm: Literal["instance", "removed"],
) -> None:
    """Hand ``receive`` the gradients of an objective that is a sum over images, for every conv and linear weight.

    Parameters
    ----------
    module
        The network, which is left as it was.
    objective
        Runs the network on the whole batch, and sums over images what is to be differentiated.
    receive
        Called for each weight that the backward pass reaches, one or more times with different entries of the weight; what is
        left out has gradient 0.
    batch_norm
        ``instance``: every image is normalised by its own statistics, as in a batch of one. ``removed``: not at all.

    Raises
    ------
    UnsupportedLayerError
        If some weight belongs neither to a convolution nor to a linear layer, or is used outside of it.
    EstimatorError
        If instance statistics do not exist: one value for each channel.
    """
    weights = [weight for weight in weights_of(module) if weight.requires_grad]
    taken = {id(p) for m in module.modules() if _is_supported(m) for p in m.parameters(recurse=False)}
    if any(id(weight) not in taken for weight in weights):
        raise UnsupportedLayerError
    collector = _Collector(receive)

    def replacement(m: nn.Module) -> Callable[..., Tensor] | None:
        if isinstance(m, BatchNorm):
            return partial(_instance_norm, m) if batch_norm == "instance" else _identity
        if _is_supported(m) and m.weight.requires_grad:
            return partial(_layer, m, collector)
        return None

    with patched_forward(module, replacement):
        total = objective()
    # A weight with a gradient of its own was used beside its layer, out of our sight.
    outside = torch.autograd.grad(total, [collector.anchor, *weights], allow_unused=True)[1:]
    if any(grad is not None for grad in outside):
        raise UnsupportedLayerError
    collector.finish()


class _Collector:
    """Passes gradients on; those of a weight that is used several times are added up first."""

    def __init__(self, receive: Receive) -> None:
        self.anchor = torch.zeros((), requires_grad=True)  # lets the graph begin at the first layer
        self._receive = receive
        self._uses: dict[nn.Parameter, int] = {}
        self._sums: dict[nn.Parameter, Tensor] = {}

    def note_use(self, weight: nn.Parameter) -> None:
        self._uses[weight] = self._uses.get(weight, 0) + 1

    def take(self, weight: nn.Parameter, parts: Iterator[Tensor]) -> None:
        """Gradients of all output channels in order, some channels at a time, each (N, channels, ...)."""
        if self._uses[weight] == 1:
            for part in parts:
                self._receive(weight, part.flatten(1))
            return
        whole = torch.cat(list(parts), dim=1).flatten(1)
        self._sums[weight] = self._sums[weight] + whole if weight in self._sums else whole

    def finish(self) -> None:
        for weight, grads in self._sums.items():
            self._receive(weight, grads)


def _is_supported(module: nn.Module) -> bool:
    # A subclass with a forward of its own may do anything.
    if isinstance(module, _CONVOLUTIONS):
        is_plain = any(type(module).forward is layer.forward for layer in _CONVOLUTIONS)
        return is_plain and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def _layer(module: nn.Module, collector: _Collector, x: Tensor) -> Tensor:
    assert isinstance(module.weight, nn.Parameter)
    collector.note_use(module.weight)
    run = _Linear if isinstance(module, nn.Linear) else _Convolution
    return run.apply(x, collector.anchor, module, collector)  # type: ignore[no-any-return, no-untyped-call]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, conv: Any, collector: _Collector) -> Tensor:
        ctx.save_for_backward(x)
        ctx.conv, ctx.collector = conv, collector
        return conv._conv_forward(x, conv.weight, conv.bias)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (grad,), conv = ctx.saved_tensors, grads, ctx.conv
        weight = conv.weight.detach()
        ctx.collector.take(conv.weight, _conv_weight_gradients(grad, x, weight, conv))
        before = _convolution_backward(grad, x, weight, conv, (True, False))[0] if ctx.needs_input_grad[0] else None
        return before, None, None, None


def _conv_weight_gradients(grad: Tensor, x: Tensor, weight: Tensor, conv: Any) -> Iterator[Tensor]:
    num_images, num_channels = len(x), len(weight)
    if weight[0, 0].numel() == 1 and conv.groups == 1 and set(conv.stride) == {1} and set(conv.padding) == {0}:
        # 1x1: one product of matrices for each image.
        yield from _products(grad.flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2))
        return
    # Groups cannot be cut between their output channels.
    step = max(1, _MAX_VALUES // (num_images * weight[0].numel())) if conv.groups == 1 else num_channels
    for start in range(0, num_channels, step):
        some = slice(start, start + step)
        yield torch.stack(
            [
                _convolution_backward(grad[n : n + 1, some], x[n : n + 1], weight[some], conv, (False, True))[1]
                for n in range(num_images)
            ]
        )


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, conv: Any, mask: tuple[bool, bool]
) -> tuple[Tensor, ...]:
    settings = (list(conv.stride), list(conv.padding), list(conv.dilation), False, [0] * len(conv.stride), conv.groups)
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *settings, [*mask, False])  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, linear: nn.Linear, collector: _Collector) -> Tensor:
        ctx.save_for_backward(x)
        ctx.linear, ctx.collector = linear, collector
        return F.linear(x, linear.weight, linear.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (grad,), linear = ctx.saved_tensors, grads, ctx.linear
        rows = [value.reshape(len(value), -1, value.shape[-1]) for value in (grad, x)]
        ctx.collector.take(linear.weight, _products(*rows))
        return (grad @ linear.weight.detach() if ctx.needs_input_grad[0] else None), None, None, None


def _products(grad_NLO: Tensor, x_NLI: Tensor) -> Iterator[Tensor]:
    """Sum over positions L of the outer products, shape (N, O, I), some of the O at a time."""
    step = max(1, _MAX_VALUES // (len(x_NLI) * x_NLI.shape[2]))
    for start in range(0, grad_NLO.shape[2], step):
        yield torch.bmm(grad_NLO[:, :, start : start + step].transpose(1, 2), x_NLI)


def _instance_norm(norm: Any, x: Tensor) -> Tensor:
    if x[0, 0].numel() < 2:
        raise EstimatorError("a BatchNorm sees one value for each channel of an image, which has no variance")
    return F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)


def _identity(x: Tensor) -> Tensor:
    return x
