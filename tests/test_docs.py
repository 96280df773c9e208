"""What pages say of the package; that their commands and their Python run is tested in ``tests/flows/test_pages.py``."""

import re
import tomllib
from pathlib import Path

import pytest
import xarray as xr

from sweetgrad.profiling import load_space
from sweetgrad.store.format.arrays import compressor

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_add_a_search_space__registers_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "how-to" / "add-a-search-space.md").read_text(encoding="utf-8")
    module = re.search(r'^```python title="residual_space.py"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    assert module
    assert len(module[1].strip().splitlines()) < 40
    (tmp_path / "residual_space.py").write_text(module[1], encoding="utf-8")
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
        assert {name: of.dtype for name, of in plain.variables.items()} == {
            n: v.dtype for n, v in raw.variables.items()
        }


def test_store_format__names_the_compressor_that_is_used() -> None:
    codec = compressor()
    assert (codec.cname.value, codec.shuffle.value) == ("zstd", "shuffle")
    assert f"blosc (zstd, level {codec.clevel}; the bytes" in (DOCS / "store-format.md").read_text(encoding="utf-8")
