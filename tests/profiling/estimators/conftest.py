"""Small networks in double precision, and one way to score them: through the runner, as a profile does."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators import Estimator, EstimatorError, Probe
from sweetgrad.profiling.estimators.running import Score, run_estimators
from sweetgrad.profiling.spaces.protocol import Layer, Network


class ConvNet(nn.Module):
    """Two convolutions with norms, a linear layer, a ReLU that is called twice, and a layer that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.b, self.norm_b = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.point = nn.Conv2d(4, 4, 1, bias=False)
        self.relu, self.unused, self.head = nn.ReLU(), nn.Linear(2, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.norm_a(self.a(x)))
        hidden = self.point(self.relu(self.norm_b(self.b(hidden))))
        return self.head(hidden.mean((2, 3)))


def as_network(module: nn.Module) -> Network:
    return Network(module, (Layer("all", "cell", (module,)),))


def make_probe(module: nn.Module, x: Tensor, y: Tensor) -> Probe:
    pristine = copy.deepcopy(module)

    def refuse() -> nn.Module:
        raise EstimatorError("there is no thin network")

    return Probe(as_network(module), x, y, build=lambda: as_network(copy.deepcopy(pristine).train()), build_thin=refuse)


def score(estimator: Estimator, module: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0) -> Score:
    return run_estimators(lambda: make_probe(module, x, y), {"it": estimator}, seed=seed)["it"]


@pytest.fixture
def conv_net() -> Callable[..., tuple[nn.Module, Tensor, Tensor]]:
    """Network, images and labels in double precision."""

    def make(seed: int = 0, batch: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
        torch.manual_seed(seed)
        module = ConvNet().double().train()
        return module, torch.randn(batch, 2, 5, 5, dtype=torch.float64), torch.arange(batch) % 3

    return make


@pytest.fixture(scope="session")
def run_one() -> Callable[..., Score]:
    """Run one estimator on a module and a batch; returns its `Score`."""
    return score


@pytest.fixture(scope="session")
def probe_of() -> Callable[..., Callable[[], Probe]]:
    """A function that makes the probe of a copy of a module and a batch, before any pass."""
    return lambda module, x, y: lambda: make_probe(copy.deepcopy(module), x, y)
