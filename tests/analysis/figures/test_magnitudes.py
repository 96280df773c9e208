import numpy as np
import pytest
import xarray as xr
import zarr

from sweetgrad.analysis import Interval, score
from sweetgrad.analysis.figures import (
    FIGURES,
    activation_density,
    figure,
    gradient_density,
    open_analysis,
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
)
from tests._scores import split_scores


def test_gradient_density__integrates_to_all_gradients_with_the_shares_outside(make_profile):
    found = gradient_density(make_profile(6, status=[1, 1, 0, 1, 1, 1]))
    width = np.log10(found["upper"].values / found["lower"].values)
    inside = (found["density"].values * width).sum(axis=1)
    profile = make_profile(6, status=[1, 1, 0, 1, 1, 1])
    finite = 1 - profile["grad_count"].isel(kind=0, bin=-1).sum("layer") / profile["num_params"].isel(kind=0).sum(
        "layer"
    )
    outside = sum(found[name].values for name in ("zero", "below", "above"))
    np.testing.assert_allclose((inside + outside)[0], finite.values[[0, 1, 3, 4, 5]].mean())
    assert found.attrs["num_archs"] == 5


def test_gradient_density__of_one_stretch_is_the_score_by_the_width_and_the_parameters(make_profile):
    profile = make_profile(5)
    found = gradient_density(profile).isel(group=0)
    at = int(np.flatnonzero(np.isclose(found["lower"], 1e-3))[0])
    assert float(found["upper"][at]) == 1.25e-3
    share = score(profile, Interval("1/1000", "1/800")) / profile["num_params"].isel(kind=0).sum("layer")
    np.testing.assert_allclose(found["density"][at], share.mean() / np.log10(1.25))
    np.testing.assert_allclose(found["high"][at], np.quantile(share, 0.9) / np.log10(1.25))


def test_gradient_density__shows_first_middle_and_last_of_the_cells(make_profile):
    assert gradient_density(make_profile())["group"].values.tolist() == ["network", "cell1", "reduction3", "cell4"]


def test_gradient_density__shows_the_network_alone_where_layers_differ(make_profile):
    profile = make_profile()
    profile["layer_type"].values[1, 4] = 0
    assert gradient_density(profile)["group"].values.tolist() == ["network"]


def test_gradient_density__of_nothing_measured_is_an_error(make_profile):
    with pytest.raises(ValueError, match="none of the 2 architectures was measured"):
        gradient_density(make_profile(2, status=[0, 0]))


def test_plot_gradients__draws_every_group_and_shades_the_interval(make_profile, tmp_path):
    pytest.importorskip("matplotlib")
    figure = plot_gradients(
        gradient_density(make_profile()), interval=Interval(1e-3, 1e-2), path=tmp_path / "gradients.png"
    )
    words = " ".join(text.get_text() for text in figure.axes[0].get_legend().get_texts())
    for word in ("network", "cell1", "reduction3", "cell4", "[1e-3, 0.01)", "exactly 0"):
        assert word in words


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
    from sweetgrad.analysis.figures import magnitudes

    found = histograms(7, status=[1, 0, 1, 1, 1, 0, 1])
    together = activation_density(found)
    monkeypatch.setattr(magnitudes, "_BLOCK", 2)
    xr.testing.assert_identical(activation_density(found), together)


def test_activation_density__of_nothing_counted_says_what_to_do():
    with pytest.raises(ValueError, match=r"for any of the 2 architectures.* --blocks activations` adds them"):
        activation_density(histograms(2, status=[0, 0]))


def test_plot_gradients__draws_activations_below(make_profile):
    pytest.importorskip("matplotlib")
    density = gradient_density(make_profile())
    assert len(plot_gradients(density).axes) == 1
    drawn = plot_gradients(density, activations=activation_density(histograms()))
    first, second = drawn.axes
    assert "gradient" in first.get_xlabel()
    assert "magnitude of the cells' outputs" in second.get_xlabel()
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
    analysis = open_analysis(tmp_path / "s.zarr", name, bootstrap=10)
    assert len(figure("gradients", analysis).axes) == num_axes
    assert FIGURES["gradients"].paper == "11"
    if activations:
        assert activation_density(analysis.activations).attrs["num_archs"] == 3
        group = zarr.open_group(tmp_path / "s.zarr", mode="r", use_consolidated=False)[name]
        assert (group["estimators/activations/digest"][:3] != 0).all()
