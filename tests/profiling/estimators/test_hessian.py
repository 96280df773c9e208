"""grasp on paper, by differences of gradients, and by autograd's own second derivatives."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sweetgrad.profiling.estimators import grasp, hessian
from sweetgrad.profiling.estimators.hessian import _by_autograd, _by_own_layers


class Varied(nn.Module):
    """Strides, groups, biases, norms without weights, a layer over positions, a layer called twice, a norm at the end."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4, affine=False)
        self.grouped, self.pool = nn.Conv2d(4, 4, 3, groups=2, bias=False), nn.AvgPool2d(2, padding=1)
        self.time, self.mix, self.last = nn.Conv1d(4, 5, 2), nn.Linear(5, 5), nn.BatchNorm1d(3)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        h = self.norm(self.conv(x)).tanh()
        h = self.time(self.pool(self.grouped(h)).flatten(2)).transpose(1, 2).tanh()
        return self.last(self.head(self.mix(self.mix(h).tanh()).mean(1)))


def varied(batch=5):
    torch.manual_seed(0)
    module = Varied().double()
    nn.init.uniform_(module.last.weight, 0.5, 2)
    return module, torch.randn(batch, 2, 9, 11).double(), torch.arange(batch) % 3


def by_differences(module, x, y, eps=1e-5):
    """``-w . (H g)`` by central differences of the gradient."""
    weights = [p for p in module.parameters() if p.ndim >= 2]
    start = [w.detach().clone() for w in weights]

    def gradient_at(step, direction):
        for w, w0, d in zip(weights, start, direction, strict=True):
            w.data = w0 + step * d
        grads = torch.autograd.grad(F.cross_entropy(module(x), y), weights, allow_unused=True)
        return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, grads, strict=True)]

    g = gradient_at(0.0, start)
    plus, minus = gradient_at(eps, g), gradient_at(-eps, g)
    gradient_at(0.0, g)
    return -sum(float((w * (p - m) / (2 * eps)).sum()) for w, p, m in zip(start, plus, minus, strict=True))


def test_grasp__on_paper(run_one):
    """H = p (1 - p) [[1, -1], [-1, 1]]: w . (H g) is 0 for w = (1/2, 1/2), for H sees only differences."""
    module = nn.Linear(1, 2, bias=False).double()
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])
    nn.init.constant_(module.weight, 0.5)
    assert run_one(grasp, module, x, y).value == pytest.approx(0, abs=1e-15)
    module.weight.data = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    p = 1 / (1 + math.exp(-1))  # of class 0; g = (p - 1, 1 - p), H g = p (1 - p) 2 (p - 1) (1, -1)
    assert run_one(grasp, module, x, y).value == pytest.approx(-p * (1 - p) * 2 * (p - 1))


def test_grasp__is_the_change_of_the_gradient_along_itself(run_one, conv_net):
    module, x, y = conv_net()
    assert run_one(grasp, module, x, y).value == pytest.approx(by_differences(module, x, y), rel=1e-6)
    module, x, y = varied()
    assert run_one(grasp, module, x, y).value == pytest.approx(by_differences(module, x, y), rel=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
def test_grasp__of_our_own_layers_is_autograds(probe_of, conv_net, channels_last):
    for module, x, y in (conv_net(), varied()):
        if channels_last:
            module, x = (each.to(memory_format=torch.channels_last) for each in (module, x))
        own, autograds = (each(probe_of(module, x, y)) for each in (_by_own_layers, _by_autograd))
        assert own == pytest.approx(autograds, rel=1e-11)


def test_grasp__leaves_no_trace(probe_of, conv_net):
    probe = probe_of(*conv_net())
    before = {name: value.clone() for name, value in probe.network.module.state_dict().items()}
    grasp(probe)
    assert all(torch.equal(before[name], value) for name, value in probe.network.module.state_dict().items())
    assert all(p.grad is None for p in probe.network.module.parameters())
    assert not any("forward" in m.__dict__ for m in probe.network.module.modules())


class Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x):
        return self.lin(x).tanh() @ self.lin.weight


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.head = nn.Parameter(torch.randn(3, 3)), nn.Linear(3, 3)

    def forward(self, x):
        return self.head((x @ self.w).tanh())


def test_grasp__of_a_relu_in_place_is_that_of_a_relu(run_one):
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)]
    x, y = torch.randn(3, 2, 5, 5), torch.tensor([0, 1, 0])
    expected = run_one(grasp, nn.Sequential(*layers), x, y).value
    layers[1] = nn.ReLU(inplace=True)
    assert run_one(grasp, nn.Sequential(*layers), x, y).value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("build", [Outside, Own])
def test_grasp__leaves_to_autograd_what_our_layers_do_not_do(build, run_one, probe_of):
    torch.manual_seed(0)
    module, x, y = build().double(), torch.randn(4, 3).double(), torch.tensor([0, 1, 2, 0])
    assert _by_own_layers(probe_of(module, x, y)) is None
    assert run_one(grasp, module, x, y).value == pytest.approx(by_differences(module, x, y), rel=1e-6)


@pytest.mark.parametrize("build", [lambda: nn.Linear(3, 3), Outside])
def test_grasp__of_a_loss_without_curvature_is_zero(build, run_one, monkeypatch):
    """The loss is linear in the logits here, and those in the weights of a linear layer."""
    monkeypatch.setattr(hessian.F, "cross_entropy", lambda logits, y: 0 * logits.sum())
    result = run_one(grasp, build(), torch.randn(3, 3), torch.tensor([0, 1, 0]))
    assert (result.status, result.value) == (1, 0)
