import numpy as np
import pytest
import torch
from torch.nn import functional

from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.profiling.spaces.nas_bench_201_network import NasBench201Network
from sweetgrad.profiling.supernet import Supernet
from sweetgrad.store.spaces.cells import parse_arch

SPACE = NasBench201()
ARCHS = [SPACE.arch_id(int(index)) for index in np.random.RandomState(0).randint(0, len(SPACE), size=12)]
SHAPE = {"in_channels": 3, "num_classes": 5, "widths": (4, 6, 8), "depth": 2}


@pytest.fixture
def supernet():
    """Weights, biases and running statistics that are all random: at initialisation many are 0 or 1."""
    torch.manual_seed(0)
    net = Supernet(**SHAPE)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.1, 1.0 if "running_var" in name else 0.5)
    return net


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("training", [True, False])
def test_supernet__path_is_the_network_of_that_architecture_with_inherited_weights(supernet, arch, training):
    alone = NasBench201Network(parse_arch(arch), **SHAPE)
    alone.load_state_dict(supernet.inherited(arch))
    supernet.choose(arch)
    x, y = torch.randn(4, 3, 8, 8), torch.arange(4)
    logits = [net.train(training)(x) for net in (supernet, alone)]
    assert torch.equal(*logits)
    for each in logits:
        functional.cross_entropy(each, y).backward()
    theirs = {name: p.grad for name, p in alone.named_parameters()}
    ours = {id(p): p.grad for p in supernet.parameters()}
    for name, tensor in supernet.inherited(arch).items():
        if name in theirs:
            # The parts of the state are the supernet's own tensors, which have no gradient; the parameters of that memory do.
            (mine,) = (p for p in supernet.parameters() if p.data_ptr() == tensor.data_ptr())
            assert torch.equal(ours[id(mine)], theirs[name])


def test_supernet__gradients_are_on_the_path_alone(supernet):
    arch = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    supernet.choose(arch)
    functional.cross_entropy(supernet(torch.randn(4, 3, 8, 8)), torch.arange(4)).backward()
    on_path = {tensor.data_ptr() for tensor in supernet.inherited(arch).values()}
    for name, parameter in supernet.named_parameters():
        assert (parameter.grad is not None) == (parameter.data_ptr() in on_path), name


def test_supernet__norms_are_those_of_the_standalone_network(supernet):
    for arch in ARCHS:
        supernet.choose(arch)
        alone = NasBench201Network(parse_arch(arch), **SHAPE)
        expected = sum(isinstance(module, torch.nn.BatchNorm2d) for module in alone.modules())
        assert len(list(supernet.norms())) == expected


def test_supernet__refuses_what_is_no_architecture(supernet):
    with pytest.raises(ValueError, match="not a NAS-Bench-201 architecture"):
        supernet.choose("|skip_connect~0|")
