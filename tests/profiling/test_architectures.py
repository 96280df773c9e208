"""Many architectures: what one gives depends on its string and the spec alone, and one that fails does not harm the others."""

import hashlib
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from sweetgrad.profiling import Batch, make_spec, profile_architectures, profile_shard, registry
from sweetgrad.profiling.any_network import profile_network
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.profiling.measure import measure_network
from sweetgrad.profiling.registry import load_space
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.profiling.spaces.protocol import Layer, Network
from sweetgrad.store import STATUS, Profile, Shard, create_profile, open_estimators, open_profile, profile_block, verify

RNG = np.random.RandomState(0)
BATCH = Batch(RNG.randn(4, 3, 8, 8).astype(np.float32), np.array([0, 1, 2, 3]), num_classes=10)
NUM_ARCHS = 11  # of the toy space: shards of 4, 4 and 3


class ToySpace:
    """What a third party might register: small nets of 1 to 4 convolutions. What is in ``broken`` fails to build."""

    name = "toy"
    variant = ""
    init = "pytorch-default"
    layer_names = ("conv0", "conv1", "conv2", "conv3", "head")
    input_size = 8

    def __init__(self, table=None):
        self.table = table
        self.broken: dict[str, BaseException] = {}
        self.built: list[str] = []

    def __len__(self) -> int:
        return NUM_ARCHS

    def arch_id(self, index: int) -> str:
        return f"width{index // 4 + 2}-depth{index % 4 + 1}"

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        self.built.append(arch_id)
        if arch_id in self.broken:
            raise self.broken[arch_id]
        width, depth = (int(part[5:]) for part in arch_id.split("-"))
        convs = [nn.Conv2d(in_channels if i == 0 else width, width, 3, padding=1) for i in range(depth)]
        module = nn.Sequential(*convs, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
        layers = [Layer(f"conv{i}", "cell", (conv,)) for i, conv in enumerate(convs)]
        return Network(module, (*layers, Layer("head", "head", (module[-1],))))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def space():
    return ToySpace()


def profile(space, indices, **options):
    return profile_architectures(space, indices, BATCH, make_spec(space, BATCH), **options)


def assert_same(a: xr.Dataset, b: xr.Dataset) -> None:
    """Equal in everything but the time it took."""
    xr.testing.assert_identical(
        a.drop_vars(["profile_seconds", "seconds"]), b.drop_vars(["profile_seconds", "seconds"])
    )


# --- profile_architectures ------------------------------------------------------------------------------------------


def test_profile_architectures__equals_one_network_measured_alone(space):
    rows = profile(space, [6])
    torch.manual_seed(42)
    network = space.build(space.arch_id(6), in_channels=3, num_classes=10)
    network.module.to(memory_format=torch.channels_last)
    x = torch.from_numpy(BATCH.x).to(memory_format=torch.channels_last)
    alone = measure_network(network, x, torch.from_numpy(BATCH.y))
    np.testing.assert_array_equal(rows.grad_count[0, :4], alone.grad_count)
    assert rows.arch.values.tolist() == ["width3-depth3"]
    assert rows.arch_index.values.tolist() == [6]
    assert rows.layer_type.values.tolist() == [[2, 2, 2, 4, 0]]
    assert float(rows.profile_seconds[0]) > 0


def test_profile_architectures__measures_what_profile_network_measures(space):
    """The same numbers by the public way for any module, in the same memory format."""
    torch.manual_seed(42)
    module = space.build(space.arch_id(3), in_channels=3, num_classes=10).module.to(memory_format=torch.channels_last)
    x = torch.from_numpy(BATCH.x).to(memory_format=torch.channels_last)
    single = profile_network(module, x, BATCH.y)
    np.testing.assert_array_equal(profile(space, [3]).grad_count_network, single.grad_count_network)


@pytest.mark.parametrize("make", [ToySpace, NasBench201])
def test_profile_architectures__depends_on_no_neighbour_and_no_order(make):
    space = make()
    names = ["grad_norm", "snip"]
    together = profile(space, [5, 0, 9, 3], estimators=names)
    for indices in ([3, 9, 0, 5], [9], [0, 1, 2, 3, 5], [3, 3]):
        torch.rand(3)  # whatever state the generator is in
        rows = profile(space, indices, estimators=names)
        for i, index in enumerate(indices):
            same = np.flatnonzero(together.arch_index.values == index)
            if same.size:
                assert_same(rows.isel(arch=i), together.isel(arch=same[0]))


def test_profile_architectures__depends_on_the_seed(space):
    a, b = (profile_architectures(space, [0], BATCH, make_spec(space, BATCH, seed=seed)) for seed in (1, 2))
    assert not a.grad_count.equals(b.grad_count)


def test_profile_architectures__puts_the_settings_of_torch_back(space):
    space.broken[space.arch_id(1)] = RuntimeError("boom")
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(2)
    try:
        profile(space, [0, 1])
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.deterministic
        assert torch.get_num_threads() == 2
    finally:
        torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError("no room"), ValueError("bad string")]
)
def test_profile_architectures__keeps_what_one_network_raised_and_goes_on(space, error):
    expected = profile(space, [0, 2])
    space.broken[space.arch_id(1)] = error
    rows = profile(space, [0, 1, 2], estimators=["snip"])
    assert rows.status.values.tolist() == [STATUS["ok"], STATUS["failed"], STATUS["ok"]]
    assert rows.message.values.tolist() == ["", f"{type(error).__name__}: {error}", ""]
    assert rows.estimator_status.values.ravel().tolist() == [STATUS["ok"], STATUS["not run"], STATUS["ok"]]
    np.testing.assert_array_equal(rows.grad_count[[0, 2]], expected.grad_count)
    failed = rows.isel(arch=1)
    assert int(failed.grad_count.sum()) == int(failed.num_params.sum()) == 0
    assert np.isnan(failed.loss)
    assert np.isnan(failed.score).all()


