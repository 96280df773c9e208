"""Protocol of estimators: functions of a `Probe` that return one number."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.spaces.protocol import Network, kind_of
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION, Task
from sweetgrad.store import Block, ProfileSpec

Need = Literal["network", "graph", "gradients"]
"""When an estimator is called: see `estimator`."""

Watch = Callable[[Network], AbstractContextManager[Any]]
"""Observes the shared forward and backward pass; see `estimator`."""


class EstimatorError(ValueError):
    """An estimator cannot score a network; message and ``score`` are stored, with status failed."""

    def __init__(self, message: str, *, score: float = math.nan) -> None:
        super().__init__(message)
        self.score = score


@dataclass(frozen=True)
class Probe:
    """Input of an estimator.

    Attributes
    ----------
    network
        The network in train mode, with the weights of its initialisation; after the shared pass every parameter has its gradient
        of the loss in ``.grad``, or None if it is not reached. An estimator may run passes of its own, and change
        parameters, gradients, buffers and modes: they are restored afterwards. It must remove its hooks and not replace any
        module. The network runs on a copy of its input.
    x, y
        The batch: images, shape (N, C, H, W), and labels, shape (N,), or inputs and targets of another task, on the network's
        device. An estimator may change them: the next one gets the original batch.
    build
        Builds the same network again, with the same weights and in train mode, without skipping dead paths: for an estimator that
        includes operations that do not affect any gradient, which NAS-Bench-201's ``network`` skips.
    build_thin
        Builds the narrow and shallow variant of the network, as a module; raises `EstimatorError` if the search space has none.
    logits
        Output of the shared pass, of images shape (N, classes), whose graph is only available to an estimator that needs the
        ``graph``; None if no pass was run.
    seen
        The value that the estimator's ``watch`` yielded.
    second
        Inputs and targets of the second batch; None if there is none.
    seed
        Seed of the profile.
    task
        What the network is to do, with its loss.
    is_whole
        Whether ``network`` skips nothing, so that ``build`` returns the same, because its search space has one version only.
    """

    network: Network
    x: Tensor
    y: Tensor
    build: Callable[[], Network]
    build_thin: Callable[[], nn.Module]
    logits: Tensor | None = None
    seen: Any = None
    second: tuple[Tensor, Tensor] | None = None
    seed: int = 42
    task: Task = IMAGE_CLASSIFICATION
    is_whole: bool = False


@dataclass(frozen=True)
class Detailed:
    """A score, and the arrays of its block (``MOMENTS``, ``ACTIVATIONS``) beside it, without their dimension ``arch``."""

    score: float
    arrays: Mapping[str, NDArray[Any]]


Statistics = Mapping[str, NDArray[Any] | float]
"""Variables of a block without their dim ``arch``.

