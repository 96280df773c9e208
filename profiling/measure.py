"""One network, one batch, one backward pass: its histogram, layer by layer."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.counting import count_gradients
from sweetgrad.profiling.spaces.protocol import Layer, Network, kind_of
from sweetgrad.store import KINDS, LAYER_TYPES, STATUS, bin_bounds, empty_rows

__all__ = ["Measurement", "fill_row", "measure_network", "profile_network"]


@dataclass(frozen=True)
class Measurement:
    """What one backward pass tells about a network; L = layers, K = kinds, B = bins.

    Attributes
    ----------
    grad_count
        int64, shape (L, K, B).
    grad_abs_sum, grad_sq_sum
        float64, shape (L, K).
    num_params
        int64, shape (L, K), counted from the parameters, not from the gradients.
    loss
        Mean cross-entropy, in nat.
    """

    grad_count: NDArray[np.int64]
    grad_abs_sum: NDArray[np.float64]
    grad_sq_sum: NDArray[np.float64]
    num_params: NDArray[np.int64]
    loss: float


def measure_network(network: Network, x: Tensor, y: Tensor) -> Measurement:
    """Run one forward and backward pass in train mode and count the gradients of every layer.

    The gradients stay on the network's parameters. A parameter without gradient has gradient 0.

    Parameters
    ----------
    network
        Network on the device of ``x``.
    x, y
        Images, shape (N, C, H, W), and labels, shape (N,).
    """
    network.module.train()
    network.module.zero_grad(set_to_none=True)
    loss = F.cross_entropy(network.module(x), y)
    loss.backward()  # type: ignore[no-untyped-call]
    shape = (len(network.layers), len(KINDS))
    segments = [_parameters(layer, kind) for layer in network.layers for kind in KINDS]
    lengths = np.array([sum(p.numel() for p in segment) for segment in segments], dtype=np.int64)
    magnitude = _magnitudes([p for segment in segments for p in segment], size=int(lengths.sum()), device=x.device)
    sums = np.array([_sums(part) for part in torch.split(magnitude, lengths.tolist())])
    return Measurement(
        grad_count=count_gradients(magnitude, lengths).reshape(*shape, -1),
        grad_abs_sum=sums[:, 0].reshape(shape),
        grad_sq_sum=sums[:, 1].reshape(shape),
        num_params=lengths.reshape(shape),
        loss=loss.item(),
    )


def profile_network(
    model: nn.Module | Callable[[], nn.Module],
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    name: str | None = None,
    seed: int | None = None,
) -> xr.Dataset:
    """Profile any network on one batch: the same Dataset as a profile of a search space, with one architecture.

    Parameters
    ----------
    model
        The network, which is left as it was; or a function that builds it, called under ``seed``.
    x, y
        Images (N, C, H, W), or whatever the network takes; labels (N,) in 0..classes-1.
    layers
        Names of submodules in depth order (as in ``model.named_modules()``), or such names mapped to a layer type of
        ``LAYER_TYPES``. Without types a layer counts as ``cell``, so that it takes part in sweetness. None: every module that
        holds a weight (two or more dimensions) is a layer, in the order in which the forward pass reaches it; norms and other
        modules with small parameters join the layer before them.
    name
        Architecture string of the row; the class name by default.
    seed
        Seed for a ``model`` that is a function.

    Returns
    -------
    Dataset with the variables of a profile; ``arch`` has one entry.

    Raises
    ------
    ValueError
        If a layer name is not a submodule, or a parameter is in no layer or in two.

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
    if seed is not None:
        torch.manual_seed(seed)
    # A copy, so that the caller's gradients and running statistics stay as they are.
    module = copy.deepcopy(model) if isinstance(model, nn.Module) else model()
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    images, labels = torch.as_tensor(x).to(device), torch.as_tensor(y).to(device)
    network = Network(
        module, _named_layers(module, layers) if layers is not None else _layers_in_forward_order(module, images)
    )
    rows = empty_rows([name or type(module).__name__], [0], layers=[layer.name for layer in network.layers])
    fill_row(rows, 0, network, measure_network(network, images, labels))
    lower, upper = bin_bounds()
    return rows.assign_coords(bin_lower=("bin", lower), bin_upper=("bin", upper))


