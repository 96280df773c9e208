"""No estimator changes the histogram or another's score, whatever it does and wherever it fails."""

import gc
import math
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sweetgrad.profiling import load_batch, make_spec, measure, profile_architectures, registered, registry
from sweetgrad.profiling.estimators import estimator, fisher, grad_norm, jacob_cov, naswot, snip, synflow
from sweetgrad.profiling.estimators.running import measure_with_estimators
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import STATUS, VARIABLES

OF_BINS = ("moments", "activations")
BUILT_IN = [
    *(
        name
        for name in registered("estimators")
        if registry.load("estimators", name).__module__.startswith("sweetgrad.")
    ),
    *OF_BINS,
]
DEAD_ENDS = [
    "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    "|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|",
]
DISCONNECTED = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"


def profiled(archs, names, *, skip_dead=True, batch_size=3, size=8):
    space = NasBench201(skip_dead=skip_dead)
    batch = load_batch("synthetic", batch_size=batch_size)
    batch = type(batch)(batch.x[:, :, :size, :size].copy(), batch.y, batch.num_classes)
    indices = [space._archs.index(arch) for arch in archs]
    blocks = [name for name in names if name in OF_BINS]
    estimators = [name for name in names if name not in OF_BINS]
    return profile_architectures(space, indices, batch, make_spec(space, batch), estimators=estimators, blocks=blocks)


def load(name):
    return registry.load("blocks" if name in OF_BINS else "estimators", name)


@pytest.fixture(scope="module")
def everything():
    return profiled([*DEAD_ENDS, DISCONNECTED], BUILT_IN)


def test_built_in__are_all_that_the_issue_names():
    assert set(BUILT_IN) == {
        *(
            "params",
            "params_weights",
            "params_live",
            "flops",
            "grad_norm",
            "snip",
            "grasp",
            "fisher",
            "synflow",
            "jacob_cov",
        ),
        *("naswot", "gradsign", "te_nas_condition", "te_nas_condition_nobn", "te_nas_regions", "te_nas_regions_nobn"),
        *("zen_score", "zen_score_nobn", "moments", "activations"),
    }


def test_estimators__do_not_change_a_single_count(everything):
    without = profiled([*DEAD_ENDS, DISCONNECTED], [])
    for name, variable in VARIABLES.items():
        if variable.role == "row" and name != "profile_seconds":
            np.testing.assert_array_equal(without[name].values, everything[name].values, err_msg=name)


