"""Networks with named layers, and the protocol of search spaces that build them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from sweetgrad.store import KINDS, LAYER_TYPES
from sweetgrad.store.format.blocks import AXES


@dataclass(frozen=True)
class Layer:
    """One layer of a network as the paper counts them: a name, a type of `LAYER_TYPES`, and the modules that make it up.

    The activations of a layer of type ``cell`` or ``reduction`` (``--blocks activations``) are the output of its module, if it
    has one.
    """

    name: str
    type: str
    modules: tuple[nn.Module, ...]

    def __post_init__(self) -> None:
        """Validate the type."""
        if self.type not in LAYER_TYPES:
            raise ValueError(
                f"layer type must be one of {', '.join(LAYER_TYPES)}, got {self.type!r} for layer {self.name!r}"
            )

    def parameters(self) -> Iterator[Tensor]:
        """Parameters of the layer's modules."""
        for module in self.modules:
            yield from module.parameters()


@dataclass(frozen=True)
class Network:
    """A module, and its layers in depth order; together they hold every parameter.

    No parameter may be in two layers, unless different modules share it (tied weights); it is then counted in the first.

    The module gets a hook that copies its input (`copy_input`), because many networks share a batch.
    """

    module: nn.Module
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        """Check that the layers contain every parameter, and no module twice; make the module copy its input."""
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        held = {id(parameter) for layer in self.layers for parameter in layer.parameters()}
        left_out = [name for key, name in names.items() if key not in held]
        if left_out:
            raise ValueError(
                f"layers must contain every parameter once, but these are in none: {', '.join(left_out[:5])}"
            )
        foreign = [layer.name for layer in self.layers if any(id(p) not in names for p in layer.parameters())]
        if foreign:
            raise ValueError(f"layer {foreign[0]!r} contains parameters that are not in the network")
        owner: dict[int, str] = {}
        for layer in self.layers:
            for module in (m for top in layer.modules for m in top.modules()):
                parameters = [names[id(p)] for p in module.parameters(recurse=False)]
                if parameters and id(module) in owner:
                    raise ValueError(
                        f"layers must contain every parameter once, but {owner[id(module)]!r} and {layer.name!r} both have: "
                        + ", ".join(parameters[:5])
                    )
                owner[id(module)] = layer.name
        copy_input(self.module)

    def layer_parameters(self) -> tuple[tuple[Tensor, ...], ...]:
        """Parameters of each layer; a parameter is only in the first layer that contains it."""
        seen: set[int] = set()
        layers = []
        for layer in self.layers:
            new = {id(parameter): parameter for parameter in layer.parameters() if id(parameter) not in seen}
            seen.update(new)
            layers.append(tuple(new.values()))
        return tuple(layers)

    def named_parameters(self) -> dict[str, dict[str, tuple[str, Tensor]]]:
        """Parameters by axis (`AXES`) and name, in the order of `layer_parameters`, each with the name of its layer.

        The name is that of the layer and the parameter's path in it, without a ``weight`` at the end of a weight tensor:
        ``cell3.edges.2.1``, or ``cell3.edges.2.2.bias``.

        Examples
        --------
        >>> block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        >>> {axis: [*found] for axis, found in Network(block, (Layer("stem", "stem", (block,)),)).named_parameters().items()}
        {'tensor': ['stem.0'], 'vector': ['stem.0.bias', 'stem.1.weight', 'stem.1.bias']}
        """
        return self._named

    @cached_property
    def _named(self) -> dict[str, dict[str, tuple[str, Tensor]]]:
        # Every block asks for the names, and walking through the modules of a network takes milliseconds.
        axis_of = {kind: axis for axis, kind in AXES.items()}
        found: dict[str, dict[str, tuple[str, Tensor]]] = {axis: {} for axis in AXES}
        seen: set[int] = set()
        for layer in self.layers:
            for place, module in enumerate(layer.modules):
                top = layer.name if len(layer.modules) == 1 else f"{layer.name}.{place}"
                for path, parameter in module.named_parameters():
                    if id(parameter) not in seen:
                        seen.add(id(parameter))
                        kind = kind_of(parameter)
                        name = f"{top}.{path}".removesuffix(".weight") if kind == KINDS[0] else f"{top}.{path}"
                        found[axis_of[kind]][name] = layer.name, parameter
        return found


