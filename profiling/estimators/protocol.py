"""What an estimator is: a function from a `Probe` to one number."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from numpy.typing import NDArray
from torch import Tensor, nn

from sweetgrad.profiling.spaces.protocol import Network, kind_of

Need = Literal["network", "graph", "gradients"]
"""When an estimator is called: see `estimator`."""

Watch = Callable[[Network], AbstractContextManager[Any]]
"""Looks on while the shared forward and backward pass runs; see `estimator`."""


class EstimatorError(ValueError):
    """An estimator that cannot score this network says why: its status is failed, and message and ``score`` are stored."""

    def __init__(self, message: str, *, score: float = math.nan) -> None:
        super().__init__(message)
        self.score = score


@dataclass(frozen=True)
class Probe:
    """What an estimator is given.

    Attributes
    ----------
    network
        The network in train mode, with the weights of its initialisation; after the shared pass every parameter has its gradient
        of the mean cross-entropy in ``.grad``, or None where nothing reached it. An estimator may run passes of its own, and
        change parameters, gradients, buffers and modes: they are put back behind it. It must take its hooks off again and replace
        no module. The network runs on a copy of what it is given.
    x, y
        The batch: images, shape (N, C, H, W), and labels, shape (N,), on the network's device. An estimator may change them: the
        next one sees the batch again.
    build
        Builds the same network anew, with the same weights, nothing left out and in train mode, for an estimator that looks at
        operations which change no gradient, and which NAS-Bench-201's ``network`` skips.
    build_thin
        Builds the narrow and shallow variant of the network that the search space offers, as a module; raises `EstimatorError`
        if it offers none.
    logits
        Output of the shared pass, shape (N, classes), whose graph can be run backward only by an estimator that needs the
        ``graph``; None where no pass was run.
    seen
        What the estimator's ``watch`` yielded.
    """

    network: Network
    x: Tensor
    y: Tensor
    build: Callable[[], Network]
    build_thin: Callable[[], nn.Module]
    logits: Tensor | None = None
    seen: Any = None


@dataclass(frozen=True)
class Detailed:
    """A score, and arrays of `MOMENT_VARIABLES` or `ACTIVATION_VARIABLES` beside it, without their dimension ``arch``."""

    score: float
    arrays: Mapping[str, NDArray[Any]]


class Estimator(Protocol):
    """A function from a `Probe` to a score, registered in the entry-point group ``sweetgrad.estimators``.

    Two attributes are optional, `estimator` sets them: ``needs`` and ``watch``.
    """

    def __call__(self, probe: Probe, /) -> "float | Detailed":
        """Score of one network; not finite or raised: no score, and the status is failed."""
        ...


F = TypeVar("F", bound=Callable[..., float | Detailed])


def estimator(*, needs: Need = "gradients", watch: Watch | None = None) -> Callable[[F], F]:
    """Say when an estimator is called, if not after the shared pass with gradients in place.

    Parameters
    ----------
    needs
        ``network``: only the network; where all estimators asked for are such, no pass is run. ``graph``: between forward and
        backward of the shared pass, with the graph of ``probe.logits`` alive and ``probe.x`` asking for a gradient; it must keep
        the graph (``retain_graph=True``) and the network as they are. ``gradients``: after the backward pass.
    watch
        A context manager that is entered before the shared pass and left after it, with hooks on the network, say. What it yields
        becomes ``probe.seen``. It may look, but not change. Hooks on gradients may see other backward passes first, of estimators
        that need the ``graph``; the shared one comes last. Where what it yields has ``seconds``, the time that looking on took,
        these become the estimator's own and are not those of the pass.

    Examples
    --------
    >>> @estimator(needs="network")
    ... def depth(probe):
    ...     return float(len(probe.network.layers))
    >>> depth.needs
    'network'
    """

    def mark(function: F) -> F:
        function.needs = needs  # type: ignore[attr-defined]
        function.watch = watch  # type: ignore[attr-defined]
        return function

    return mark


def require_real(module: nn.Module, name: str) -> None:
    """Refuse complex parameters, for an estimator that is defined for real ones alone: torch would drop the imaginary part."""
    for parameter, value in module.named_parameters():
        if value.is_complex():
            raise EstimatorError(f"{name}: it is defined for real parameters, and {parameter} is {value.dtype}")


def weights_of(module: nn.Module) -> Iterator[nn.Parameter]:
    """Conv and linear weights: parameters of two or more dimensions, each once."""
    return (parameter for parameter in module.parameters() if kind_of(parameter) == "weight")