def test_profile_architectures__fails_a_network_with_more_layers_than_the_space_names(space):
    space.layer_names = ("conv0", "conv1", "head")
    rows = profile(space, [0, 2])
    assert rows.status.values.tolist() == [1, 2]
    assert "the network has 4 layers, but the space names 3" in str(rows.message.values[1])


def test_profile_architectures__fails_a_network_for_other_classes(space):
    build = space.build
    space.build = lambda arch_id, **settings: build(arch_id, **{**settings, "num_classes": 3})
    rows = profile(space, [0])
    assert str(rows.message.values[0]).startswith(
        "ValueError: labels must be in 0..2, because the network has 3 outputs"
    )


def test_profile_architectures__lets_the_user_stop(space):
    """Ctrl-C is no failure of the network."""
    space.broken[space.arch_id(0)] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        profile(space, [0])


def test_profile_architectures__stops_between_two_networks(space):
    done: list[int] = []
    rows = profile(space, [4, 2, 7], on_done=done.append, should_stop=lambda: len(done) == 2)
    assert done == rows.arch_index.values.tolist() == [4, 2]
    assert rows.status.values.tolist() == [1, 1]
    assert space.built == [space.arch_id(4), space.arch_id(2)]
    assert profile(space, [1], should_stop=lambda: True).sizes["arch"] == 0


@pytest.mark.parametrize("indices", [[11], [-1], [0, 99]])
def test_profile_architectures__refuses_an_index_outside_the_space(space, indices):
    with pytest.raises(ValueError, match=rf"toy has architectures 0 to 10, got {indices[-1]}"):
        profile(space, indices)
    assert space.built == []


def test_profile_architectures__refuses_an_unknown_estimator_before_it_runs(space):
    with pytest.raises(ValueError, match=r"no estimator named 'snap'\. Did you mean 'snip'"):
        profile(space, [0], estimators=["snap"])
    assert space.built == []


# --- estimators -----------------------------------------------------------------------------------------------------


def boom(network):
    raise RuntimeError("no score")


SCORES = {
    "nan": lambda network: float("nan"),
    "inf": lambda network: float("inf"),
    "boom": boom,
    "none": lambda network: None,
    "text": lambda network: "high",
    "tensor": lambda network: torch.tensor(2.5),
    "integer": lambda network: 3,
}


@pytest.fixture
def third_party(monkeypatch):
    """A space and estimators as an installed package would register them."""
    real = registry.entry_points

    class Entry:
        def __init__(self, name, value):
            self.name, self.value = name, value

        def load(self):
            return self.value

    def entry_points(*, group):
        added = {"sweetgrad.spaces": {"toy": ToySpace}, "sweetgrad.estimators": SCORES}.get(group, {})
        return [*real(group=group), *(Entry(name, value) for name, value in added.items())]

    monkeypatch.setattr(registry, "entry_points", entry_points)


