"""The batch that a network sees is the batch, whatever it or another one does to its input in place."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from sweetgrad.profiling import Batch, Layer, Network, make_spec, profile_architectures, profile_network, registered
from sweetgrad.profiling.training import trainer

X = np.random.RandomState(0).randn(4, 1, 6, 6).astype(np.float32)  # of one channel: contiguous in both memory formats
BATCH = Batch(X, np.array([0, 1, 2, 0]), num_classes=3)
KEPT: list[Tensor] = []


class Net(nn.Module):
    """Two convolutions after a change of the input, in place or not."""

    def __init__(self, change: Callable[[Tensor], Tensor], num_classes: int = 3) -> None:
        super().__init__()
        self.change = change
        self.a, self.b = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 3)
        self.relu, self.head = nn.ReLU(), nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a(self.change(x)))
        return self.head(self.relu(self.b(x)).mean((2, 3)))


def subtract(x: Tensor) -> Tensor:
    x -= x.mean()
    return x


def through_data(x: Tensor) -> Tensor:
    x.data.sub_(x.mean())
    return x


def through_numpy(x: Tensor) -> Tensor:
    values = x.detach().numpy()
    values -= values.mean()
    return x


def through_a_view(x: Tensor) -> Tensor:
    x.view(-1).sub_(x.mean())
    return x


def while_going_back(x: Tensor) -> Tensor:
    """Keep the input, and write into it when the gradient arrives."""
    out = x - x.mean()
    if out.requires_grad:
        return out
    out.requires_grad_()
    out.register_hook(lambda grad: x.fill_(7))
    return out


def when_the_next_one_runs(x: Tensor) -> Tensor:
    for kept in KEPT:
        kept.fill_(7)
    KEPT[:] = [x.detach()]
    return x - x.mean()


OUT_OF_PLACE: dict[str, Callable[[Tensor], Tensor]] = {"mean": lambda x: x - x.mean(), "relu": nn.ReLU()}
IN_PLACE: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "subtract": ("mean", subtract),
    "data": ("mean", through_data),
    "numpy": ("mean", through_numpy),
    "view": ("mean", through_a_view),
    "backward hook": ("mean", while_going_back),
    "kept": ("mean", when_the_next_one_runs),
    "relu": ("relu", nn.ReLU(inplace=True)),
}


class Space:
    """Architecture 0 changes its input, 1 does not."""

    name, variant, init, input_size = "toy", "", "pytorch-default", 6
    layer_names = ("a", "b", "head")

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.changes = {"changes": change, "plain": lambda x: x}

    def __len__(self) -> int:
        return 2

    def arch_id(self, index: int) -> str:
        return list(self.changes)[index]

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        module = Net(self.changes[arch_id], num_classes)
        layers = (Layer("a", "cell", (module.a,)), Layer("b", "cell", (module.b,)))
        return Network(module, (*layers, Layer("head", "head", (module.head,))))


@pytest.fixture(autouse=True)
def _nothing_kept(one_thread: None) -> Iterator[None]:
    yield
    KEPT.clear()


def profiled(change: Callable[[Tensor], Tensor], indices: list[int], **options: Any) -> xr.Dataset:
    space = Space(change)
    return profile_architectures(space, indices, BATCH, make_spec(space, BATCH), **options)


@pytest.mark.parametrize("which", IN_PLACE)
def test_profile_network__counts_what_the_same_network_out_of_place_has(which: str) -> None:
    like, change = IN_PLACE[which]
    x, y = X.copy(), BATCH.y.copy()
    for layers in (None, ["a", "b", "head"]):
        for images in (x, torch.from_numpy(x)):
            found = profile_network(lambda: Net(change), images, y, seed=0, layers=layers)
            expected = profile_network(lambda: Net(OUT_OF_PLACE[like]), X, BATCH.y, seed=0, layers=layers)
            np.testing.assert_array_equal(found.grad_count, expected.grad_count)
            assert found.loss.item() == expected.loss.item()
            np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("which", IN_PLACE)
def test_profile_architectures__does_not_let_one_network_change_what_the_next_one_sees(which: str) -> None:
    like, change = IN_PLACE[which]
    rows, expected = profiled(change, [0, 1, 0, 1]), profiled(OUT_OF_PLACE[like], [0, 1, 0, 1])
    np.testing.assert_array_equal(rows.grad_count, expected.grad_count)
    np.testing.assert_array_equal(rows.loss, expected.loss)
    np.testing.assert_array_equal(BATCH.x, X)


@pytest.mark.parametrize("which", ["subtract", "relu"])
def test_estimators__score_what_the_same_network_out_of_place_scores(which: str) -> None:
    """Those that run passes of their own as well: each of them sees the batch."""
    like, change = IN_PLACE[which]
    names = [name for name in registered("estimators") if "regions" not in name]  # the space has no thin network
    rows, expected = (profiled(each, [0, 1], estimators=names) for each in (change, OUT_OF_PLACE[like]))
    for name in names:
        np.testing.assert_allclose(
            rows.score.sel(estimator=name), expected.score.sel(estimator=name), rtol=1e-12, err_msg=name
        )
        assert rows.estimator_status.sel(estimator=name).values.tolist() == [1, 1], name


@pytest.mark.parametrize("needs", ["network", "graph", "gradients"])
def test_estimators__of_others_may_change_the_batch(needs: str) -> None:
    def spoils(probe) -> float:
        for tensor in (probe.x.detach(), probe.y):
            tensor.zero_()
        return 1.0

    def sees(probe) -> float:
        return float(probe.x.detach().double().sum() + probe.y.sum())

    for function in (spoils, sees):
        vars(function)["needs"] = needs
    rows = profiled(OUT_OF_PLACE["mean"], [0, 1], estimators={"spoils": spoils, "sees": sees})
    assert rows.score.sel(estimator="sees").values == pytest.approx([X.sum(dtype=float) + BATCH.y.sum()] * 2)
    np.testing.assert_array_equal(rows.grad_count, profiled(OUT_OF_PLACE["mean"], [0, 1]).grad_count)


def test_evaluate__leaves_the_images_of_the_data_set_as_they_are() -> None:
    x, y = torch.from_numpy(X.copy()), torch.from_numpy(BATCH.y)
    network = Space(subtract).build("changes", in_channels=1, num_classes=3)
    first, second = (trainer.evaluate(network.module, x, y) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(x, X)
