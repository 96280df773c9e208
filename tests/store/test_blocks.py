"""Blocks of statistics in a store: declared by sweetgrad, and by a package that is not installed (`shapes`)."""

import shutil
import zipfile

import numpy as np
import pytest
import xarray as xr
import zarr

from sweetgrad.store import (
    STATISTICS,
    NotAStoreError,
    Profile,
    SpecMismatchError,
    StoreError,
    Variable,
    create_profile,
    declare_block,
    info,
    merge,
    open_block,
    open_profile,
    publish,
    shards,
    verify,
)

BOTH = ["synflow", "shapes"]
OWN = {"synflow": "tensor_flow_sum", "shapes": "vector_moment"}


@pytest.fixture
def made(tmp_path, toy):
    """A store whose ten rows have counts (shards of 4, 4 and 2), and its profile's name."""
    return tmp_path / "s.zarr", toy.store(tmp_path / "s.zarr")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, toy):
    """The data files of a store of one undisturbed run."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    part(path, toy, range(10))
    return toy.contents(path)


def block_of(toy, name):
    return next(block for block in toy.blocks if block.name == name)


def part(path, toy, rows, *, shard_size=4, blocks=None, **options):
    """A store in which some rows have counts and blocks."""
    name = create_profile(path, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=shard_size).name
    toy.run(path, name, rows)
    toy.add_blocks(path, name, blocks or toy.blocks, rows, **options)
    return name


# --- what a block is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variable", "message"),
    [
        ("a-b", Variable("x", ("arch",), "float32", "1", ""), "name of a block must consist of letters.*'a-b'"),
        (
            "a",
            Variable("x", ("tensor",), "float32", "1", ""),
            r"'x' of block 'a' has the dims \('tensor',\): the first must be arch",
        ),
        (
            "a",
            Variable("x", ("arch", "odd"), "float32", "1", ""),
            "the sizes of others than arch, layer, .* must be given",
        ),
        (
            "a",
            Variable("status", ("arch",), "uint8", "1", ""),
            "block 'a' must not declare 'status', which every block has",
        ),
        ("a", Variable("score", ("arch",), "uint8", "1", ""), "block 'a' must not declare 'score'"),
    ],
)
def test_declare_block__says_what_is_wrong(name, variable, message):
    with pytest.raises(ValueError, match=message):
        declare_block(name, "", variable, cost="0")


def test_add_blocks__needs_the_names_along_axes(made):
    path, name = made
    with pytest.raises(ValueError, match="block tensor_sums needs the names along vector"):
        Profile.open(path, name).add_blocks([STATISTICS["tensor_sums"]], axes={"tensor": {"stem.0": "stem"}})
    assert not (path / name / "blocks").exists()


def test_add_blocks__of_a_space_without_a_kind_of_parameter(made, toy):
    path, name = made
    axes = {"tensor": toy.axes["tensor"], "vector": {}}
    toy.add_blocks(path, name, [toy.shapes], range(10), axes=axes)
    assert open_block(path, name, "shapes").sizes["vector"] == 0
    assert verify(path) == []


def test_add_blocks__refuses_a_block_with_other_settings_names_or_variables(made, toy):
    path, name = made
    toy.add_blocks(path, name, toy.blocks, range(10))
    before = toy.contents(path)
    other_names = {**toy.axes, "tensor": dict(reversed(toy.axes["tensor"].items()))}
    wider = declare_block(
        "shapes",
        "",
        *toy.shapes.contents[1:],
        Variable("vector_moment", ("arch", "vector"), "float64", "1", ""),
        cost="0",
    ).measured_with(dict(toy.shapes.settings))
    for block, axes, message in (
        (toy.shapes.measured_with({"order": 3, "mode": "train"}), toy.axes, "order: stored 4, requested 3"),
        (toy.shapes.measured_with({"order": 4}), toy.axes, "mode: stored train, requested None"),
        (
            block_of(toy, "synflow"),
            other_names,
            r"tensor: stored 3 names, of which number 1 is \S+ of the layer \S+, requested 3 names, of which number 1 is \S+ of",
        ),
        (wider, toy.axes, r"vector_moment: stored .*\('moment', 2\), 'float32'\), requested .*'float64'\)"),
    ):
        with pytest.raises(SpecMismatchError, match=message):
            Profile.open(path, name).add_blocks([block], axes=axes)
    Profile.open(path, name).add_blocks(toy.blocks, axes=toy.axes)
    assert toy.contents(path) == before


# --- written, resumed, read -----------------------------------------------------------------------------------------


def test_blocks__added_later_and_in_any_order_are_those_of_one_run(made, toy, tmp_path):
    path, name = made
    assert [block.name for block in info(path).profiles[0].blocks] == []
    toy.add_blocks(path, name, [toy.shapes], [9, 0, 4], failed=[4])
    toy.add_blocks(path, name, toy.blocks, range(10), failed=[4])
    assert {(b.name, b.num_ok, b.num_failed) for b in info(path).profiles[0].blocks} == {
        ("synflow", 9, 1),
        ("shapes", 9, 1),
    }
    part(tmp_path / "straight.zarr", toy, range(10), failed=[4])
    assert toy.contents(path) == toy.contents(tmp_path / "straight.zarr")
    assert verify(path) == []


@pytest.mark.parametrize("name_of_block", BOTH)
def test_blocks__of_a_run_that_was_killed_between_two_files_are_resumed(
    made, toy, tmp_path, monkeypatch, name_of_block
):
    path, name = made
    block, killed_at = block_of(toy, name_of_block), ""
    for num_files in range(len(block.variables)):  # the last one is that of status
        written: list[str] = []

        def write(group, variable, rows, values, *, written=written, most=num_files, real=shards.write_array):
            written.append(variable)
            if len(written) > most:
                raise KeyboardInterrupt
            real(group, variable, rows, values)

        again = shutil.copytree(path, tmp_path / f"{num_files}.zarr")
        with monkeypatch.context() as patch:
            patch.setattr(shards, "write_array", write)
            patch.setattr(shards, "map_in_threads", map)
            with pytest.raises(KeyboardInterrupt):
                toy.add_blocks(again, name, [block], range(4))
        assert not Profile.open(again, name).status(block).any()
        assert [list(shard.rows) for shard in Profile.open(again, name).plan(range(4), [block])] == [[0, 1, 2, 3]]
        toy.add_blocks(again, name, [block], range(4))
        killed_at = written[-1]
        assert verify(again) == []
        np.testing.assert_array_equal(open_block(again, name, name_of_block).status, [1] * 4 + [0] * 6)
    assert killed_at == "status"


@pytest.mark.parametrize("name_of_block", BOTH)
def test_open_block__has_its_names_settings_and_messages(made, toy, name_of_block):
    path, name = made
    toy.add_blocks(path, name, toy.blocks, range(6), failed=[5])
    data = open_block(path, name, name_of_block)
    own = OWN[name_of_block]
    axis = data[own].dims[1]
    assert data[axis].values.tolist() == list(toy.axes[axis])
    assert data[f"{axis}_layer"].values.tolist() == list(toy.axes[axis].values())
    assert data.arch.values.tolist() == toy.archs
    assert data.status.values.tolist() == [1] * 5 + [2] + [0] * 4
    assert data.message.values.tolist() == [""] * 5 + ["ValueError: row 5"] + [""] * 4
    block = block_of(toy, name_of_block)
    assert {key: data.attrs[key] for key, _ in block.settings} == dict(block.settings)
    expected = toy.block_rows(block, range(5))[own]
    np.testing.assert_array_equal(data[own][:5], expected)
    assert np.isnan(data[own][6:]).all()


def test_open_block__names_the_command_that_measures_what_is_not_there(made):
    with pytest.raises(
        NotAStoreError, match=r"has no block tensor_sums: `sweetgrad estimate .* --blocks tensor_sums` adds it"
    ):
        open_block(*made, "tensor_sums")


def test_growth__lengthens_rows_and_not_the_names(tmp_path, toy, whole):
    path = tmp_path / "s.zarr"

    def create(num):
        spec = toy.spec(arch=toy.archs[:num])
        return create_profile(path, spec, arch=toy.archs[:num], layers=toy.layers, shard_size=4, may_grow=True).name

    name = create(3)
    toy.run(path, name, range(3))
    toy.add_blocks(path, name, toy.blocks, range(3))
    before = {each: open_block(path, name, each).load() for each in BOTH}
    create(10)
    for each in BOTH:
        grown = open_block(path, name, each).load()
        sizes = {**before[each].sizes, "arch": 10}
        assert {dim: grown.sizes[dim] for dim in sizes} == sizes
        xr.testing.assert_equal(grown.isel(arch=slice(3)), before[each])
    toy.run(path, name, range(10))
    toy.add_blocks(path, name, toy.blocks, range(10))
    assert verify(path) == []
    assert {k: v for k, v in toy.contents(path).items() if "/blocks/" in k} == {
        k: v for k, v in whole.items() if "/blocks/" in k
    }


# --- verified -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name_of_block", BOTH)
def test_verify__clears_the_shard_of_a_block_and_no_other(made, toy, name_of_block):
    path, name = made
    toy.add_blocks(path, name, toy.blocks, range(10))
    before = toy.contents(path)
    files = sorted((path / name / "blocks" / name_of_block / OWN[name_of_block] / "c" / "1").rglob("*"))
    file = files[-1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    (problem,) = verify(path, repair=True)
    assert (problem.shard, problem.rows, problem.repairable) == (1, (4, 5, 6, 7), True)
    assert verify(path) == []
    block = block_of(toy, name_of_block)
    assert [list(shard.rows) for shard in Profile.open(path, name).plan(range(10), toy.blocks)] == [[4, 5, 6, 7]]
    toy.add_blocks(path, name, [block], range(10))
    assert toy.contents(path) == before


@pytest.mark.parametrize(("name_of_block", "axis"), [("synflow", "tensor"), ("shapes", "vector")])
def test_verify__cannot_repair_names_and_says_so(made, toy, name_of_block, axis):
    path, name = made
    toy.add_blocks(path, name, toy.blocks, range(10))
    for coordinate in (axis, f"{axis}_layer"):
        (file,) = (path / name / "blocks" / name_of_block / coordinate / "c").rglob("0")
        good = file.read_bytes()
        file.unlink()
        (problem,) = verify(path, repair=True)
        assert problem.what.startswith(f"blocks/{name_of_block}/{coordinate} cannot be decoded")
        assert "Copy it from a backup." in problem.what
        assert not problem.repairable
        file.write_bytes(good)
    zarr.open_group(path, mode="r+", use_consolidated=False)[f"{name}/blocks/{name_of_block}/{axis}"][0] = "head.bias"
    zarr.open_group(path, mode="r+", use_consolidated=False)[f"{name}/blocks/{name_of_block}/{axis}"][1] = "head.bias"
    (problem,) = verify(path)
    assert problem.what == f"blocks/{name_of_block}/{axis} has a name twice. Copy it from a backup."


def test_verify__of_a_block_that_lost_an_array_deletes_it_and_it_is_measured_again(made, toy):
    path, name = made
    toy.add_blocks(path, name, toy.blocks, range(10))
    before = toy.contents(path)
    shutil.rmtree(path / name / "blocks" / "shapes" / "num_odd")
    problems = verify(path, repair=True)
    assert "blocks/shapes/num_odd: zarr.json is missing. --repair deletes blocks/shapes; run it again." in [
        p.what for p in problems
    ]
    assert not (path / name / "blocks" / "shapes").exists()
    toy.add_blocks(path, name, toy.blocks, range(10))
    assert toy.contents(path) == before
    assert verify(path) == []


# --- merged, published ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(4, 4), (4, 3)])
def test_merge__unites_rows_of_blocks_as_if_one_run_had_made_them(tmp_path, toy, sizes):
    part(tmp_path / "a.zarr", toy, [0, 1, 4, 9], shard_size=sizes[0])
    name = part(tmp_path / "b.zarr", toy, [1, 2, 3, 5, 6, 7, 8], shard_size=sizes[1])
    merge([tmp_path / "a.zarr", tmp_path / "b.zarr"], tmp_path / "merged.zarr")
    part(tmp_path / "straight.zarr", toy, range(10), shard_size=sizes[0])
    assert toy.contents(tmp_path / "merged.zarr") == toy.contents(tmp_path / "straight.zarr")
    assert verify(tmp_path / "merged.zarr") == []
    groups = [
        zarr.open_group(tmp_path / f"{each}.zarr", mode="r")[f"{name}/blocks/shapes"] for each in ("merged", "straight")
    ]
    assert dict(groups[0].attrs) == dict(groups[1].attrs)


def test_merge__takes_a_block_that_only_the_second_source_has(tmp_path, toy):
    name = toy.store(tmp_path / "a.zarr")
    part(tmp_path / "b.zarr", toy, [2, 8])
    merge([tmp_path / "a.zarr", tmp_path / "b.zarr"], tmp_path / "merged.zarr")
    status = open_block(tmp_path / "merged.zarr", name, "shapes").status.values
    assert np.flatnonzero(status).tolist() == [2, 8]
    assert verify(tmp_path / "merged.zarr") == []


OTHERS = {
    "order": lambda toy: ([toy.shapes.measured_with({"order": 3, "mode": "train"})], toy.axes),
    "batch_sha256": lambda toy: (
        [block_of(toy, "synflow").measured_with({"batch_sha256": "1" * 64}), toy.shapes],
        toy.axes,
    ),
    "vector": lambda toy: (toy.blocks, {**toy.axes, "vector": dict(reversed(toy.axes["vector"].items()))}),
    "num_odd": lambda toy: (
        [
            declare_block(
                "shapes",
                "",
                toy.shapes.contents[0],
                Variable("num_odd", ("arch",), "uint8", "units", ""),
                cost="0",
                sizes={"moment": 2},
            ).measured_with(dict(toy.shapes.settings))
        ],
        toy.axes,
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_merge__refuses_blocks_that_were_measured_otherwise_and_names_how(tmp_path, toy, what):
    part(tmp_path / "a.zarr", toy, [0, 1])
    blocks, axes = OTHERS[what](toy)
    part(tmp_path / "b.zarr", toy, [2, 3], blocks=blocks, axes=axes)
    message = rf"block \w+ of profile .* was measured with other settings:\n  {what}: .* in \S+a\.zarr, .* in \S+b\.zarr\nBlocks"
    with pytest.raises(SpecMismatchError, match=message):
        merge([tmp_path / "a.zarr", tmp_path / "b.zarr"], tmp_path / "merged.zarr")
    assert not (tmp_path / "merged.zarr").exists()


def test_merge__names_rows_of_a_block_that_contradict_each_other(tmp_path, toy):
    part(tmp_path / "a.zarr", toy, [0, 1])
    name = part(tmp_path / "b.zarr", toy, [2])
    toy.run(tmp_path / "b.zarr", name, [1])
    profile = Profile.open(tmp_path / "b.zarr", name)
    (shard,) = profile.plan([1], [toy.shapes])
    rows = toy.block_rows(toy.shapes, [1])
    profile.write(shard, {toy.shapes: rows.assign(num_odd=rows["num_odd"] + 1)})
    profile.finalise()
    with pytest.raises(
        StoreError, match=r"have 1 conflicts.*\n.*, block shapes, row 1: digest \w+ in .*a.zarr, digest"
    ):
        merge([tmp_path / "a.zarr", tmp_path / "b.zarr"], tmp_path / "merged.zarr")


def test_publish__has_the_blocks_in_folder_and_zip(made, toy, tmp_path):
    path, name = made
    toy.add_blocks(path, name, toy.blocks, range(10))
    publish(path, tmp_path / "release")
    assert verify(tmp_path / "release") == []
    (archive,) = (tmp_path / "release").glob("*.zip")
    for each in BOTH:
        stored = open_block(path, name, each).load()
        for location in (archive, archive.with_suffix("")):
            xr.testing.assert_identical(open_block(location, name, each).load(), stored)
    card = (tmp_path / "release" / "README.md").read_text()
    assert "also has the blocks *shapes* (10 ok; mode `train`; order `4`), *synflow* (10 ok)." in card
    for block in toy.blocks:
        assert f"`{block.path}` has\n\n| variable" in card
        assert all(f"| `{variable.name}` |" in card for variable in block.contents)
    with zipfile.ZipFile(archive) as packed:
        assert f"{name}/blocks/shapes/vector/c/0" in packed.namelist()
    assert open_profile(archive, name).attrs["complete"]
