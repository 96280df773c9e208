"""The outputs of the layers of a network."""

from torch import nn

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
