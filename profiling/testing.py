"""A conformance kit: one line in a test tells whether a search space keeps the rules of `SearchSpace`."""

from collections.abc import Sequence

import numpy as np
import torch

from sweetgrad.profiling._conformance import NETWORK_CHECKS, Case, SpaceCheckError, describe
from sweetgrad.profiling.architectures import deterministic
from sweetgrad.profiling.spaces import SearchSpace, load_space
from sweetgrad.store import ProfileSpec

_NUM_SAMPLED = 3
_MAX_IDS = 20_000


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
    """Check that a search space keeps the rules that profiling relies on; call it from a test.

    Parameters
    ----------
    space
        The space, or the name under which it is registered in ``sweetgrad.spaces``.
    archs
        Architectures to build: indices, or strings. None: the first, the last, and three others.
    in_channels, num_classes
        Channels of the images, and classes.
    image_size
        Height and width of the images; the space's ``input_size`` by default. Smaller ones are quicker.
    batch_size
        Images in the batch.
    seed
        Seed of the networks and of the images, which are random.

    Raises
    ------
    SpaceCheckError
        At the first rule that is broken. The rules: the attributes of `SearchSpace` are there; strings are one-line texts, each
        stands for one architecture, and another string is refused with ValueError; the object travels by pickle; networks take
        the channels and classes asked for; layers follow the forward pass and hold every parameter once, no more of them than
        ``layer_names``; a seed gives the same network, whatever was built before, and another seed another one; the same
        network has the same gradients, and leaves the batch as it was; and, where the space has ``build_literal``, its network
        has the parameters and, bit for bit, the gradients of ``build``.

    Examples
    --------
    >>> from sweetgrad.profiling import load_space
    >>> check_space(load_space("nas-bench-201"), archs=[7800], image_size=8)
    """
    name = space if isinstance(space, str) else None
    opened = load_space(space) if isinstance(space, str) else space
    _check_attributes(opened, registered=name)
    chosen = _choose(opened, archs, np.random.RandomState(seed))
    size = image_size or opened.input_size
    case = Case(
        opened,
        tuple(chosen),
        ProfileSpec(
            space=opened.name,
            variant=opened.variant,
            init=opened.init,
            dataset="random",
            batch_size=batch_size,
            seed=seed,
            num_classes=num_classes,
            input_shape=(in_channels, size, size),
            batch_sha256="",
            arch_sha256="",
        ),
    )
    with torch.random.fork_rng([]), deterministic(threads=1):
        for check in (_check_strings, _check_mutants, *NETWORK_CHECKS):
            check(case)


def _check_attributes(space: SearchSpace, *, registered: str | None) -> None:
    def fail(found: str, advice: str) -> SpaceCheckError:
        return SpaceCheckError(describe(space, None, found, advice))

    parts = ("name", "variant", "init", "layer_names", "input_size", "__len__", "arch_id", "build")
    missing = [part for part in parts if not hasattr(space, part)]
    if missing:
        raise fail(f"it has no {', '.join(missing)}", "add what is missing, see sweetgrad.profiling.SearchSpace")
    for part in ("name", "variant", "init"):
        value = getattr(space, part)
        if not isinstance(value, str) or "/" in value or not (value or part == "variant"):
            advice = 'it must be a text without /, such as "pytorch-default" for init; variant may be ""'
            raise fail(f"{part} is {value!r}", advice)
    if registered is not None and registered != space.name:
        raise fail(f"it is registered as {registered!r}", "give the entry point and the attribute name the same text")
    layers = space.layer_names
    if isinstance(layers, str) or not layers or not all(isinstance(layer, str) for layer in layers):
        raise fail(f"layer_names is {layers!r}", "it must be a tuple of names, from input to output")
    if len(set(layers)) < len(layers):
        twice = next(layer for layer in layers if list(layers).count(layer) > 1)
        raise fail(f"layer_names holds {twice!r} more than once", "number the layers, e.g. cell0, cell1")
    if not isinstance(space.input_size, int) or space.input_size < 1:
        raise fail(f"input_size is {space.input_size!r}", "it must be the height of the benchmark's images, e.g. 32")
    version = getattr(space, "version", 1)
    if not isinstance(version, int) or version < 1:
        raise fail(f"version is {version!r}", "it must be a whole number, 1 or more, or left out")
    if len(space) < 1:
        raise fail("it has no architecture", "len(space) must be the number of architectures")


def _choose(space: SearchSpace, archs: Sequence[int | str] | None, random: np.random.RandomState) -> list[str]:
    if archs is None:
        drawn = random.randint(0, len(space), size=_NUM_SAMPLED, dtype=np.int64)
        archs = [int(index) for index in dict.fromkeys([0, *drawn.tolist(), len(space) - 1])]
    if not archs:
        raise ValueError("archs is empty: name architectures by index or string, or leave it out")
    return [arch if isinstance(arch, str) else space.arch_id(arch) for arch in archs]


def _check_strings(case: Case) -> None:
    space = case.space
    num = min(len(space), _MAX_IDS)
    first_index: dict[str, int] = {}
    for index in range(num):
        arch = space.arch_id(index)
        if not isinstance(arch, str) or not arch or arch != arch.strip() or len(arch.splitlines()) != 1:
            advice = "arch_id must return a text of one line without blanks at its ends: the store and tables are keyed by it"
            raise case.fail(None, f"arch_id({index}) returned {arch!r}", advice)
        if first_index.setdefault(arch, index) != index:
            advice = "one architecture has one index and one string: leave duplicates out of the space"
            raise case.fail(arch, f"it is architecture {first_index[arch]} and {index}", advice)
    for index in range(0, num, max(1, num // 50)):
        if space.arch_id(index) != list(first_index)[index]:
            advice = "arch_id must depend on the index alone"
            raise case.fail(None, f"arch_id({index}) returned another string when asked again", advice)
    channels, classes = case.spec.input_shape[0], case.spec.num_classes
    for arch in case.archs:
        advice = "build must raise ValueError, with what it expected, for a string that arch_id never returns"
        with case.explained(arch, f"build({arch + '?'!r}), which is no architecture,", advice):
            try:
                space.build(f"{arch}?", in_channels=channels, num_classes=classes)
            except ValueError:
                continue
        raise case.fail(arch, f"build took {arch + '?'!r}, which is no architecture", advice)


def _check_mutants(case: Case) -> None:
    mutate = getattr(case.space, "mutate", None)
    if mutate is None:
        return
    advice = "mutate(arch_id, random) must return the string of another architecture, drawn from that generator alone"
    for arch in case.archs:
        with case.explained(arch, "mutate", advice):
            mutant, again = (mutate(arch, np.random.RandomState(0)) for _ in range(2))
        if mutant != again:
            raise case.fail(arch, "mutate gave another mutant under the same seed", advice)
        if mutant == arch:
            raise case.fail(arch, "mutate gave the architecture itself", advice)
        case.build(mutant)
