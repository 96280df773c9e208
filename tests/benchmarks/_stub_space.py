"""A search space of any size whose networks cost next to nothing, so that what is left is the cost of everything around them.

`registered` makes it known as ``stub`` to this process and to those that it starts, as an installed package would.
"""

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from sweetgrad.profiling import Layer, Network

NUM_ARCHS = "SWEETGRAD_STUB_ARCHS"
"""Environment variable with the number of architectures."""

LAYERS = ["stem", *(f"cell{i}" for i in range(5)), "reduction0", *(f"cell{i}" for i in range(5, 10)), "reduction1"]
LAYERS += [*(f"cell{i}" for i in range(10, 15)), "head"]
"""As many layers as NAS-Bench-201 has: rows of the store are as large as real ones."""

_WIDTH = 16


class StubNet(nn.Module):
    """Nineteen small linear layers on the mean colour of every image, their weights scaled by the architecture."""

    def __init__(self, in_channels: int, num_classes: int, scale: float) -> None:
        super().__init__()
        widths = [in_channels, *[_WIDTH] * (len(LAYERS) - 1), num_classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes)."""
        x = x.mean(dim=(2, 3)) * self.scale
        for layer in self.layers:
            x = torch.tanh(layer(x) * self.scale)
        return x


class StubSpace:
    """``num_archs`` architectures that differ in the scale of their activations alone."""

    name, variant, init, input_size, layer_names = "stub", "", "pytorch-default", 8, LAYERS

    def __init__(self, num_archs: int) -> None:
        self.num_archs = num_archs

    def __len__(self) -> int:
        """Number of architectures."""
        return self.num_archs

    def arch_id(self, index: int) -> str:
        """As long as a string of NAS-Bench-201."""
        return f"|stub_architecture~0|+|number~{index:07d}|+|nothing_else~0|+|of_no_meaning~0|"

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build the network."""
        number = int(arch_id.split("number~")[1][:7])
        module = StubNet(in_channels, num_classes, 1 + (number * 7919 % 1000) / 500)
        layers = (
            Layer(name, name.rstrip("0123456789"), (layer,)) for name, layer in zip(LAYERS, module.layers, strict=True)
        )
        return Network(module, tuple(layers))


def space(table: object = None) -> StubSpace:
    """What the entry point names."""
    del table
    return StubSpace(int(os.environ[NUM_ARCHS]))


@contextmanager
def registered(num_archs: int) -> Iterator[None]:
    """Let ``--space stub`` have so many architectures, here and in processes started meanwhile."""
    with TemporaryDirectory() as folder:
        info = Path(folder) / "sweetgrad_stub-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sweetgrad-stub\nVersion: 0\n")
        (info / "entry_points.txt").write_text("[sweetgrad.spaces]\nstub = _stub_space:space\n")
        sys.path.insert(0, folder)
        os.environ[NUM_ARCHS] = str(num_archs)
        try:
            yield
        finally:
            sys.path.remove(folder)
            del os.environ[NUM_ARCHS]
