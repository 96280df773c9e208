"""Where networks run: their memory format there, how they get there, and the settings that change last bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

MemoryFormat = Literal["contiguous", "channels_last"]

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
"""torch's object for each name."""

_ALIGNMENT = 64
"""Values from one tensor to the next in a shared buffer are multiples of it: 256 bytes, as torch aligns them."""


def memory_format_on(device: str | torch.device) -> MemoryFormat:
    """Memory format of images and weights on a device: ``channels_last`` on a CPU, where it is faster.

    On a GPU it is ``contiguous``: until the summer of 2026 torch returned wrong gradients there for an average pooling with
    padding in channels-last (https://github.com/pytorch/pytorch/issues/188344), and a cluster may have any torch.
    """
    return "channels_last" if torch.device(device).type == "cpu" else "contiguous"


def formatted(x: Tensor, memory_format: str | None = None) -> Tensor:
    """Images in a memory format, by default that of their device; anything that is not images as it is."""
    return x.contiguous(memory_format=MEMORY_FORMATS[memory_format or memory_format_on(x.device)]) if x.ndim == 4 else x


def place(module: nn.Module, device: str | torch.device, memory_format: str | None = None) -> None:
    """Move a network from the CPU to a device, in a memory format, by default that of the device.

    To a GPU most of it goes in a single copy: a network has hundreds of tensors, and copying each of them takes longer than its
    part of the computation.
    """
    chosen = MEMORY_FORMATS[memory_format or memory_format_on(device)]
    if torch.device(device).type == "cuda":
        _copy_at_once(module, device, chosen)
        # BatchNorm adds 1 to its counter in every pass, which costs a GPU as much as the rest of a small BatchNorm.
        counters = {id(m.num_batches_tracked) for m in module.modules() if isinstance(m, _BatchNorm)}
        if all(tensor.is_cuda or id(tensor) in counters for tensor in (*module.parameters(), *module.buffers())):
            return
    module.to(device, memory_format=chosen)  # type: ignore[call-overload]  # torch's stubs lack memory_format


def _copy_at_once(module: nn.Module, device: str | torch.device, memory_format: torch.memory_format) -> None:
    """Move all dense float32 tensors of a module through one page-locked buffer; others are left where they are."""
    tensors = [t for t in (*module.parameters(), *module.buffers()) if _is_plain(t)]
    sources = [t.detach().to(memory_format=memory_format) if t.ndim == 4 else t.detach() for t in tensors]
    starts = np.cumsum([0, *(-(-t.numel() // _ALIGNMENT) * _ALIGNMENT for t in sources)]).tolist()
    host = torch.empty(starts[-1], pin_memory=torch.device(device).type == "cuda")
    torch._foreach_copy_([_part(host, t, start) for t, start in zip(sources, starts[:-1], strict=True)], sources)
    copied = host.to(device, non_blocking=True)
    for tensor, source, start in zip(tensors, sources, starts[:-1], strict=True):
        tensor.data = _part(copied, source, start)


def _is_plain(tensor: Tensor) -> bool:
    is_dense = tensor.layout is torch.strided and tensor.dtype == torch.float32
    return is_dense and tensor.is_cpu and not is_lazy(tensor) and (tensor.ndim == 4 or tensor.is_contiguous())


def _part(buffer: Tensor, like: Tensor, start: int) -> Tensor:
    return buffer.as_strided(like.shape, like.stride(), start)


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Fix the settings that change last bits, and restore them: number of threads; cuDNN's choice of algorithm, and TF32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
