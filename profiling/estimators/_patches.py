"""Change what modules of a network do, for the length of a context, and leave no trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["BatchNorm", "forward_hooks", "identity", "keeping_buffers", "patched_forward", "without_batch_norm"]

BatchNorm = nn.modules.batchnorm._BatchNorm


@contextmanager
def patched_forward(
    module: nn.Module, replacement: Callable[[nn.Module], Callable[..., Tensor] | None]
) -> Iterator[None]:
    """Let every submodule for which ``replacement`` gives a function run that in place of its ``forward``."""
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
def keeping_buffers(module: nn.Module) -> Iterator[None]:
    """Put running statistics (and all other buffers) back afterwards."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


@contextmanager
def without_batch_norm(module: nn.Module) -> Iterator[None]:
    """Let every BatchNorm put out its input."""
    with patched_forward(module, lambda m: identity if isinstance(m, BatchNorm) else None):
        yield


def identity(x: Tensor) -> Tensor:
    """In the place of a forward that is left out."""
    return x
