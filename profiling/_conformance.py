"""What `sweetgrad.profiling.testing` checks on the networks of a space."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweetgrad.profiling.measure import Builder, Measurement, fill_row, measure_network
from sweetgrad.profiling.spaces import Network, SearchSpace
from sweetgrad.store import ProfileSpec, empty_rows


class SpaceCheckError(AssertionError):
    """A search space breaks a rule; the message names the space, the architecture and what to do."""


@dataclass(frozen=True)
class Case:
    """A space, the architectures to look at, and the settings to build them with."""

    space: SearchSpace
    archs: tuple[str, ...]
    spec: ProfileSpec

    def build(self, arch: str, *, literal: bool = False, **settings: Any) -> Network:
        """Build a network as a worker does, from its seed."""
        builder = Builder(self.space, arch, replace(self.spec, **settings))
        with self.explained(
            arch, "build_literal" if literal else "build", "it must build every architecture of arch_id"
        ):
            return builder.whole() if literal else builder.network()

    @cached_property
    def shared_batch(self) -> tuple[Tensor, Tensor]:
        """The one batch that every network sees in turn, as in a profile."""
        return self.batch()

    def batch(self, *, in_channels: int | None = None) -> tuple[Tensor, Tensor]:
        """Random images and labels, the same at every call."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        channels, height, width = self.spec.input_shape
        shape = (self.spec.batch_size, in_channels or channels, height, width)
        x = torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)
        return x, torch.randint(self.spec.num_classes, (self.spec.batch_size,), generator=generator)

    def forward(self, network: Network, arch: str, *, in_channels: int | None = None) -> Tensor:
        """Logits in train mode."""
        x, _ = self.batch(in_channels=in_channels)
        advice = "choose image_size and batch_size so that images survive every reduction of size"
        with self.explained(arch, f"the network, on images of shape {tuple(x.shape)},", advice), torch.no_grad():
            logits: Tensor = network.module(x)
            return logits

    def measure(self, network: Network, arch: str) -> Measurement:
        """One backward pass on the shared batch, from the seed, and its counts; the batch must be the same afterwards."""
        torch.manual_seed(self.spec.seed)
        with self.explained(arch, "the backward pass", "the network must have a loss that depends on its parameters"):
            measured = measure_network(network, *self.shared_batch)
        if list(map(_digest, self.shared_batch)) != list(map(_digest, self.batch())):
            raise self.fail(
                arch,
                "the network changed the batch, which the networks after it see",
                "leave forward pre-hooks of the module and its __call__ as they are (they give it a copy), or work on x.clone()",
            )
        return measured

    def fail(self, arch: str | None, found: str, advice: str) -> SpaceCheckError:
        """An error that names the space and the architecture."""
        return SpaceCheckError(describe(self.space, arch, found, advice))

    @contextmanager
    def explained(self, arch: str, who: str, advice: str) -> Iterator[None]:
        """Turn what the space raises into a `SpaceCheckError`."""
        try:
            yield
        except SpaceCheckError:
            raise
        except Exception as error:  # whatever another package's code raises
            raise self.fail(arch, f"{who} raised {type(error).__name__}: {error}", advice) from error


def describe(space: object, arch: str | None, found: str, advice: str) -> str:
    """A message in the one form that all have."""
    where = f"space {getattr(space, 'name', type(space).__name__)!r}"
    return f"{where}{f', architecture {arch!r}' if arch is not None else ''}: {found}. What to do: {advice}"


def _check_shapes(case: Case) -> None:
    channels, classes = case.spec.input_shape[0], case.spec.num_classes
    for arch in case.archs:
        with case.explained(arch, "build", "it is called as build(arch_id, in_channels=3, num_classes=10)"):
            built = case.space.build(arch, in_channels=channels, num_classes=classes)
        if not isinstance(built, Network):
            advice = "return sweetgrad.profiling.Network(module, layers)"
            raise case.fail(arch, f"build returned {type(built).__name__}", advice)
        for in_channels, num_classes in ((channels, classes), (channels + 1, classes + 1)):
            shape = (in_channels, *case.spec.input_shape[1:])
            network = case.build(arch, input_shape=shape, num_classes=num_classes)
            logits = case.forward(network, arch, in_channels=in_channels)
            expected = (case.spec.batch_size, num_classes)
            if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
                got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                raise case.fail(
                    arch,
                    f"for {in_channels} channels and {num_classes} classes the network returned {got}",
                    f"it must return logits {expected}: pass in_channels and num_classes on to the first and the last layer",
                )


def _check_layers(case: Case) -> None:
    deepest = 0
    for arch in case.archs:
        for literal in (False, True)[: 1 + hasattr(case.space, "build_literal")]:
            network = case.build(arch, literal=literal)
            with case.explained(arch, "Network", "list each module in one Layer, and make the Network last"):
                Network(network.module, network.layers)  # again: modules may have been added since
            if len(network.layers) > len(case.space.layer_names):
                raise case.fail(
                    arch,
                    f"it has {len(network.layers)} layers, but layer_names has {len(case.space.layer_names)}",
                    "layer_names needs as many names as the deepest architecture has layers",
                )
            _check_order(case, arch, network)
            deepest = max(deepest, sum(layer.type in ("cell", "reduction") for layer in network.layers))
    if deepest < 2:
        raise case.fail(
            case.archs[0],
            f"no architecture looked at has two layers of type cell or reduction ({deepest} at most)",
            "sweetness (Eq. 3) compares successive cells: give those layers the type cell",
        )