def test_profile_architectures__computes_the_estimators_of_a_third_party(third_party):
    space = load_space("toy")
    names = [*SCORES, "grad_norm"]
    rows = profile(space, [1, 2], estimators=names)
    assert rows.status.values.tolist() == [1, 1]
    status = dict(zip(names, rows.estimator_status.values[0].tolist(), strict=True))
    assert status == {"nan": 2, "inf": 2, "boom": 2, "none": 2, "text": 2, "tensor": 1, "integer": 1, "grad_norm": 1}
    assert rows.score.sel(estimator="tensor").values.tolist() == [2.5, 2.5]
    assert rows.score.sel(estimator="integer").values.tolist() == [3, 3]
    assert np.isnan(rows.score.sel(estimator="boom")).all()
    assert (rows.seconds >= 0).all()
    np.testing.assert_array_equal(rows.grad_count, profile(space, [1, 2]).grad_count)


def test_profile_architectures__gives_the_estimator_the_gradients_of_the_histogram(space):
    torch.manual_seed(42)
    network = space.build(space.arch_id(5), in_channels=3, num_classes=10)
    network.module.to(memory_format=torch.channels_last)
    measure_network(network, torch.from_numpy(BATCH.x).to(memory_format=torch.channels_last), torch.from_numpy(BATCH.y))
    expected = sum(float(p.grad.double().norm()) for p in network.module.parameters() if p.ndim >= 2)
    assert profile(space, [5], estimators=["grad_norm"]).score.item() == pytest.approx(expected, rel=1e-12)


