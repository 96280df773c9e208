"""Estimators that are derived from blocks, against the same estimators measured on the networks, and against literal sums."""

import itertools
import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

from sweetgrad.analysis import Interval, sweet_gradsign, sweet_zico
from sweetgrad.analysis.estimators import available, derived, derived_estimators, open_statistics
from sweetgrad.profiling import make_spec, profile_shard, random_batch
from sweetgrad.profiling.architectures import load_functions
from sweetgrad.profiling.devices import deterministic
from sweetgrad.profiling.measure import Builder, to_device
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import STATISTICS, Profile, create_profile, open_block, open_estimators, open_profile

ESTIMATORS = ("flops", "grad_norm", "snip", "fisher", "jacob_cov", "naswot", "gradsign", "synflow")
SPACE = NasBench201()
BATCH = random_batch((3, 8, 8), num_classes=4, batch_size=6, seed=3)
DISCONNECTED = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|"
ARCHS = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|",
    DISCONNECTED,
)
ROWS = sorted(SPACE._archs.index(arch) for arch in ARCHS)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with all blocks and some estimators of four networks, and the name of its profile."""
    path, spec = tmp_path_factory.mktemp("derived") / "s.zarr", make_spec(SPACE, BATCH)
    archs = [SPACE.arch_id(row) for row in range(len(SPACE))]
    profile = create_profile(path, spec, arch=archs, layers=SPACE.layer_names)
    functions = load_functions(ESTIMATORS, tuple(STATISTICS), spec=spec, batch=BATCH)
    profile.add_blocks(functions, axes=SPACE.parameter_axes())
    for shard in profile.plan(ROWS, [*functions]):
        profile_shard(profile, shard, SPACE, BATCH, spec, estimators=ESTIMATORS, blocks=tuple(STATISTICS))
    profile.finalise()
    return path, profile.name


@pytest.fixture(scope="module")
def data(stored):
    return open_statistics(*stored).isel(arch=ROWS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_derived__is_what_is_measured_on_the_network(name, stored, data):
    measured = open_estimators(*stored)["score"].sel(estimator=name).values[ROWS]
    found = derived_estimators()[name](data).values
    failed = open_estimators(*stored)["status"].sel(estimator=name).values[ROWS] == 2
    assert failed.sum() <= 1
    np.testing.assert_allclose(found[~failed], measured[~failed], rtol=6e-4)
    assert np.isin(found[failed], [np.nan, -np.inf]).all() or np.isnan(found[failed]).all()


def gradients(arch, batch):
    """Gradients of every weight tensor of the literal network, as the profile computes them."""
    network = Builder(SPACE, arch, make_spec(SPACE, BATCH)).whole()
    x, y = to_device(batch, "cpu")
    with deterministic(1):
        functional.cross_entropy(network.module(x), y).backward()
    named = network.named_parameters()["tensor"].values()
    return [(torch.zeros_like(p) if p.grad is None else p.grad).numpy().astype(np.float64) for _, p in named]


def literal_zico(arch):
    total = 0.0
    assert BATCH.second is not None
    for first, second in zip(gradients(arch, BATCH), gradients(arch, BATCH.second), strict=True):
        both = np.stack([first.ravel(), second.ravel()])
        std = both.std(0)
        ratio = np.abs(both).mean(0)[std > 0] / std[std > 0]
        total += math.log(ratio.sum()) if ratio.size else 0.0
    return total


def test_zico__is_the_literal_sum(data):
    expected = [literal_zico(SPACE.arch_id(row)) for row in ROWS]
    np.testing.assert_allclose(derived_estimators()["zico"](data).values, expected, rtol=1e-4)


def sizes_of(network):
    """log(H W / sqrt(C)) of the output of every layer with a weight tensor, by the weight's identity."""
    sizes: dict[int, float] = {}

    def note(module, inputs, output):
        sizes[id(module.weight)] = math.log(math.prod(output.shape[2:]) / output.shape[1] ** 0.5)

    for module in network.module.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(note)
    network.module.eval()(torch.from_numpy(BATCH.x[:1]))
    return sizes