def _check_order(case: Case, arch: str, network: Network) -> None:
    reached: list[int] = []
    for position, layer in enumerate(network.layers):
        for module in (inner for top in layer.modules for inner in top.modules()):
            module.register_forward_pre_hook(lambda *_, position=position: reached.append(position))
    case.forward(network, arch)
    # A layer that is never reached lies on a path that cannot matter; of the others the first call counts.
    order = list(dict.fromkeys(reached))
    for before, after in pairwise(order):
        if before > after:
            names = [network.layers[position].name for position in (before, after)]
            raise case.fail(
                arch,
                f"the forward pass reaches layer {names[0]!r} before {names[1]!r}, which is listed first",
                "list the layers from input to output: sweetness follows that order",
            )


def _check_initialisation(case: Case) -> None:
    for number, arch in enumerate(case.archs):
        first = case.build(arch)
        before = _digests(first)
        case.build(case.archs[number - 1])  # what is built in between must not matter
        again = case.build(arch)
        mine = {id(tensor) for tensor in _tensors(first).values()}
        if any(id(tensor) in mine for tensor in _tensors(again).values()):
            advice = "make new modules at every call: gradients and statistics of one network must not reach another"
            raise case.fail(arch, "build returned parameters or buffers that it had returned before", advice)
        _require_same(case, arch, before, _digests(again), "the same seed gave another network the second time")
        if _digests(case.build(arch, seed=case.spec.seed + 1)) == before:
            raise case.fail(
                arch,
                "another seed gave the same network",
                "build must draw from torch's global generator, and never seed it: sweetgrad sets the seed before each call",
            )


def _check_pickle(case: Case) -> None:
    advice = "define the class at the top of a module that workers can import, and keep no lambdas or open files in the object"
    with case.explained(case.archs[0], "pickle", advice):
        copy = replace(case, space=pickle.loads(pickle.dumps(case.space)))  # noqa: S301 - made in this line
    for arch in case.archs:
        here, there = _digests(case.build(arch)), _digests(copy.build(arch))
        _require_same(case, arch, here, there, "the space that came out of pickle built another network")


def _check_gradients(case: Case) -> None:
    for arch in case.archs:
        networks = [case.build(arch), case.build(arch)]
        measured = [case.measure(network, arch) for network in networks]
        if (difference := _difference(networks, measured)) is not None:
            advice = (
                "the forward pass may draw from torch's global generator only, and keep no state outside the network"
            )
            raise case.fail(arch, f"the same network had other gradients the second time ({difference})", advice)
        rows = empty_rows([arch], [0], layers=case.space.layer_names)
        fill_row(rows, 0, networks[0], measured[0])
        assert (rows["grad_count"].sum("bin") == rows["num_params"]).all()


def _check_literal(case: Case) -> None:
    if not hasattr(case.space, "build_literal"):
        return
    for arch in case.archs:
        networks = [case.build(arch), case.build(arch, literal=True)]
        shapes = [[[tuple(p.shape) for p in layer] for layer in network.layer_parameters()] for network in networks]
        if shapes[0] != shapes[1]:
            advice = "what build leaves out are operations, never parameters: keep every layer and every parameter"
            raise case.fail(arch, "build and build_literal have other layers or parameters", advice)
        weights = [[_digest(p) for layer in network.layer_parameters() for p in layer] for network in networks]
        if weights[0] != weights[1]:
            advice = "construct the parameters in one order in both, so that a seed gives both the same weights"
            raise case.fail(arch, "build and build_literal have other weights under one seed", advice)
        measured = [case.measure(network, arch) for network in networks]
        if (difference := _difference(networks, measured)) is not None:
            advice = "leave out only what cannot change a gradient by a bit, and keep the order of additions"
            raise case.fail(arch, f"build and build_literal differ ({difference})", advice)


def _difference(networks: Sequence[Network], measured: Sequence[Measurement]) -> str | None:
    """Where two networks, or what was measured on them, differ in a bit; None: nowhere. A missing gradient is one of zeros."""
    if np.float64(measured[0].loss).tobytes() != np.float64(measured[1].loss).tobytes():
        return f"losses {measured[0].loss!r} and {measured[1].loss!r}"
    sides = [network.layer_parameters() for network in networks]
    for layer, here, there in zip(networks[0].layers, *sides, strict=True):
        for a, b in zip(here, there, strict=True):
            gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).abs() for p in (a, b)]
            if _digest(gradients[0]) != _digest(gradients[1]):
                return f"gradients of layer {layer.name!r}"
    assert np.array_equal(measured[0].grad_count, measured[1].grad_count)
    return None


def _tensors(network: Network) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(network.module.named_parameters()), **dict(network.module.named_buffers())}


def _digests(network: Network) -> dict[str, str]:
    return {name: _digest(tensor) for name, tensor in _tensors(network).items()}


def _digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes and shape, so that NaN equals itself."""
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return sha256(str((tensor.dtype, tuple(tensor.shape))).encode() + content).hexdigest()


def _require_same(case: Case, arch: str, here: dict[str, str], there: dict[str, str], found: str) -> None:
    if here != there:
        name = next(iter(sorted(name for name in here | there if here.get(name) != there.get(name))))
        advice = "weights may come from torch's global generator only: not from NumPy, random, or what was built before"
        raise case.fail(arch, f"{found} (first difference: {name})", advice)


NETWORK_CHECKS = (
    _check_shapes,
    _check_layers,
    _check_initialisation,
    _check_pickle,
    _check_gradients,
    _check_literal,
)
"""In the order in which they are made: the later ones rely on the earlier."""