Those along ``layer``, ``tensor`` or ``vector`` have the entries of the network itself, in the order of `Network.layers` and
`Network.named_parameters`; they are stored under their names.
"""


class Measurer(Protocol):
    """A function of a `Probe` that returns the statistics of a block, registered in the entry-point group ``sweetgrad.blocks``.

    The decorator `measures` makes one.
    """

    block: Block
    settings: Callable[[ProfileSpec, Batch], Mapping[str, Any]]

    def __call__(self, probe: Probe, /) -> Statistics:
        """Return the statistics of one network; if it raises, the status is failed and the message says why."""
        ...


class Estimator(Protocol):
    """A function of a `Probe` that returns a score, registered in the entry-point group ``sweetgrad.estimators``.

    Three attributes are optional: ``needs``, ``watch`` and ``tasks``, which the decorator `estimator` sets.
    """

    def __call__(self, probe: Probe, /) -> "float | Detailed | Statistics":
        """Return the score of one network; if it raises or the score is not finite, the status is failed."""
        ...


IMAGES = (IMAGE_CLASSIFICATION.name,)
"""Tasks of an estimator that is defined for images with labels alone."""

F = TypeVar("F", bound=Callable[..., float | Detailed | Statistics])


def estimator(
    *, needs: Need = "gradients", watch: Watch | None = None, tasks: Collection[str] | None = None
) -> Callable[[F], F]:
    """Decorate an estimator that is not simply called after the shared pass.

    Parameters
    ----------
    needs
        ``network``: only the network; if all requested estimators are such, no pass is run. ``graph``: called between the forward
        and the backward pass, with the graph of ``probe.logits``, and with a ``probe.x`` that requires grad; it must retain the
        graph (``retain_graph=True``) and not change the network. ``gradients``: called after the backward pass.
    watch
        A context manager that is entered before the shared pass and exited after it, for example to register hooks. The value
        that it yields becomes ``probe.seen``. It must not change the network. Hooks on gradients may see backward passes of
        estimators that need the ``graph`` first; the shared pass is the last. If the value has an attribute ``seconds``, the time
        that watching took, it is added to the time of the estimator and not to that of the pass.
    tasks
        Names of the tasks (`TASKS`) for which it is defined; None: all. It is refused for others before a run begins.

    Examples
    --------
    >>> @estimator(needs="network")
    ... def depth(probe):
    ...     return float(len(probe.network.layers))
    >>> depth.needs
    'network'
    """

    def mark(function: F) -> F:
        function.needs = needs  # type: ignore[attr-defined]  # functions can have attributes, callables in general not
        function.watch = watch  # type: ignore[attr-defined]
        function.tasks = tasks  # type: ignore[attr-defined]
        return function

    return mark


def is_defined_for(function: object, task: str) -> bool:
    """Whether an estimator, or a function that measures a block, is defined for the task of this name (see `estimator`)."""
    tasks = getattr(function, "tasks", None)
    return tasks is None or task in tasks


def no_settings(spec: ProfileSpec, batch: Batch) -> Mapping[str, Any]:
    """Settings of a block that is measured as the counts are."""
    return {}


def measures(
    block: Block,
    *,
    needs: Need = "gradients",
    watch: Watch | None = None,
    tasks: Collection[str] | None = None,
    settings: Callable[[ProfileSpec, Batch], Mapping[str, Any]] = no_settings,
) -> Callable[[F], F]:
    """Decorate a function that measures a block.

    Parameters
    ----------
    block
        The block (`sweetgrad.store.declare_block`).
    needs, watch, tasks
        As in `estimator`.
    settings
        From the spec of the profile and its batch, what identifies the block beyond them: an initialisation, input or mode of its
        own, with values that JSON has. They are stored with it, and rows with other settings are never mixed.

    Examples
    --------
    >>> from sweetgrad.store import Variable, declare_block
    >>> norm = Variable("tensor_norm", ("arch", "tensor"), "float32", "1", "Norm of the weight tensor.", float("nan"))
    >>> @measures(declare_block("norms", "Norms of weights.", norm, cost="0"), needs="network")
    ... def norms(probe):
    ...     return {"tensor_norm": [float(w.norm()) for _, w in probe.network.named_parameters()["tensor"].values()]}
    >>> norms.block.name
    'norms'
    """

    def mark(function: F) -> F:
        marked = estimator(needs=needs, watch=watch, tasks=tasks)(function)
        marked.block, marked.settings = block, settings  # type: ignore[attr-defined]  # as in `estimator`
        return marked

    return mark


def require_real(module: nn.Module, name: str) -> None:
    """Reject complex parameters, for an estimator that is only defined for real ones: torch would discard the imaginary part."""
    for parameter, value in module.named_parameters():
        if value.is_complex():
            raise EstimatorError(f"{name}: it is only defined for real parameters, but {parameter} is {value.dtype}")


def weights_of(module: nn.Module) -> Iterator[nn.Parameter]:
    """Conv and linear weights: parameters with two or more dimensions, each once."""
    return (parameter for parameter in module.parameters() if kind_of(parameter) == "weight")
