"""The Python of the documentation runs: every block that ``<!-- tested -->`` stands above, page by page."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.store import create_profile, finalise_profile, import_accuracy, plan_shards, write_shard
from sweetgrad.store._arrays import compressor

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(
    r'^<!-- tested -->\n```python(?: title="(?P<file>[\w.]+)")?\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL
)
PAGES = sorted(path for path in DOCS.rglob("*.md") if BLOCK.search(path.read_text(encoding="utf-8")))
NUM_ARCHS = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's store, with fewer architectures and random accuracies."""
    path = tmp_path_factory.mktemp("docs") / "nb201.zarr"
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=64)
    spec = make_spec(space, batch)
    indices = np.linspace(0, len(space) - 1, NUM_ARCHS).astype(int).tolist()
    rows = profile_architectures(space, indices, batch, spec)
    archs = [space.arch_id(i) for i in range(len(space))]
    name = create_profile(path, spec, arch=archs, layers=space.layer_names)
    for shard in plan_shards(path, name, indices):
        write_shard(path, name, shard, rows.isel(arch=rows.arch_index.isin(shard.rows).values))
    finalise_profile(path, name)
    accuracy = np.random.RandomState(0).uniform(10, 95, NUM_ARCHS)
    table = pd.DataFrame(
        {"arch": rows.arch.values, "dataset": "cifar10", "split": "test", "epochs": 200, "accuracy": accuracy}
    )
    import_accuracy(path, space="nas-bench-201", table=table, source="test")
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_docs__python_of_a_page_runs(page: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nb201.zarr").symlink_to(store)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    namespace: dict[str, object] = {"__name__": "docs"}
    try:
        for number, block in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))):
            if block["file"]:
                (tmp_path / block["file"]).write_text(block["code"], encoding="utf-8")
            exec(compile(block["code"], f"{page.name}, block {number}", "exec"), namespace)
    finally:
        torch.set_num_threads(threads)


def test_docs__every_how_to_page_on_python_is_tested() -> None:
    tested = {page.stem for page in PAGES}
    assert {
        "add-a-search-space",
        "figures",
        "import-accuracies",
        "own-network",
        "reanalyse",
        "resume",
        "score-a-network",
        "search",
    } <= tested


def test_add_a_search_space__registers_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "how-to" / "add-a-search-space.md").read_text(encoding="utf-8")
    block = next(block for block in BLOCK.finditer(page) if block["file"])
    assert len(block["code"].strip().splitlines()) < 40
    (tmp_path / block["file"]).write_text(block["code"], encoding="utf-8")
    found = re.search(r'^```toml title="pyproject.toml"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    assert found
    _install(tomllib.loads(found[1])["project"], tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    space = load_space("residual")

    assert len(space) == 256
    assert space.arch_id(0) == "1-1-1-1"
    network = space.build("3-1-5-7", in_channels=3, num_classes=10)
    # Stem; for every cell its entrance and its block; norms; head.
    weights = 9 * 3 * 16 + (9 + 9) * 16 * 16 + 9 * 16 * 32 + 32 * 32 + (9 + 25) * 32 * 32 + 9 * 32 * 64 + 49 * 64 * 64
    norms = 2 * (16 + 2 * (16 + 32 + 32 + 64))
    assert sum(p.numel() for p in network.module.parameters()) == weights + norms + 64 * 10 + 10
    with pytest.raises(ValueError, match="expected four kernels of 1, 3, 5 or 7"):
        space.build("1-3", in_channels=3, num_classes=10)


def _install(project: dict[str, object], folder: Path) -> None:
    """What pip would leave of the page's pyproject.toml."""
    info = folder / f"{str(project['name']).replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"]
    assert isinstance(groups, dict)
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in items.items())
        for group, items in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def test_store_format__plain_xarray_reads_the_types_that_are_stored() -> None:
    path = Path(__file__).parent / "data" / "format-1.zarr"
    for group in ("toy/synthetic/bs4-seed42", "toy/accuracy"):
        plain, raw = (xr.open_zarr(path, group=group, mask_and_scale=masked) for masked in (None, False))
        xr.testing.assert_identical(plain, raw)
        assert {name: of.dtype for name, of in plain.variables.items()} == {n: v.dtype for n, v in raw.variables.items()}


def test_store_format__names_the_compressor_that_is_used() -> None:
    codec = compressor()
    assert (codec.cname.value, codec.shuffle.value) == ("zstd", "shuffle")
    assert f"blosc (zstd, level {codec.clevel}; the bytes" in (DOCS / "store-format.md").read_text(encoding="utf-8")