def fill_row(rows: xr.Dataset, row: int, network: Network, measured: Measurement) -> None:
    """Write a measurement into row ``row`` of ``rows``, in place, padding layers at the end."""
    num_layers = len(network.layers)
    rows["grad_count"].values[row, :num_layers] = measured.grad_count
    rows["grad_count_network"].values[row] = measured.grad_count.sum(axis=0)
    rows["grad_abs_sum"].values[row] = rows["grad_sq_sum"].values[row] = (
        0.0  # padding has no parameters: its sums are 0
    )
    rows["grad_abs_sum"].values[row, :num_layers] = measured.grad_abs_sum
    rows["grad_sq_sum"].values[row, :num_layers] = measured.grad_sq_sum
    rows["num_params"].values[row, :num_layers] = measured.num_params
    rows["layer_type"].values[row, :num_layers] = [LAYER_TYPES[layer.type] for layer in network.layers]
    rows["loss"].values[row] = measured.loss
    rows["status"].values[row] = STATUS["ok"]


def to_device(batch: Batch, device: str) -> tuple[Tensor, Tensor]:
    """Images in channels-last memory format and labels, on a device."""
    x = torch.from_numpy(batch.x).to(device, memory_format=torch.channels_last)
    return x, torch.from_numpy(batch.y).to(device)


def _parameters(layer: Layer, kind: str) -> list[Tensor]:
    return [parameter for parameter in layer.parameters() if kind_of(parameter) == kind]


def _magnitudes(parameters: Iterable[Tensor], *, size: int, device: torch.device) -> Tensor:
    """Absolute gradients of all parameters in one float32 vector, shape (P,); zeros where there is no gradient."""
    magnitude = torch.zeros(size, device=device)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        if parameter.grad is not None:
            torch.abs(_flat(parameter.grad).float(), out=magnitude[start:end])
        start = end
    return magnitude


def _flat(grad: Tensor) -> Tensor:
    # A histogram does not care for the order, and a view in memory order spares the copy that reshape would make.
    if grad.ndim == 4 and grad.is_contiguous(memory_format=torch.channels_last):
        return grad.permute(0, 2, 3, 1).reshape(-1)
    return grad.reshape(-1)


def _sums(magnitude: Tensor) -> tuple[float, float]:
    double = magnitude.double()
    return double.sum().item(), double.square_().sum().item()


def _named_layers(module: nn.Module, layers: Sequence[str] | Mapping[str, str]) -> tuple[Layer, ...]:
    types = layers if isinstance(layers, Mapping) else dict.fromkeys(layers, "cell")
    submodules = dict(module.named_modules())
    unknown = [name for name in types if name not in submodules]
    if unknown:
        raise ValueError(
            f"no submodule {unknown[0]!r}; the network has {', '.join(name for name in submodules if name)}"
        )
    return tuple(Layer(name, type_, (submodules[name],)) for name, type_ in types.items())


def _layers_in_forward_order(module: nn.Module, x: Tensor) -> tuple[Layer, ...]:
    owners = {name: m for name, m in module.named_modules() if any(True for _ in m.parameters(recurse=False))}
    reached = _reached(module, owners, x)
    if any(any(True for _ in child.parameters()) for m in owners.values() for child in m.children()):
        raise ValueError(
            "a module holds parameters of its own beside submodules with parameters: name the layers with layers=[…]"
        )
    groups: list[tuple[str, list[nn.Module]]] = []
    for name in reached:
        owner = owners[name]
        if not groups or any(kind_of(p) == KINDS[0] for p in owner.parameters()):
            groups.append((name, [owner]))
        else:
            groups[-1][1].append(owner)
    return tuple(Layer(name, "cell", tuple(modules)) for name, modules in groups)


def _reached(module: nn.Module, owners: Mapping[str, nn.Module], x: Tensor) -> list[str]:
    """Names of parameter-holding modules in the order of their first call, those never called at the end."""
    order: dict[str, None] = {}
    hooks = [m.register_forward_pre_hook(lambda *_, name=name: order.setdefault(name)) for name, m in owners.items()]
    # One forward pass in train mode on the copy; its running statistics are not measured.
    module.train()
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return [*order, *(name for name in owners if name not in order)]
