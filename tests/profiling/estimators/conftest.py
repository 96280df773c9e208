"""Small networks in double precision, and one way to score them: through the runner, as a profile does."""

import copy
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators import Estimator, EstimatorError, Probe
from sweetgrad.profiling.estimators.running import Score, measure_with_estimators
from sweetgrad.profiling.measure import Builder
from sweetgrad.profiling.spaces.protocol import Layer, Network
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION


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
        logits: Tensor = self.head(hidden.mean((2, 3)))
        return logits


def one_layer(module: nn.Module) -> tuple[Layer, ...]:
    return (Layer("all", "cell", (module,)),)


class CopyBuilder:
    """Builds copies of a module, as a `Builder` builds the networks of an architecture; there is no thin one."""

    is_whole = False  # the network that a test looks at is not the one that `whole` builds
    task = IMAGE_CLASSIFICATION

    def __init__(self, module: nn.Module, layers: Callable[[nn.Module], tuple[Layer, ...]] = one_layer) -> None:
        self._module, self._layers = copy.deepcopy(module), layers

    def network(self) -> Network:
        module = copy.deepcopy(self._module)
        return Network(module, self._layers(module))

    def whole(self) -> Network:
        network = self.network()
        network.module.train()
        return network

    def thin(self) -> nn.Module:
        raise EstimatorError("there is no thin network")


def score(estimator: Estimator, module: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0) -> Score:
    builder = CopyBuilder(module)
    builder.network = lambda: Network(module, one_layer(module))  # type: ignore[method-assign]  # tests look at it afterwards
    like_builder = cast(Builder, builder)  # it has no space and no spec, and needs none
    return measure_with_estimators(like_builder, x, y, {"it": estimator}, seed=seed, count=False)[1]["it"]


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
def builder_of() -> type[CopyBuilder]:
    """Makes a builder of a module, and of its layers if they are not to be one."""
    return CopyBuilder


@pytest.fixture(scope="session")
def probe_of() -> Callable[..., Probe]:
    """The probe of a copy of a module and a batch, before any pass."""

    def make(module: nn.Module, x: Tensor, y: Tensor) -> Probe:
        builder = CopyBuilder(module)
        return Probe(builder.network(), x, y, build=builder.whole, build_thin=builder.thin)

    return make
