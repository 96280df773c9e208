"""The outputs of the layers of a network, and the network with what it skips."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from sweetgrad.profiling.estimators.protocol import Probe
from sweetgrad.profiling.spaces.protocol import Network

_WITH_OUTPUT = ("stem", "cell", "reduction")


def output_modules(network: Network) -> dict[int, nn.Module]:
    """Module whose output is that of a layer, by the position of the layer; for stem, cells and reductions.

    Of a layer with several modules, or a list of modules, it is the last one.
    """
    found = {}
    for row, layer in enumerate(network.layers):
        if layer.type in _WITH_OUTPUT:
            module = layer.modules[-1]
            while isinstance(module, nn.ModuleList):
                module = module[-1]
            found[row] = module
    return found


@contextmanager
def whole_network(probe: Probe) -> Iterator[Network]:
    """The network that skips no dead path, with the same weights; its gradients are of no use, and modes must be restored.

    It is the probed network itself if its modules have ``skips_dead``, which is False meanwhile, since building takes longer than
    a forward pass of a few images; else it is built.
    """
    skipping: list[Any] = [m for m in probe.network.module.modules() if hasattr(m, "skips_dead")]
    if not (skipping or probe.is_whole):
        yield probe.build()
        return
    try:
        for module in skipping:
            module.skips_dead = False
        yield probe.network
    finally:
        for module in skipping:
            module.skips_dead = True
