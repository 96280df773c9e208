"""Per-sample gradients, layer by layer during one backward pass and never all at once; and GradSign, which they are for.

Shape legend: N = images, P = weights of one layer (or some of its output channels).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from sweetgrad.profiling.estimators._layers import (
    BatchNorm,
    convolution_backward,
    identity,
    is_plain_layer,
    patched_forward,
    restored_buffers,
)
from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, estimator, require_real, weights_of
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION

Entries: TypeAlias = tuple[slice | int, ...]
"""Index of some entries of a weight: ``weight[entries].reshape(-1)`` has shape (P,)."""

Receive: TypeAlias = Callable[[nn.Parameter, Entries, Tensor], None]
"""Called with a weight, the index of some or all of its entries, and their per-sample gradients, shape (N, P)."""

_MAX_VALUES = 1 << 24
"""Gradients in memory at a time: 64 MiB in single precision."""

_MAX_VALUES_BY_IMAGE = 1 << 27
"""The same where each image has a pass of its own: 512 MiB, since a second group of weights doubles the passes."""


class UnsupportedLayerError(Exception):
    """A weight is used in a way that requires a separate pass for each image."""


def per_sample_gradients(
    module: nn.Module,
    objective: Callable[[], Tensor],
    receive: Receive,
    *,
    batch_norm: Literal["instance", "removed"],
) -> None:
    """Call ``receive`` with the per-sample gradients of an objective that is a sum over images, for every conv and linear weight.

    Parameters
    ----------
    module
        The network, which is not changed.
    objective
        Runs the network on the whole batch and returns the sum over images to differentiate.
    receive
        Called for each weight that the backward pass reaches, one or more times with different entries of the weight; all others
        have gradient 0.
    batch_norm
        ``instance``: every image is normalised by its own statistics, as in a batch of one. ``removed``: no normalisation.

    Raises
    ------
    UnsupportedLayerError
        If a weight does not belong to a convolution or a linear layer, or is used outside of it.
    EstimatorError
        If instance statistics are undefined, with one value for each channel.
    """
    weights = [weight for weight in weights_of(module) if weight.requires_grad]
    supported = {id(p) for m in module.modules() if is_plain_layer(m) for p in m.parameters(recurse=False)}
    if any(id(weight) not in supported for weight in weights):
        raise UnsupportedLayerError
    collector = _Collector(receive)

    def replacement(m: nn.Module) -> Callable[..., Tensor] | None:
        if isinstance(m, BatchNorm):
            return partial(_instance_norm, m) if batch_norm == "instance" else identity
        if is_plain_layer(m) and m.weight.requires_grad:
            return partial(_layer, m, collector)
        return None

    with patched_forward(module, replacement):
        total = objective()
    # A weight with a gradient of its own was used outside of its layer.
    outside = torch.autograd.grad(total, [collector.anchor, *weights], allow_unused=True)[1:]
    if any(grad is not None for grad in outside):
        raise UnsupportedLayerError
    collector.finish()


class _Collector:
    """Passes on per-sample gradients; those of a weight that is used several times are summed first."""

    def __init__(self, receive: Receive) -> None:
        self.anchor = torch.zeros((), requires_grad=True)  # so that the graph starts at the first layer
        self._receive = receive
        self._uses: dict[nn.Parameter, int] = {}
        self._sums: dict[nn.Parameter, Tensor] = {}

    def note_use(self, weight: nn.Parameter) -> None:
        self._uses[weight] = self._uses.get(weight, 0) + 1

    def is_used_once(self, weight: nn.Parameter) -> bool:
        return self._uses[weight] == 1

    def take(self, weight: nn.Parameter, parts: Iterator[tuple[Entries, Tensor]]) -> None:
        """Gradients in parts, each (N, ...); unless the weight is used once, of output channels in order, (N, channels, ...)."""
        if self.is_used_once(weight):
            for entries, part in parts:
                self._receive(weight, entries, part.flatten(1))
            return
        whole = torch.cat([part for _, part in parts], dim=1).flatten(1)
        self._sums[weight] = self._sums[weight] + whole if weight in self._sums else whole

    def finish(self) -> None:
        for weight, grads in self._sums.items():
            self._receive(weight, (), grads)


def _layer(module: nn.Module, collector: _Collector, x: Tensor) -> Tensor:
    assert isinstance(module.weight, nn.Parameter)
    collector.note_use(module.weight)
    run = _Linear if isinstance(module, nn.Linear) else _Convolution
    output: Tensor = run.apply(x, collector.anchor, module, collector)  # type: ignore[no-untyped-call]  # torch's is untyped
    return output


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, conv: Any, collector: _Collector) -> Tensor:
        ctx.save_for_backward(x)
        ctx.conv, ctx.collector = conv, collector
        output: Tensor = conv._conv_forward(x, conv.weight, conv.bias)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (grad,), conv = ctx.saved_tensors, grads, ctx.conv
        weight = conv.weight.detach()
        in_order = not ctx.collector.is_used_once(conv.weight)
        ctx.collector.take(conv.weight, _conv_weight_gradients(grad, x, weight, conv, in_order=in_order))
        before = convolution_backward(grad, x, weight, conv, (True, False))[0] if ctx.needs_input_grad[0] else None
        return before, None, None, None


def _conv_weight_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, conv: Any, *, in_order: bool
) -> Iterator[tuple[Entries, Tensor]]:
    """Per-sample gradients by output channel, in order; or, unless ``in_order``, by kernel position."""
    if conv.groups == 1 and set(conv.stride) == {1} and weight.ndim == 4 and not in_order:
        yield from _by_kernel_position(grad, x, weight, conv)
        return
    num_images, num_channels = len(x), len(weight)
    # A grouped convolution cannot be split by output channel.
    step = max(1, _MAX_VALUES // (num_images * weight[0].numel())) if conv.groups == 1 else num_channels
    for start in range(0, num_channels, step):
        some = slice(start, start + step)
        grads = [
            convolution_backward(grad[n : n + 1, some], x[n : n + 1], weight[some], conv, (False, True))[1]
            for n in range(num_images)
        ]
        yield (some,), torch.stack(grads)


def _by_kernel_position(grad: Tensor, x: Tensor, weight: Tensor, conv: Any) -> Iterator[tuple[Entries, Tensor]]:
    """Each kernel position sees a shifted image: one matrix product per image, without copying the shifted images.

    Rows of the padded image are contiguous in memory, so a shift by rows and columns is one offset, if the gradient is padded to
    rows of the same length.
    """
    (pad_y, pad_x), (step_y, step_x) = conv.padding, conv.dilation
    (num, _, height, width), (size_y, size_x) = grad.shape, weight.shape[2:]
    row = x.shape[3] + 2 * pad_x
    is_point = size_y == size_x == 1 and not (pad_y or pad_x)
    padded = x.movedim(1, -1) if is_point else F.pad(x.movedim(1, -1), (0, 0, pad_x, pad_x, pad_y, pad_y + 1))
    images = padded.reshape(num, -1, x.shape[1])
    # F.pad copies even if there is nothing to add.
    in_rows = grad.movedim(1, -1)
    grads = (F.pad(in_rows, (0, 0, 0, row - width)) if row > width else in_rows).reshape(num, height * row, -1)
    for y, z in itertools.product(range(size_y), range(size_x)):
        shift = y * step_y * row + z * step_x
        for some, products in _products(grads, images[:, shift : shift + height * row]):
            yield (some, slice(None), y, z), products


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
        ctx.collector.take(linear.weight, (((some,), products) for some, products in _products(*rows)))
        return (grad @ linear.weight.detach() if ctx.needs_input_grad[0] else None), None, None, None


def _products(grad_NLO: Tensor, x_NLI: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Sum over positions L of the outer products, shape (N, O, I), in blocks of O."""
    step = max(1, _MAX_VALUES // (len(x_NLI) * x_NLI.shape[2]))
    for start in range(0, grad_NLO.shape[2], step):
        some = slice(start, start + step)
        yield some, torch.bmm(grad_NLO[:, :, some].transpose(1, 2), x_NLI)


def _rows(x: Tensor) -> Tensor:
    """Images (N, C, ...) as (N, positions, C), which is the memory order of channels-last tensors."""
    return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


def _like_images(rows: Tensor, x: Tensor) -> Tensor:
    """Inverse of `_rows`, in the shape of ``x``."""
    return rows.view(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1)


def _instance_norm(norm: Any, x: Tensor) -> Tensor:
    """Output of a BatchNorm in train mode that normalises every image separately.

    Raises
    ------
    EstimatorError
        If an image has only one value per channel.
    """
    if x[0, 0].numel() < 2:
        raise EstimatorError("a BatchNorm gets only one value per channel of an image, which has no variance")
    weight = torch.ones_like(x[0, :, 0]) if norm.weight is None else norm.weight.detach()
    bias = torch.zeros_like(weight) if norm.bias is None else norm.bias.detach()
    # The function must not return a view, which an in-place ReLU behind it could not change.
    output: Tensor = _InstanceNorm.apply(_rows(x), weight, bias, norm.eps)  # type: ignore[no-untyped-call]  # torch's is untyped
    return _like_images(output, x)


class _InstanceNorm(torch.autograd.Function):
    """On `_rows`, in channels-last order: torch's own converts to another format and back, and is three times as slow."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean = rows.mean(1, keepdim=True)
        variance = (rows - mean).square_().mean(1, keepdim=True)
        inverse = (variance + eps).rsqrt_()
        scale = inverse * weight
        ctx.save_for_backward(rows, mean, inverse, scale)
        return torch.addcmul(bias - mean * scale, rows, scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (rows, mean, inverse, scale), (grad,) = ctx.saved_tensors, grads
        mean_grad = grad.mean(1, keepdim=True)
        # scale * (grad - mean(grad) - x^ * mean(grad * x^)), with the normalised x^ = (x - mean) * inverse written out.
        slope = scale * inverse.square() * ((grad * rows).mean(1, keepdim=True) - mean_grad * mean)
        before = torch.addcmul(slope * mean - scale * mean_grad, grad, scale).addcmul_(rows, slope, value=-1)
        return before, None, None, None


@estimator(needs="network")
def gradsign(probe: Probe) -> float:
    r"""Sum over conv and linear weights k of ``abs(sum_n sign(g_nk))``.

    Zhang & Jia, "GradSign: Model Performance Inference with Theoretical Insights", ICLR 2022. :math:`g_{nk}` is the gradient of
    the loss of image n as a batch of one in train mode, so BatchNorm uses its own statistics. A network with weights in other
    layers than convolutions and linear layers is run image by image, as are sequences and utterances.
    """
    module = probe.network.module
    require_real(module, "gradsign")
    if not any(True for _ in weights_of(module)):
        raise EstimatorError("gradsign: the network has no conv or linear weight")
    total = torch.zeros((), dtype=torch.float64, device=probe.x.device)

    def receive(weight: nn.Parameter, entries: Entries, grads_NP: Tensor) -> None:
        total.add_(grads_NP.sign().sum(0).abs().sum(dtype=torch.float64))

    each_image_alone(probe, "gradsign", receive, total.zero_)
    return float(total)


def each_image_alone(probe: Probe, name: str, receive: Receive, start_again: Callable[[], object]) -> None:
    """Call ``receive`` with the gradients of the loss of each image as a batch of one in train mode, for every weight.

    Examples of other tasks take a pass each.

    Parameters
    ----------
    probe
        The network and its batch.
    name
        Name of the estimator or block, for messages.
    receive
        As in `per_sample_gradients`.
    start_again
        Called if a weight turns out to need a pass for each image, after which everything is received once more.

    Raises
    ------
    EstimatorError
        If a norm has too few values.
    """
    module = probe.network.module
    if probe.task is not IMAGE_CLASSIFICATION:
        _image_by_image(probe, receive)
        return
    try:
        per_sample_gradients(
            module,
            lambda: F.cross_entropy(module(probe.x), probe.y, reduction="sum"),
            receive,
            batch_norm="instance",
        )
    except UnsupportedLayerError:
        start_again()
        _image_by_image(probe, receive)
    except EstimatorError as error:
        raise EstimatorError(f"{name}: {error}") from None


def _image_by_image(probe: Probe, receive: Receive) -> None:
    """A pass for each image and each group of weights whose gradients for all images fit in memory."""
    module = probe.network.module
    group: list[nn.Parameter] = []
    for weight in (weight for weight in weights_of(module) if weight.requires_grad):
        if group and len(probe.x) * sum(p.numel() for p in [*group, weight]) > _MAX_VALUES_BY_IMAGE:
            _receive_group(probe, group, receive)
            group = []
        group.append(weight)
    _receive_group(probe, group, receive)


def _receive_group(probe: Probe, weights: Sequence[nn.Parameter], receive: Receive) -> None:
    module, num_images = probe.network.module, len(probe.x)
    grads = [weight.new_zeros(num_images, weight.numel()) for weight in weights]
    for n in range(num_images):
        with restored_buffers(module):
            x, y = probe.x[n : n + 1], probe.y[n : n + 1]
            loss = probe.task.loss(module(x), x, y)
        for rows, grad in zip(grads, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            if grad is not None:
                rows[n] = (grad if grad.layout is torch.strided else grad.to_dense()).reshape(
                    -1
                )  # that of an embedding
    for weight, rows in zip(weights, grads, strict=True):
        receive(weight, (), rows)