def test_estimators__do_not_depend_on_each_other(everything):
    order = np.random.RandomState(0).permutation(BUILT_IN).tolist()
    half = profiled(DEAD_ENDS, order[: len(order) // 2])
    other = profiled(DEAD_ENDS, order[len(order) // 2 :][::-1])
    for rows in (half, other):
        for name in rows.estimator.values:
            ours, theirs = rows.score.sel(estimator=name).values, everything.score.sel(estimator=name).values[:2]
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_estimators__do_not_see_whether_dead_paths_are_skipped(everything):
    literal = profiled([*DEAD_ENDS, DISCONNECTED], BUILT_IN, skip_dead=False)
    for name in BUILT_IN:
        ours, theirs = (rows.sel(estimator=name) for rows in (everything, literal))
        np.testing.assert_array_equal(ours.score.values, theirs.score.values, err_msg=name)
        np.testing.assert_array_equal(ours.estimator_status.values, theirs.estimator_status.values, err_msg=name)


def test_estimators__of_a_network_without_path_fail_by_name_or_are_the_zero_that_they_mean(everything):
    row = everything.isel(arch=2)
    assert row.status.item() == 1
    for name in BUILT_IN:
        each = row.sel(estimator=name)
        if each.estimator_status.item() == 2:
            assert not math.isfinite(each.score.item())
            assert each.estimator_message.item().startswith(f"{name}: ")
        else:
            assert each.estimator_message.item() == ""
    assert row.score.sel(estimator="synflow").item() == -math.inf
    assert row.score.sel(estimator=["grad_norm", "snip", "gradsign"]).values.tolist() == [0, 0, 0]


# Third parties' estimators, of which some behave badly -------------------------------------------------------------


def vandal(probe):
    """Changes all that can be changed."""
    module = probe.network.module
    module.eval()
    for p in module.parameters():
        p.data.abs_().mul_(3)
        if p.grad is not None:
            p.grad.zero_()
        p.requires_grad_(False)
    for buffer in module.buffers():
        buffer.zero_()
    module.double()
    module.zero_grad()
    torch.manual_seed(int(probe.x.abs().sum()))
    return 1.0


def raises(probe):
    raise KeyError("oops")


@contextmanager
def bad_hooks(network):
    def hook(*_):
        raise RuntimeError("hook fell over")

    handles = [m.register_forward_hook(hook) for m in network.module.modules()]
    yield "never"
    for handle in handles:
        handle.remove()


@estimator(watch=bad_hooks)
def watches_badly(probe):
    return 1.0


@estimator(needs="graph")
def frees_the_graph(probe):
    F.cross_entropy(probe.logits, probe.y).backward()
    return 2.0


@estimator(needs="graph")
def raises_on_the_graph(probe):
    raise ValueError("not today")


def score_all(builder_of, module, x, y, estimators, *, seed=0):
    return measure_with_estimators(builder_of(module), x, y, estimators, seed=seed, count=False)[1]


def test_measure_with_estimators__puts_back_what_an_estimator_changed(builder_of, conv_net):
    names = {"a": grad_norm, "b": synflow, "c": snip, "d": naswot}
    expected = score_all(builder_of, *conv_net(), names)
    mixed = {
        "v1": vandal,
        "a": grad_norm,
        "v2": vandal,
        "b": synflow,
        "c": snip,
        "v3": vandal,
        "d": naswot,
        "v4": vandal,
    }
    found = score_all(builder_of, *conv_net(), mixed)
    assert {name: found[name].value for name in names} == {name: each.value for name, each in expected.items()}
    assert {found[v].value for v in ("v1", "v2", "v3", "v4")} == {1.0}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (raises, "KeyError: 'oops'"),
        (watches_badly, "RuntimeError: hook fell over"),
        (raises_on_the_graph, "ValueError: not today"),
        (lambda probe: math.inf, "the score is inf"),
        (lambda probe: None, "TypeError: "),
        (vandal, ""),
        (frees_the_graph, None),
    ],
)
def test_measure_with_estimators__leaves_the_others_and_the_counts_alone(builder_of, conv_net, bad, message):
    good = {"fisher": fisher, "jacob_cov": jacob_cov, "snip": snip}

    def run(names):
        module, x, y = conv_net()
        measured, scores = measure_with_estimators(builder_of(module), x, y, names, seed=0)
        grads = [p.grad for p in measured.network.module.parameters() if p.grad is not None]
        return scores, measured.counts, grads

    expected, expected_counts, expected_grads = run(good)
    found, counts, grads = run({"fisher": fisher, "bad": bad, "jacob_cov": jacob_cov, "snip": snip})
    assert {name: found[name].value for name in good} == {name: each.value for name, each in expected.items()}
    assert all(found[name].status == 1 for name in good)
    assert counts.loss == expected_counts.loss
    np.testing.assert_array_equal(counts.grad_count, expected_counts.grad_count)
    np.testing.assert_array_equal(counts.grad_abs_sum, expected_counts.grad_abs_sum)
    assert len(grads) == len(expected_grads) == 10
    assert all(torch.equal(a, b) for a, b in zip(grads, expected_grads, strict=True))
    if message is not None:
        assert found["bad"].message.startswith(message)
        assert found["bad"].status == (2 if message else 1)
    assert list(found) == ["fisher", "bad", "jacob_cov", "snip"]


def test_measure_with_estimators__lets_through_what_the_network_raises(builder_of):
    class Broken(nn.Linear):
        def forward(self, x):
            raise RuntimeError("broken network")

    with pytest.raises(RuntimeError, match="broken network"):
        score_all(builder_of, Broken(2, 2), torch.ones(2, 2), torch.tensor([0, 1]), {"fisher": fisher})


def test_measure_with_estimators__runs_no_pass_where_none_is_needed(builder_of, conv_net, monkeypatch):
    module, x, y = conv_net()
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    names = {name: registry.load("estimators", name) for name in ("params", "params_weights")}
    score_all(builder_of, module, x, y, names)
    assert calls == []
    score_all(builder_of, module, x, y, {**names, "snip": snip, "fisher": fisher, "jacob_cov": jacob_cov})
    assert calls == [1]


@pytest.mark.parametrize("name", BUILT_IN)
def test_estimators__let_go_of_the_network(name, builder_of, conv_net):
    module, x, y = conv_net()
    builder = builder_of(module)
    build, seen = builder.network, []

    def network():
        built = build()
        seen.extend(weakref.ref(submodule) for submodule in built.module.modules())
        return built

    builder.network = network
    measure_with_estimators(builder, x, y, {name: load(name)}, seed=0)
    gc.collect()
    assert seen
    assert not any(module() for module in seen)


def test_measure_with_estimators__seeds_each_of_them(builder_of, conv_net):
    def draw(probe):
        return float(torch.rand(()))

    found = score_all(builder_of, *conv_net(), {"a": draw, "b": draw}, seed=5)
    torch.manual_seed(5)
    assert found["a"].value == found["b"].value == float(torch.rand(()))


def test_profile_architectures__of_a_network_that_raises_has_no_scores(monkeypatch):
    monkeypatch.setattr(measure, "count_layers", lambda *_: 1 / 0)
    rows = profiled(DEAD_ENDS[:1], ["snip"])
    assert (rows.status.item(), rows.message.item()) == (2, "ZeroDivisionError: division by zero")
    assert (rows.estimator_status.item(), math.isnan(rows.score.item())) == (0, True)


class Fourier(nn.Module):
    """A complex weight, as in neural operators, and a sparse embedding."""

    def __init__(self, *, sparse: bool = False, dtype: torch.dtype = torch.complex128) -> None:
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(3, 3, dtype=dtype))
        self.words = nn.Embedding(7, 4, sparse=sparse, dtype=torch.float64)
        self.head = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, x):
        hidden = torch.fft.irfft(torch.fft.rfft(x) @ self.spectrum.to(torch.complex128), n=4)
        return self.head(hidden + self.words((x.detach().abs().sum(1) * 3).long() % 7))


