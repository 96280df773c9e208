"""Measure one network on one batch: seed, build, forward pass, loss, backward pass, count the gradients of every layer.

This is the only forward and backward pass of a profile. Whatever needs more from it than the counts, such as an estimator, takes
part in it as a `Guest`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.counting import count_and_sum, in_memory_order
from sweetgrad.profiling.devices import formatted, place
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace, kind_of
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION, TASKS, Task
from sweetgrad.store import KINDS, LAYER_TYPES, STATUS, ProfileSpec


@dataclass(frozen=True)
class Builder:
    """Builds the networks of one architecture from the seed of the spec, on its device and in its memory format."""

    space: SearchSpace
    arch: str
    spec: ProfileSpec

    @property
    def task(self) -> Task:
        """What its networks are to do."""
        return TASKS[self.spec.task]

    def network(self) -> Network:
        """The network to profile; torch's generator continues from its initialisation."""
        torch.manual_seed(self.spec.seed)
        return self._place(self.space.build)

    @property
    def is_whole(self) -> bool:
        """Whether `network` skips nothing: it is what `whole` returns."""
        return not hasattr(self.space, "build_literal")

    def whole(self) -> Network:
        """The same network with the same weights, dead paths included; torch's generator is not advanced."""
        build = getattr(self.space, "build_literal", self.space.build)
        with torch.random.fork_rng([]):
            torch.manual_seed(self.spec.seed)
            return self._place(build)

    def thin(self) -> nn.Module | None:
        """The narrow and shallow variant of the network, None if the space has none; torch's generator is not advanced."""
        build = getattr(self.space, "build_thin", None)
        if build is None:
            return None
        with torch.random.fork_rng([]):
            torch.manual_seed(self.spec.seed)
            module: nn.Module = build(self.arch, **self._shape)
        return module.train().to(self.spec.device)

    def _place(self, build: Callable[..., Network]) -> Network:
        network = build(self.arch, **self._shape)
        place(network.module.train(), self.spec.device, self.spec.memory_format)
        return network

    @property
    def _shape(self) -> dict[str, int]:
        return {"in_channels": self.spec.input_shape[0], "num_classes": self.spec.num_classes}


@dataclass(frozen=True)
class Measurement:
    """Counts and sums of the gradients of one backward pass; L = layers, K = kinds, B = bins.

    Attributes
    ----------
    grad_count
        int64, shape (L, K, B).
    grad_abs_sum, grad_sq_sum
        float64, shape (L, K), rounded to 24 significant bits.
    num_params
        int64, shape (L, K), from the shapes of the parameters, not from their gradients.
    loss
        Mean loss, in nat.
    """

    grad_count: NDArray[np.int64]
    grad_abs_sum: NDArray[np.float64]
    grad_sq_sum: NDArray[np.float64]
    num_params: NDArray[np.int64]
    loss: float


@dataclass(frozen=True)
class Measured:
    """A network, usually after its forward and backward pass, with the gradients in ``.grad`` of its parameters.

    Attributes
    ----------
    network
        The network.
    logits
        Its output, of images shape (N, classes), whose graph has been freed; None if no pass was run.
    counts
        Counts of its gradients; None if they were not requested.
    seconds
        Wall time of building, the pass and counting.
    """

    network: Network
    logits: Tensor | None
    counts: Measurement | None
    seconds: float


class Guest(Protocol):
    """Takes part in the pass of a network, as some estimators do, without changing the network."""

    @property
    def needs_graph(self) -> bool:
        """Whether `on_graph` is to be called; the images then require grad."""
        ...

    def watch(self, network: Network) -> AbstractContextManager[Any]:
        """Return a context manager that is entered before the forward pass and exited after the backward pass."""
        ...

    def on_graph(self, network: Network, x: Tensor, logits: Tensor) -> None:
        """Called between the forward and the backward pass, with the graph from images to logits; it must retain the graph."""
        ...