def test_zico_bc__takes_off_the_size_of_each_output(data):
    """Of the 3x3 convolutions of a cell with all six edges, 8 x 8 positions and 16 channels in the first stage."""
    found = derived_estimators()
    difference = (found["zico"](data) - found["zico_bc"](data)).values
    for row, index in enumerate(ROWS):
        network = SPACE.build_literal(SPACE.arch_id(index), num_classes=BATCH.num_classes)
        sizes = sizes_of(network)
        grads = [np.abs(g).sum() for g in gradients(SPACE.arch_id(index), BATCH)]
        weights = [p for _, p in network.named_parameters()["tensor"].values()]
        expected = sum(sizes[id(w)] for w, g in zip(weights, grads, strict=True) if g > 0)
        assert difference[row] == pytest.approx(expected, abs=1e-3)


def test_az_nas__parts_are_the_literal_functions_of_the_spectra(data):
    found = {
        name: derived_estimators()[name](data).values
        for name in ("az_expressivity", "az_progressivity", "az_trainability")
    }
    for row, index in enumerate(ROWS):
        entropy = data.spectrum_entropy.values[row, :-1].astype(float)
        s, same = data.grad_map_norm.values[row, 1:-1].astype(float), data.grad_map_is_identity.values[row, 1:-1]
        blocks = [
            -math.inf if is_same else 2 - value - 1 / (value + 1e-6) for value, is_same in zip(s, same, strict=True)
        ]
        dead = SPACE.arch_id(index) == DISCONNECTED
        assert np.isnan(entropy).any() == dead
        assert found["az_expressivity"][row] == pytest.approx(-math.inf if dead else sum(entropy))
        steps = [b - a for a, b in itertools.pairwise(entropy)]
        assert found["az_progressivity"][row] == pytest.approx(-math.inf if dead else min(steps))
        assert found["az_trainability"][row] == pytest.approx(sum(blocks) / len(blocks))
    assert math.isinf(found["az_trainability"][[SPACE.arch_id(row) for row in ROWS].index(ARCHS[1])])


def test_epe_nas__adds_what_each_class_has(data):
    by_class = data.jacobian_class_log_corr.values
    expected = [sum(abs(value) for value in row if not math.isnan(value)) for row in by_class.astype(float)]
    found = derived_estimators()["epe_nas"](data).values
    ok = data.image_jacobian_status.values == 1
    np.testing.assert_allclose(found[ok], np.array(expected)[ok])
    assert np.isnan(found[~ok]).all()


def test_epe_nas__compares_pairs_above_100_classes():
    by_class = np.full((1, 101), np.nan)
    by_class[0, [0, 5, 7]] = -1.0, -4.0, 2.0
    data = xr.Dataset({"jacobian_class_log_corr": (("arch", "class"), by_class)}, coords={"arch": ["a"]})
    found = derived_estimators()["epe_nas"].function(data)
    assert found.item() == pytest.approx(2 * (3 + 3 + 6) / 3)


def test_vkdnw_single__orders_by_tensors_then_by_entropy():
    deciles = np.array([[1.0] * 9, [1.0] + [0.0] * 8, [1.0] * 9])
    data = xr.Dataset(
        {
            "fisher_decile": (("arch", "decile"), deciles),
            "num_parameter_tensors": ("arch", np.array([5, 6, 6], "uint32")),
        }
    )
    entropy, single = (derived_estimators()[name].function(data).values for name in ("vkdnw_entropy", "vkdnw_single"))
    np.testing.assert_allclose(entropy, [math.log(9), 0, math.log(9)], atol=1e-12)
    assert single.argsort().tolist() == [0, 1, 2]


