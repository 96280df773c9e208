import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from sweetgrad.profiling import Batch, load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.spaces import nds
from sweetgrad.profiling.spaces._cell_network import OPERATIONS
from sweetgrad.profiling.spaces.nds import Nds, NdsAmoeba, NdsDarts, NdsEnas, NdsNasnet, NdsPnas
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store import LAYER_TYPES, parse_genotype, read_accuracy_file
from sweetgrad.store.spaces.grammar import read_nds

SPACES = (NdsAmoeba, NdsDarts, NdsEnas, NdsNasnet, NdsPnas)


def net(*operations: str, width: int = 4, depth: int = 3, nodes: int = 5, aux: bool = False) -> dict[str, Any]:
    """A ``net`` as the files have it: loose ends are joined, so cells may join different numbers of nodes."""
    names = [operations[place % len(operations)] for place in range(2 * nodes)]
    chain = [[name, place // 2 + 1 if place % 2 else 0] for place, name in enumerate(names)]
    fan = [[name, place % 2] for place, name in enumerate(names)]
    genotype = {
        "normal": chain,
        "normal_concat": [nodes + 1],
        "reduce": fan,
        "reduce_concat": list(range(2, nodes + 2)),
    }
    return {"genotype": genotype, "width": width, "depth": depth, "aux": aux, "drop_prob": 0.0}


def entry(**changes: Any) -> dict[str, Any]:
    settings = {key: changes.pop(key) for key in ("width", "depth", "nodes", "aux") if key in changes}
    operations = changes.pop("operations", ("sep_conv_3x3", "skip_connect"))
    return {
        "net": net(*operations, **settings),
        "optim": {"base_lr": 0.1, "wd": 5e-4, "max_ep": 3},
        "test_ep_top1": [40.0, 20.0, 9.5],
        "rng_seed": 1,
        **changes,
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def batch() -> Batch:
    return load_batch("digits", batch_size=8)


def test_nds__reads_a_list_and_a_dictionary_of_two_alike(tmp_path: Path) -> None:
    entries = [entry(width=4), entry(width=6, aux=True), entry(depth=5)]
    lists = {"top": entries[:1], "mid": entries[1:]}
    one = NdsPnas(write(tmp_path / "PNAS.json", entries))
    two = NdsPnas(write(tmp_path / "PNAS_2.json", lists))
    packed = tmp_path / "PNAS.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(entries).encode()))
    three = NdsPnas(packed)
    assert (
        [one.arch_id(i) for i in range(3)] == [two.arch_id(i) for i in range(3)] == [three.arch_id(i) for i in range(3)]
    )
    assert len(one) == 3
    assert one.arch_id(1).endswith(";width=6;depth=3")
    assert parse_genotype(one.arch_id(0).partition(";")[0]) == parse_genotype(entries[0]["net"]["genotype"])


def test_nds__names_networks_as_the_importer_does(tmp_path: Path) -> None:
    path = write(
        tmp_path / "PNAS.json", [entry(width=4), entry(operations=("max_pool_5x5", "conv_1x1")), entry(depth=5)]
    )
    space = NdsPnas(path)
    table = read_accuracy_file(path, space="nds-pnas")
    assert [space.arch_id(index) for index in range(len(space))] == table["arch"].tolist()


def test_nds__an_entry_without_a_label_or_the_rest_is_a_network_all_the_same(tmp_path: Path) -> None:
    bare = {"net": {key: net("max_pool_5x5")[key] for key in ("genotype", "width", "depth")}}
    space = NdsEnas(write(tmp_path / "ENAS.json", [bare, entry()]))
    assert len(space) == 2


@pytest.mark.parametrize("space", SPACES)
def test_nds__every_space_is_one(space: type[Nds], tmp_path: Path) -> None:
    made = space(write(tmp_path / space.tables[1], [entry()]))
    assert isinstance(made, SearchSpace)
    assert made.name == f"nds-{space.tables[1].removesuffix('.json').lower()}"
    assert not made.open_ended
    assert space(num_archs=2).open_ended


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_build__every_operation_has_the_parameters_that_are_counted(name: str, tmp_path: Path, batch: Batch) -> None:
    space = NdsNasnet(write(tmp_path / "NASNet.json", [entry(operations=[name], depth=4)]))
    rows = profile_architectures(space, [0], batch, make_spec(space, batch))
    assert rows.message.item() == ""
    assert rows.grad_count.sum() == space.costs(space.arch_id(0)).params


def test_build__has_the_parameters_that_the_entry_gives(tmp_path: Path) -> None:
    # By hand, for 2 nodes of skips, width 4, depth 3: see the comments.
    genotype = {
        "normal": [["skip_connect", 0], ["skip_connect", 1], ["skip_connect", 2], ["conv_1x1", 1]],
        "normal_concat": [3],
        "reduce": [["conv_7x1_1x7", 0], ["max_pool_7x7", 1], ["conv_3x1_1x3", 2], ["dil_sep_conv_3x3", 2]],
        "reduce_concat": [2, 3],
    }
    stem = 27 * 12 + 24
    cell0 = 2 * (12 * 4 + 8) + (4 * 4 + 8)
    cell1 = (12 * 8 + 16) + (4 * 8 + 16) + (14 * 64 + 16) + (6 * 64 + 16) + 2 * (9 * 8 + 64 + 16)
    cell2 = (4 * 16 + 32) + (16 * 16 + 32) + (14 * 256 + 32) + (6 * 256 + 32) + 2 * (9 * 16 + 256 + 32)
    params = stem + cell0 + cell1 + cell2 + 32 * 10 + 10
    content = [{"net": {"genotype": genotype, "width": 4, "depth": 3, "aux": True}, "params": params}]
    space = NdsAmoeba(write(tmp_path / "Amoeba.json", content))
    arch = space.arch_id(0)
    built = sum(p.numel() for p in space.build(arch).module.parameters())
    assert built == space.published_params[arch] == space.costs(arch).params


def test_profile__shallow_networks_are_padded_at_the_end(tmp_path: Path, batch: Batch) -> None:
    space = NdsDarts(write(tmp_path / "DARTS.json", [entry(depth=3), entry(depth=6, width=6, nodes=4)]))
    assert space.layer_names == ("stem", *(f"layer{i}" for i in range(1, 8)))
    rows = profile_architectures(space, [0, 1], batch, make_spec(space, batch))
    words = {code: word for word, code in LAYER_TYPES.items()}
    types = [[words[int(code)] for code in row] for row in rows.layer_type.values]
    assert types == [
        ["stem", "cell", "reduction", "reduction", "head", "padding", "padding", "padding"],
        ["stem", "cell", "cell", "reduction", "cell", "reduction", "cell", "head"],
    ]
    for row in range(2):
        layers = space.build(space.arch_id(row)).layers
        counted = rows.grad_count[row].sum(("kind", "bin")).values
        assert counted[: len(layers)].tolist() == [sum(p.numel() for p in layer.parameters()) for layer in layers]
        assert not counted[len(layers) :].any()


def test_nds__networks_of_files_for_imagenet_have_that_stem(tmp_path: Path) -> None:
    space = NdsDarts(write(tmp_path / "DARTS_in.json", [entry(width=4)]))
    stem = space.build(space.arch_id(0)).module.get_submodule("stem")
    strides = [m.stride for m in stem.modules() if isinstance(m, torch.nn.Conv2d)]
    assert (strides, space.input_size) == ([(2, 2)] * 3, 224)


def test_nds__a_network_that_is_there_twice_is_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "PNAS.json", [entry(), entry(rng_seed=2), entry(width=8)])
    with pytest.warns(UserWarning, match="1 of 3 entries repeat the network of another"):
        assert len(NdsPnas(path)) == 2


def broken(**changes: Any) -> dict[str, Any]:
    made = entry()
    made["net"].update({key: value for key, value in changes.items() if key in ("width", "depth", "genotype")})
    made["net"]["genotype"] = {**(made["net"]["genotype"] or {}), **changes.get("parts", {})}
    return made


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "it has no net"),
        (7, "it has no net"),
        ({"net": {"block_type": "res_basic_block", "ds": [1]}}, "no genotype, but block_type, ds"),
        (broken(width=0), "width must be a positive integer, got 0"),
        (broken(width=4097), r"width must be in 1\.\.4096 and depth in 1\.\.1000, got 4097 and 3"),
        (broken(depth=None), "depth must be a positive integer"),
        (broken(width=16.5), "width must be a positive integer"),
        (broken(parts={"normal": [["sep_conv_9x9", 0], ["none", 1]]}), "unknown operation 'sep_conv_9x9'"),
        (broken(parts={"normal": [["none", 0], ["none", 2]]}), "node 2 takes node 2"),
        (broken(parts={"normal": [["none", 0]]}), "1 edges; expected an even number"),
        (broken(parts={"reduce_concat": [9]}), r"joins the nodes \[9\]"),
        (broken(parts={"normal": "x"}), "must be a list"),
        (broken(parts={"spare": [2]}), "a part 'spare'"),
    ],
)
def test_nds__a_bad_entry_is_named_and_refused_or_left_out(bad: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "DARTS.json", [entry(), bad])
    with pytest.raises(ValueError, match=rf"DARTS\.json, entry 1 \(counted from 0\): .*{message}.*invalid=skip"):
        NdsDarts(path)
    with pytest.warns(UserWarning, match=rf"1 of 2 entries are skipped; the first: .*{message}"):
        space = NdsDarts(path, invalid="skip")
    assert len(space) == 1
    assert space.options == {"invalid": "skip"}
    only = write(tmp_path / "only.json", [bad])
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match="none of its 1 entries"),
    ):
        NdsDarts(only, invalid="skip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("{}", "is a dictionary with nothing: expected a list of entries"),
        ('{"top": []}', "is a dictionary with 'top': expected a list of entries"),
        ("[]", "is an empty list: expected a list of entries"),
    ],
)
def test_nds__another_file_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "DARTS.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        NdsDarts(path)


