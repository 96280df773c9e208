"""One network, one batch: counts against a literal count of ``p.grad``, and what a user may pass by mistake."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import xarray as xr
from torch import Tensor, nn

from sweetgrad.analysis import IntervalGrid, best_interval, params, proportion, score, sweetness
from sweetgrad.profiling.any_network import profile_network
from sweetgrad.profiling.architectures import make_spec, profile_architectures
from sweetgrad.profiling.batches import random_batch
from sweetgrad.profiling.measure import fill_row, measure_network
from sweetgrad.profiling.registry import load_space
from sweetgrad.profiling.spaces.protocol import Layer, Network
from sweetgrad.store import KINDS, LAYER_TYPES, STATUS, bin_bounds, empty_rows

pytestmark = pytest.mark.usefixtures("one_thread")


def literal_count(gradients: list[Tensor]) -> np.ndarray:
    """Every gradient, bin by bin, in double precision."""
    values = np.concatenate([np.zeros(0), *[g.detach().double().abs().numpy().ravel() for g in gradients]])
    lower, upper = (bounds.astype(np.float32) for bounds in bin_bounds())  # gradients are compared in float32
    counts = [((values >= lo) & (values < up)).sum() for lo, up in zip(lower, upper, strict=True)]
    counts[0], counts[1] = (values == 0).sum(), ((values > 0) & (values < upper[1])).sum()
    counts[-1] = (~np.isfinite(values)).sum()
    return np.array(counts)


def gradients_by_hand(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gradient of every parameter by a backward pass of the test's own, on a copy; zeros where there is none."""
    twin = copy.deepcopy(model).train()
    twin.zero_grad()
    F.cross_entropy(twin(x), y).backward()
    named = twin.named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named}


class WithUnused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.head = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 3)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.used(x).relu())


class Twice(nn.Module):
    """One module called twice: its gradient is the sum of both uses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.inner(x).tanh()).tanh())


class Tied(nn.Module):
    """Two modules that share one weight, as an embedding and its decoder do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).tanh()).tanh())


