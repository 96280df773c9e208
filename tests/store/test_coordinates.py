"""Labels of large spaces lie in chunks, so that whoever writes a shard reads the labels near it and not all of them."""

import pytest

from sweetgrad.store import COUNTS, VARIABLES, Profile, create_profile, open_profile, status, verify
from sweetgrad.store.format.arrays import chunking


@pytest.mark.parametrize(("num_archs", "chunk"), [(1, 1), (15_625, 15_625), (25_000, 25_000), (1_000_000, 25_000)])
def test_chunking__of_labels_is_whole_up_to_25000(num_archs, chunk):
    sizes = {"arch": num_archs, "layer": 30_000, "kind": 2, "bin": 345}
    for name in ("arch", "arch_index"):
        assert chunking(VARIABLES[name], sizes=sizes, shard_size=625) == ((chunk,), None)
    assert chunking(VARIABLES["layer"], sizes=sizes, shard_size=625) == ((30_000,), None)


def test_write_shard__needs_only_the_labels_of_its_own_chunk(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("sweetgrad.store.format.arrays._COORDINATE_CHUNK", 4)
    store = tmp_path / "s.zarr"
    name = create_profile(store, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=4).name
    assert sorted(path.name for path in (store / name / "arch" / "c").iterdir()) == ["0", "1", "2"]
    (store / name / "arch" / "c" / "2").write_bytes(b"damaged")
    for shard in Profile.open(store, name).plan(range(8)):
        Profile.open(store, name).write(shard, {COUNTS: toy.rows(shard.rows)})
    assert [profile.num_ok for profile in status(store)] == [8]


def test_verify__takes_labels_in_chunks_and_in_one_piece(toy, tmp_path, monkeypatch):
    toy.store(tmp_path / "whole.zarr")
    monkeypatch.setattr("sweetgrad.store.format.arrays._COORDINATE_CHUNK", 4)
    cut = tmp_path / "cut.zarr"
    name = create_profile(cut, toy.spec(), arch=toy.archs, layers=toy.layers, shard_size=4).name
    toy.run(cut, name, range(10))
    Profile.open(cut, name).finalise()
    assert verify(cut) == []
    assert verify(tmp_path / "whole.zarr") == []  # written before labels were cut
    assert open_profile(cut, name).equals(open_profile(tmp_path / "whole.zarr", name))