def test_nds__takes_refuse_or_skip(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid must be one of refuse, skip, got 'keep'"):
        NdsDarts(write(tmp_path / "DARTS.json", [entry()]), invalid="keep")  # type: ignore[arg-type]  # the error is what is tested


@pytest.mark.parametrize("arch", ["x", "Genotype();width=1;depth=1", ";width=16;depth=8"])
def test_build__refuses_other_strings(arch: str, tmp_path: Path) -> None:
    space = NdsDarts(write(tmp_path / "DARTS.json", [entry()]))
    with pytest.raises(ValueError, match="not a"):
        space.build(arch)
    with pytest.raises(ValueError, match="deeper than the deepest"):
        space.build(space.arch_id(0).replace("depth=3", "depth=4"))


class _Archive(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Archive]]:
    """A server that stands for the publisher's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Archive) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(nds, "URL", f"http://127.0.0.1:{server.server_address[1]}/nds/data.zip")
        yield _Archive
        server.shutdown()
        thread.join()


def zipped(**files: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_fetch_table__unpacks_the_archive_and_finds_the_file(publisher: type[_Archive], tmp_path: Path) -> None:
    publisher.content = zipped(**{f"nds_data/{space.tables[1]}": json.dumps([entry()]) for space in SPACES})
    path = NdsAmoeba.fetch_table(tmp_path)
    assert path == tmp_path / "nds_data" / "Amoeba.json"
    assert len(NdsAmoeba(path)) == 1
    assert nds.NdsPnas(tmp_path / NdsPnas.tables[0]).arch_id(0) == NdsAmoeba(path).arch_id(0)


@pytest.mark.parametrize("name", ["../outside.json", "/outside.json", "a\\b.json"])
def test_fetch_table__writes_nothing_outside_its_folder(publisher: type[_Archive], tmp_path: Path, name: str) -> None:
    publisher.content = zipped(**{"nds_data/DARTS.json": "[]", name: "x"})
    with pytest.raises(ValueError, match="cannot be extracted safely"):
        NdsDarts.fetch_table(tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["data.zip"]


def test_fetch_table__says_when_it_got_no_archive(publisher: type[_Archive], tmp_path: Path) -> None:
    publisher.content = b"<html>not here</html>"
    with pytest.raises(ValueError, match="the download is not a zip archive"):
        NdsDarts.fetch_table(tmp_path)
    assert not list(tmp_path.iterdir())


def test_build_thin__is_narrow_and_shallow_whatever_the_network(tmp_path: Path) -> None:
    space = NdsDarts(write(tmp_path / "DARTS.json", [entry(width=64, depth=20)]))
    thin = space.build_thin(space.arch_id(0))
    assert (
        sum(p.numel() for p in thin.parameters())
        == space.costs(space.arch_id(0).replace("width=64;depth=20", "width=4;depth=3")).params
    )


NUM_OPERATIONS = {"nds-darts": 8, "nds-enas": 5, "nds-pnas": 8, "nds-nasnet": 13, "nds-amoeba": 8}


@pytest.mark.parametrize("name", NUM_OPERATIONS)
def test_draws__without_a_file_are_of_the_space_as_it_is_described(name: str) -> None:
    """Radosavovic et al. 2019, Table 2: operations, nodes, and what a cell joins."""
    space: Any = load_space(name, options={"num_archs": 400})
    archs = [space.arch_id(index) for index in range(400)]
    assert len(set(archs)) == 400
    assert archs[:100] == [load_space(name, options={"num_archs": 100}).arch_id(index) for index in range(100)]
    read = [read_nds(arch) for arch in archs]
    cells = [(getattr(g, cell), getattr(g, f"{cell}_concat")) for g, _, _ in read for cell in ("normal", "reduce")]
    assert len({op for edges, _ in cells for op, _ in edges}) == NUM_OPERATIONS[name]
    num_nodes = 4 if name == "nds-darts" else 5
    for edges, joined in cells:
        assert len(edges) == 2 * num_nodes
        loose = set(range(2, 2 + num_nodes)) - {source for _, source in edges}
        assert set(joined) == (set(range(2, 2 + num_nodes)) if name in ("nds-darts", "nds-pnas") else loose)
    assert {width for _, width, _ in read} == {16, 24, 32}
    assert {depth for _, _, depth in read} == {4, 8, 12, 16, 20}
    with pytest.raises(ValueError, match="num_archs must be a whole number"):
        load_space(name, options={"num_archs": 0})
