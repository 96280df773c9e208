"""Sums of gradients in bins against a literal sum, weight by weight."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from sweetgrad.analysis import Interval, sweet_grad_abs, sweet_grad_norm, sweet_grad_sq, sweet_snip
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.architectures import profile_shard
from sweetgrad.profiling.devices import deterministic
from sweetgrad.profiling.measure import Builder, to_device
from sweetgrad.store import (
    KINDS,
    MOMENTS,
    NotAStoreError,
    Profile,
    create_profile,
    open_estimators,
    open_moments,
    open_profile,
    profile_block,
    verify,
)

INDICES = [7800, 7801, 9000]
INTERVALS = [Interval("1e-4", "5e-4"), Interval("0", "1e-3"), Interval("1e-3", "inf"), Interval("0", "inf")]


@pytest.fixture(scope="module")
def setting():
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    return space, batch, make_spec(space, batch)


@pytest.fixture(scope="module")
def rows(setting):
    return profile_architectures(
        setting[0], INDICES, *setting[1:], estimators=["snip", "grad_norm"], blocks=["moments"]
    )


def literal(setting, index):
    """(layer, kind, abs gradient, abs weight times gradient) of every parameter, from a pass of the test's own."""
    space, batch, spec = setting
    network = Builder(space, space.arch_id(index), spec).network()
    x, y = to_device(batch, "cpu")
    with deterministic(spec.threads):  # another number of threads moves last bits, and with them weights at an edge
        F.cross_entropy(network.module(x), y).backward()
    for row, parameters in enumerate(network.layer_parameters()):
        for p in parameters:
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            values = (grad.abs(), (p.detach().double() * grad.double()).abs())
            yield row, int(p.ndim < 2), *(value.numpy().ravel() for value in values)


@pytest.mark.parametrize("interval", INTERVALS, ids=str)
def test_moments__give_the_sums_of_any_interval(setting, rows, interval):
    moments = rows[[variable.name for variable in MOMENTS.contents]]
    scores = (sweet_grad_norm, sweet_snip, sweet_grad_abs, sweet_grad_sq)
    found = {each.__name__: each(moments, interval).values for each in scores}
    lower, upper = np.float32(interval.lower), np.float32(interval.upper)
    for i, index in enumerate(INDICES):
        squares, snip, total = np.zeros(rows.sizes["layer"]), 0.0, 0.0
        for row, kind, g, wg in literal(setting, index):
            inside = (g >= lower) & (g < upper) if kind == 0 else np.zeros(g.shape, bool)
            squares[row] += (g[inside].astype(np.float64) ** 2).sum()
            snip += wg[inside].sum()
            total += g[inside].astype(np.float64).sum()
        assert found["sweet_grad_norm"][i] == pytest.approx(np.sqrt(squares).sum(), rel=1e-6)
        assert found["sweet_grad_sq"][i] == pytest.approx(squares.sum(), rel=1e-6)
        assert found["sweet_snip"][i] == pytest.approx(snip, rel=1e-6)
        assert found["sweet_grad_abs"][i] == pytest.approx(total, rel=1e-6)


def test_moments__over_all_gradients_are_the_sums_of_the_profile_and_snip(rows):
    moments = rows[[variable.name for variable in MOMENTS.contents]]
    np.testing.assert_allclose(moments.grad_abs_bin_sum.sum("bin"), rows.grad_abs_sum, rtol=1e-6)
    np.testing.assert_allclose(moments.grad_sq_bin_sum.sum("bin"), rows.grad_sq_sum, rtol=1e-6)
    np.testing.assert_allclose(sweet_snip(moments, Interval(0, "inf")), rows.score.sel(estimator="snip"), rtol=1e-6)
    squares = rows.grad_sq_sum.sel(kind="weight").sum("layer")
    np.testing.assert_allclose(rows.score.sel(estimator="moments"), squares, rtol=1e-6)
    # A cell's norm is less than the sum of the norms of its weights.
    assert (sweet_grad_norm(moments, Interval(0, "inf")) < rows.score.sel(estimator="grad_norm")).all()


def test_moments__kinds_and_several_intervals(rows):
    moments = rows[[variable.name for variable in MOMENTS.contents]]
    together = sweet_snip(moments, INTERVALS)
    assert together.dims == ("arch", "interval")
    assert together.interval.values.tolist() == [str(interval) for interval in INTERVALS]
    np.testing.assert_allclose(together.isel(interval=0), sweet_snip(moments, INTERVALS[0]))
    parts = [sweet_grad_abs(moments, INTERVALS[3], kind=kind) for kind in KINDS]
    np.testing.assert_allclose(parts[0] + parts[1], sweet_grad_abs(moments, INTERVALS[3], kind="all"))
    with pytest.raises(ValueError, match="is not a stored edge"):
        sweet_snip(moments, ("1e-4", "1.23456e-4"))
    with pytest.raises(ValueError, match="kind must be one of weight, other or all, got 'bias'"):
        sweet_snip(moments, INTERVALS[0], kind="bias")


def test_moments__are_stored_apart_from_the_counts_and_added_later(setting, rows, tmp_path):
    space, batch, spec = setting
    path = tmp_path / "s.zarr"
    name = create_profile(path, spec, arch=[space.arch_id(i) for i in range(len(space))], layers=space.layer_names).name
    for shard in Profile.open(path, name).plan(INDICES):
        profile_shard(Profile.open(path, name), shard, space, batch, spec)
    with pytest.raises(NotAStoreError, match="has no block moments: `sweetgrad estimate"):
        open_moments(path, name)
    names = list(open_profile(path, name, chunks=None).data_vars)
    Profile.open(path, name).add_blocks([profile_block("moments")])
    (shard,) = Profile.open(path, name).plan(INDICES[:2], [profile_block("moments")])
    profile_shard(Profile.open(path, name), shard, space, batch, spec, blocks=["moments"])
    stored = open_moments(path, name)
    for key, variable in {each.name: each for each in MOMENTS.contents}.items():
        assert stored[key].dims == variable.dims
        assert stored[key].dtype == np.float32
        np.testing.assert_array_equal(stored[key].values[INDICES[:2]], rows[key].values[:2])
        assert np.isnan(stored[key].values[INDICES[2]]).all()
    assert list(open_profile(path, name, chunks=None).data_vars) == names
    assert open_estimators(path, name).status.values[INDICES, 0].tolist() == [1, 1, 0]
    assert sweet_snip(stored, INTERVALS[0]).notnull().values[INDICES].tolist() == [True, True, False]
    assert verify(path) == []


def test_moments__of_gradients_that_are_not_finite_keep_the_other_bins(run_one, conv_net):
    from sweetgrad.profiling.estimators import moments

    module, x, y = conv_net()
    x[0] = torch.inf
    result = run_one(moments, module, x, y)
    assert result.status == 2  # the sum over all is not finite
    expected = run_one(moments, *conv_net())
    assert expected.status == 1
    assert np.isfinite(expected.arrays["grad_sq_bin_sum"]).all()