def test_load_space__makes_a_third_partys_space_from_its_entry_point(monkeypatch, tmp_path):
    """The whole way, with a real entry point that imports a module."""
    (tmp_path / "their_package.py").write_text(
        "class Space:\n"
        "    name, variant, init, layer_names, input_size = 'theirs', '', 'own', ('a',), 4\n"
        "    def __init__(self, table=None): self.table = table\n"
        "    def __len__(self): return 1\n"
        "    def arch_id(self, index): return 'only'\n"
        "    def build(self, arch_id, *, in_channels, num_classes): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("theirs", "their_package:Space", "sweetgrad.spaces")
    monkeypatch.setattr(registry, "entry_points", lambda *, group: EntryPoints([entry] if group == entry.group else []))
    space = load_space("theirs", table="list.csv")
    assert (space.name, space.arch_id(0), space.table) == ("theirs", "only", "list.csv")
    assert make_spec(space, BATCH).init == "own"


# --- profile_shard --------------------------------------------------------------------------------------------------


def create(path: Path, space: ToySpace, shard_size: int = 4) -> str:
    archs = [space.arch_id(index) for index in range(len(space))]
    spec = make_spec(space, BATCH)
    return create_profile(path, spec, arch=archs, layers=space.layer_names, shard_size=shard_size).name


def run(
    path: Path, space: ToySpace, rows=range(NUM_ARCHS), *, estimators=(), retry_failed=False, reverse=False, **options
):
    """What a flow does, in one process; the number of architectures done."""
    name = make_spec(space, BATCH).profile_name
    Profile.open(path, name).add_blocks(map(profile_block, estimators))
    shards = Profile.open(path, name).plan(rows, [*map(profile_block, estimators)], retry_failed=retry_failed)
    spec = make_spec(space, BATCH)
    options |= {"estimators": estimators}
    return sum(
        profile_shard(Profile.open(path, name), s, space, BATCH, spec, **options)
        for s in shards[:: -1 if reverse else 1]
    )


def measured(path: Path, space: ToySpace) -> xr.Dataset:
    name = make_spec(space, BATCH).profile_name
    return open_profile(path, name, chunks=None).load().drop_vars("profile_seconds").drop_attrs()


def test_profile_shard__gives_the_same_rows_in_any_shards_and_order(tmp_path, space):
    create(tmp_path / "a", space, shard_size=4)
    create(tmp_path / "b", space, shard_size=3)
    create(tmp_path / "c", space, shard_size=625)
    assert run(tmp_path / "a", space) == NUM_ARCHS
    for rows in ([7, 0], [10, 1, 2], range(NUM_ARCHS)):
        run(tmp_path / "b", space, rows, reverse=True)
    run(tmp_path / "c", space)
    expected = measured(tmp_path / "a", space)
    for other in "bc":
        xr.testing.assert_identical(measured(tmp_path / other, space), expected)
    for path in tmp_path.iterdir():
        Profile.open(path, make_spec(space, BATCH).profile_name).finalise()
        assert verify(path) == []


def test_profile_shard__fills_only_the_rows_asked_for(tmp_path, space):
    create(tmp_path / "s", space)
    assert run(tmp_path / "s", space, [1, 6]) == 2
    assert measured(tmp_path / "s", space).status.values.tolist() == [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert run(tmp_path / "s", space, [1, 6, 7]) == 1
    assert space.built == [space.arch_id(index) for index in (1, 6, 7)]


def test_profile_shard__keeps_what_was_done_when_it_is_stopped(tmp_path, space):
    create(tmp_path / "s", space)
    done: list[int] = []
    assert run(tmp_path / "s", space, on_done=done.append, should_stop=lambda: len(done) == 3) == 3
    assert measured(tmp_path / "s", space).status.values.tolist() == [1, 1, 1] + [0] * 8
    assert run(tmp_path / "s", space, on_done=done.append) == NUM_ARCHS - 3
    assert done == list(range(NUM_ARCHS))
    create(tmp_path / "straight", space)
    run(tmp_path / "straight", space)
    xr.testing.assert_identical(measured(tmp_path / "s", space), measured(tmp_path / "straight", space))


def test_profile_shard__runs_a_failed_network_again_only_when_asked(tmp_path, space):
    create(tmp_path / "s", space)
    space.broken = {space.arch_id(2): MemoryError("no room")}
    assert run(tmp_path / "s", space, estimators=["snip"]) == NUM_ARCHS
    before = measured(tmp_path / "s", space)
    assert before.status.values.tolist() == [1, 1, 2] + [1] * 8
    assert str(before.message.values[2]) == "MemoryError: no room"
    assert verify(tmp_path / "s") == []
    assert run(tmp_path / "s", space, estimators=["snip"]) == 0
    assert run(tmp_path / "s", space, retry_failed=True, estimators=["snip"]) == 1  # and fails again
    xr.testing.assert_identical(measured(tmp_path / "s", space), before)
    space.broken = {}
    assert run(tmp_path / "s", space, retry_failed=True, estimators=["snip"]) == 1
    after = measured(tmp_path / "s", space)
    assert after.status.values.tolist() == [1] * NUM_ARCHS
    assert str(after.message.values[2]) == ""
    scores = open_estimators(tmp_path / "s", make_spec(space, BATCH).profile_name)
    assert scores.status.values.ravel().tolist() == [1] * NUM_ARCHS
    create(tmp_path / "straight", space)
    run(tmp_path / "straight", space)
    xr.testing.assert_identical(after, measured(tmp_path / "straight", space))


def test_profile_shard__adds_estimators_later_without_touching_counts(tmp_path, space):
    path, name = tmp_path / "s", create(tmp_path / "s", space)
    run(path, space)
    Profile.open(path, name).finalise()
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != "zarr.json"}
    assert run(path, space, estimators=["snip"]) == NUM_ARCHS
    after = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != "zarr.json"}
    assert {p: after[p] for p in before} == before
    assert {p.relative_to(path / name).parts[:2] for p in after.keys() - before.keys()} == {("estimators", "snip")}
    assert run(path, space, estimators=["snip"]) == 0
    # One more, for some rows: the first stays, and equals what a run with both from the start gives.
    assert run(path, space, [0, 9], estimators=["snip", "grad_norm"]) == 2
    run(path, space, estimators=["grad_norm", "snip"])
    create(tmp_path / "straight", space)
    run(tmp_path / "straight", space, estimators=["grad_norm", "snip"])
    expected, scores = (open_estimators(p, name).drop_vars("seconds") for p in (tmp_path / "straight", path))
    assert scores.estimator.values.tolist() == ["grad_norm", "snip"]
    xr.testing.assert_identical(scores, expected)
    assert verify(path) == []


def test_profile_shard__does_not_change_a_measured_row_whose_network_fails_later(tmp_path, space):
    create(tmp_path / "s", space)
    run(tmp_path / "s", space)
    before = measured(tmp_path / "s", space)
    space.broken = {space.arch_id(5): RuntimeError("boom")}
    run(tmp_path / "s", space, estimators=["snip"])
    xr.testing.assert_identical(measured(tmp_path / "s", space), before)
    scores = open_estimators(tmp_path / "s", make_spec(space, BATCH).profile_name)
    assert scores.status.values.ravel().tolist() == [1] * 5 + [2] + [1] * 5
    assert scores.message.values[5].tolist() == ["RuntimeError: boom"]