def unite_names(networks: Iterable[Network]) -> dict[str, dict[str, str]]:
    """Axes of the parameters of several networks of a space: every name, in forward order, with the name of its layer.

    Names are ordered as the modules of the networks are: parts of a path that are numbers by number, all others by their first
    appearance.

    Parameters
    ----------
    networks
        Networks that together have every parameter that an architecture of the space may have, such as one for each operation.
    """
    layers: dict[str, dict[str, str]] = {axis: {} for axis in AXES}
    for network in networks:
        for axis, found in network.named_parameters().items():
            layers[axis] |= {name: layer for name, (layer, _) in found.items()}
    first: dict[tuple[str, ...], int] = {}
    for names in layers.values():
        for name in names:
            parts = name.split(".")
            for depth in range(len(parts)):
                first.setdefault(tuple(parts[: depth + 1]), len(first))

    def position(name: str) -> list[tuple[int, int]]:
        parts = name.split(".")
        return [
            (0, int(part)) if part.isdecimal() else (1, first[tuple(parts[: depth + 1])])
            for depth, part in enumerate(parts)
        ]

    return {axis: {name: names[name] for name in sorted(names, key=position)} for axis, names in layers.items()}


@runtime_checkable
class SearchSpace(Protocol):
    """A set of architectures that can be built as networks.

    A space is registered in the entry-point group ``sweetgrad.spaces`` as a callable ``space(table=None)``, where ``table`` is
    the path of a file that lists or orders the architectures, for spaces that need one. Its keyword-only parameters are options
    of the space (``--space-option``). Spaces are pickled to be sent to workers.

    A space may also have ``options``, its parameters by name, which the spec of a profile records; ``version``, an integer (1
    by default) that is increased whenever a change of the code changes the numbers of an architecture, so that profiles of
    different versions are never mixed; ``task``, the name of what its networks are to do (`sweetgrad.profiling.tasks`), if that
    is not the classification of images; ``open_ended = True``, if it is an endless list of which the first ``num_archs`` (one of
    its options) are used, so that a profile of it can grow; ``tables``, relative paths of its table under ``--data-dir``;
    ``parameter_axes()``, the names of all parameters that its networks may have (`unite_names`), for blocks of statistics of
    parameter tensors; and
    ``mutate(arch_id, random)``, which returns another architecture that is a small step away, drawn from a
    `numpy.random.RandomState`, so that ``sweetgrad evolve`` can search it. The callable itself may have
    ``canonical_arch(arch_id)``, a static method that returns the canonical string of an architecture and raises ``ValueError``
    for any other string: ``sweetgrad accuracy import`` uses it to check tables where there is no profile.
    """

    # Properties, so that a tuple of names, or a property, is as good as an attribute that can be set.
    @property
    def name(self) -> str:
        """Name in the store."""
        ...

    @property
    def variant(self) -> str:
        """Empty, or the name of a network variant, which becomes part of the name of a profile."""
        ...

    @property
    def init(self) -> str:
        """Name of the initialisation: ``pytorch-default``, or that of the benchmark."""
        ...

    @property
    def layer_names(self) -> Sequence[str]:
        """Names along the ``layer`` dimension, from input to output; as many as the deepest architecture has."""
        ...

    @property
    def input_size(self) -> int:
        """Height and width of the benchmark's images."""
        ...

    def __len__(self) -> int:
        """Number of architectures."""
        ...

    def arch_id(self, index: int) -> str:
        """Canonical string of the architecture at ``index``."""
        ...

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build a network, with parameters drawn from torch's global generator in the order of construction.

        Raises
        ------
        ValueError
            If the string is malformed or not in the space.
        """
        ...


def copy_input(module: nn.Module) -> None:
    """Make a module run on a copy of its input from now on, so that it cannot change the batch in place.

    The version counter of a tensor would reveal a change only afterwards, and not one through NumPy or ``.data``. The copy takes
    less than a thousandth of the time of a pass.
    """
    if _copied not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_copied)


def _copied(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in inputs)


def check_index(index: int, num_archs: int) -> None:
    """Raise ``IndexError`` unless ``index`` is in 0..num_archs-1; negative indices do not count from the end."""
    if not 0 <= index < num_archs:
        raise IndexError(f"architecture index must be in 0..{num_archs - 1}, got {index}")


def kind_of(parameter: Tensor) -> str:
    """Kind of a parameter: ``weight`` if it has two or more dimensions (conv, linear), else ``other`` (norms, biases)."""
    return KINDS[0] if parameter.ndim >= 2 else KINDS[1]
