import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sweetgrad.profiling import load_space
from sweetgrad.profiling.estimators import grad_norm, snip
from sweetgrad.profiling.measure import measure_network
from sweetgrad.profiling.spaces.protocol import Layer, Network


class Net(nn.Module):
    """A convolution, a norm, a linear layer, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.unused = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def measured() -> tuple[Network, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """A network after its backward pass, and (weight, gradient) of its conv and linear weights in double precision."""
    torch.manual_seed(0)
    module = Net()
    network = Network(module, (Layer("all", "cell", (module,)),))
    x, y = torch.randn(8, 3, 6, 6), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    twin = Net().double()
    twin.load_state_dict(module.state_dict())
    F.cross_entropy(twin(x.double()), y).backward()
    measure_network(network, x, y)
    used = {"conv": twin.conv.weight, "head": twin.head.weight}
    return network, {name: (w.detach().numpy(), w.grad.numpy()) for name, w in used.items() if w.grad is not None}


def test_grad_norm__is_the_sum_of_the_norms_of_weights() -> None:
    network, weights = measured()
    expected = sum(math.sqrt(sum(float(g) ** 2 for g in grad.ravel())) for _, grad in weights.values())
    assert grad_norm(network) == pytest.approx(expected, rel=1e-5)


def test_snip__is_the_sum_of_weight_times_gradient() -> None:
    network, weights = measured()
    expected = sum(
        abs(float(w) * float(g))
        for weight, grad in weights.values()
        for w, g in zip(weight.ravel(), grad.ravel(), strict=True)
    )
    assert snip(network) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("estimator", [grad_norm, snip])
def test_estimator__leaves_gradients_and_weights_as_they_are(estimator) -> None:
    network, _ = measured()
    before = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in network.module.parameters()]
    estimator(network)
    for (value, grad), parameter in zip(before, network.module.parameters(), strict=True):
        assert torch.equal(value, parameter)
        assert parameter.grad is None if grad is None else torch.equal(grad, parameter.grad)


@pytest.mark.parametrize("estimator", [grad_norm, snip])
def test_estimator__is_zero_without_gradients(estimator) -> None:
    module = Net()
    assert estimator(Network(module, (Layer("all", "cell", (module,)),))) == 0.0


def test_grad_norm__agrees_with_the_stored_sum_of_squares() -> None:
    """One layer, one weight: the norm is the square root of grad_sq_sum."""
    module = nn.Linear(6, 3)
    network = Network(module, (Layer("head", "head", (module,)),))
    result = measure_network(network, torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
    assert grad_norm(network) == pytest.approx(math.sqrt(result.grad_sq_sum[0, 0]), rel=1e-7)


@pytest.mark.parametrize("estimator", [grad_norm, snip])
def test_estimator__does_not_see_whether_dead_paths_were_skipped(estimator) -> None:
    x, y = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last), torch.tensor([0, 1, 2, 3])
    arch = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    scores = []
    for skip_dead in (True, False):
        space = type(load_space("nas-bench-201"))(skip_dead=skip_dead)
        torch.manual_seed(0)
        network = space.build(arch, in_channels=3, num_classes=10)
        network.module.to(memory_format=torch.channels_last)
        measure_network(network, x, y)
        scores.append(estimator(network))
    assert scores[0] == scores[1] > 0
