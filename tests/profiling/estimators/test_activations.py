"""Histograms of activations against a literal count of what the cells of the literal network put out."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from torch import nn

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.architectures import load_functions, profile_shard
from sweetgrad.profiling.devices import deterministic
from sweetgrad.profiling.estimators import activations, estimator
from sweetgrad.profiling.estimators.histograms import cells_of
from sweetgrad.profiling.estimators.running import measure_with_estimators
from sweetgrad.profiling.measure import Builder, to_device
from sweetgrad.profiling.spaces.nas_bench_201_network import Cell, ResidualBlock
from sweetgrad.profiling.spaces.protocol import Layer, Network
from sweetgrad.store import (
    ACTIVATIONS,
    NUM_BINS,
    VARIABLES,
    NotAStoreError,
    Profile,
    StoreError,
    bin_bounds,
    create_profile,
    merge,
    open_activations,
    open_estimators,
    open_moments,
    open_profile,
    profile_block,
    status,
    verify,
)

EVERY_DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture(scope="module")
def setting():
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=4)
    return space, batch, make_spec(space, batch)


@pytest.fixture(scope="module")
def indices(setting):
    dead = next(i for i in range(len(setting[0])) if setting[0].arch_id(i) == EVERY_DEAD)
    return sorted([0, 7800, 9000, dead])


@pytest.fixture(scope="module")
def rows(setting, indices):
    return profile_architectures(setting[0], indices, *setting[1:], estimators=["snip"], blocks=["activations"])


def literal_counts(outputs: list[torch.Tensor]) -> np.ndarray:
    lower, upper = (bounds.astype(np.float32) for bounds in bin_bounds())  # values are compared in float32
    values = np.abs(np.concatenate([each.numpy().ravel() for each in outputs]))
    counts = [((values >= low) & (values < high)).sum() for low, high in zip(lower, upper, strict=True)]
    counts[0] = (values == 0).sum()
    counts[1] = ((values > 0) & (values < upper[1])).sum()
    counts[-1] = (~np.isfinite(values)).sum()
    return np.array(counts)


def test_activations__are_those_of_the_literal_network(setting, indices, rows):
    space, batch, spec = setting
    x, _ = to_device(batch, "cpu")
    for i, index in enumerate(indices):
        module = Builder(space, space.arch_id(index), spec).whole().module
        outputs: list[torch.Tensor] = []
        for block in module.modules():
            if isinstance(block, Cell | ResidualBlock):
                block.register_forward_hook(lambda *call, to=outputs: to.append(call[2].detach().clone()))
        with deterministic(spec.threads), torch.no_grad():
            module(x)
        assert len(outputs) == 17
        for row, output in enumerate(outputs, start=1):
            np.testing.assert_array_equal(rows.activation_count.values[i, row], literal_counts([output]))
        assert not rows.activation_count.values[i, [0, 18]].any()


def test_activations__of_a_network_without_a_path_are_zeros(setting, indices, rows):
    counts = rows.activation_count.sel(arch=EVERY_DEAD)
    assert not counts[:, 1:].any()
    assert counts.sum("bin").values[1:6].tolist() == [4 * 16 * 8 * 8] * 5
    assert rows.estimator_status.sel(arch=EVERY_DEAD).values.tolist() == [1, 1]


def test_activations__change_no_count_and_no_score(setting, indices, rows):
    alone = profile_architectures(setting[0], indices, *setting[1:], estimators=["snip"])
    for name, variable in VARIABLES.items():
        if variable.role == "row" and name != "profile_seconds":
            xr.testing.assert_identical(alone[name], rows[name])
    np.testing.assert_array_equal(alone.score.sel(estimator="snip"), rows.score.sel(estimator="snip"))
    assert (rows.score.sel(estimator="activations") == rows.activation_count.sum(["layer", "bin"])).all()


NB101_GRAPH = "n_vertices,adj_upper,ops\n4,100101,conv3x3;maxpool3x3\n"
NET = {
    "genotype": {
        "normal": [["sep_conv_3x3", 0], ["skip_connect", 1]],
        "normal_concat": [2],
        "reduce": [["max_pool_3x3", 0], ["skip_connect", 1]],
        "reduce_concat": [2],
    },
    "width": 4,
    "depth": 5,
    "aux": False,
}


@pytest.mark.parametrize(
    ("name", "options", "table", "num_cells"),
    [
        ("nas-bench-101", {}, NB101_GRAPH, 9),
        ("nas-bench-301", {"num_archs": 2, "channels": 4}, None, 8),
        ("darts", {"num_archs": 2, "channels": 4}, None, 20),
        ("nds-pnas", {}, json.dumps([{"net": NET}]), 5),
    ],
)
def test_activations__are_counted_for_every_space_with_cells(name, options, table, num_cells, tmp_path):
    file = None
    if table:
        file = tmp_path / "table"
        file.write_text(table)
    space, batch = load_space(name, table=file, options=options), load_batch("digits", batch_size=2)
    rows = profile_architectures(space, [0], batch, make_spec(space, batch), estimators={"activations": activations})
    assert rows.estimator_message.values.tolist() == [[""]]
    sizes = rows.activation_count.sum("bin").values[0]
    assert np.flatnonzero(sizes).tolist() == list(range(1, num_cells + 1))
    assert len(set(sizes[sizes > 0].tolist())) > 1


def two_cells() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.Linear(4, 2))


def run(module, layers, builder_of, *, others=None, x=None):
    x = torch.randn(5, 3) if x is None else x
    estimators = {"activations": activations, **(others or {})}
    _, scores = measure_with_estimators(
        builder_of(module, layers), x, torch.arange(5) % 2, estimators, seed=0, count=False
    )
    return scores["activations"]


def as_cells(module):
    return (
        Layer("a", "cell", (module[0],)),
        Layer("b", "reduction", (module[2],)),
        Layer("head", "head", (module[3],)),
    )


def test_activations__are_those_before_what_follows_changes_them_in_place(builder_of):
    x = torch.randn(5, 3)
    found = run(two_cells(), as_cells, builder_of, x=x).arrays["activation_count"]
    module = two_cells()
    with torch.no_grad():
        first = module[0](x)
        second = module[2](first.relu())
    assert (first < 0).any()
    np.testing.assert_array_equal(found, [literal_counts([first]), literal_counts([second]), np.zeros(NUM_BINS)])


def test_activations__are_not_those_of_passes_that_another_estimator_runs(builder_of):
    @estimator(needs="graph")
    def runs_a_pass(probe):
        return float(probe.network.module(probe.x).sum())

    x = torch.randn(5, 3)
    alone, beside = (run(two_cells(), as_cells, builder_of, x=x, others=o) for o in (None, {"other": runs_a_pass}))
    assert alone.value == beside.value == 5 * 8


def test_activations__that_are_not_finite_have_their_bin(builder_of):
    x = torch.zeros(5, 3)
    x[0, 0] = torch.nan
    found = run(two_cells(), as_cells, builder_of, x=x)
    assert found.status == 1
    assert found.arrays["activation_count"][0, -1] == 4


class _Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return (self.inner(x), x)


class _TakesFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = _Pair()

    def forward(self, x):
        return self.pair(x)[0]


@pytest.mark.parametrize(
    ("module", "layers", "message"),
    [
        (two_cells, lambda m: (Layer("all", "stem", (m,)),), "has no layer of type cell or reduction"),
        (
            two_cells,
            lambda m: (Layer("ab", "cell", (m[0], m[2])), Layer("head", "head", (m[3],))),
            "layer 'ab' consists of 2 modules",
        ),
        (
            two_cells,
            lambda m: (Layer("list", "cell", (nn.ModuleList(m),)),),
            "never calls the module of layer 'list'",
        ),
        (_TakesFirst, lambda m: (Layer("pair", "cell", (m.pair,)),), "layer 'pair' returns tuple, not one tensor"),
    ],
)
def test_activations__says_why_there_are_none(module, layers, message, builder_of):
    found = run(module(), layers, builder_of)
    assert found.status == 2
    assert found.message.startswith("activations: ")
    assert message in found.message


def test_cells_of__are_in_depth_order(setting):
    network = setting[0].build(setting[0].arch_id(7800))
    cells = cells_of(network)
    assert list(cells) == list(range(1, 18))
    assert list(cells.values()) == list(network.module.blocks)


class Toy:
    """Four networks of two small cells."""

    name, variant, init, input_size = "toy", "", "pytorch-default", 8
    layer_names = ("cell0", "cell1", "head")

    def __len__(self):
        return 4

    def arch_id(self, index):
        return f"width{index + 1}"

    def build(self, arch_id, *, in_channels, num_classes):
        width = int(arch_id.removeprefix("width"))
        cells = nn.Conv2d(in_channels, width, 3), nn.Conv2d(width, width, 3)
        head = nn.Linear(width, num_classes)
        layers = [
            Layer(name, name.rstrip("01"), (part,)) for name, part in zip(self.layer_names, (*cells, head), strict=True)
        ]
        return Network(nn.Sequential(*cells, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head), tuple(layers))


@pytest.fixture(scope="module")
def toy():
    space, batch = Toy(), load_batch("digits", batch_size=4)
    return space, batch, make_spec(space, batch)


@pytest.fixture(scope="module")
def toy_counts(toy):
    return profile_architectures(toy[0], range(4), *toy[1:], blocks=["activations"]).activation_count.values


def profiled(path, toy, rows, names):
    space, batch, spec = toy
    functions = load_functions((), names, spec=spec, batch=batch)
    archs = [space.arch_id(i) for i in range(len(space))]
    name = create_profile(path, spec, arch=archs, layers=space.layer_names, shard_size=3).name
    Profile.open(path, name).add_blocks(functions)
    for shard in Profile.open(path, name).plan(rows, [*functions]):
        profile_shard(Profile.open(path, name), shard, space, batch, spec, blocks=names)
    Profile.open(path, name).finalise()
    return name


def digest(path):
    return open_profile(path, status(path)[0].name, chunks=None).attrs["content_digest"]


def counts_of(path):
    return open_activations(path, status(path)[0].name)["activation_count"].values


@pytest.fixture(scope="module")
def stored(toy, tmp_path_factory):
    path = tmp_path_factory.mktemp("activations") / "s.zarr"
    profiled(path, toy, [0, 1], ["activations"])
    return path


@pytest.fixture
def store(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "s.zarr")


def test_open_activations__gives_what_was_counted_and_where(store, toy_counts):
    found = open_activations(store, status(store)[0].name)
    assert found.activation_count.dims == ("arch", "layer", "bin")
    assert found.activation_count.dtype == np.uint32
    np.testing.assert_array_equal(found.activation_count, toy_counts * np.array([1, 1, 0, 0])[:, None, None])
    assert found.status.values.tolist() == [1, 1, 0, 0]
    assert found.bin_lower.sizes == {"bin": NUM_BINS}
    assert verify(store) == []


def test_open_activations__says_how_to_add_them(toy, tmp_path):
    name = profiled(tmp_path / "s.zarr", toy, [0], [])
    with pytest.raises(
        NotAStoreError, match=r"has no block activations: `sweetgrad estimate .* --blocks activations` adds it"
    ):
        open_activations(tmp_path / "s.zarr", name)


def test_activations__leave_the_digest_of_the_profile_as_it_is(store, toy, tmp_path):
    profiled(tmp_path / "without.zarr", toy, [0, 1], [])
    assert digest(store) == digest(tmp_path / "without.zarr")


def test_activations__of_more_rows_are_added_and_those_there_stay(store, toy, toy_counts):
    name = status(store)[0].name
    before = open_estimators(store, name)["seconds"].values[:2, 0]
    assert Profile.open(store, name).plan([0, 1], [profile_block("activations")]) == []
    profiled(store, toy, range(4), ["activations"])
    np.testing.assert_array_equal(counts_of(store), toy_counts)
    np.testing.assert_array_equal(open_estimators(store, name)["seconds"].values[:2, 0], before)
    assert verify(store) == []


def test_activations__are_added_to_a_profile_that_was_made_without(toy, toy_counts, tmp_path):
    store = tmp_path / "s.zarr"
    profiled(store, toy, range(4), [])
    before = digest(store)
    profiled(store, toy, range(4), ["activations"])
    np.testing.assert_array_equal(counts_of(store), toy_counts)
    assert digest(store) == before


@pytest.mark.parametrize("array", ["activation_count", "digest"])
def test_verify__finds_a_file_of_activations_that_is_gone(store, toy, toy_counts, array):
    before = digest(store)
    folder = store / status(store)[0].name / "estimators/activations" / array
    (lost,) = [path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json"]
    lost.unlink()
    (problem,) = verify(store)
    assert re.search(rf"estimators/activations/{array}: {array}/c/[0/]+ cannot be decoded", problem.what)
    assert "is missing" in problem.what
    assert {0, 1} <= set(problem.rows)
    verify(store, repair=True)
    assert verify(store) == []
    assert digest(store) == before
    profiled(store, toy, [0, 1], ["activations"])
    np.testing.assert_array_equal(counts_of(store)[:2], toy_counts[:2])


def test_verify__finds_an_array_of_activations_that_is_gone(store):
    shutil.rmtree(store / status(store)[0].name / "estimators/activations/activation_count")
    assert any(
        "estimators/activations/activation_count: zarr.json is missing" in problem.what for problem in verify(store)
    )


def test_merge__joins_activations_and_moments(store, toy, toy_counts, tmp_path):
    other, merged = tmp_path / "other.zarr", tmp_path / "merged.zarr"
    name = profiled(other, toy, [1, 3], ["activations", "moments"])
    merge([store, other], merged)
    np.testing.assert_array_equal(counts_of(merged)[[0, 1, 3]], toy_counts[[0, 1, 3]])
    sums = open_moments(merged, name)["grad_sq_bin_sum"].values
    np.testing.assert_array_equal(sums, open_moments(other, name)["grad_sq_bin_sum"].values)
    assert np.isfinite(sums[[1, 3]]).all()
    assert verify(merged) == []


def test_merge__names_activations_that_differ(store, toy, tmp_path):
    other = tmp_path / "other.zarr"
    name = profiled(other, toy, [1], ["activations"])
    group = zarr.open_group(other, mode="r+", use_consolidated=False)[f"{name}/estimators/activations"]
    changed = np.roll(group["activation_count"][1], 1, axis=-1)  # as many values, other ones
    group["activation_count"][1] = changed
    columns = {key: group[key][1:2] for key in ACTIVATIONS.digest_order}
    group["digest"][1] = ACTIVATIONS.digests([toy[0].arch_id(1)], columns)[0]
    Profile.open(other, name).finalise()
    with pytest.raises(StoreError, match="estimator activations, row 1: "):
        merge([store, other], tmp_path / "merged.zarr")
