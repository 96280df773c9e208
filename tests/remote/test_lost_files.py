"""A file that the server has lost (404), or sends with a flipped bit, is no fill value to any reader."""

from pathlib import Path

import pytest

from sweetgrad.analysis import Interval, score
from sweetgrad.flows import cli
from sweetgrad.store import (
    CorruptShardError,
    open_accuracies,
    open_activations,
    open_block,
    open_estimators,
    open_moments,
    open_profile,
    status,
)

NAME = "toy/synthetic/bs2-seed0"
READERS = {
    f"{NAME}/grad_count_network/c/1/0/0": lambda url: score(
        open_profile(url, NAME), Interval("1e-4", "5e-4")
    ).compute(),
    f"{NAME}/grad_count/c/2/0/0/0": lambda url: open_profile(url, NAME)["grad_count"].compute(),
    f"{NAME}/loss/c/0": lambda url: open_profile(url, NAME, chunks=None)["loss"].load(),
    f"{NAME}/status/c/1": status,
    f"{NAME}/estimators/snip/score/c/1": lambda url: open_estimators(url, NAME),
    f"{NAME}/estimators/snip/status/c/1": lambda url: open_estimators(url, NAME),
    f"{NAME}/estimators/moments/grad_abs_bin_sum/c/1/0/0/0": lambda url: open_moments(url, NAME).load(),
    f"{NAME}/estimators/activations/activation_count/c/2/0/0": lambda url: open_activations(url, NAME).load(),
    f"{NAME}/blocks/synflow/tensor_flow_sum/c/1/0": lambda url: open_block(url, NAME, "synflow").load(),
    f"{NAME}/blocks/synflow/tensor/c/0": lambda url: open_block(url, NAME, "synflow").load(),
    f"{NAME}/blocks/shapes/vector_moment/c/2/0/0": lambda url: open_block(url, NAME, "shapes").load(),
    f"{NAME}/blocks/shapes/vector_layer/c/0": lambda url: open_block(url, NAME, "shapes").load(),
    "toy/accuracy/accuracy/c/0/0/0/0": lambda url: open_accuracies(url, "toy"),
}


@pytest.fixture(scope="module")
def folder(toy, tmp_path_factory):
    """A store with every kind of column; each test puts back what it damages."""
    folder = tmp_path_factory.mktemp("www")
    toy.make_full_store(folder / "toy.zarr")
    return folder


@pytest.mark.parametrize("damage", ["lost", "flipped"])
def test_readers__at_a_url_refuse_what_is_lost_or_flipped(folder, serve, damage):
    url = f"{serve(folder).url}/toy.zarr"
    for key, read in READERS.items():
        path = folder / "toy.zarr" / key
        good = path.read_bytes()
        if damage == "lost":
            path.unlink()
        else:
            place = len(good) // 8  # in the first chunk of a shard, that of weights, which all of these read
            path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        try:
            with pytest.raises(CorruptShardError, match=key) as raised:
                read(url)
        finally:
            path.write_bytes(good)
        assert f"{url}: " in str(raised.value)
        read(url)


def test_readers__of_a_whole_store_ask_for_no_file_more(folder, serve):
    served = serve(folder)
    profile = open_profile(f"{served.url}/toy.zarr", NAME, chunks=None)
    profile["loss"].load()
    asked = [request["path"] for request in served.requests() if "/c/" in request["path"]]
    assert sum("/loss/" in path for path in asked) == 3  # one for each shard
    assert not any("/status/" in path for path in asked)


def test_program__says_what_is_lost_and_prints_no_number(folder, serve, monkeypatch, capsys):
    url = f"{serve(folder).url}/toy.zarr"
    path: Path = folder / "toy.zarr" / NAME / "grad_count_network/c/1/0/0"
    good = path.read_bytes()
    path.unlink()
    words = ["correlate", url, "--accuracy", "digits/test", "--interval", "1e-4,5e-4"]
    monkeypatch.setattr("sys.argv", ["sweetgrad", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    path.write_bytes(good)
    said = capsys.readouterr()
    assert left.value.code == 1
    assert "error:" in said.err
    assert "grad_count_network/c/1/0/0 is missing" in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert said.out == ""
