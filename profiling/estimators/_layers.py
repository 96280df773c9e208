"""Temporary changes of the layers of a network, and the layers whose backward passes are written here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators.protocol import EstimatorError

BatchNorm = nn.modules.batchnorm._BatchNorm


@contextmanager
def patched_forward(
    module: nn.Module, replacement: Callable[[nn.Module], Callable[..., Tensor] | None]
) -> Iterator[None]:
    """Replace ``forward`` of every submodule for which ``replacement`` returns a function."""
    before = [(m, m.__dict__.get("forward")) for m in module.modules()]
    try:
        for submodule, _ in before:
            function = replacement(submodule)
            if function is not None:
                submodule.__dict__["forward"] = function
        yield
    finally:
        for submodule, own in before:
            if own is not None:
                submodule.__dict__["forward"] = own
            else:
                submodule.__dict__.pop("forward", None)


@contextmanager
def forward_hooks(modules: Iterator[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    """Call ``hook(module, inputs, output)`` after each call of the modules."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def restored_buffers(module: nn.Module) -> Iterator[None]:
    """Restore running statistics (and all other buffers) afterwards."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


@contextmanager
def without_batch_norm(module: nn.Module) -> Iterator[None]:
    """Replace every BatchNorm by the identity."""
    with patched_forward(module, lambda m: identity if isinstance(m, BatchNorm) else None):
        yield


def identity(x: Tensor) -> Tensor:
    """Return the input."""
    return x


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def is_plain_layer(module: nn.Module) -> bool:
    """Whether a module is a convolution with zero padding or a linear layer, with the ``forward`` of torch."""
    # A subclass may override forward.
    if isinstance(module, _CONVOLUTIONS):
        is_plain = any(type(module).forward is layer.forward for layer in _CONVOLUTIONS)
        return is_plain and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, conv: Any, mask: tuple[bool, bool]
) -> tuple[Tensor, ...]:
    """Gradients of a convolution's input and weight; ``mask`` says which of them to compute."""
    settings = (list(conv.stride), list(conv.padding), list(conv.dilation), False, [0] * len(conv.stride), conv.groups)
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *settings, [*mask, False])  # type: ignore[no-any-return]


def rows_of(x: Tensor) -> Tensor:
    """Images (N, C, ...) as (N, positions, C), which is their order in memory if that is channels-last."""
    return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


def like_images(rows: Tensor, x: Tensor) -> Tensor:
    """Inverse of `rows_of`, in the shape of ``x``."""
    return rows.view(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1)


def instance_norm(norm: Any, x: Tensor) -> Tensor:
    """Output of a BatchNorm in train mode that sees every image alone.

    Raises
    ------
    EstimatorError
        If there is one value for each channel of an image.
    """
    if x[0, 0].numel() < 2:
        raise EstimatorError("a BatchNorm sees one value for each channel of an image, which has no variance")
    weight = torch.ones_like(x[0, :, 0]) if norm.weight is None else norm.weight.detach()
    bias = torch.zeros_like(weight) if norm.bias is None else norm.bias.detach()
    return _InstanceNorm.apply(x, weight, bias, norm.eps)  # type: ignore[no-any-return, no-untyped-call]


class _InstanceNorm(torch.autograd.Function):
    """In channels-last order, which torch's own copies into another and back, three times as slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        rows = rows_of(x)
        mean = rows.mean(1, keepdim=True)
        variance = (rows - mean).square_().mean(1, keepdim=True)
        inverse = (variance + eps).rsqrt_()
        scale = inverse * weight
        ctx.save_for_backward(rows, mean, inverse, scale)
        return like_images(torch.addcmul(bias - mean * scale, rows, scale), x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (rows, mean, inverse, scale), grad = ctx.saved_tensors, rows_of(grads[0])
        mean_grad = grad.mean(1, keepdim=True)
        # scale * (grad - mean(grad) - x^ * mean(grad * x^)), with the normalised x^ = (x - mean) * inverse written out.
        slope = scale * inverse.square() * ((grad * rows).mean(1, keepdim=True) - mean_grad * mean)
        before = torch.addcmul(slope * mean - scale * mean_grad, grad, scale).addcmul_(rows, slope, value=-1)
        return like_images(before, grads[0]), None, None, None