class Transformer(nn.Module):
    """Attention holds parameters of its own beside a submodule that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.head = nn.Linear(8, 3)
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], dim=1)
        return self.head(self.block(tokens)[:, 0])


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


VECTORS = lambda: torch.randn(8, 6)  # noqa: E731
IMAGES = lambda: torch.randn(8, 3, 6, 6)  # noqa: E731
WORDS = lambda: torch.randint(11, (8, 4))  # noqa: E731
# Each network, its input, and the parameters of the layers that it must be cut into, in this order.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], dict[str, list[str]]]] = {
    "mlp": (mlp, VECTORS, {"0": ["0.weight", "0.bias"], "2": ["2.weight", "2.bias"]}),
    "conv": (
        conv_net,
        IMAGES,
        {
            "0": ["0.weight", "1.weight", "1.bias"],
            "3": ["3.weight", "3.bias", "4.weight", "4.bias"],
            "7": ["7.weight", "7.bias"],
        },
    ),
    "unused": (
        WithUnused,
        VECTORS,
        {
            "used": ["frozen", "used.weight", "used.bias"],
            "head": ["head.weight", "head.bias"],
            "unused": ["unused.weight", "unused.bias"],
        },
    ),
    "twice": (Twice, VECTORS, {"inner": ["inner.weight", "inner.bias"], "head": ["head.weight", "head.bias"]}),
    "tied": (
        Tied,
        VECTORS,
        {"first": ["first.weight", "first.bias", "second.bias"], "head": ["head.weight", "head.bias"]},
    ),
    "transformer": (
        Transformer,
        WORDS,
        {
            "root": ["token"],
            "embed": ["embed.weight"],
            "block.self_attn": ["block.self_attn.in_proj_weight", "block.self_attn.in_proj_bias"],
            "block.self_attn.out_proj": [
                *("block.self_attn.out_proj.weight", "block.self_attn.out_proj.bias"),
                *("block.norm1.weight", "block.norm1.bias"),
            ],
            "block.linear1": ["block.linear1.weight", "block.linear1.bias"],
            "block.linear2": [
                *("block.linear2.weight", "block.linear2.bias"),
                *("block.norm2.weight", "block.norm2.bias"),
            ],
            "head": ["head.weight", "head.bias"],
        },
    ),
}
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def make(which: str) -> tuple[nn.Module, Tensor, dict[str, list[str]]]:
    torch.manual_seed(0)
    build, inputs, layers = NETWORKS[which]
    return build(), inputs(), layers


# --- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", NETWORKS)
def test_profile_network__equals_a_literal_count_of_every_layer_kind_and_bin(which: str) -> None:
    model, x, layers = make(which)
    gradients = gradients_by_hand(model, x, LABELS)
    row = profile_network(model, x, LABELS).isel(arch=0)
    assert row.layer.values.tolist() == list(layers)
    for layer, names in layers.items():
        for kind in KINDS:
            held = [gradients[name] for name in names if (gradients[name].ndim >= 2) == (kind == "weight")]
            here = row.sel(layer=layer, kind=kind)
            np.testing.assert_array_equal(here.grad_count, literal_count(held))
            doubles = np.concatenate([np.zeros(0), *[g.double().numpy().ravel() for g in held]])
            assert float(here.grad_abs_sum) == pytest.approx(np.abs(doubles).sum(), rel=1e-7)
            assert float(here.grad_sq_sum) == pytest.approx((doubles**2).sum(), rel=1e-7)
            assert int(here.num_params) == doubles.size
    assert int(row.num_params.sum()) == sum(p.numel() for p in model.parameters())
    np.testing.assert_array_equal(row.grad_count_network, row.grad_count.sum("layer"))
    assert float(row.loss) == pytest.approx(F.cross_entropy(copy.deepcopy(model).train()(x), LABELS).item(), rel=1e-6)
    assert int(row.status) == STATUS["ok"]
    assert (row.layer_type == LAYER_TYPES["cell"]).all()


def test_profile_network__counts_a_parameter_without_gradient_as_exact_zeros() -> None:
    model, x, _ = make("unused")
    row = profile_network(model, x, LABELS).isel(arch=0, bin=0)
    assert row.grad_count.sel(layer="unused").values.tolist() == [30, 5]
    assert row.grad_count.sel(layer="used").values.tolist()[1] >= 2  # two of them frozen


def test_profile_network__counts_gradients_that_are_not_finite() -> None:
    model = mlp()
    with torch.no_grad():
        model.get_parameter("2.weight")[0, 0] = torch.nan
    row = profile_network(model, torch.randn(8, 6), LABELS).isel(arch=0)
    assert int(row.grad_count.isel(bin=-1).sum()) > 0
    assert (row.grad_count.sum("bin") == row.num_params).all()
    assert np.isnan(row.loss)


def test_measure_network__has_one_histogram_in_either_memory_format() -> None:
    """Equal gradients, flattened channels-last and row by row: the order does not matter. (The gradients are set by hand, since
    computing in the other format moves last bits.)"""

    class WithGradients(nn.Module):
        def __init__(self, memory_format: torch.memory_format) -> None:
            super().__init__()
            self.conv = nn.Conv2d(5, 7, 3, bias=False)
            self.conv.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs lack memory_format
            noise = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(0))
            self.factor = noise.to(memory_format=memory_format)

        def forward(self, x: Tensor) -> Tensor:
            # z is 0, so d loss / d z = softmax - target = -1/2, and the weight's gradient is -factor / 2 without rounding.
            z = ((self.conv.weight - self.conv.weight.detach()) * self.factor).sum()
            return torch.stack([z, z.new_zeros(())]).expand(1, 2)

    measured = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        module = WithGradients(memory_format)
        network = Network(module, (Layer("conv", "cell", (module.conv,)),))
        measured.append(measure_network(network, torch.zeros(1), torch.tensor([0])))
        grad = module.conv.weight.grad
        assert grad is not None
        assert grad.is_contiguous(memory_format=memory_format)
        np.testing.assert_array_equal(measured[-1].grad_count[0, 0], literal_count([module.factor / 2]))
    np.testing.assert_array_equal(measured[0].grad_count, measured[1].grad_count)
    assert measured[0].num_params.tolist() == [[315, 0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_profile_network__takes_a_model_of_another_precision(dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    x = torch.randn(8, 6)
    gradients = [g.float() for name, g in gradients_by_hand(model, x.to(dtype), LABELS).items() if "weight" in name]
    row = profile_network(model, x, LABELS).isel(arch=0)
    np.testing.assert_array_equal(row.grad_count_network.sel(kind="weight"), literal_count(gradients))


def test_profile_network__takes_arrays_and_lists() -> None:
    model = mlp()
    x = torch.randn(8, 6)
    expected = profile_network(model, x, LABELS)
    for images in (x.numpy(), x.numpy().astype(np.float64), x.tolist()):
        for labels in (LABELS.tolist(), LABELS.numpy().astype(np.int32), LABELS.to(torch.uint8)):
            assert profile_network(model, images, labels).equals(expected)


def test_profile_network__takes_a_network_with_an_output_for_each_pixel() -> None:
    model = nn.Conv2d(3, 4, 1)
    x, y = torch.randn(2, 3, 5, 5), torch.randint(4, (2, 5, 5))
    row = profile_network(model, x, y).isel(arch=0)
    gradients = gradients_by_hand(model, x, y)
    np.testing.assert_array_equal(row.grad_count[0, 0], literal_count([gradients["weight"]]))


# --- what is left as it was -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_profile_network__leaves_the_model_as_it_was(training: bool) -> None:
    model, x, _ = make("conv")
    model.train(training)
    F.cross_entropy(model(x), LABELS).backward()  # gradients of the caller's own
    state = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    profile_network(model, x, LABELS)
    profile_network(model, x, LABELS, layers=["0", "1", "3", "4", "7"])
    assert model.training is training
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, model.parameters(), strict=True) if p.grad is not None)


def test_profile_network__measures_in_train_mode() -> None:
    model, x, _ = make("conv")
    assert profile_network(model.eval(), x, LABELS).equals(profile_network(model.train(), x, LABELS))


def test_profile_network__builds_a_function_under_the_seed() -> None:
    x = torch.randn(8, 6)
    torch.manual_seed(5)
    expected = profile_network(mlp(), x, LABELS, name="mlp")
    assert profile_network(mlp, x, LABELS, seed=5, name="mlp").equals(expected)
    assert not profile_network(mlp, x, LABELS, seed=6, name="mlp").equals(expected)


def test_profile_network__draws_the_same_dropout_however_the_layers_are_found() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 50), nn.Dropout(), nn.Linear(50, 3))

    x = torch.randn(8, 6)
    found = profile_network(build, x, LABELS, seed=1)
    named = profile_network(build, x, LABELS, seed=1, layers=["0", "2"])
    assert found.equals(named)


def test_profile_network__measures_what_a_forward_pass_changes_only_once() -> None:
    """Some modules move on with every forward pass in train mode (spectral norms do); finding the layers must not move them."""

    class Moves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)
            self.scale: Tensor
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            out = self.linear(x) * self.scale
            self.scale = self.scale * 2
            return out

    model, x = Moves(), torch.randn(8, 6)
    gradients = gradients_by_hand(model, x, LABELS)
    row = profile_network(model, x, LABELS).isel(arch=0)
    np.testing.assert_array_equal(row.grad_count[0, 0], literal_count([gradients["linear.weight"]]))
    assert model.scale == 1


# --- layers ---------------------------------------------------------------------------------------------------------


def test_layers_in_forward_order__follows_the_forward_pass_and_not_the_definition() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.middle, self.first = nn.Linear(4, 3), nn.LayerNorm(4), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.middle(self.first(x)))

    model = Backwards()
    profile = profile_network(model, torch.randn(8, 6), LABELS)
    assert profile.layer.values.tolist() == ["first", "last"]
    assert profile.num_params[0].values.tolist() == [[24, 4 + 8], [12, 3]]


def test_layers_in_forward_order__a_norm_before_the_first_weight_joins_its_layer() -> None:
    """A row without weights has proportion 0, and sweetness would count a rise from it: here the share falls all the way."""
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 60), nn.ReLU(), nn.Linear(60, 3))
    profile = profile_network(model, torch.randn(8, 6), LABELS)
    assert profile.layer.values.tolist() == ["1", "3"]
    assert profile.num_params[0].values.tolist() == [[360, 60 + 12], [180, 3]]
    shares = proportion(profile, (1e-10, 1e-2))
    assert shares.values.ravel()[0] > shares.values.ravel()[1]
    assert sweetness(shares).item() == -1


def test_layers_in_forward_order__a_network_of_norms_alone_is_one_layer() -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.ReLU(), nn.LayerNorm(6))
    profile = profile_network(model, torch.randn(8, 6), LABELS)
    assert profile.layer.values.tolist() == ["root"]
    assert profile.num_params[0].values.tolist() == [[0, 24]]


def test_layers_in_forward_order__takes_a_network_that_is_one_module() -> None:
    assert profile_network(nn.Linear(6, 3), torch.randn(8, 6), LABELS).layer.values.tolist() == ["root"]


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(4, 3),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.LazyConv2d(5, 3, bias=False),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


def test_profile_network__counts_lazy_modules_as_one_forward_pass_makes_them() -> None:
    """Layers, initial weights, dropout and the generator after it are those of a user's own first pass."""
    x = torch.randn(8, 3, 6, 6)
    profile = profile_network(lazy, x, LABELS, seed=4)
    after = torch.rand(3)
    torch.manual_seed(4)
    model = lazy()
    F.cross_entropy(model(x), LABELS).backward()
    assert torch.equal(torch.rand(3), after)
    assert profile.layer.values.tolist() == ["0", "4", "6"]
    assert profile.num_params[0].values.tolist() == [[108, 4 + 8], [180, 0], [60, 3]]
    for layer in ("0", "4", "6"):
        grad = model.get_parameter(f"{layer}.weight").grad
        assert grad is not None
        np.testing.assert_array_equal(profile.grad_count.sel(layer=layer, kind="weight")[0], literal_count([grad]))
    named = profile_network(lazy, x, LABELS, seed=4, layers=["0", "1", "4", "6"])
    np.testing.assert_array_equal(named.grad_count_network, profile.grad_count_network)


