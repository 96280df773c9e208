"""naswot, jacob_cov, synflow and zen_score against slow formulas, on paper, and what they must not depend on."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sweetgrad.profiling.estimators import jacob_cov, naswot, synflow, zen_score, zen_score_nobn

# naswot ---------------------------------------------------------------------------------------------------------------


def relu_net(weight):
    """Logits relu(W x), so that the pattern of an image is the sign of W x."""
    linear = nn.Linear(len(weight[0]), len(weight), bias=False).double()
    linear.weight.data = torch.tensor(weight, dtype=torch.float64)
    return nn.Sequential(linear, nn.ReLU())


def test_naswot__on_paper(run_one):
    """Patterns (1, 0), (1, 1), (0, 1): K = [[2, 1, 0], [1, 2, 1], [0, 1, 2]], whose determinant is 4."""
    x = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    module = relu_net([[1.0, 0.0], [0.0, 1.0]])
    assert run_one(naswot, module, x, torch.tensor([0, 1, 0])).value == pytest.approx(math.log(4))


def test_naswot__is_the_count_image_by_image(run_one, conv_net):
    module, x, y = conv_net()
    twin = copy.deepcopy(module)
    first = F.relu(twin.norm_a(twin.a(x)))
    second = twin.norm_b(twin.b(first))
    kernel = np.zeros((len(x), len(x)))
    for units in (first, second):
        on = (units > 0).flatten(1).tolist()
        for i, j in np.ndindex(kernel.shape):
            kernel[i, j] += sum(p == q for p, q in zip(on[i], on[j], strict=True))
    expected = math.log(abs(np.linalg.det(kernel)))
    assert run_one(naswot, module, x, y).value == pytest.approx(expected, rel=1e-10)
    assert run_one(naswot, module, x.contiguous(memory_format=torch.channels_last), y).value == pytest.approx(expected)


def test_naswot__counts_a_relu_in_place_and_relus_of_one_input_alike(run_one):
    class Net(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            self.a, self.b, self.inplace = nn.ReLU(inplace), nn.ReLU(), inplace
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            second = self.b(x)
            first = self.a(x.clone() if self.inplace else x)
            return self.head(first + second)

    x, y = torch.randn(3, 4), torch.tensor([0, 1, 0])
    results = [run_one(naswot, Net(inplace), x.clone().requires_grad_(), y) for inplace in (True, False)]
    # The images ask for a gradient, or the ReLUs would have no node in the graph, and nothing would reach them.
    assert results[0].value == results[1].value
    assert results[0].status == 1


def test_naswot__leaves_out_what_the_backward_pass_does_not_reach(run_one):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.live, self.dead, self.head = nn.Linear(3, 4), nn.ReLU(), nn.ReLU(), nn.Linear(4, 2)

        def forward(self, x):
            hidden = self.stem(x)
            self.dead(hidden + 1)
            return self.head(self.live(hidden))

    torch.manual_seed(1)
    module, x, y = Net(), torch.randn(3, 3), torch.tensor([0, 1, 0])
    on = (module.stem(x) > 0).double()
    kernel = on @ on.T + (1 - on) @ (1 - on).T
    assert run_one(naswot, module, x, y).value == pytest.approx(float(torch.linalg.slogdet(kernel)[1]))


def test_naswot__of_images_that_nothing_tells_apart_is_minus_infinity(run_one):
    result = run_one(naswot, relu_net([[1.0]]), torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([0, 0]))
    assert (result.status, result.value) == (2, -math.inf)
    assert "the kernel is singular" in result.message


def test_naswot__without_relu_says_so(run_one):
    result = run_one(naswot, nn.Linear(2, 2), torch.randn(3, 2), torch.tensor([0, 1, 0]))
    assert (result.status, result.message) == (
        2,
        "naswot: no nn.ReLU module of this network is reached by the backward pass",
    )


# jacob_cov ------------------------------------------------------------------------------------------------------------


def test_jacob_cov__is_the_formula_with_gradients_by_differences(run_one):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y, eps = torch.randn(5, 1, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1]), 1e-5
    twin = copy.deepcopy(module)
    jacobian = np.zeros((5, 4))
    for n, pixel in np.ndindex(jacobian.shape):
        step = torch.zeros_like(x)
        step[n].view(-1)[pixel] = eps
        with torch.no_grad():
            jacobian[n, pixel] = float((twin(x + step).sum() - twin(x - step).sum()) / (2 * eps))
    eigenvalues = np.linalg.eig(np.corrcoef(jacobian))[0].real
    expected = -np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5))
    assert run_one(jacob_cov, module, x, y).value == pytest.approx(expected, rel=1e-3)


def test_jacob_cov__of_uncorrelated_images_is_minus_their_number(run_one):
    """Logit sum sum_i w_i x_i^2 / 2 has the gradient w * x; rows orthogonal to each other and to (1, 1, 1, 1)."""

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2, bias=False).double()
            nn.init.constant_(self.head.weight, 0.5)

        def forward(self, x):
            return self.head(x.square())

    x = torch.tensor([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    assert run_one(jacob_cov, Square(), x, torch.tensor([0, 1, 0])).value == pytest.approx(-3, rel=1e-4)


def test_jacob_cov__of_a_batch_of_one_says_so(run_one, conv_net):
    module, x, y = conv_net(batch=1)
    result = run_one(jacob_cov, module, x, y)
    assert (result.status, result.message) == (2, "jacob_cov: a correlation needs at least 2 images, got a batch of 1")


def test_jacob_cov__of_an_output_without_gradient_says_so(run_one):
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    nn.init.zeros_(module[1].weight)
    result = run_one(jacob_cov, module, torch.randn(3, 1, 2, 2).double(), torch.tensor([0, 1, 0]))
    assert "constant or not finite" in result.message
    words = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    result = run_one(jacob_cov, words, torch.randint(5, (3, 2)), torch.tensor([0, 1, 0]))
    assert "must be floating-point" in result.message


# synflow --------------------------------------------------------------------------------------------------------------


def test_synflow__on_paper(run_one):
    """|W2| |W1| (1, 1) summed is R = 3 * 3 + 3 * 7 = 30, and each of two layers without bias conserves it."""
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[0].weight.data = torch.tensor([[1.0, -2.0], [-3.0, 4.0]])
    module[1].weight.data = torch.tensor([[-1.0, 1.0], [2.0, -2.0]])
    result = run_one(synflow, module, torch.randn(3, 2), torch.tensor([0, 1, 0]))
    assert result.value == pytest.approx(math.log(2 * 30), rel=1e-15)


def test_synflow__is_the_formula_on_a_network_rebuilt_without_norms(run_one, conv_net):
    module, x, y = conv_net()
    twin = copy.deepcopy(module)
    twin.norm_a = twin.norm_b = nn.Identity()
    for p in twin.parameters():
        p.data.abs_()
    twin(torch.ones(1, 2, 5, 5).double()).sum().backward()
    terms = [float((p * p.grad).abs().detach().sum()) for p in twin.parameters() if p.ndim >= 2 and p.grad is not None]
    assert run_one(synflow, module, x, y).value == pytest.approx(math.log(sum(terms)), rel=1e-13)


def test_synflow__does_not_depend_on_data_batch_or_signs(run_one, conv_net):
    module, x, y = conv_net()
    expected = run_one(synflow, module, x, y).value
    assert run_one(synflow, module, 100 * x[:1], y[:1]).value == expected
    for p in module.parameters():
        p.data.neg_()
    assert run_one(synflow, module, x, y).value == expected


def test_synflow__survives_what_single_precision_does_not(run_one):
    layers = [nn.Linear(10, 10, bias=False) for _ in range(60)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    result = run_one(synflow, nn.Sequential(*layers), torch.randn(2, 10), torch.tensor([0, 1]))
    assert result.value == pytest.approx(math.log(60) + 61 * math.log(10), rel=1e-14)  # float32 ends at e^88.7


def test_synflow__without_a_path_is_minus_infinity_and_not_zero(run_one):
    module = nn.Linear(2, 2)
    nn.init.zeros_(module.weight)
    result = run_one(synflow, module, torch.randn(3, 2), torch.tensor([0, 1, 0]))
    assert (result.status, result.value) == (2, -math.inf)
    assert result.message.startswith("synflow: no signal flows")


# zen_score ------------------------------------------------------------------------------------------------------------


def pooled(conv, *norm):
    return nn.Sequential(conv, *norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(conv.out_channels, 2)).double()


def test_zen_score_nobn__of_one_convolution_is_that_of_the_noise_alone(run_one):
    """f(x) - f(x + 0.01 e) = -0.01 W e: the draws are those of the weights, of x, and of e."""
    module = pooled(nn.Conv2d(2, 3, 1, bias=False))
    x, y = torch.randn(4, 2, 3, 3).double(), torch.tensor([0, 1, 0, 1])
    result = run_one(zen_score_nobn, module, x, y, seed=7)
    torch.manual_seed(7)
    weight = torch.randn(3, 2, 1, 1).double()
    torch.randn(2, 3), torch.randn(16, 2, 3, 3)
    e = torch.randn(16, 2, 3, 3).double()
    expected = math.log(float(torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], 0.01 * e).abs().mean()))
    assert result.value == pytest.approx(expected, rel=1e-9)


def test_zen_score__is_the_formula_draw_by_draw(run_one):
    module = pooled(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    x, y = torch.randn(4, 2, 3, 3).double(), torch.tensor([0, 1, 0, 1])
    result = run_one(zen_score, module, x, y, seed=3)
    torch.manual_seed(3)
    running, total = torch.ones(3).double(), 0.0
    for _ in range(32):
        weight = torch.randn(3, 2, 1, 1).double()
        torch.randn(2, 3)
        x, e = torch.randn(16, 2, 3, 3).double(), torch.randn(16, 2, 3, 3).double()
        features = []
        for images in (x, x + 0.01 * e):
            out = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], images)
            mean, variance = out.mean((0, 2, 3), keepdim=True), out.var((0, 2, 3), correction=0, keepdim=True)
            running = 0.9 * running + 0.1 * out.var((0, 2, 3))
            features.append((out - mean) / (variance + 1e-5).sqrt())
        distance = (features[0] - features[1]).abs().mean()
        total += float(distance.log() + running.mean().sqrt().log())
    assert result.value == pytest.approx(total / 32, rel=1e-6)


def test_zen_score__depends_neither_on_the_images_nor_on_the_weights(run_one, conv_net):
    module, x, y = conv_net()
    expected = [run_one(each, module, x, y).value for each in (zen_score, zen_score_nobn)]
    other, _, _ = conv_net(seed=1)
    assert [run_one(each, other, 5 + x, y).value for each in (zen_score, zen_score_nobn)] == expected


def test_zen_score__without_batch_norm_says_so_and_zen_score_nobn_needs_none(run_one):
    module, x, y = pooled(nn.Conv2d(2, 3, 1)), torch.randn(4, 2, 3, 3).double(), torch.tensor([0, 1, 0, 1])
    result = run_one(zen_score, module, x, y)
    assert result.status == 2
    assert result.message.startswith("zen_score: the network has no BatchNorm")
    assert run_one(zen_score_nobn, module, x, y).status == 1


def test_zen_score__without_feature_maps_says_so(run_one):
    result = run_one(zen_score_nobn, nn.Linear(2, 2), torch.randn(3, 2), torch.tensor([0, 1, 0]))
    assert "returns feature maps" in result.message
