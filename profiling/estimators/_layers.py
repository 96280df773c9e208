"""Temporary changes of the layers of a network, and the layers whose backward passes are written here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

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
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Run a network in eval mode, and restore the mode of every module."""
    modes = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode


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
    grads: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(grad, x, weight, None, *settings, [*mask, False])
    return grads