def test_profile_network__takes_a_lazy_module_that_is_built_already_and_leaves_it_lazy() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
    assert profile_network(model, torch.randn(8, 2, 3), LABELS).num_params[0].values.tolist() == [[30, 5], [15, 3]]
    assert isinstance(model[1], nn.LazyLinear)
    assert model[1].has_uninitialized_params()


@pytest.mark.parametrize("layers", [None, ["linear", "lazy"]])
def test_profile_network__explains_a_lazy_module_that_is_never_called(layers: list[str] | None) -> None:
    model = Returns(lambda z: z)
    model.lazy = nn.LazyLinear(3)
    with pytest.raises(
        ValueError, match=r"the shape of lazy\.weight, lazy\.bias is unknown: .* never calls the lazy module"
    ):
        profile_network(model, torch.randn(8, 6), LABELS, layers=layers)


def weight_norm(module: nn.Module) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(module)


class Scaled(nn.Module):
    """A parametrization with a parameter of its own, and a module that holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(3, 3, bias=False)

    def forward(self, weight: Tensor) -> Tensor:
        return self.scale(weight.T).T


def old_weight_norm(module: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning, match="deprecated"):
        return nn.utils.weight_norm(module)


@pytest.mark.parametrize(
    ("wrap", "held"),
    [
        (weight_norm, 18 + 3),
        (old_weight_norm, 18 + 3),
        (nn.utils.parametrizations.spectral_norm, 18),
        (lambda m: nn.utils.parametrize.register_parametrization(m, "weight", Scaled()), 18 + 9),
    ],
)
def test_layers_in_forward_order__a_parametrized_module_is_one_layer(
    wrap: Callable[[nn.Module], nn.Module], held: int
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 6), wrap(nn.Linear(6, 3)), nn.BatchNorm1d(3))

    def build_root() -> nn.Module:
        return wrap(nn.Linear(6, 3))

    profile = profile_network(build, torch.randn(8, 6), LABELS, seed=0)
    assert profile.layer.values.tolist() == ["0", "1"]
    assert profile.num_params[0].values.tolist() == [[36, 6], [held, 3 + 6]]
    alone = profile_network(build_root, torch.randn(8, 6), LABELS, seed=0)
    assert alone.layer.values.tolist() == ["root"]
    assert alone.num_params[0].values.tolist() == [[held, 3]]


def test_layers_in_forward_order__a_list_of_parameters_belongs_to_the_module_that_reads_it() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.randn(6, 2))
            self.weights = nn.ParameterList([torch.randn(6, 6), torch.randn(6, 6)])
            self.inner: Any = nn.ModuleDict({"more": nn.ParameterDict({"bias": torch.zeros(6)})})

        def forward(self, x: Tensor) -> Tensor:
            return (
                sum(g * (x @ w) for g, w in zip((x @ self.gate).T[..., None], self.weights, strict=True))
                + (self.inner["more"]["bias"])
            )

    profile = profile_network(nn.Sequential(Experts(), nn.Linear(6, 3)), torch.randn(8, 6), LABELS)
    assert profile.layer.values.tolist() == ["0", "1"]
    assert profile.num_params[0].values.tolist() == [[12 + 72, 6], [18, 3]]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_profile_network__counts_the_modulus_of_a_complex_gradient(dtype: torch.dtype) -> None:
    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spectrum, self.head = (
                nn.Parameter(torch.randn(4, 4, dtype=dtype)),
                nn.Linear(6, 3, dtype=dtype.to_real()),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.fft.irfft(torch.fft.rfft(x) @ self.spectrum, n=6))

    torch.manual_seed(0)
    model, x = Fourier(), torch.randn(8, 6)
    grad = gradients_by_hand(model, x.to(dtype.to_real()), LABELS)["spectrum"]
    assert (grad.imag.abs() > grad.real.abs()).any()
    row = profile_network(model, x, LABELS).isel(arch=0).sel(layer="root", kind="weight")
    moduli = (
        torch.complex(grad.real.float(), grad.imag.float()).abs() if dtype == torch.complex64 else grad.abs().float()
    )
    np.testing.assert_array_equal(row.grad_count, literal_count([moduli]))
    assert int(row.num_params) == 16


def test_profile_network__counts_a_sparse_gradient_as_the_dense_one() -> None:
    def build(sparse: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.EmbeddingBag(11, 8, sparse=sparse), nn.Linear(8, 3))

    words = torch.randint(6, (8, 4))  # of 11, with repetitions
    sparse, dense = (profile_network(build(sparse), words, LABELS, name="net") for sparse in (True, False))
    assert sparse.equals(dense)
    assert int(sparse.grad_count[0, 0, 0, 0]) >= 5 * 8


def test_profile_network__says_in_which_memory_format_and_with_how_many_threads() -> None:
    space = load_space("nas-bench-201")
    batch = random_batch((3, 8, 8), num_classes=10, batch_size=4)
    stored = profile_architectures(space, [7800], batch, make_spec(space, batch))
    build = lambda: space.build(space.arch_id(7800), in_channels=3, num_classes=10).module  # noqa: E731
    torch.set_num_threads(2)
    found = profile_network(build, batch.x, batch.y, seed=42, memory_format="channels_last")
    np.testing.assert_array_equal(found.grad_count_network, stored.grad_count_network)
    assert (found.memory_format, found.threads) == ("channels_last", 1)
    as_given = profile_network(build, batch.x, batch.y, seed=42)
    assert as_given.memory_format == "as given"
    assert (as_given.grad_count_network.values != stored.grad_count_network.values).any()
    contiguous = profile_network(build, batch.x, batch.y, seed=42, memory_format="contiguous")
    np.testing.assert_array_equal(as_given.grad_count_network, contiguous.grad_count_network)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("options", [{"memory_format": "nhwc"}, {"threads": 0}])
def test_profile_network__refuses_a_memory_format_or_threads_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"memory_format must be None or one of contiguous, channels_last, and threads 1"
    ):
        profile_network(mlp(), torch.randn(8, 6), LABELS, **options)


def test_profile_network__takes_named_layers_and_types() -> None:
    model, x, _ = make("conv")
    assert isinstance(model, nn.Sequential)
    model = nn.Sequential(model[:2], model[2:5], model[5:])
    listed = profile_network(model, x, LABELS, layers=["0", "1", "2"], name="mine")
    typed = profile_network(model, x, LABELS, layers={"0": "stem", "1": "cell", "2": "head"})
    assert listed.arch.values.tolist() == ["mine"]
    assert typed.arch.values.tolist() == ["Sequential"]
    assert listed.layer_type.values.tolist() == [[2, 2, 2]]
    assert typed.layer_type.values.tolist() == [[1, 2, 4]]
    np.testing.assert_array_equal(listed.grad_count, typed.grad_count)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["0", "nine"], r"no submodule 'nine'; its submodules: 0, 1, 2"),
        (["0"], r"these are in none: 2\.weight, 2\.bias"),
        (["", "2"], r"'' and '2' both have: 2\.weight, 2\.bias"),
        ({"0": "steam", "2": "head"}, r"layer type must be one of padding, stem, .* got 'steam' for layer '0'"),
        ([], r"these are in none: 0\.weight"),
    ],
)
def test_profile_network__refuses_layers_that_do_not_cover_once(layers: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile_network(mlp(), torch.randn(8, 6), LABELS, layers=layers)


def test_network__refuses_parameters_of_another_network() -> None:
    module = mlp()
    with pytest.raises(ValueError, match="layer 'b' contains parameters that are not in the network"):
        Network(module, (Layer("a", "cell", (module,)), Layer("b", "cell", (mlp(),))))


# --- what a user may pass by mistake --------------------------------------------------------------------------------


class Returns(nn.Module):
    """A linear network whose output goes through a function."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> object:
        return self.function(self.linear(x))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: (z, z), r"one tensor of logits \(N, classes\), got tuple: wrap it"),
        (lambda z: {"logits": z}, r"one tensor of logits \(N, classes\), got dict"),
        (lambda z: z[:, 0], r"labels of shape \(8,\) need logits of shape .* the network returned \(8,\)"),
        (lambda z: z[:, :, None], r"labels of shape \(8,\) need logits of shape .* the network returned \(8, 3, 1\)"),
        (lambda z: z[:4], r"labels of shape \(8,\) need logits of shape .* the network returned \(4, 3\)"),
        (lambda z: z.detach(), r"the loss depends on no parameter that requires grad"),
    ],
)
def test_profile_network__explains_an_output_that_is_not_logits(
    function: Callable[[Tensor], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        profile_network(Returns(function), torch.randn(8, 6), LABELS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 0, 1, 2, 0], r"labels must be in 0\.\.2, because the network has 3 outputs; got 0\.\.3"),
        ([0, 1, 2, -100, 0, 1, 2, 0], r"labels must be in 0\.\.2, because the network has 3 outputs; got -100\.\.2"),
        ([0.0] * 8, r"labels must be integers in 0\.\.classes-1, .* got torch\.float32 of shape \(8,\)"),
        ([True] * 8, r"labels must be integers"),
        ([], r"labels must be integers in 0\.\.classes-1, one for each image, .* \(0,\)"),
        ([0, 1], r"labels of shape \(2,\) need logits of shape .* the network returned \(8, 3\)"),
        (1, r"labels of shape \(\) need logits"),
        ([[0, 1, 0]] * 8, r"labels of shape \(8, 3\) need logits"),
    ],
)
def test_profile_network__explains_labels_that_do_not_fit(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile_network(mlp(), torch.randn(8, 6), labels)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_profile_network__refuses_images_that_are_not_finite(bad: float) -> None:
    x = torch.randn(8, 6)
    x[3, 2] = bad
    with pytest.raises(ValueError, match="x contains 1 NaN or infinite values of 48"):
        profile_network(mlp(), x, LABELS)


def test_profile_network__explains_a_model_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"model must be an nn\.Module or a function that builds one, got str"):
        profile_network(lambda: "resnet", torch.randn(8, 6), LABELS)  # type: ignore[arg-type, return-value]  # the error is what is tested
    with pytest.raises(ValueError, match=r"model must be an nn\.Module or a function that builds one, got str"):
        profile_network("resnet", torch.randn(8, 6), LABELS)  # type: ignore[arg-type]  # the error is what is tested


