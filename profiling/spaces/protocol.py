"""What a search space and a network have to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from sweetgrad.store import KINDS, LAYER_TYPES


@dataclass(frozen=True)
class Layer:
    """One layer of a network as the paper counts them: a name, a type of `LAYER_TYPES`, and the modules that make it up.

    Where a layer of the type ``cell`` or ``reduction`` is one module, what that puts out are its activations (``--activations``).
    """

    name: str
    type: str
    modules: tuple[nn.Module, ...]

    def __post_init__(self) -> None:
        """Refuse a type that the store has no code for."""
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

    No parameter may be in two layers, except one that different modules share (tied weights): it is counted in the first.

    The module gets a hook that gives it a copy of its input (`copy_input`): a batch is seen by many networks.
    """

    module: nn.Module
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        """Check that the layers hold every parameter, and no module twice; keep the module from changing its input."""
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        held = {id(parameter) for layer in self.layers for parameter in layer.parameters()}
        left_out = [name for key, name in names.items() if key not in held]
        if left_out:
            raise ValueError(f"layers must hold every parameter once, but these are in none: {', '.join(left_out[:5])}")
        foreign = [layer.name for layer in self.layers if any(id(p) not in names for p in layer.parameters())]
        if foreign:
            raise ValueError(f"layer {foreign[0]!r} holds parameters that are not the network's")
        owner: dict[int, str] = {}
        for layer in self.layers:
            for module in (m for top in layer.modules for m in top.modules()):
                parameters = [names[id(p)] for p in module.parameters(recurse=False)]
                if parameters and id(module) in owner:
                    raise ValueError(
                        f"layers must hold every parameter once, but these are in {owner[id(module)]!r} and in {layer.name!r}: "
                        + ", ".join(parameters[:5])
                    )
                owner[id(module)] = layer.name
        copy_input(self.module)

    def layer_parameters(self) -> tuple[tuple[Tensor, ...], ...]:
        """Parameters of each layer, each parameter in the first layer that holds it and in no other."""
        seen: set[int] = set()
        layers = []
        for layer in self.layers:
            new = {id(parameter): parameter for parameter in layer.parameters() if id(parameter) not in seen}
            seen.update(new)
            layers.append(tuple(new.values()))
        return tuple(layers)


@runtime_checkable
class SearchSpace(Protocol):
    """A set of architectures that can be built as networks.

    A space is registered in the entry-point group ``sweetgrad.spaces`` as a callable ``space(table=None)``, where ``table`` is
    the path of a file that lists or orders the architectures, for spaces that need one. Its keyword-only parameters are options
    of the space (``--space-option``). Spaces travel to workers by pickle.

    A space may also have ``options``, its parameters by name as the spec of a profile records them; ``version``, a whole number
    (1 where it is missing) to be raised whenever a change of the space's code changes the numbers of an architecture, so that
    profiles of both are never mixed; ``open_ended = True``, if it
    is an endless list of which ``num_archs``, one of its options, are taken: a profile of it can grow; ``tables``, relative
    paths under ``--data-dir`` where its table may lie; and ``mutate(arch_id, random)``, which returns another architecture that
    is a small step away, drawn from a `numpy.random.RandomState`: then ``sweetgrad evolve`` can search it. The callable itself
    may have ``canonical_arch(arch_id)``, a static method that returns the one string of the architecture that a string means, and
    raises ``ValueError`` if it means none: then ``sweetgrad accuracy import`` checks tables by it where there is no profile.

    Attributes
    ----------
    name
        Name in the store.
    variant
        Empty, or the name of a network variant; it becomes part of the profile's name.
    init
        Name of the initialisation that `build` does: ``pytorch-default``, or the benchmark's own.
    layer_names
        Names along the ``layer`` dimension, from input to output; as many as the deepest architecture has.
    input_size
        Height and width of the images that the benchmark used.
    """

    name: str
    variant: str
    init: str
    layer_names: Sequence[str]
    input_size: int

    def __len__(self) -> int:
        """Number of architectures."""
        ...

    def arch_id(self, index: int) -> str:
        """Canonical string of the architecture at ``index``."""
        ...

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build a network, its parameters drawn from torch's global generator in construction order.

        Raises
        ------
        ValueError
            If the string is malformed or not in the space.
        """
        ...


def copy_input(module: nn.Module) -> None:
    """Let a module run on a copy of its input from now on, so that what it changes in place, now or later, is its own.

    The version of a tensor would tell of a change only after others have seen it, and not of one through NumPy or ``.data``; the
    copy takes less than a thousandth of a pass.
    """
    if _copied not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_copied)


def _copied(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.clone() if isinstance(each, Tensor) else each for each in inputs)


def check_index(index: int, num_archs: int) -> None:
    """Raise ``IndexError`` unless a space of so many architectures has that row; negative ones do not count from the end."""
    if not 0 <= index < num_archs:
        raise IndexError(f"architecture index must be in 0..{num_archs - 1}, got {index}")


def kind_of(parameter: Tensor) -> str:
    """Kind of a parameter: ``weight`` with two or more dimensions (conv, linear), else ``other`` (norm affine, biases)."""
    return KINDS[0] if parameter.ndim >= 2 else KINDS[1]
