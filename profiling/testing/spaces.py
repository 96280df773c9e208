"""Conformance tests of search spaces: `check_space` checks in one call that a space follows the rules of `SearchSpace`."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweetgrad.profiling.architectures import task_of
from sweetgrad.profiling.devices import deterministic, formatted
from sweetgrad.profiling.measure import Builder, Measurement, fill_row, measure_network
from sweetgrad.profiling.registry import load_space
from sweetgrad.profiling.spaces import Network, SearchSpace
from sweetgrad.profiling.tasks import BLANK, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, SPEECH_RECOGNITION, TASKS
from sweetgrad.store import ProfileSpec, empty_rows
from sweetgrad.store.format.blocks import AXES

_NUM_SAMPLED = 3
_MAX_IDS = 20_000


class SpaceCheckError(AssertionError):
    """A search space violates a rule; the message names the space and the architecture and says what to do."""


def check_space(
    space: SearchSpace | str,
    *,
    archs: Sequence[int | str] | None = None,
    in_channels: int = 3,
    num_classes: int = 10,
    image_size: int | None = None,
    batch_size: int = 2,
    seed: int = 42,
) -> None:
    """Check that a search space follows the rules that profiling relies on; call it from a test.

    Parameters
    ----------
    space
        The space, or the name under which it is registered in ``sweetgrad.spaces``.
    archs
        Architectures to build, as indices or strings. None: the first, the last, and three others.
    in_channels, num_classes
        Channels of the images, or bands of speech; number of classes, or of tokens.
    image_size
        Height and width of images, or length of sequences; the space's ``input_size`` by default. Smaller ones are faster.
    batch_size
        Examples in the batch.
    seed
        Seed of the networks and of the examples, which are random.

    Raises
    ------
    SpaceCheckError
        At the first violation. The rules: the space has the attributes of `SearchSpace`; architecture strings are single lines,
        each means one architecture, and any other string raises ValueError; the object can be pickled; networks have the
        requested numbers of channels and classes; layers are in the order of the forward pass, contain every parameter once,
        and are at most as many as ``layer_names``; ``parameter_axes``, if the space has it, names the parameters of every network
        in their order, with their layers; a seed determines the network, whatever was built before, and different
        seeds give different networks; gradients are reproducible, and a network does not change the batch; and, if the space
        has ``build_literal``, its network has the parameters and, bit for bit, the gradients of ``build``.

    Examples
    --------
    >>> from sweetgrad.profiling import load_space
    >>> check_space(load_space("nas-bench-201"), archs=[7800], image_size=8)
    """
    name = space if isinstance(space, str) else None
    checked = load_space(space) if isinstance(space, str) else space
    _check_attributes(checked, registered=name)
    chosen = _choose(checked, archs, np.random.RandomState(seed))
    size = image_size or checked.input_size
    case = Case(
        checked,
        tuple(chosen),
        ProfileSpec(
            space=checked.name,
            variant=checked.variant,
            init=checked.init,
            dataset="random",
            batch_size=batch_size,
            seed=seed,
            num_classes=num_classes,
            input_shape=_INPUT_SHAPES[task_of(checked)](in_channels, size),
            batch_sha256="",
            arch_sha256="",
            task=task_of(checked),
        ),
    )
    with torch.random.fork_rng([]), deterministic(threads=1):
        for check in _CHECKS:
            check(case)


_INPUT_SHAPES: Mapping[str, Callable[[int, int], tuple[int, ...]]] = {
    IMAGE_CLASSIFICATION.name: lambda channels, size: (channels, size, size),
    LANGUAGE_MODELLING.name: lambda channels, size: (size,),
    SPEECH_RECOGNITION.name: lambda channels, size: (channels, size),
}
"""Shape of one example of each task, from the number of channels and the size."""


@dataclass(frozen=True)
class Case:
    """A space, the architectures to check, and the settings to build them with."""

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
        """The one batch that all networks share, as in a profile."""
        return self.batch()

    def batch(self, *, in_channels: int | None = None) -> tuple[Tensor, Tensor]:
        """Random inputs and targets of the task, the same at every call."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        num, classes = self.spec.batch_size, self.spec.num_classes
        shape = (num, in_channels or self.spec.input_shape[0], *self.spec.input_shape[1:])
        if self.spec.task == LANGUAGE_MODELLING.name:
            x, y = (torch.randint(classes, shape, generator=generator) for _ in range(2))
            return x, y
        x = torch.randn(shape, generator=generator)
        if self.spec.task == SPEECH_RECOGNITION.name:
            return x, torch.randint(BLANK + 1, classes, (num, 1), generator=generator)
        return formatted(x), torch.randint(classes, (num,), generator=generator)

    def forward(self, network: Network, arch: str, *, in_channels: int | None = None) -> Tensor:
        """Logits in train mode."""
        x, _ = self.batch(in_channels=in_channels)
        advice = "choose image_size and batch_size so that images are large enough for every reduction"
        with self.explained(arch, f"the network, on inputs of shape {tuple(x.shape)},", advice), torch.no_grad():
            logits: Tensor = network.module(x)
            return logits

    def measure(self, network: Network, arch: str) -> Measurement:
        """Measure a network on the shared batch, from the seed; the batch must not change."""
        torch.manual_seed(self.spec.seed)
        with self.explained(arch, "the backward pass", "the network must have a loss that depends on its parameters"):
            measured = measure_network(network, *self.shared_batch, task=TASKS[self.spec.task])
        if list(map(_digest, self.shared_batch)) != list(map(_digest, self.batch())):
            raise self.fail(
                arch,
                "the network changed the batch, which all networks share",
                "do not remove the module's forward pre-hooks or override __call__ (they copy the input), or work on x.clone()",
            )
        return measured

    def fail(self, arch: str | None, found: str, advice: str) -> SpaceCheckError:
        """An error that names the space and the architecture."""
        return SpaceCheckError(describe(self.space, arch, found, advice))

    @contextmanager
    def explained(self, arch: str | None, who: str, advice: str) -> Iterator[None]:
        """Convert exceptions of the space to a `SpaceCheckError`."""
        try:
            yield
        except SpaceCheckError:
            raise
        except Exception as error:  # code of another package may raise anything
            raise self.fail(arch, f"{who} raised {type(error).__name__}: {error}", advice) from error