def test_profile_network__explains_a_model_without_gradients() -> None:
    x = torch.randn(8, 6)
    with pytest.raises(ValueError, match="has no parameters, all are frozen"):
        profile_network(nn.Identity(), x[:, :3], LABELS)
    with pytest.raises(ValueError, match="has no parameters, all are frozen"):
        profile_network(mlp().requires_grad_(False), x, LABELS)
    with torch.no_grad(), pytest.raises(ValueError, match=r"disabled here \(torch\.no_grad\)"):
        profile_network(mlp(), x, LABELS)


def test_profile_network__explains_a_model_that_cannot_be_copied() -> None:
    model = mlp()
    model.cache = model.get_parameter("0.weight") * 2  # a tensor with a history
    with pytest.raises(ValueError, match=r"cannot be copied .* pass a function that builds it"):
        profile_network(model, torch.randn(8, 6), LABELS)


def test_profile_network__explains_images_that_the_network_cannot_take() -> None:
    with pytest.raises(
        ValueError, match=r"failed on x of shape \(8, 7\), float32: RuntimeError: .*Pass x in the shape"
    ):
        profile_network(mlp(), torch.randn(8, 7), LABELS)
    with pytest.raises(
        ValueError, match=r"failed on x of shape \(1, 3, 1, 1\), float32: ValueError: Expected more than 1"
    ):
        profile_network(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), torch.randn(1, 3, 1, 1), LABELS[:1])


