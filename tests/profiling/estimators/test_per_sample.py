"""gradsign and te_nas: per-sample gradients layer by layer against a backward pass for each image."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.estimators import gradsign, te_nas_condition, te_nas_condition_nobn
from sweetgrad.profiling.estimators import per_sample as per_sample_module
from sweetgrad.profiling.estimators.per_sample import UnsupportedLayerError, per_sample_gradients


class Layers(nn.Module):
    """Strides, dilation, groups, padding, a convolution over time, a linear layer over positions, a layer called twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=1)
        self.grouped, self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2), nn.Conv2d(4, 4, (1, 3))
        self.shifted = nn.Conv2d(4, 6, (3, 2), padding=(2, 1), dilation=(2, 1))
        self.point, self.strided = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1, stride=2)
        self.norm, self.time, self.mix = nn.BatchNorm2d(4), nn.Conv1d(6, 5, 2), nn.Linear(5, 5)
        self.head = nn.Linear(5, 3, bias=False)

    def forward(self, x):
        h = self.norm(self.conv(x)).tanh()
        h = self.shifted(self.dilated(self.grouped(h).tanh()).tanh()).tanh()
        h = (self.strided(self.point(h)).tanh()).flatten(2)
        h = self.time(h).transpose(1, 2).tanh()
        return self.head(self.mix(self.mix(h).tanh()).mean(1))


def make(batch=4):
    torch.manual_seed(0)
    return Layers().double(), torch.randn(batch, 2, 9, 11).double(), torch.arange(batch) % 3


def image_by_image(module, x, y):
    """Gradients of the loss of each image alone in train mode, by weight: shape (N, weights)."""
    rows = []
    for n in range(len(x)):
        twin = copy.deepcopy(module).train()
        F.cross_entropy(twin(x[n : n + 1]), y[n : n + 1]).backward()
        rows.append([torch.zeros_like(p) if p.grad is None else p.grad for p in twin.parameters() if p.ndim >= 2])
    return [torch.stack(grads).flatten(1) for grads in zip(*rows, strict=True)]


def collected(module, x, y, **options):
    found = {}

    def receive(weight, entries, grads):
        """Puts the gradients where their entries are."""
        whole = found.setdefault(weight, torch.full((len(x), *weight.shape), torch.nan, dtype=weight.dtype))
        target = whole[(slice(None), *entries)]
        target.copy_(grads.reshape(target.shape))

    per_sample_gradients(
        module,
        lambda: F.cross_entropy(module(x), y, reduction="sum"),
        receive,
        batch_norm="instance",
        **options,
    )
    return {weight: grads.flatten(1) for weight, grads in found.items()}


@pytest.mark.parametrize("max_values", [1 << 24, 40])
def test_each_gradient__is_that_of_each_image_alone(max_values, monkeypatch):
    monkeypatch.setattr(per_sample_module, "_MAX_VALUES", max_values)
    module, x, y = make()
    found = collected(module, x, y)
    weights = [p for p in module.parameters() if p.ndim >= 2]
    assert set(found) == set(weights)
    for weight, expected in zip(weights, image_by_image(module, x, y), strict=True):
        torch.testing.assert_close(found[weight], expected, rtol=1e-9, atol=1e-14)