def describe(space: object, arch: str | None, found: str, advice: str) -> str:
    """Format a message."""
    where = f"space {getattr(space, 'name', type(space).__name__)!r}"
    return f"{where}{f', architecture {arch!r}' if arch is not None else ''}: {found}. What to do: {advice}"


def _check_attributes(space: SearchSpace, *, registered: str | None) -> None:
    def fail(found: str, advice: str) -> SpaceCheckError:
        return SpaceCheckError(describe(space, None, found, advice))

    parts = ("name", "variant", "init", "layer_names", "input_size", "__len__", "arch_id", "build")
    missing = [part for part in parts if not hasattr(space, part)]
    if missing:
        raise fail(f"it has no {', '.join(missing)}", "implement sweetgrad.profiling.SearchSpace")
    for part in ("name", "variant", "init"):
        value = getattr(space, part)
        if not isinstance(value, str) or "/" in value or not (value or part == "variant"):
            advice = 'it must be a string without /, such as "pytorch-default" for init; variant may be ""'
            raise fail(f"{part} is {value!r}", advice)
    if registered is not None and registered != space.name:
        raise fail(
            f"it is registered as {registered!r}", "use the same name for the entry point and the attribute name"
        )
    layers = space.layer_names
    if isinstance(layers, str) or not layers or not all(isinstance(layer, str) for layer in layers):
        raise fail(f"layer_names is {layers!r}", "it must be a tuple of names, from input to output")
    if len(set(layers)) < len(layers):
        repeated = next(layer for layer in layers if list(layers).count(layer) > 1)
        raise fail(f"layer_names contains {repeated!r} more than once", "number the layers, e.g. cell0, cell1")
    if not isinstance(space.input_size, int) or space.input_size < 1:
        raise fail(f"input_size is {space.input_size!r}", "it must be the height of the benchmark's images, e.g. 32")
    version = getattr(space, "version", 1)
    if not isinstance(version, int) or version < 1:
        raise fail(f"version is {version!r}", "it must be an integer of at least 1, or absent")
    if len(space) < 1:
        raise fail("it has no architectures", "len(space) must be the number of architectures")


def _choose(space: SearchSpace, archs: Sequence[int | str] | None, random: np.random.RandomState) -> list[str]:
    if archs is None:
        drawn = random.randint(0, len(space), size=_NUM_SAMPLED, dtype=np.int64)
        archs = [int(index) for index in dict.fromkeys([0, *drawn.tolist(), len(space) - 1])]
    if not archs:
        raise ValueError("archs is empty: pass indices or strings, or None")
    return [arch if isinstance(arch, str) else space.arch_id(arch) for arch in archs]