def test_fill_row__refuses_more_layers_than_the_space_names() -> None:
    module = mlp()
    network = Network(module, (Layer("a", "cell", (module[0],)), Layer("b", "cell", (module[2],))))
    measured = measure_network(network, torch.randn(8, 6), LABELS)
    rows = empty_rows(["x"], [0], layers=["a"])
    with pytest.raises(ValueError, match="the network has 2 layers, but the space names 1"):
        fill_row(rows, 0, network, measured)
    assert rows.equals(empty_rows(["x"], [0], layers=["a"]))


def test_fill_row__pads_a_shallow_network_at_its_end() -> None:
    module = mlp()
    network = Network(module, (Layer("a", "stem", (module[0],)), Layer("b", "head", (module[2],))))
    rows = empty_rows(["x", "y"], [0, 1], layers=["a", "b", "c"])
    fill_row(rows, 1, network, measure_network(network, torch.randn(8, 6), LABELS))
    row = rows.isel(arch=1)
    assert row.layer_type.values.tolist() == [LAYER_TYPES["stem"], LAYER_TYPES["head"], LAYER_TYPES["padding"]]
    assert row.num_params.values.tolist() == [[30, 5], [15, 3], [0, 0]]
    assert row.grad_abs_sum[2].values.tolist() == row.grad_sq_sum[2].values.tolist() == [0, 0]
    assert int(row.grad_count[2].sum()) == 0
    assert rows.isel(arch=0).equals(empty_rows(["x"], [0], layers=["a", "b", "c"]).isel(arch=0))


