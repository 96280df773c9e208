"""The conformance kit: what sweetgrad brings passes, and each check fails on a space that breaks its rule alone."""

import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sweetgrad.profiling import Layer, Network, load_space, registered
from sweetgrad.profiling.spaces.protocol import SearchSpace, unite_names
from sweetgrad.profiling.testing import SpaceCheckError, check_space

SIZE = 8
CALLS = count()


class Plain:
    """Two cells of one convolution each; the kernels name the architecture."""

    name, variant, init, input_size = "plain", "", "pytorch-default", SIZE
    layer_names: Any = ("stem", "cell0", "cell1", "head")

    def __init__(self, table: object = None) -> None:
        self.archs = ["1-1", "1-3", "3-1", "3-3"]

    def __len__(self) -> int:
        return len(self.archs)

    def arch_id(self, index: int) -> Any:
        return self.archs[index]

    def parts(self, arch_id: str, in_channels: int, num_classes: int) -> list[nn.Module]:
        if arch_id not in ("1-1", "1-3", "3-1", "3-3"):
            raise ValueError(f"expected two kernels, got {arch_id!r}")
        convs = [nn.Conv2d(4, 4, int(kernel), padding="same") for kernel in arch_id.split("-")]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
        return [nn.Conv2d(in_channels, 4, 3, padding=1), *convs, head]

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Any:
        return network(self.parts(arch_id, in_channels, num_classes))


def network(parts: list[nn.Module], module: nn.Module | None = None) -> Network:
    types = ("stem", *["cell"] * (len(parts) - 2), "head")
    layers = [Layer(f"{type_}{i}", type_, (part,)) for i, (type_, part) in enumerate(zip(types, parts, strict=True))]
    return Network(module or nn.Sequential(*parts), tuple(layers))


def violation(space: SearchSpace, **options: Any) -> str:
    """What `check_space` objects to; nothing, if the space passes."""
    try:
        check_space(space, **options)
    except SpaceCheckError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", registered("spaces"))
