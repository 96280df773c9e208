"""Every block against its literal version in double precision, on networks with and without dead paths."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sweetgrad.profiling import make_spec, random_batch
from sweetgrad.profiling.architectures import load_functions
from sweetgrad.profiling.estimators.running import measure_with_estimators
from sweetgrad.profiling.measure import Builder
from sweetgrad.profiling.spaces import nas_bench_101
from sweetgrad.profiling.spaces.darts import Darts, sample_genotype
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.profiling.spaces.nas_bench_201_network import NasBench201Network, build_live_network
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.store import STATISTICS, STATUS
from sweetgrad.store.spaces.cells import parse_arch
from tests.profiling.blocks._twins import TWINS

ARCHS = {
    "convolutions": "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    "skips": "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
    "a node is zero": "|none~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|",
    "a node leads nowhere": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|",
    "nothing reaches the output": "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|",
}
BATCH = random_batch((3, 8, 8), num_classes=4, batch_size=6, seed=3)


class _ThinSpace(NasBench201):
    """The networks with few channels and one cell in a stage, since the literal versions are slow."""

    def build(self, arch_id, *, in_channels=3, num_classes=10):
        shape = {"in_channels": in_channels, "num_classes": num_classes, "widths": (2, 3, 4), "depth": 1}
        module = build_live_network(parse_arch(arch_id), **shape)
        return Network(module, module.layers())

    def build_literal(self, arch_id, *, in_channels=3, num_classes=10):
        shape = {"in_channels": in_channels, "num_classes": num_classes, "widths": (2, 3, 4), "depth": 1}
        module = NasBench201Network(parse_arch(arch_id), **shape)
        return Network(module, module.layers())


SPACE = _ThinSpace()
SPEC = make_spec(SPACE, BATCH, seed=5)


@dataclass(frozen=True)
class _DoubleBuilder(Builder):
    """Builds networks in double precision, with the weights that they have in single precision."""

    def network(self) -> Network:
        network = super().network()
        network.module.double()
        return network

    def whole(self) -> Network:
        network = super().whole()
        network.module.double()
        return network


def measured(arch: str, *names: str, space: SearchSpace = SPACE):
    x, y = torch.from_numpy(BATCH.x).double(), torch.from_numpy(BATCH.y)
    assert BATCH.second is not None
    second = torch.from_numpy(BATCH.second.x).double(), torch.from_numpy(BATCH.second.y)
    functions = load_functions((), names, spec=SPEC, batch=BATCH)
    builder = _DoubleBuilder(space, arch, SPEC)
    _, found = measure_with_estimators(builder, x, y, functions, seed=SPEC.seed, second=second)
    return {block.name: score for block, score in found.items()}, (builder.whole(), x, y, second, SPEC.seed)


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)
@pytest.mark.parametrize("name", STATISTICS)
def test_block__has_the_values_of_its_literal_version(name, arch):
    found, given = measured(arch, name)

    if name == "image_jacobian" and arch == ARCHS["nothing reaches the output"]:
        assert "does not depend on the images" in found[name].message
        return
    assert found[name].status == STATUS["ok"], found[name].message
    expected = TWINS[name](*given)
    assert found[name].arrays.keys() == expected.keys() == {v.name for v in STATISTICS[name].contents}
    for key, values in expected.items():
        np.testing.assert_allclose(found[name].arrays[key], values, rtol=1e-6, atol=1e-9, err_msg=key)


NOISE = {"tensor_sign_sum", "sign_bin_sum"}
"""Signs of gradients that are 0 but for rounding: those before a norm whose output is averaged over all positions."""


@pytest.mark.parametrize("name", STATISTICS)
def test_block__has_the_values_of_its_literal_version_in_other_spaces(name, monkeypatch):
    """Depthwise convolutions, factorised reductions, cells of two inputs, a stem that is a list; projections, in-place ReLUs."""
    monkeypatch.setattr(nas_bench_101, "STEM_CHANNELS", 4)
    any_graph = nas_bench_101.NasBench101.__new__(nas_bench_101.NasBench101)
    for space, arch in (
        (Darts(channels=4, cells=3), str(sample_genotype(1))),
        (any_graph, "110010100101010:conv3x3;conv1x1;maxpool3x3;conv3x3"),
    ):
        found, given = measured(arch, name, space=space)
        assert found[name].status == STATUS["ok"], found[name].message
        for key, values in TWINS[name](*given).items():
            if key not in NOISE:
                # A singular matrix has a determinant of rounding errors.
                both = [np.asarray(each, np.float64) for each in (found[name].arrays[key], values)]
                if "log_det" in key:
                    both = [np.where(each < -30, -30, each) for each in both]
                np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-9, err_msg=f"{space.name}: {key}")
