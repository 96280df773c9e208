"""The whole network without building it: the same numbers as the one that is built, and nothing of it stays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sweetgrad.profiling import make_spec, random_batch
from sweetgrad.profiling.blocks.layers import whole_network
from sweetgrad.profiling.estimators.protocol import Probe
from sweetgrad.profiling.measure import Builder, to_device
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201

BATCH = random_batch((3, 8, 8), num_classes=4, batch_size=4)
DEAD_PATHS = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
DISCONNECTED = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture
def probe_of() -> Callable[..., Probe]:
    def make(arch: str, space: Any) -> Probe:
        builder = Builder(space, arch, make_spec(NasBench201(), BATCH))
        x, y = to_device(BATCH, "cpu")
        return Probe(builder.network(), x, y, builder.whole, lambda: torch.nn.Module(), is_whole=builder.is_whole)

    return make


@pytest.mark.parametrize("arch", [DEAD_PATHS, DISCONNECTED])
def test_whole_network__calls_every_module_with_the_outputs_of_the_literal_one(arch: str, probe_of: Any) -> None:
    probe = probe_of(arch, NasBench201())
    skipping, literal = probe.network.module(probe.x), probe.build()
    outputs: list[list[torch.Tensor]] = [[], []]
    with whole_network(probe) as network:
        assert network is probe.network
        for found, module in zip(outputs, (network.module, literal.module), strict=True):
            handles = [
                m.register_forward_hook(lambda *call, found=found: found.append(call[2])) for m in module.modules()
            ]
            module(probe.x)
            for handle in handles:
                handle.remove()
    assert len(outputs[0]) == len(outputs[1]) > 50
    assert all(torch.equal(here, there) for here, there in zip(*outputs, strict=True))
    calls: list[Any] = []
    for module in probe.network.module.modules():
        module.register_forward_hook(lambda *call: calls.append(call))
    assert torch.equal(probe.network.module(probe.x), skipping)
    assert len(calls) < len(outputs[0])


def test_whole_network__is_the_network_itself_where_a_space_has_no_other(probe_of: Any) -> None:
    class Plain:
        """A space without ``build_literal``."""

        name, build = "plain", NasBench201(skip_dead=False).build

    probe = probe_of(DEAD_PATHS, Plain())
    with whole_network(probe) as network:
        assert network is probe.network


def test_whole_network__is_built_where_modules_cannot_run_what_they_skip(probe_of: Any) -> None:
    probe = probe_of(DEAD_PATHS, NasBench201(skip_dead=False))
    with whole_network(probe) as network:
        assert network is not probe.network