def _check_strings(case: Case) -> None:
    space = case.space
    num = min(len(space), _MAX_IDS)
    first_index: dict[str, int] = {}
    for index in range(num):
        arch = space.arch_id(index)
        if not isinstance(arch, str) or not arch or arch != arch.strip() or len(arch.splitlines()) != 1:
            advice = (
                "arch_id must return a single line without leading or trailing blanks: it is a key in stores and tables"
            )
            raise case.fail(None, f"arch_id({index}) returned {arch!r}", advice)
        if first_index.setdefault(arch, index) != index:
            advice = "every architecture must have one index and one string: remove duplicates from the space"
            raise case.fail(arch, f"it is architecture {first_index[arch]} and {index}", advice)
    for index in range(0, num, max(1, num // 50)):
        if space.arch_id(index) != list(first_index)[index]:
            advice = "arch_id must only depend on the index"
            raise case.fail(None, f"arch_id({index}) returned a different string the second time", advice)
    channels, classes = case.spec.input_shape[0], case.spec.num_classes
    for arch in case.archs:
        advice = "build must raise a ValueError that says what is expected, for a string that arch_id never returns"
        with case.explained(arch, f"build({arch + '?'!r}), which is not an architecture,", advice):
            try:
                space.build(f"{arch}?", in_channels=channels, num_classes=classes)
            except ValueError:
                continue
        raise case.fail(arch, f"build accepted {arch + '?'!r}, which is not an architecture", advice)


def _check_mutants(case: Case) -> None:
    mutate = getattr(case.space, "mutate", None)
    if mutate is None:
        return
    advice = "mutate(arch_id, random) must return the string of another architecture, and only draw from that generator"
    for arch in case.archs:
        with case.explained(arch, "mutate", advice):
            mutant, again = (mutate(arch, np.random.RandomState(0)) for _ in range(2))
        if mutant != again:
            raise case.fail(arch, "mutate returned different mutants with the same seed", advice)
        if mutant == arch:
            raise case.fail(arch, "mutate returned the architecture itself", advice)
        case.build(mutant)


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
            # Of speech, the number of steps is the network's own; a sequence has a step for each token.
            steps = {LANGUAGE_MODELLING.name: (in_channels,), SPEECH_RECOGNITION.name: ("steps",)}.get(
                case.spec.task, ()
            )
            expected = (case.spec.batch_size, *steps, num_classes)
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            if len(got) != len(expected) or any(a != b for a, b in zip(got, expected, strict=True) if b != "steps"):
                raise case.fail(
                    arch,
                    f"for {in_channels} channels and {num_classes} classes the network returned {got}",
                    f"it must return logits {expected}: use in_channels and num_classes in the first and the last layer",
                )


def _check_layers(case: Case) -> None:
    deepest = 0
    for arch in case.archs:
        for literal in (False, True)[: 1 + hasattr(case.space, "build_literal")]:
            network = case.build(arch, literal=literal)
            with case.explained(arch, "Network", "list each module in one Layer, and construct the Network last"):
                Network(network.module, network.layers)  # again: modules may have been added since
            if len(network.layers) > len(case.space.layer_names):
                raise case.fail(
                    arch,
                    f"it has {len(network.layers)} layers, but layer_names has {len(case.space.layer_names)}",
                    "layer_names must have as many names as the deepest architecture has layers",
                )
            _check_order(case, arch, network)
            deepest = max(deepest, sum(layer.type in ("cell", "reduction") for layer in network.layers))
    if deepest < 2:
        raise case.fail(
            case.archs[0],
            f"no checked architecture has two layers of type cell or reduction (at most {deepest})",
            "sweetness (Eq. 3) compares successive cells: give those layers the type cell",
        )


def _check_order(case: Case, arch: str, network: Network) -> None:
    reached: list[int] = []
    for position, layer in enumerate(network.layers):
        for module in (inner for top in layer.modules for inner in top.modules()):
            module.register_forward_pre_hook(lambda *_, position=position: reached.append(position))
    case.forward(network, arch)
    # A layer that is never reached is on a dead path; of the others, the first call counts.
    order = list(dict.fromkeys(reached))
    for before, after in pairwise(order):
        if before > after:
            names = [network.layers[position].name for position in (before, after)]
            raise case.fail(
                arch,
                f"the forward pass reaches layer {names[0]!r} before {names[1]!r}, which is listed first",
                "list the layers from input to output: sweetness follows that order",
            )


def _check_axes(case: Case) -> None:
    """Check the names of `parameter_axes`, which blocks of statistics along parameters require, if the space has them."""
    name = getattr(case.space, "parameter_axes", None)
    if name is None:
        return
    advice = "return unite_names([network, ...]) of networks that together have every parameter of the space"
    with case.explained(None, "parameter_axes", advice):
        axes, again = name(), name()
        listed = {axis: list(axes[axis].items()) for axis in AXES}
    if again != axes or listed != {axis: list(again[axis].items()) for axis in AXES}:
        raise case.fail(None, "parameter_axes returned different names, or another order, the second time", advice)
    unknown = [layer for axis in listed.values() for _, layer in axis if layer not in case.space.layer_names]
    if unknown:
        raise case.fail(
            None,
            f"parameter_axes has a parameter in layer {unknown[0]!r}, which layer_names does not have",
            "give the layers of a network the names in layer_names",
        )
    for arch in case.archs:
        for axis, found in case.build(arch).named_parameters().items():
            layers = {name: layer for name, (layer, _) in found.items()}
            missing = [name for name in layers if name not in axes[axis]]
            if missing:
                what = (
                    f"the network has the parameter {missing[0]!r}, which parameter_axes does not name along {axis!r}"
                )
                raise case.fail(arch, what, advice)
            for name, layer in layers.items():
                if axes[axis][name] != layer:
                    what = (
                        f"parameter {name!r} is in layer {layer!r}, and parameter_axes has it in {axes[axis][name]!r}"
                    )
                    raise case.fail(arch, what, "name each parameter with the name of its layer, as unite_names does")
            ordered = [name for name in axes[axis] if name in layers]
            for here, there in zip(layers, ordered, strict=True):
                if here != there:
                    what = f"the network has the parameter {here!r} where parameter_axes has {there!r}"
                    raise case.fail(arch, what, "name the parameters in forward order, as unite_names does")


def _check_initialisation(case: Case) -> None:
    for number, arch in enumerate(case.archs):
        first = case.build(arch)
        before = _digests(first)
        case.build(case.archs[number - 1])  # a network that is built in between must have no effect
        again = case.build(arch)
        mine = {id(tensor) for tensor in _tensors(first).values()}
        if any(id(tensor) in mine for tensor in _tensors(again).values()):
            advice = "create new modules in every call: networks must not share gradients or statistics"
            raise case.fail(arch, "build returned parameters or buffers of an earlier network", advice)
        _require_same(case, arch, before, _digests(again), "the same seed gave a different network the second time")
        if _digests(case.build(arch, seed=case.spec.seed + 1)) == before:
            raise case.fail(
                arch,
                "a different seed gave the same network",
                "build must draw from torch's global generator and must not seed it: sweetgrad sets the seed before each call",
            )


def _check_pickle(case: Case) -> None:
    advice = "define the class at the top level of a module that workers can import, without lambdas or open files as attributes"
    with case.explained(case.archs[0], "pickle", advice):
        copy = replace(case, space=pickle.loads(pickle.dumps(case.space)))  # noqa: S301 - pickled in this line
    for arch in case.archs:
        here, there = _digests(case.build(arch)), _digests(copy.build(arch))
        _require_same(case, arch, here, there, "the unpickled space built a different network")


def _check_gradients(case: Case) -> None:
    for arch in case.archs:
        networks = [case.build(arch), case.build(arch)]
        measured = [case.measure(network, arch) for network in networks]
        if (difference := _difference(networks, measured)) is not None:
            advice = "the forward pass may only draw from torch's global generator, and must not keep state outside the network"
            raise case.fail(arch, f"the same network had different gradients the second time ({difference})", advice)
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
            advice = "build may leave out operations but no parameters: keep every layer and every parameter"
            raise case.fail(arch, "build and build_literal have different layers or parameters", advice)
        weights = [[_digest(p) for layer in network.layer_parameters() for p in layer] for network in networks]
        if weights[0] != weights[1]:
            advice = "construct the parameters in the same order in both, so that a seed gives both the same weights"
            raise case.fail(arch, "build and build_literal have different weights with the same seed", advice)
        measured = [case.measure(network, arch) for network in networks]
        if (difference := _difference(networks, measured)) is not None:
            advice = (
                "leave out only operations that cannot change a bit of any gradient, and keep the order of additions"
            )
            raise case.fail(arch, f"build and build_literal differ ({difference})", advice)


def _difference(networks: Sequence[Network], measured: Sequence[Measurement]) -> str | None:
    """First difference of two measured networks, in bits; None if there is none. A missing gradient is equal to zeros."""
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
    """SHA-256 of a tensor's dtype, shape and bytes, so that NaN equals itself."""
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return sha256(str((tensor.dtype, tuple(tensor.shape))).encode() + content).hexdigest()


def _require_same(case: Case, arch: str, here: dict[str, str], there: dict[str, str], found: str) -> None:
    if here != there:
        name = next(iter(sorted(name for name in here | there if here.get(name) != there.get(name))))
        advice = "weights may only depend on torch's global generator: not on NumPy, random, or networks built before"
        raise case.fail(arch, f"{found} (first difference: {name})", advice)


_CHECKS = (
    _check_strings,
    _check_mutants,
    _check_shapes,
    _check_layers,
    _check_axes,
    _check_initialisation,
    _check_pickle,
    _check_gradients,
    _check_literal,
)
"""In this order: later checks rely on earlier ones."""