def test_check_space__passes_every_registered_space(name: str) -> None:
    try:
        space = load_space(name)
    except ValueError as error:
        pytest.skip(f"needs a file: {error}")
    shallow = [index for index in range(50) if space.arch_id(index).endswith("width=16;depth=4")]
    assert violation(space, archs=shallow[:2] or [0, len(space) // 3], image_size=SIZE) == ""


def test_check_space__passes_nas_bench_101(tmp_path: Path) -> None:
    table = tmp_path / "graphs.csv"
    table.write_text("n_vertices,adj_upper,ops\n3,101,conv3x3\n4,110011,conv1x1;maxpool3x3\n")
    assert violation(load_space("nas-bench-101", table=table), archs=[1], image_size=SIZE) == ""


def test_check_space__passes_what_is_right_and_leaves_the_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_space(Plain())
    assert torch.equal(torch.rand(1), expected)


def test_check_space__takes_a_network_that_changes_its_input_in_place() -> None:
    assert violation(rebuilt(lambda parts, _: network(parts, InPlace(parts)))) == ""


def test_check_space__takes_a_dead_layer_in_the_literal_network_only() -> None:
    """As NAS-Bench-201: a layer that cannot matter is not computed, and its gradient counts as zeros."""

    class Skips(nn.Module):
        def __init__(self, parts: list[nn.Module], *, literal: bool) -> None:
            super().__init__()
            self.parts, self.literal = nn.ModuleList(parts), literal

        def forward(self, x: Tensor) -> Tensor:
            stem, dead, live, head = self.parts
            x = stem(x)
            return head(dead(x).mul(0.0) + live(x)) if self.literal else head(live(x))

    class Space(Local):
        def build(self, arch_id: str, *, in_channels: int, num_classes: int, literal: bool = False) -> Network:
            parts = self.parts(arch_id, in_channels, num_classes)
            return network(parts, Skips(parts, literal=literal))

        def build_literal(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
            return self.build(arch_id, in_channels=in_channels, num_classes=num_classes, literal=True)

    space = Space()
    assert violation(space) == ""
    for build, is_there in ((space.build, False), (space.build_literal, True)):
        module = build("3-3", in_channels=3, num_classes=10).module
        module(torch.rand(2, 3, SIZE, SIZE)).sum().backward()
        assert (module.get_parameter("parts.1.weight").grad is not None) == is_there


# --- one mutant for each check --------------------------------------------------------------------------------------


class Local(Plain):
    """A class inside a function can be pickled by what it is derived from and what it holds."""

    def __reduce__(self) -> Any:
        return _remember, (_kept(self),)


_KEPT: list[object] = []


def _kept(space: object) -> int:
    _KEPT.append(space)
    return len(_KEPT) - 1


def _remember(number: int) -> object:
    return _KEPT[number]


def mutates(how: Callable[[str, np.random.RandomState], str]) -> Plain:
    return mutant(mutate=lambda self, arch_id, random: how(arch_id, random))


def mutant(**attributes: Any) -> Plain:
    return type("Mutant", (Local,), attributes)()


def rebuilt(change: Callable[[list[nn.Module], str], Any]) -> Plain:
    """A space whose build does something else with its parts."""

    def build(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Any:
        return change(self.parts(arch_id, in_channels, num_classes), arch_id)

    return mutant(build=build)


def never_refuses(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
    return network(self.parts("1-1", in_channels, num_classes))


def refuses_with_key_error(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
    return network(
        self.parts({"1-1": "1-1", "1-3": "1-3", "3-1": "3-1", "3-3": "3-3"}[arch_id], in_channels, num_classes)
    )


def ignores_num_classes(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
    return network(self.parts(arch_id, in_channels, 10))


def ignores_in_channels(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
    return network(self.parts(arch_id, 3, num_classes))


def seeds_itself(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
    torch.manual_seed(0)
    return network(self.parts(arch_id, in_channels, num_classes))


def is_cached() -> Plain:
    cache: dict[tuple[str, int, int], Network] = {}

    def build(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        key = (arch_id, in_channels, num_classes)
        if key not in cache:
            cache[key] = network(self.parts(arch_id, in_channels, num_classes))
        return cache[key]

    return mutant(build=build)


def with_numpy(parts: list[nn.Module], arch_id: str) -> Network:
    nn.init.constant_(parts[1].get_parameter("bias"), np.random.random())
    return network(parts)


def after_the_one_before() -> Plain:
    before: list[str] = []

    def change(parts: list[nn.Module], arch_id: str) -> Network:
        nn.init.constant_(parts[1].get_parameter("bias"), len(before) % 3)
        before.append(arch_id)
        return network(parts)

    return rebuilt(change)


def unordered(parts: list[nn.Module], arch_id: str) -> Network:
    stem, first, second, head = parts
    return network([stem, second, first, head], nn.Sequential(stem, first, second, head))


def added_later(parts: list[nn.Module], arch_id: str) -> Network:
    made = network(parts)
    made.module.register_parameter("forgotten", nn.Parameter(torch.ones(1)))
    return made


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * random.random()


class InPlace(nn.Module):
    """Centres its input in place."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        x -= x.mean()
        return self.parts(x)


class InPlaceAround(InPlace):
    """It goes around the hook that gives a module a copy of its input."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)


class Worker:
    """A space that is another one on the other side of pickle."""

    def __init__(self) -> None:
        self.there = False

    def __reduce__(self) -> Any:
        return _arrive, ()


def _arrive() -> Plain:
    return rebuilt(lambda parts, arch_id: network([parts[0], *(nn.Conv2d(4, 4, 1) for _ in range(2)), parts[-1]]))


def with_literal(change: Callable[[list[nn.Module]], Network]) -> Plain:
    def build_literal(self: Plain, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        return change(self.parts(arch_id, in_channels, num_classes))

    return mutant(build_literal=build_literal)


def other_order(parts: list[nn.Module]) -> Network:
    for part in reversed(parts):
        for module in part.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return network(parts)


def with_axes(change: Callable[[dict[str, dict[str, str]]], Any], **attributes: Any) -> Plain:
    """A space whose axes are those of one of its networks, changed; all of its networks have the same names."""

    def parameter_axes(self: Plain) -> Any:
        return change(unite_names([self.build("3-3", in_channels=3, num_classes=10)]))

    names = ("stem0", "cell1", "cell2", "head3")
    return mutant(parameter_axes=parameter_axes, **{"layer_names": names, **attributes})


def reordered(axis: str) -> Callable[[dict[str, dict[str, str]]], dict[str, dict[str, str]]]:
    return lambda axes: {**axes, axis: dict(reversed(axes[axis].items()))}


def sometimes_reordered(axes: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return reordered("tensor")(axes) if next(CALLS) % 2 else axes


MUTANTS: dict[str, tuple[Callable[[], Any], str]] = {
    "lacks a part": (
        lambda: SimpleNamespace(name="x"),
        "space 'x': it has no variant, init, layer_names, .* implement .*SearchSpace",
    ),
    "name with a slash": (lambda: mutant(name="a/b"), "name is 'a/b'. What to do: it must be a string without /"),
    "no name": (lambda: mutant(name=""), "name is ''"),
    "init is no text": (lambda: mutant(init=None), "init is None"),
    "layer_names is a text": (lambda: mutant(layer_names="stem"), "layer_names is 'stem'.*a tuple of names"),
    "a layer name twice": (lambda: mutant(layer_names=("a", "b", "b", "c")), "layer_names contains 'b' more than once"),
    "input_size": (lambda: mutant(input_size=(8, 8)), r"input_size is \(8, 8\)"),
    "version": (lambda: mutant(version="2"), "version is '2'. What to do: it must be an integer"),
    "empty": (lambda: mutant(__len__=lambda self: 0), "it has no architectures"),
    "mutates into itself": (lambda: mutates(lambda arch, random: arch), "mutate returned the architecture itself"),
    "mutates by another generator": (
        lambda: mutates(lambda arch, random: ("1-1", "3-3")[next(CALLS) % 2]),
        "mutate returned different mutants with the same seed",
    ),
    "mutates out of the space": (
        lambda: mutates(lambda arch, random: "9-9"),
        "build raised ValueError: expected two kernels",
    ),
    "id is a number": (lambda: mutant(arch_id=lambda self, i: i), r"arch_id\(0\) returned 0.*a single line"),
    "id of two lines": (lambda: mutant(arch_id=lambda self, i: f"1-1\n{i}"), "a single line"),
    "id twice": (lambda: mutant(arch_id=lambda self, i: "1-1"), "architecture '1-1': it is architecture 0 and 1"),
    "id depends on more": (
        lambda: mutant(arch_id=lambda self, i: f"{random.random()}"),
        "a different string the second time",
    ),
    "takes any id": (lambda: mutant(build=never_refuses), r"'1-1': build accepted '1-1\?'.* must raise a ValueError"),
    "refuses by KeyError": (lambda: mutant(build=refuses_with_key_error), r"not an architecture, raised KeyError"),
    "build fails": (
        lambda: rebuilt(lambda parts, arch_id: parts[9]),
        "'1-1': build raised IndexError: list index out of",
    ),
    "no Network": (lambda: rebuilt(lambda parts, arch_id: nn.Sequential(*parts)), "build returned Sequential.*Network"),
    "channels": (lambda: mutant(build=ignores_in_channels), r"on inputs of shape \(2, 4, 8, 8\), raised RuntimeError"),
    "classes": (
        lambda: mutant(build=ignores_num_classes),
        r"11 classes the network returned \(2, 10\).*use in_channels",
    ),
    "forgotten module": (lambda: rebuilt(added_later), "Network raised ValueError.*in none: forgotten"),
    "too many layers": (lambda: mutant(layer_names=("stem", "cell", "head")), "4 layers, but layer_names has 3"),
    "order": (lambda: rebuilt(unordered), "reaches layer 'cell2' before 'cell1', which is listed first"),
    "no cells": (
        lambda: rebuilt(lambda parts, _: Network(nn.Sequential(*parts), (Layer("all", "stem", tuple(parts)),))),
        "two layers of type cell or reduction",
    ),
    "axes fail": (lambda: with_axes(lambda axes: axes["none"]), "parameter_axes raised KeyError: 'none'.*unite_names"),
    "axes lack one": (
        lambda: with_axes(lambda axes: {"tensor": axes["tensor"]}),
        "parameter_axes raised KeyError: 'vector'",
    ),
    "axes change": (lambda: with_axes(sometimes_reordered), "different names, or another order, the second time"),
    "axes lack a parameter": (
        lambda: with_axes(lambda axes: {**axes, "vector": {}}),
        "'1-1': the network has the parameter 'stem0.bias', which parameter_axes does not name along 'vector'.*unite_names",
    ),
    "axes with another layer": (
        lambda: with_axes(lambda axes: {**axes, "tensor": {**axes["tensor"], "cell1": "cell2"}}),
        "parameter 'cell1' is in layer 'cell1', and parameter_axes has it in 'cell2'",
    ),
    "axes with layers of other names": (
        lambda: with_axes(lambda axes: axes, layer_names=Plain.layer_names),
        "a parameter in layer 'stem0', which layer_names does not have",
    ),
    "axes in another order": (
        lambda: with_axes(reordered("tensor")),
        "the network has the parameter 'stem0' where parameter_axes has 'head3.2'.*in forward order",
    ),
    "seeds itself": (
        lambda: mutant(build=seeds_itself),
        "a different seed gave the same network.*torch's global generator",
    ),
    "cached": (is_cached, "parameters or buffers of an earlier network"),
    "NumPy": (lambda: rebuilt(with_numpy), r"a different network the second time \(first difference: 1.bias\)"),
    "the one before": (after_the_one_before, "a different network the second time"),
    "a lambda inside": (
        lambda: with_attribute(Plain(), "f", lambda: 0),
        "pickle raised .*at the top level of a module",
    ),
    "another in the worker": (
        lambda: type("Mutant", (Worker, Plain), {"__init__": Plain.__init__})(),
        "unpickled space built a different network",
    ),
    "random forward": (
        lambda: rebuilt(lambda parts, _: network(parts, nn.Sequential(*parts, Random()))),
        "different gradients the second time .*only draw from torch's global generator",
    ),
    "changes the batch": (
        lambda: rebuilt(lambda parts, _: network(parts, InPlaceAround(parts))),
        "the network changed the batch, which all networks share.*work on x.clone",
    ),
    "no loss": (
        lambda: rebuilt(lambda parts, _: network(parts, nn.Sequential(*parts).requires_grad_(False))),
        "the backward pass raised ValueError: the loss depends on no parameter",
    ),
    "literal has another layer": (
        lambda: with_literal(lambda parts: network([parts[0], *parts[2:]])),
        "build and build_literal have different layers or parameters",
    ),
    "literal has other weights": (lambda: with_literal(other_order), "different weights with the same seed"),
    "literal has other gradients": (
        lambda: with_literal(lambda parts: network(parts, nn.Sequential(*parts[:3], Times(), parts[3]))),
        "build and build_literal differ .*cannot change a bit of any gradient",
    ),
}


class Times(nn.Module):
    """One unit in the last place of float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + 2**-23)


def with_attribute(space: Plain, name: str, value: object) -> Plain:
    setattr(space, name, value)
    return space


@pytest.mark.parametrize("which", MUTANTS)
def test_check_space__fails_on_a_space_that_breaks_one_rule(which: str) -> None:
    make, message = MUTANTS[which]
    with pytest.raises(SpaceCheckError, match=f"(?s){message}") as caught:
        check_space(make())
    assert "What to do: " in str(caught.value)
    assert str(caught.value).startswith("space ")


def test_check_space__refuses_a_space_registered_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweetgrad.profiling.testing.spaces.load_space", lambda name: Plain())
    check_space("plain")
    with pytest.raises(
        SpaceCheckError, match=r"registered as 'plane'\. What to do: use the same name for the entry point"
    ):
        check_space("plane")


def test_check_space__takes_axes_with_names_that_some_networks_do_not_have() -> None:
    def more(axes: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {**axes, "tensor": {"stem0.spare": "stem0", **axes["tensor"]}}

    assert violation(with_axes(lambda axes: axes)) == ""
    assert violation(with_axes(more)) == ""


def test_check_space__takes_strings_and_indices() -> None:
    check_space(Plain(), archs=["3-3", 1])
    with pytest.raises(SpaceCheckError, match="architecture '5-5': build raised ValueError: expected two kernels"):
        check_space(Plain(), archs=["5-5"])
    with pytest.raises(ValueError, match="archs is empty"):
        check_space(Plain(), archs=[])