def test_each_gradient__passes_a_relu_that_changes_the_output_of_a_norm_in_place():
    """As in NAS-Bench-101."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 9, 3)]
    module, x, y = nn.Sequential(*parts).double(), torch.randn(4, 2, 5, 5).double(), torch.arange(4) % 3
    found = collected(module, x.contiguous(memory_format=torch.channels_last), y)
    weights = [p for p in module.parameters() if p.ndim >= 2]
    for weight, expected in zip(weights, image_by_image(module, x, y), strict=True):
        torch.testing.assert_close(found[weight], expected, rtol=1e-9, atol=1e-14)


def test_each_gradient__leaves_the_network_as_it_was():
    module, x, y = make()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    collected(module, x, y)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not any("forward" in m.__dict__ for m in module.modules())


class Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x):
        return self.lin(x) @ self.lin.weight


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return (x @ self.w).tanh()


UNSUPPORTED = [
    lambda: nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 3, 3, padding="same"), nn.Flatten()),
    lambda: nn.Sequential(nn.Unflatten(1, (3, 1)), nn.ConvTranspose1d(3, 3, 1), nn.Flatten()),
    Outside,
    Own,
]


@pytest.mark.parametrize("build", UNSUPPORTED)
def test_each_gradient__says_what_it_cannot_follow_and_gradsign_goes_image_by_image(build, run_one):
    torch.manual_seed(0)
    module, x, y = build().double(), torch.randn(4, 3).double(), torch.tensor([0, 1, 2, 0])
    with pytest.raises(UnsupportedLayerError):
        collected(module, x, y)
    expected = sum(float(rows.sign().sum(0).abs().sum()) for rows in image_by_image(module, x, y))
    assert run_one(gradsign, module, x, y).value == expected


def test_gradsign__on_paper(run_one):
    """Two classes, w = 0: the gradient of image x with label 0 is (-x / 2, x / 2). Two images agree, the third does not."""
    module = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(module.weight)
    x, y = torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([0, 0, 0])
    assert run_one(gradsign, module, x, y).value == 2 * abs(1 + 1 - 1)
    assert run_one(gradsign, module, x, torch.tensor([0, 0, 1])).value == 2 * 3


def test_gradsign__is_the_formula_image_by_image(run_one, conv_net):
    module, x, y = conv_net()
    expected = sum(float(rows.sign().sum(0).abs().sum()) for rows in image_by_image(module, x, y))
    assert run_one(gradsign, module, x, y).value == expected


def test_gradsign__goes_image_by_image_for_as_many_weights_as_fit_in_memory(run_one, monkeypatch):
    torch.manual_seed(0)
    module = nn.Sequential(Own(), Own(), nn.Linear(3, 3)).double()
    x, y = torch.randn(4, 3).double(), torch.tensor([0, 1, 2, 0])
    expected = sum(float(rows.sign().sum(0).abs().sum()) for rows in image_by_image(module, x, y))
    for max_values in (1 << 27, 2 * 4 * 9, 1):
        monkeypatch.setattr(per_sample_module, "_MAX_VALUES_BY_IMAGE", max_values)
        assert run_one(gradsign, module, x, y).value == expected


def test_gradsign__of_one_image_is_the_number_of_its_gradients_that_are_not_zero(run_one, conv_net):
    module, x, y = conv_net(batch=1)
    expected = sum(int((rows != 0).sum()) for rows in image_by_image(module, x, y))
    assert run_one(gradsign, module, x, y).value == expected > 0


def test_gradsign__of_norms_that_see_one_value_says_so(run_one):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    result = run_one(gradsign, module, torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    assert result.status == 2
    assert result.message.startswith("gradsign: a BatchNorm gets only one value")


def kernel(module, x, weights):
    rows = []
    for n in range(len(x)):
        grads = torch.autograd.grad(module(x)[n].sum(), weights)
        rows.append(torch.cat([g.flatten() for g in grads]).numpy())
    return np.array(rows) @ np.array(rows).T


def test_te_nas_condition__is_the_ratio_of_the_eigenvalues_of_the_kernel(run_one, conv_net):
    module, x, y = conv_net()
    used = [p for name, p in module.named_parameters() if name.endswith("weight") and "unused" not in name]
    assert len(used) == 6  # four layers, two norms
    eigenvalues = np.linalg.eigvalsh(kernel(module, x, used))
    assert run_one(te_nas_condition, module, x, y).value == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-4)


def test_te_nas_condition__is_the_same_for_few_weights_at_a_time(run_one, conv_net, monkeypatch):
    expected = run_one(te_nas_condition, *conv_net()).value
    monkeypatch.setattr("sweetgrad.profiling.estimators.te_nas._MAX_VALUES", 300)
    assert run_one(te_nas_condition, *conv_net()).value == pytest.approx(expected, rel=1e-10)


def test_te_nas_condition_nobn__is_that_of_a_network_without_norms(run_one, conv_net):
    module, x, y = conv_net()
    twin = copy.deepcopy(module)
    twin.norm_a = twin.norm_b = nn.Identity()
    used = [p for name, p in twin.named_parameters() if p.ndim >= 2 and "unused" not in name]
    eigenvalues = np.linalg.eigvalsh(kernel(twin, x, used))
    assert run_one(te_nas_condition_nobn, module, x, y).value == pytest.approx(
        eigenvalues[-1] / eigenvalues[0], rel=1e-8
    )


def test_te_nas_condition_nobn__follows_other_weights_by_a_pass_for_each_image(run_one):
    torch.manual_seed(0)
    module, x, y = (
        nn.Sequential(Own(), nn.Linear(3, 2)).double(),
        torch.randn(4, 3).double(),
        torch.tensor([0, 1, 0, 1]),
    )
    eigenvalues = np.linalg.eigvalsh(kernel(module, x, [module[0].w, module[1].weight]))
    assert run_one(te_nas_condition_nobn, module, x, y).value == pytest.approx(
        eigenvalues[-1] / eigenvalues[0], rel=1e-8
    )


@pytest.mark.parametrize("estimator", [te_nas_condition, te_nas_condition_nobn])
def test_te_nas_condition__on_paper(run_one, estimator):
    """Two logits of x, summed: the gradient of an image is (x, x). Kernel 2 [[1, 0], [0, 4]]."""
    module = nn.Linear(2, 2).double()
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double()
    assert run_one(estimator, module, x, torch.tensor([0, 1])).value == pytest.approx(4)
    alike = run_one(estimator, module, torch.ones(2, 2).double(), torch.tensor([0, 1]))
    assert (alike.status, alike.value) == (2, math.inf)
    assert "the kernel is singular" in alike.message
    single = run_one(estimator, module, x[:1], torch.tensor([0]))
    assert "at least 2 images, got a batch of 1" in single.message


def literal_regions(arch, batch, *, remove):
    """Thin network, its weights, and 3 x 1000 crops, in the order in which the estimator draws them."""
    space = load_space("nas-bench-201")
    torch.manual_seed(42)
    module = space.build_thin(arch).train()
    torch.manual_seed(42)
    for p in module.parameters():
        if p.ndim >= 2:
            p.data = torch.randn(p.shape) * math.sqrt(2 / p[0].numel())
    for m in module.modules():
        if remove and isinstance(m, nn.BatchNorm2d):
            m.forward = lambda x: x
    seen, patterns = [], set()
    for m in module.modules():
        if isinstance(m, nn.ReLU):
            m.register_forward_hook(lambda m, i, out: seen.append(out))
    for _ in range(3):
        where = torch.randint(len(batch.x), (1000,)), torch.randint(30, (1000,)), torch.randint(30, (1000,))
        crops = [torch.from_numpy(batch.x[i, :, t : t + 3, u : u + 3]) for i, t, u in zip(*where, strict=True)]
        seen.clear()
        with torch.no_grad():
            module(torch.stack(crops))
        on = torch.cat([(out > 0).flatten(1) for out in seen], dim=1)
        patterns |= {tuple(row) for row in on.tolist()}
    return len(patterns)


@pytest.mark.parametrize(("name", "remove"), [("te_nas_regions", False), ("te_nas_regions_nobn", True)])
def test_te_nas_regions__is_the_number_of_different_patterns(name, remove):
    space, batch = load_space("nas-bench-201"), load_batch("synthetic", batch_size=3)
    rows = profile_architectures(space, [9000], batch, make_spec(space, batch), estimators=[name])
    expected = literal_regions(space.arch_id(9000), batch, remove=remove)
    assert rows.score.item() == expected > 3


def test_te_nas_regions__of_a_space_without_thin_networks_says_so(run_one, conv_net):
    from sweetgrad.profiling.estimators import te_nas_regions

    assert run_one(te_nas_regions, *conv_net()).message == "there is no thin network"