def test_derived_estimators__are_finite_or_worst_where_the_blocks_are_measured(data):
    """Only of the network without a path to its output is something undefined."""
    alive = [SPACE.arch_id(row) != DISCONNECTED for row in ROWS]
    assert len(available(data, derived_estimators())) == len(derived_estimators())
    for name, estimator in derived_estimators().items():
        scores = estimator(data)
        assert scores.dims == ("arch",)
        assert not np.isnan(scores.values[alive]).any(), name
        assert estimator.seconds(data).values[alive].min() > 0, name
        assert estimator.formula, name
        assert estimator.source, name
        assert set(estimator.needs) <= {"counts", *STATISTICS}, name
        assert estimator.sign in (1, -1), name


def test_derived__is_nan_where_a_block_was_not_measured(stored):
    everything = open_statistics(*stored).isel(arch=[*ROWS, 0])
    for name in ("zico", "az_nas", "meco"):
        scores = derived_estimators()[name](everything).values
        assert np.isnan(scores[-1]), name
        np.testing.assert_array_equal(scores[:-1], derived_estimators()[name](everything.isel(arch=slice(-1))).values)


def test_derived__of_another_block_says_what_it_needs(data):
    @derived(needs=["tensor_sums"], formula="largest weight tensor", source="a test", sign=-1)
    def largest(data):
        """Entries of the largest weight tensor."""
        return data.tensor_size.max("tensor")

    assert largest.__doc__ == "Entries of the largest weight tensor."
    assert largest(data).values.tolist() == [64 * 64 * 9] * 4 or largest(data).values.min() > 0
    assert [each.name for each in available(data.drop_vars("tensor_sums_status"), {"largest": largest})] == []


EVERYTHING = Interval(0, "inf")


def test_sweet_zico__over_everything_is_zico_and_less_in_an_interval(stored, data):
    bins = open_block(*stored, "sweet_bins").isel(arch=ROWS)
    zico = derived_estimators()["zico"](data).values
    np.testing.assert_allclose(sweet_zico(bins, EVERYTHING).values, zico, rtol=1e-3)
    both = sweet_zico(bins, [EVERYTHING, Interval("1e-4", "1e-3")])
    assert both.dims == ("arch", "interval")
    assert (both.values[:, 1] <= both.values[:, 0] + 1e-9).all()


def test_sweet_gradsign__over_everything_is_gradsign_and_signed_leaves_out_the_negative(stored, data):
    bins = open_block(*stored, "sweet_bins").isel(arch=[*ROWS, 0])
    gradsign = derived_estimators()["gradsign"](data).values
    whole = sweet_gradsign(bins, EVERYTHING, signed=False).values
    np.testing.assert_allclose(whole[:-1], gradsign, rtol=1e-3)
    assert np.isnan(whole[-1])
    assert (sweet_gradsign(bins, EVERYTHING).values[:-1] < whole[:-1]).any()
    parts = [sweet_gradsign(bins, Interval(*edges), signed=False).values for edges in ((0, "1e-3"), ("1e-3", "inf"))]
    np.testing.assert_allclose(parts[0] + parts[1], whole, rtol=1e-5)


def test_open_statistics__reads_only_the_blocks_that_are_asked_for(stored):
    data = open_statistics(*stored, blocks=["synflow"])
    assert "tensor_flow_sum" in data
    assert "tensor_size" not in data
    assert {each.name for each in available(data, derived_estimators())} == {"synflow", "synflow_by_tensor", "grad_sq"}
    assert data.tensor_layer.values[0] == "stem"
    # What every block has is told apart from what the profile has.
    profile, block = open_profile(*stored), open_block(*stored, "synflow")
    for name in ("message", "status"):
        np.testing.assert_array_equal(data[name], profile[name])
        np.testing.assert_array_equal(data[f"synflow_{name}"], block[name])
    assert Profile.open(*stored).block("noise_pass").attrs["init"] == "he-normal-fan-in"