def scores_of(builder_of, module):
    x, y = torch.arange(20.0, dtype=torch.float64).sin().reshape(5, 4), torch.arange(5) % 3
    names = [name for name in BUILT_IN if name not in ("activations", "te_nas_regions", "te_nas_regions_nobn")]
    return score_all(builder_of, module, x, y, {name: load(name) for name in names})


def test_estimators__take_the_modulus_of_complex_parameters_or_refuse_them(builder_of):
    torch.manual_seed(0)
    module = Fourier()
    found = scores_of(builder_of, module)
    x, y = torch.arange(20.0, dtype=torch.float64).sin().reshape(5, 4), torch.arange(5) % 3
    F.cross_entropy(module(x), y).backward()
    weights = [(p.detach(), p.grad) for p in module.parameters() if p.ndim >= 2]
    assert found["grad_norm"].value == pytest.approx(sum(g.abs().square().sum().sqrt().item() for _, g in weights))
    assert found["snip"].value == pytest.approx(sum((w.abs() * g.abs()).sum().item() for w, g in weights))
    sums = found["moments"].arrays["weight_grad_bin_sum"]
    assert sums.sum() == pytest.approx(sum((p * p.grad).abs().sum().item() for p in module.parameters()), rel=1e-6)
    for name in (
        "fisher",
        "gradsign",
        "grasp",
        "synflow",
        "te_nas_condition",
        "te_nas_condition_nobn",
        "zen_score_nobn",
    ):
        assert found[name].status == STATUS["failed"], name
        assert (
            found[name].message == f"{name}: it is only defined for real parameters, but spectrum is torch.complex128"
        )


def test_estimators__score_sparse_gradients_as_dense_ones(builder_of):
    def build(*, sparse):
        torch.manual_seed(0)
        return Fourier(sparse=sparse, dtype=torch.float64)

    sparse, dense = (scores_of(builder_of, build(sparse=sparse)) for sparse in (True, False))
    names = ("grad_norm", "snip", "moments", "params_live", "fisher", "gradsign", "te_nas_condition", "jacob_cov")
    for name in names:
        assert sparse[name].value == pytest.approx(dense[name].value, rel=1e-9), name
        assert sparse[name].status == dense[name].status, name