def test_profile_shard__stores_that_an_estimator_failed(tmp_path, third_party):
    space = load_space("toy")
    path, name = tmp_path / "s", create(tmp_path / "s", space)
    run(path, space, estimators=["nan"])
    scores = open_estimators(path, name)
    assert scores.status.values.ravel().tolist() == [2] * NUM_ARCHS
    assert set(scores.message.values.ravel()) == {"the score is nan"}
    assert measured(path, space).status.values.tolist() == [1] * NUM_ARCHS
    assert run(path, space, estimators=["nan"]) == 0
    assert run(path, space, [3], estimators=["nan"], retry_failed=True) == 1


def file_of_shard_1(folder: Path) -> Path:
    """A one-dimensional array has the file c/1, others c/1/0/..."""
    return next(p for p in [folder / "c" / "1", *(folder / "c" / "1").rglob("*")] if p.is_file())


@pytest.mark.parametrize("variable", ["loss", "grad_count"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_profile_shard__makes_a_damaged_shard_again_with_all_its_rows(tmp_path, space, variable, damage):
    path, name = tmp_path / "s", create(tmp_path / "s", space)
    run(path, space, [4, 5, 7, 8])
    expected = measured(path, space)
    file = file_of_shard_1(path / name / variable)
    content = file.read_bytes()
    third = len(content) // 3
    flipped = content[:third] + bytes([content[third] ^ 4]) + content[third + 1 :]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"truncated": content[:third], "flipped": flipped}[damage])
    assert any(problem.shard == 1 for problem in verify(path))
    # Row 6 is new; 4, 5 and 7 were in the damaged shard; 8 is in another one.
    assert run(path, space, [6]) == 4
    assert space.built[4:] == [space.arch_id(index) for index in (4, 5, 6, 7)]
    again = measured(path, space)
    xr.testing.assert_identical(again.isel(arch=[4, 5, 7, 8]), expected.isel(arch=[4, 5, 7, 8]))
    assert again.status.values.tolist() == [0] * 4 + [1] * 5 + [0] * 2
    Profile.open(path, name).finalise()
    assert verify(path) == []


def test_profile_shard__of_no_rows_does_nothing(tmp_path, space):
    path, name = tmp_path / "s", create(tmp_path / "s", space)
    assert profile_shard(Profile.open(path, name), Shard(0, 0, 4, ()), space, BATCH, make_spec(space, BATCH)) == 0
    assert measured(path, space).status.values.tolist() == [0] * NUM_ARCHS


# --- make_spec ------------------------------------------------------------------------------------------------------


def test_profile_architectures__runs_on_the_threads_of_the_spec(space):
    """Two threads move last bits; whoever calls, a profile is measured with those of its spec."""
    seen = []
    build = space.build
    space.build = lambda arch_id, **settings: seen.append(torch.get_num_threads()) or build(arch_id, **settings)
    spec = make_spec(space, BATCH)
    profile_architectures(space, [0], BATCH, replace(spec, threads=2))
    profile_architectures(space, [0], BATCH, spec)
    assert seen == [2, 1]


def test_arch_ids__are_a_sequence_that_holds_none(space):
    ids, expected = ArchIds(space), [space.arch_id(i) for i in range(len(space))]
    assert (len(ids), list(ids), ids[-1], ids[2:5]) == (NUM_ARCHS, expected, expected[-1], expected[2:5])
    with pytest.raises(IndexError):
        ids[NUM_ARCHS]


def test_make_spec__digests_the_strings_each_ended_by_a_newline(space):
    text = "".join(f"{space.arch_id(i)}\n" for i in range(len(space)))
    assert make_spec(space, BATCH).arch_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_make_spec__names_space_and_batch(space):
    spec = make_spec(space, BATCH, seed=7, device="cuda")
    assert (spec.space, spec.dataset, spec.num_classes, spec.input_shape) == ("toy", "custom", 10, (3, 8, 8))
    assert (spec.batch_size, spec.seed, spec.device, spec.batch_sha256) == (4, 7, "cuda", BATCH.sha256)


def test_make_spec__tells_two_orders_of_a_space_apart(space):
    forwards = make_spec(space, BATCH)
    arch_id = space.arch_id
    space.arch_id = lambda index: arch_id(NUM_ARCHS - 1 - index)
    backwards = make_spec(space, BATCH)
    assert forwards.arch_sha256 != backwards.arch_sha256
    assert forwards.profile_name == backwards.profile_name  # so that a store refuses to mix them
