"""grad_norm, snip and fisher against slow formulas."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sweetgrad.profiling.estimators import fisher, grad_norm, snip


def literal_gradients(module, x, y):
    """(weight, gradient) of the weights that take part, of a backward pass of the test's own."""
    twin = copy.deepcopy(module)
    twin.zero_grad()
    F.cross_entropy(twin(x), y).backward()
    return [(p.detach().numpy(), p.grad.numpy()) for p in twin.parameters() if p.ndim >= 2 and p.grad is not None]


def one_linear():
    """Logits (w0, w1) with w = (0.5, 0.5): probabilities 1/2, so the gradient of image 1 with label 0 is (-1/2, 1/2)."""
    module = nn.Linear(1, 2, bias=False).double()
    nn.init.constant_(module.weight, 0.5)
    return module, torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])


def test_grad_norm__on_paper(run_one):
    assert run_one(grad_norm, *one_linear()).value == pytest.approx(math.sqrt(1 / 2))


def test_snip__on_paper(run_one):
    assert run_one(snip, *one_linear()).value == pytest.approx(0.5 * 0.5 + 0.5 * 0.5)


def test_fisher__on_paper(run_one):
    """Each output is 1/2 and has gradient -1/2 or 1/2: 1/2 (1/4)^2 a channel, each with one weight."""
    assert run_one(fisher, *one_linear()).value == pytest.approx(2 * 0.5 * (1 / 4) ** 2)


def test_grad_norm_and_snip__are_sums_over_weights(run_one, conv_net):
    module, x, y = conv_net()
    pairs = literal_gradients(module, x, y)
    norms = sum(math.sqrt(sum(float(g) ** 2 for g in grad.ravel())) for _, grad in pairs)
    products = sum(abs(float(w) * float(g)) for pair in pairs for w, g in zip(*(p.ravel() for p in pair), strict=True))
    assert run_one(grad_norm, module, x, y).value == pytest.approx(norms, rel=1e-12)
    assert run_one(snip, module, x, y).value == pytest.approx(products, rel=1e-12)


def test_fisher__is_the_formula_channel_by_channel(run_one, conv_net):
    module, x, y = conv_net()
    twin = copy.deepcopy(module)
    a = twin.a(x)
    b = twin.b(F.relu(twin.norm_a(a)))
    point = twin.point(F.relu(twin.norm_b(b)))
    head = twin.head(point.mean((2, 3)))
    outputs = {"a": a, "b": b, "point": point, "head": head}
    grads = torch.autograd.grad(F.cross_entropy(head, y), list(outputs.values()))
    total = 0.0
    for (name, output), grad in zip(outputs.items(), grads, strict=True):
        weight = getattr(twin, name).weight
        for c in range(output.shape[1]):
            squares = [float((output[n, c].detach() * grad[n, c]).sum()) ** 2 for n in range(len(x))]
            total += 0.5 * sum(squares) / len(x) * weight[c].numel()
    assert run_one(fisher, module, x, y).value == pytest.approx(total, rel=1e-10)


def test_fisher__adds_up_the_calls_of_a_layer_that_is_called_twice(run_one):
    torch.manual_seed(0)
    inner, head = nn.Linear(3, 3).double(), nn.Linear(3, 2).double()
    module, x, y = nn.Sequential(inner, nn.Tanh(), inner, head), torch.randn(4, 3).double(), torch.tensor([0, 1, 0, 1])
    first = inner(x)
    second = inner(first.tanh())
    out = head(second)
    g1, g2, g3 = torch.autograd.grad(F.cross_entropy(out, y), [first, second, out])
    both = (first * g1 + second * g2).detach().square().mean(0).sum() / 2 * 3
    expected = float(both + (out * g3).square().mean(0).sum().detach() / 2 * 3)
    assert run_one(fisher, module, x, y).value == pytest.approx(expected, rel=1e-12)


def test_fisher__of_a_relu_in_place_is_that_of_a_relu(run_one):
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)]
    x, y = torch.randn(3, 2, 5, 5), torch.tensor([0, 1, 0])
    expected = run_one(fisher, nn.Sequential(*layers), x, y)
    layers[1] = nn.ReLU(inplace=True)
    assert run_one(fisher, nn.Sequential(*layers), x, y).value == expected.value > 0


@pytest.mark.parametrize("estimator", [fisher])
def test_estimator__of_a_network_without_layers_says_so(run_one, estimator):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1, 2))

        def forward(self, x):
            return x * self.w

    result = run_one(estimator, Scale(), torch.randn(3, 2), torch.tensor([0, 1, 0]))
    assert (result.status, result.message) == (2, "fisher: the network has no convolution and no linear layer")
    assert math.isnan(result.value)