# --- with the analysis ----------------------------------------------------------------------------------------------


def test_profile_network__gives_a_dataset_that_the_analysis_reads() -> None:
    model, x, layers = make("conv")
    gradients = gradients_by_hand(model, x, LABELS)
    profile = profile_network(model, x, LABELS)
    grid = IntervalGrid(max=1, min=0.01, split=2)
    weights = [np.abs(gradients[names[0]].double().numpy().ravel()) for names in layers.values()]
    # The library compares with the nearest float32 of an edge.
    edges = [0, *(float(np.float32(edge)) for edge in (0.01, 0.05, 0.1, 0.5, 1))]
    shares = np.array([[((w >= lo) & (w < up)).mean() for lo, up in pairwise(edges)] for w in weights])
    np.testing.assert_allclose(proportion(profile, grid)[0], shares, rtol=1e-12)
    np.testing.assert_allclose(sweetness(proportion(profile, grid)), np.sign(np.diff(shares, axis=0)).mean(axis=0))
    assert int(params(profile)[0]) == sum(p.numel() for p in model.parameters())
    twice = xr.concat([profile, profile], "arch", data_vars="all", coords="minimal", compat="override", join="exact")
    best = best_interval(twice, grid, bootstrap=10)
    assert best.sweetness == pytest.approx(np.sign(np.diff(shares, axis=0)).mean(axis=0).max())
    within = [(np.concatenate(weights) >= lo) & (np.concatenate(weights) < up) for lo, up in pairwise(edges)]
    np.testing.assert_array_equal(score(profile, grid)[0], [w.sum() for w in within])
