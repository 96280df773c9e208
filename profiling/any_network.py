"""Any network, of a search space or not, profiled on one batch."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor, nn

from sweetgrad.profiling.architectures import deterministic
from sweetgrad.profiling.forward_order import layers_in_forward_order, noting_calls
from sweetgrad.profiling.measure import count_network, fill_row, forward_backward
from sweetgrad.profiling.spaces.protocol import Layer, Network, keep_input
from sweetgrad.store import bin_bounds, empty_rows

__all__ = ["MemoryFormat", "profile_network"]

MemoryFormat = Literal["contiguous", "channels_last"]

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def profile_network(
    model: nn.Module | Callable[[], nn.Module],
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    name: str | None = None,
    seed: int | None = None,
    memory_format: MemoryFormat | None = None,
    threads: int = 1,
) -> xr.Dataset:
    """Profile any network on one batch: the same Dataset as a profile of a search space, with one architecture.

    Parameters
    ----------
    model
        The network, which is left as it was; or a function (or class) that builds it, called under ``seed``. It maps ``x`` to
        logits (N, classes); or (N, classes, ...) with labels (N, ...).
    x, y
        Images (N, C, H, W), or whatever the network takes, as one array; labels (N,), integers in 0..classes-1. Both go to the
        device of the network, and floating-point images to its precision.
    layers
        Names of submodules in depth order (as in ``model.named_modules()``), or such names mapped to a layer type of
        ``LAYER_TYPES``. Without types a layer counts as ``cell``, so that it takes part in sweetness. None: every module that
        holds a weight (two or more dimensions) is a layer, in the order in which the forward pass reaches it; norms and other
        modules with small parameters join the layer before them, or the first layer if there is none before. A weight that
        several modules share (tied weights) is counted once, in the first layer that holds it. What stands behind a
        parametrization (a weight norm) belongs to the module that is parametrized. Modules may be lazy.
    name
        Architecture string of the row; the class name by default.
    seed
        Seed for a ``model`` that is a function, and for its dropout.
    memory_format
        ``contiguous`` or ``channels_last``: what network and images (N, C, H, W) are brought to. None: both stay as they are. A
        profile of a search space is measured in ``channels_last``. The other format sums convolutions in another order, which
        moves last bits, and with them between .05 % and 2 % of the parameters into a neighbouring bin: ask for ``channels_last``
        to compare a network with a profile count by count.
    threads
        Threads of the pass, whatever ``OMP_NUM_THREADS`` is. Their number moves last bits; a profile has 1.

    Returns
    -------
    Dataset with the variables of a profile; ``arch`` has one entry. A parameter without gradient (frozen, or not used) counts as
    exactly 0. Gradients are counted in float32; of a complex parameter it is the modulus of the gradient. The attributes
    ``memory_format`` (``as given`` for None), ``threads`` and ``cpu_capability`` say how.

    Raises
    ------
    ValueError
        If a layer name is not a submodule, a parameter is in no layer or in two, the network cannot take ``x``, the labels do
        not fit the logits, images are not finite, or ``memory_format`` or ``threads`` are none.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> profile = profile_network(model, torch.randn(8, 4), torch.tensor([0, 1] * 4))
    >>> profile.layer.values.tolist()
    ['0', '2']
    >>> profile.grad_count.sum("bin").values.tolist()
    [[[12, 3], [6, 2]]]
    """
    if memory_format not in (None, *_FORMATS) or threads < 1:
        raise ValueError(
            f"memory_format must be None or one of {', '.join(_FORMATS)}, and threads 1 or more; "
            f"got {memory_format!r} and {threads}"
        )
    if seed is not None:
        torch.manual_seed(seed)
    module = _own_copy(model)
    images, labels = _inputs(module, x, y)
    if memory_format is not None and images.ndim == 4:
        module.to(memory_format=_FORMATS[memory_format])  # type: ignore[call-overload]
        images = images.contiguous(memory_format=_FORMATS[memory_format])
    keep_input(module)
    named = None if layers is None else Network(module, _named_layers(module, layers))
    with deterministic(threads):
        with noting_calls(module, images) as called:
            _, loss = forward_backward(module, images, labels)
        network = named or Network(module, layers_in_forward_order(module, called))
        measured = count_network(network, loss)
    rows = empty_rows([name or type(module).__name__], [0], layers=[layer.name for layer in network.layers])
    fill_row(rows, 0, network, measured)
    lower, upper = bin_bounds()
    rows = rows.assign_coords(bin_lower=("bin", lower), bin_upper=("bin", upper))
    return rows.assign_attrs(
        memory_format=memory_format or "as given",
        threads=threads,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
    )


def _own_copy(model: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """Build the network, or copy it, so that the caller's gradients and running statistics stay as they are."""
    if not isinstance(model, nn.Module):
        module = model() if callable(model) else model
        if not isinstance(module, nn.Module):
            raise ValueError(f"model must be an nn.Module or a function that builds one, got {type(module).__name__}")
        return module
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the network cannot be copied ({error}); pass a function that builds it: profile_network(lambda: ..., x, y)"
        ) from error


def _inputs(module: nn.Module, x: ArrayLike | Tensor, y: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    parameter = next(module.parameters(), torch.empty(0))
    images, labels = torch.as_tensor(x).to(parameter.device), torch.as_tensor(y).to(parameter.device)
    if images.is_floating_point():
        images = images.to(parameter.dtype.to_real())  # NumPy makes float64, networks are float32
        num_bad = int((~images.isfinite()).sum())
        if num_bad:
            raise ValueError(f"x holds {num_bad} NaN or infinite values of {images.numel()}; clean the data")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or not labels.numel():
        raise ValueError(
            f"labels must be integers 0..classes-1, one for each image, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    return images, labels.long()


def _named_layers(module: nn.Module, layers: Sequence[str] | Mapping[str, str]) -> tuple[Layer, ...]:
    types = layers if isinstance(layers, Mapping) else dict.fromkeys(layers, "cell")
    submodules = dict(module.named_modules())
    unknown = [name for name in types if name not in submodules]
    if unknown:
        raise ValueError(
            f"no submodule {unknown[0]!r}; the network has {', '.join(name for name in submodules if name)}"
        )
    return tuple(Layer(name, type_, (submodules[name],)) for name, type_ in types.items())
