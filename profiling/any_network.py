"""Profile any network on one batch: its layers are named by the caller, or found in the order of its forward pass."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sweetgrad.profiling.devices import MEMORY_FORMATS, MemoryFormat, deterministic
from sweetgrad.profiling.measure import count_layers, fill_row, forward_backward
from sweetgrad.profiling.spaces.protocol import Layer, Network, copy_input, kind_of
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION, Task
from sweetgrad.store import KINDS, bin_bounds, empty_rows


def profile_network(
    model: nn.Module | Callable[[], nn.Module],
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    name: str | None = None,
    seed: int | None = None,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    memory_format: MemoryFormat | None = None,
    threads: int = 1,
) -> xr.Dataset:
    """Profile any network on one batch: the same Dataset as a profile of a search space, with one architecture.

    Parameters
    ----------
    model
        The network, which is not changed; or a function (or class) that builds it, called after seeding with ``seed``. It maps
        ``x`` to logits (N, classes); or (N, classes, ...) with labels (N, ...); or to anything that ``loss`` takes.
    x, y
        Images (N, C, H, W), or any other input of the network, as one array; labels (N,), integers in 0..classes-1, or any
        targets that ``loss`` takes. Both are moved to the device of the network, and floating-point inputs are cast to its
        dtype.
    layers
        Names of submodules in depth order (as in ``model.named_modules()``), or such names mapped to a layer type of
        ``LAYER_TYPES``. Without types every layer is a ``cell``, which sweetness includes. None: every module that
        has a weight (two or more dimensions) is a layer, in the order in which the forward pass reaches it; norms and other
        modules with small parameters belong to the layer before them, or to the first layer. A weight that
        several modules share (tied weights) is counted once, in the first layer that holds it. The parameters
        of a parametrization (such as a weight norm) belong to the parametrized module. Modules may be lazy.
    name
        Architecture string of the row; the class name by default.
    seed
        Seed for a ``model`` that is a function, and for its dropout.
    loss
        From the output of the network and the targets to the mean loss, a scalar tensor, such as `torch.nn.functional.mse_loss`;
        None: the mean cross-entropy.
    memory_format
        ``contiguous`` or ``channels_last``: memory format of the network and of images (N, C, H, W). None: neither is
        converted. A profile of a search space is measured in ``channels_last``. The other format adds in another order, which
        changes the last bits and moves between 0.05 % and 2 % of the parameters to a neighbouring bin: use ``channels_last`` to
        compare a network with a profile count by count.
    threads
        Number of threads, whatever ``OMP_NUM_THREADS`` is. It changes the last bits; profiles of search spaces use 1.

    Returns
    -------
    Dataset with the variables of a profile; ``arch`` has one entry. A parameter without a gradient (frozen or unused) counts as
    exactly 0. Gradients are counted in float32; for a complex parameter, the modulus of its gradient. The attributes
    ``memory_format`` (``as given`` for None), ``threads`` and ``cpu_capability`` record the settings.

    Raises
    ------
    ValueError
        If a layer name is not a submodule, a parameter is in no layer or in two, the network fails on ``x``, the labels do not
        match the logits, inputs are not finite, the loss is no finite scalar that depends on the network, or ``memory_format`` or
        ``threads`` is invalid.

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
    if memory_format not in (None, *MEMORY_FORMATS) or threads < 1:
        raise ValueError(
            f"memory_format must be None or one of {', '.join(MEMORY_FORMATS)}, and threads 1 or more; "
            f"got {memory_format!r} and {threads}"
        )
    if seed is not None:
        torch.manual_seed(seed)
    module = _build_or_copy(model)
    images, labels = _to_tensors(module, x, y, is_classification=loss is None)
    task = IMAGE_CLASSIFICATION if loss is None else _task_of(loss)
    if memory_format is not None and images.ndim == 4:
        module.to(memory_format=MEMORY_FORMATS[memory_format])  # type: ignore[call-overload]  # torch's stubs lack memory_format
        images = images.contiguous(memory_format=MEMORY_FORMATS[memory_format])
    copy_input(module)
    named = None if layers is None else Network(module, _named_layers(module, layers))
    with deterministic(threads):
        with record_calls(module, images) as called:
            _, value = forward_backward(module, images, labels, task=task)
        network = named or Network(module, layers_in_forward_order(module, called))
        measured = count_layers(network, value)
    rows = empty_rows([name or type(module).__name__], [0], layers=[layer.name for layer in network.layers])
    fill_row(rows, 0, network, measured)
    lower, upper = bin_bounds()
    rows = rows.assign_coords(bin_lower=("bin", lower), bin_upper=("bin", upper))
    return rows.assign_attrs(
        memory_format=memory_format or "as given",
        threads=threads,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
    )


