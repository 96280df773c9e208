import numpy as np
import pytest
import xarray as xr
import zarr

from sweetgrad.analysis.figures import (
    FIGURES,
    activation_density,
    figure,
    gradient_density,
    open_source,
    plot_gradients,
)
from sweetgrad.store import (
    COUNTS,
    EDGES,
    NUM_BINS,
    Profile,
    ProfileSpec,
    Shard,
    create_profile,
    empty_rows,
    profile_block,
    split_scores,
)

LAYERS = ("stem", "cell0", "reduction0", "cell1", "head")


def histograms(num_archs=4, *, status=None, seed=0):
    """Random counts in the cells and the reduction, as from `open_activations`."""
    counts = np.random.RandomState(seed).randint(0, 9, (num_archs, len(LAYERS), NUM_BINS)).astype(np.uint32)
    counts[:, [0, 4]] = 0
    status = np.ones(num_archs, np.uint8) if status is None else np.array(status, np.uint8)
    counts[status != 1] = 0
    names = {"arch": [f"a{i}" for i in range(num_archs)], "layer": list(LAYERS)}
    return xr.Dataset(
        {"activation_count": (("arch", "layer", "bin"), counts), "status": ("arch", status)}, coords=names
    )


def literal_share(counts, lower, upper):
    """Share of one histogram in [lower, upper), bin by bin, by their edges."""
    inside = [lower <= float(EDGES[i]) < upper for i in range(len(EDGES) - 1)]
    return counts[2:-2][inside].sum() / counts.sum()


def test_activation_density__is_the_share_of_each_stretch_by_its_width():
    found = histograms(5, status=[1, 1, 0, 1, 1])
    density = activation_density(found)
    assert density.group.values.tolist() == ["all cells", "cell0", "reduction0", "cell1"]
    at = int(np.flatnonzero(np.isclose(density.lower, 1.0))[0])
    assert float(density.upper[at]) == 1.25
    counts = found.activation_count.values[[0, 1, 3, 4]]
    width = np.log10(1.25)
    for group, layers in enumerate(([1, 2, 3], [1], [2], [3])):
        shares = [literal_share(each[layers].sum(axis=0), 1.0, 1.25) / width for each in counts]
        assert float(density.density[group, at]) == pytest.approx(np.mean(shares))
        assert float(density.high[group, at]) == pytest.approx(np.quantile(shares, 0.9))
        assert float(density.low[group, at]) == pytest.approx(np.quantile(shares, 0.1))
    assert density.attrs["num_archs"] == 4


def test_activation_density__integrates_to_all_that_is_finite_with_the_shares_outside():
    found = histograms()
    density = activation_density(found)
    inside = (density.density * np.log10(density.upper / density.lower)).sum("magnitude")
    counts = found.activation_count.values[:, 1:4]
    finite = 1 - counts[..., -1] / counts.sum(-1)
    outside = density.zero + density.below + density.above
    np.testing.assert_allclose((inside + outside).values[1:], finite.mean(axis=0))


def test_activation_density__of_shallow_and_deep_networks_shows_all_cells_alone():
    found = histograms()
    assert activation_density(found).attrs["shown"] == ["all cells", "cell0", "reduction0", "cell1"]
    found.activation_count.values[1, 3] = 0
    density = activation_density(found)
    assert density.attrs["shown"] == ["all cells"]
    others = activation_density(found.isel(arch=[0, 2, 3])).sel(group="cell1")
    np.testing.assert_allclose(density.sel(group="cell1").density, others.density)


def test_activation_density__reads_some_architectures_at_a_time(monkeypatch):
    from sweetgrad.analysis.figures import activations

    found = histograms(7, status=[1, 0, 1, 1, 1, 0, 1])
    together = activation_density(found)
    monkeypatch.setattr(activations, "_BLOCK", 2)
    xr.testing.assert_identical(activation_density(found), together)


def test_activation_density__of_nothing_counted_says_what_to_do():
    with pytest.raises(ValueError, match=r"of none of the 2 architectures .* --activations` adds them"):
        activation_density(histograms(2, status=[0, 0]))


def test_plot_gradients__draws_activations_below(make_profile):
    pytest.importorskip("matplotlib")
    density = gradient_density(make_profile())
    assert len(plot_gradients(density).axes) == 1
    drawn = plot_gradients(density, activations=activation_density(histograms()))
    first, second = drawn.axes
    assert "gradient" in first.get_xlabel()
    assert "cells put out" in second.get_xlabel()
    words = " ".join(text.get_text() for text in second.get_legend().get_texts())
    for word in ("all cells", "cell0", "reduction0", "cell1", "exactly 0"):
        assert word in words


def store_with(path, *, activations):
    """Four architectures, all measured; of the first three the activations were counted, if asked for."""
    found = histograms()
    arch = [str(each) for each in found.arch.values]
    spec = ProfileSpec(
        space="toy",
        dataset="synthetic",
        batch_size=2,
        seed=0,
        num_classes=10,
        input_shape=(3, 8, 8),
        batch_sha256="0" * 64,
        arch_sha256="0" * 64,
    )
    name = create_profile(path, spec, arch=arch, layers=LAYERS).name
    rows = empty_rows(arch, range(4), layers=LAYERS)
    rows.grad_count[:] = 1
    rows.grad_count_network[:] = len(LAYERS)
    rows.num_params[:] = NUM_BINS
    rows.layer_type[:] = [1, 2, 3, 2, 4]
    rows.status[:] = 1
    shard = Shard(0, 0, 4, range(4))
    Profile.open(path, name).write(shard, {COUNTS: rows})
    if activations:
        Profile.open(path, name).add_blocks([profile_block("activations")])
        one = ("arch", "estimator")
        values = {"score": 1.0, "seconds": 1.0, "message": "", "status": 1}
        scores = xr.Dataset(
            {
                key: (one, np.array([[value]] * 3, dtype=object if key == "message" else None))
                for key, value in values.items()
            },
            coords={"arch": arch[:3], "arch_index": ("arch", range(3)), "estimator": ["activations"]},
        )
        scores["activation_count"] = found.activation_count.isel(arch=slice(3)).drop_vars(["layer"])
        Profile.open(path, name).write(shard, split_scores(scores))
    Profile.open(path, name).finalise()
    return name


@pytest.mark.parametrize(("activations", "num_axes"), [(False, 1), (True, 2)])
def test_figure_gradients__draws_both_halves_where_the_store_has_both(activations, num_axes, tmp_path):
    pytest.importorskip("matplotlib")
    name = store_with(tmp_path / "s.zarr", activations=activations)
    source = open_source(tmp_path / "s.zarr", name, bootstrap=10)
    assert len(figure("gradients", source).axes) == num_axes
    assert FIGURES["gradients"].paper == "11"
    if activations:
        assert activation_density(source.activations).attrs["num_archs"] == 3
        group = zarr.open_group(tmp_path / "s.zarr", mode="r", use_consolidated=False)[name]
        assert (group["estimators/activations/digest"][:3] != 0).all()