def measure(
    build: Callable[[], Network],
    x: Tensor,
    y: Tensor,
    *,
    task: Task = IMAGE_CLASSIFICATION,
    guests: Sequence[Guest] = (),
    count: bool = True,
) -> Measured:
    """Build a network, run one forward and backward pass in train mode, and count the gradients of every layer.

    Parameters
    ----------
    build
        Seeds and builds the network, as `Builder.network` does.
    x, y
        Inputs and targets of the task, on the device of the network: images, shape (N, C, H, W), and labels, shape (N,).
    task
        What the network is to do.
    guests
        What takes part in the pass.
    count
        Whether to count the gradients; an estimator may need only the pass.

    Raises
    ------
    ValueError
        As in `forward_backward`.
    Exception
        Any exception of the network or of a guest.
    """
    start = time.perf_counter()
    network = build()
    with ExitStack() as stack:
        for guest in guests:
            stack.enter_context(guest.watch(network))
        logits, loss = forward_backward(network.module, x, y, task=task, on_graph=_on_graph(network, guests))
    counts = count_layers(network, loss) if count else None
    return Measured(network, logits, counts, seconds=time.perf_counter() - start)


def forward_backward(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    task: Task = IMAGE_CLASSIFICATION,
    on_graph: Callable[[Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run one forward and backward pass in train mode; gradients of the loss are left in the parameters' ``.grad``.

    A sparse gradient (of an embedding) is converted to a dense one; missing entries are exactly 0.

    Parameters
    ----------
    module
        The network.
    x, y
        As in `measure_network`.
    task
        What the network is to do.
    on_graph
        Called between the two passes with the input, which then requires grad, and the logits; it must retain the graph.

    Returns
    -------
    The output of the network, and the loss, a number still on the device: to read it is to wait for a GPU.

    Raises
    ------
    ValueError
        If the output is not what the task needs, the loss depends on no parameter, or a lazy module is never called.
    """
    module.train()
    module.zero_grad(set_to_none=True)
    if on_graph is not None and x.is_floating_point():
        x = x.detach().clone().requires_grad_()
    output = module(x)
    loss = task.loss(output, x, y)
    _check_lazy(module)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if loss.requires_grad and parameters:
        if on_graph is not None:
            on_graph(x, output)
            module.zero_grad(set_to_none=True)
        # Not that of the images, which may require grad.
        loss.backward(inputs=parameters)
    _check_gradients(parameters)
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.layout is not torch.strided:
            parameter.grad = parameter.grad.to_dense()
    return output, loss.detach()


def count_layers(network: Network, loss: Tensor) -> Measurement:
    """Count the gradients in ``.grad`` of the parameters of every layer, after a backward pass of this loss (in nat)."""
    shape = (len(network.layers), len(KINDS))
    segments = [
        [parameter for parameter in parameters if kind_of(parameter) == kind]
        for parameters in network.layer_parameters()
        for kind in KINDS
    ]
    lengths = np.array([sum(p.numel() for p in segment) for segment in segments], dtype=np.int64)
    magnitude = _magnitudes([p for segment in segments for p in segment])
    counts, sums, value = count_and_sum(magnitude, lengths, loss)
    sums = _rounded(sums)
    return Measurement(
        grad_count=counts.reshape(*shape, -1),
        grad_abs_sum=sums[:, 0].reshape(shape),
        grad_sq_sum=sums[:, 1].reshape(shape),
        num_params=lengths.reshape(shape),
        loss=value,
    )


def measure_network(network: Network, x: Tensor, y: Tensor, *, task: Task = IMAGE_CLASSIFICATION) -> Measurement:
    """Run one forward and backward pass of a network that is already built, and count the gradients of every layer.

    The gradients are left in ``.grad`` of the parameters. A parameter without a gradient counts as 0.

    Parameters
    ----------
    network
        Network on the device of ``x``.
    x, y
        Images, shape (N, C, H, W), and labels, shape (N,); or inputs and targets of another task.
    task
        What the network is to do.

    Raises
    ------
    ValueError
        As in `forward_backward`.
    """
    _, loss = forward_backward(network.module, x, y, task=task)
    return count_layers(network, loss)


def fill_row(rows: xr.Dataset, row: int, network: Network, measured: Measurement) -> None:
    """Write a measurement to row ``row`` of ``rows``, in place; missing layers at the end are padding."""
    num_layers = len(network.layers)
    if num_layers > rows.sizes["layer"]:
        raise ValueError(
            f"the network has {num_layers} layers, but the space names {rows.sizes['layer']}: layer_names needs one name for "
            "each layer of the deepest architecture"
        )
    rows["grad_count"].values[row, :num_layers] = measured.grad_count
    rows["grad_count_network"].values[row] = measured.grad_count.sum(axis=0)
    # Padding has no parameters, so its sums are 0.
    rows["grad_abs_sum"].values[row] = rows["grad_sq_sum"].values[row] = 0.0
    rows["grad_abs_sum"].values[row, :num_layers] = measured.grad_abs_sum
    rows["grad_sq_sum"].values[row, :num_layers] = measured.grad_sq_sum
    rows["num_params"].values[row, :num_layers] = measured.num_params
    rows["layer_type"].values[row, :num_layers] = [LAYER_TYPES[layer.type] for layer in network.layers]
    rows["loss"].values[row] = measured.loss
    rows["status"].values[row] = STATUS["ok"]


def to_device(batch: Batch, device: str, memory_format: str | None = None) -> tuple[Tensor, Tensor]:
    """Inputs, of which images are in a memory format (by default that of the device), and targets, on a device."""
    x = torch.from_numpy(batch.x).to(device)
    return formatted(x, memory_format), torch.from_numpy(batch.y).to(device)


def _on_graph(network: Network, guests: Sequence[Guest]) -> Callable[[Tensor, Tensor], None] | None:
    """A function that calls the guests that need the graph, and restores torch's generator; None if there are none."""
    graph_guests = [guest for guest in guests if guest.needs_graph]

    def call(x: Tensor, logits: Tensor) -> None:
        state = torch.get_rng_state()
        for guest in graph_guests:
            guest.on_graph(network, x, logits)
        torch.set_rng_state(state)

    return call if graph_guests else None


def _check_lazy(module: nn.Module) -> None:
    uninitialized = [name for name, parameter in module.named_parameters() if is_lazy(parameter)]
    if uninitialized:
        raise ValueError(
            f"the shape of {', '.join(uninitialized[:5])} is unknown: the forward pass never calls the lazy module that has it. "
            "Remove that module, or specify its number of inputs (nn.Linear instead of nn.LazyLinear)"
        )


def _check_gradients(parameters: Sequence[Tensor]) -> None:
    if all(parameter.grad is None for parameter in parameters):
        raise ValueError(
            "the loss depends on no parameter that requires grad: the network has no parameters, all are frozen "
            "(requires_grad=False), or gradients are disabled here (torch.no_grad); profile a network that can be trained"
        )


def _magnitudes(parameters: Iterable[Tensor]) -> Tensor:
    """Absolute gradients of all parameters in one float32 vector, shape (P,); zeros where there is no gradient.

    For a complex gradient, its modulus.
    """
    parts = [
        torch.zeros(p.numel(), device=p.device) if p.grad is None else _real(in_memory_order(p.grad)).float()
        for p in parameters
    ]
    return torch.cat(parts).abs_()


def _real(grad: Tensor) -> Tensor:
    return grad.abs() if grad.is_complex() else grad


def _rounded(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to 24 significant bits, float32's precision in float64's range: the other bits are noise that does not compress."""
    mantissa, exponent = np.frexp(sums)
    return np.ldexp(np.round(mantissa * 2.0**24) / 2.0**24, exponent)