def _build_or_copy(model: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """Build the network, or copy it so that the caller's gradients and running statistics do not change."""
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


def _task_of(loss: Callable[[Any, Tensor], Tensor]) -> Task:
    """A task with a loss of the caller's own."""

    def checked(output: Any, x: Tensor, y: Tensor) -> Tensor:
        value = loss(output, y)
        if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss must return one real number as a tensor, the mean over the batch, got {got}")
        if not bool(value.isfinite()):
            raise ValueError(f"the loss is {float(value.detach())}: its gradients cannot be counted")
        return value.reshape(())

    return Task("custom", "a task of its own", "custom", lambda x, y, num_classes: None, checked)


def _to_tensors(
    module: nn.Module, x: ArrayLike | Tensor, y: ArrayLike | Tensor, *, is_classification: bool
) -> tuple[Tensor, Tensor]:
    parameter = next(module.parameters(), torch.empty(0))
    images, labels = torch.as_tensor(x).to(parameter.device), torch.as_tensor(y).to(parameter.device)
    if images.is_floating_point():
        images = images.to(parameter.dtype.to_real())  # NumPy makes float64, networks are float32
        num_bad = int((~images.isfinite()).sum())
        if num_bad:
            raise ValueError(f"x contains {num_bad} NaN or infinite values of {images.numel()}; clean the data")
    if not is_classification:
        return images, labels.to(parameter.dtype) if labels.is_floating_point() else labels
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or not labels.numel():
        raise ValueError(
            f"labels must be integers in 0..classes-1, one for each image, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    return images, labels.long()


def _named_layers(module: nn.Module, layers: Sequence[str] | Mapping[str, str]) -> tuple[Layer, ...]:
    types = layers if isinstance(layers, Mapping) else dict.fromkeys(layers, "cell")
    submodules = dict(module.named_modules())
    unknown = [name for name in types if name not in submodules]
    if unknown:
        raise ValueError(
            f"the network has no submodule {unknown[0]!r}; its submodules: {', '.join(name for name in submodules if name)}"
        )
    return tuple(Layer(name, type_, (submodules[name],)) for name, type_ in types.items())


@contextmanager
def record_calls(module: nn.Module, x: Tensor) -> Iterator[Mapping[str, int]]:
    """Record the order in which the submodules are first called while the network runs once.

    Parameters
    ----------
    module
        The network.
    x
        Its input, whose shape and dtype an error message gives.

    Yields
    ------
    Position of the first call of each submodule, by name; submodules that are never called are missing.

    Raises
    ------
    ValueError
        If the forward pass raises; the message includes the shape of ``x`` and the original error.
    """
    called: dict[str, int] = {}
    is_over = False

    def make_hook(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:  # a returned value would replace the input
            called.setdefault(name, len(called))

        return hook

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    handles = [submodule.register_forward_pre_hook(make_hook(name)) for name, submodule in module.named_modules()]
    handles.append(module.register_forward_hook(end))
    try:
        yield called
    except Exception as error:  # a network may raise anything on an input of the wrong shape
        if is_over:
            raise
        raise ValueError(
            f"the network failed on x of shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')}: "
            f"{type(error).__name__}: {error}. Pass x in the shape that the network expects, or fewer images if memory ran out"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def layers_in_forward_order(module: nn.Module, called: Mapping[str, int]) -> tuple[Layer, ...]:
    """Make a layer of every module whose forward pass uses a weight of its own; small parameters join the layer before them.

    Parameters
    ----------
    module
        The network, after a forward pass: before that, the shapes of a lazy module are unknown.
    called
        Position of the first call of each submodule in that pass (`record_calls`).

    Returns
    -------
    Layers that contain every parameter once; a shared parameter is in the layer that is reached first. Parameters that are
    reached before the first weight (such as a norm at the input) join the layer of that weight. The parameters of a
    parametrization, such as a weight norm, belong to the parametrized module.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    >>> [layer.name for layer in layers_in_forward_order(model, {"": 0, "0": 1, "1": 2, "2": 3, "3": 4})]
    ['0', '3']
    """
    # Lists of parameters, not modules: an attention block, for example, has parameters of its own beside its submodules.
    layers: dict[str, list[nn.Parameter]] = {}
    leading: list[nn.Parameter] = []
    seen: set[int] = set()
    own = _own_parameters(module)
    for name in _in_order_of_first_call(list(own), called):
        new = [p for p in own[name] if id(p) not in seen]
        seen.update(map(id, new))
        if any(kind_of(p) == KINDS[0] for p in new):
            layers[name] = [*(leading if not layers else ()), *new]
        elif layers:
            layers[next(reversed(layers))].extend(new)
        else:
            leading.extend(new)
    if not layers and leading:  # no weight at all
        layers[""] = leading
    return tuple(Layer(name or "root", "cell", (nn.ParameterList(parameters),)) for name, parameters in layers.items())


def _own_parameters(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters by the name of the submodule whose forward pass uses them."""
    submodules = dict(module.named_modules())
    own: dict[str, list[nn.Parameter]] = {}
    for name, submodule in submodules.items():
        parameters = list(submodule.parameters(recurse=False))
        if parameters:
            own.setdefault(_owner(name, submodules), []).extend(parameters)
    return own


def _owner(name: str, submodules: Mapping[str, nn.Module]) -> str:
    """The submodule itself, or the enclosing module that uses its parameters: parametrized, or with a list of parameters."""
    parts = name.split(".") if name else []
    for depth, part in enumerate(parts):
        parent = ".".join(parts[:depth])
        if part == "parametrizations" and parametrize.is_parametrized(submodules[parent]):
            return parent
    while name and type(submodules[name]).forward is nn.Module.forward:  # nn.ParameterList has no forward pass
        name = name.rpartition(".")[0]
    return name


def _in_order_of_first_call(names: list[str], called: Mapping[str, int]) -> list[str]:
    """Sort submodules by their first call.

    One that is never called (its parent reads its parameters, or it is unused) is placed where its parent is called, or at the
    end if its parent is the whole network.
    """

    def position(name: str) -> int:
        while name and name not in called:
            name = name.rpartition(".")[0]
        return called.get(name, 0) if name else len(called)

    # The root's own parameters (a class token, position embeddings) are assumed to be used first; sorting is stable.
    return sorted(names, key=lambda name: position(name) if name else 0)
