"""Another package's block, registered by its entry point alone: measured, resumed, verified, and a number derived from it."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.profiling import load_batch, load_space, make_spec, measure_network, registered
from sweetgrad.profiling.measure import Builder
from sweetgrad.store import info, open_block, verify

NAME = "nas-bench-201/digits/bs8-seed42"
SETTINGS = {"dataset": "digits", "batch_size": 8, "device": "cpu", "workers": 1}


@pytest.fixture
def installed(install_page):
    code = install_page("add-a-block", "gradient_tails")
    assert len(code.strip().splitlines()) < 40


def test_third_party_block__goes_all_the_way(installed, tmp_path, prefect_api, monkeypatch):
    assert "gradient_tails" in registered("blocks")
    store, console = tmp_path / "s.zarr", Console(file=io.StringIO())
    profile(store, archs="7800:7803", blocks=["gradient_tails"], console=console, **SETTINGS)
    first = open_block(store, NAME, "gradient_tails").load()
    assert first.status.values[7799:7805].tolist() == [0, 1, 1, 1, 0, 0]

    summary = profile(store, archs="7800:7804", blocks=["gradient_tails", "tensor_sums"], console=console, **SETTINGS)
    assert (summary.num_asked, summary.num_done) == (4, 4)  # the first three lacked the other block
    tails, sums = (open_block(store, NAME, block).load() for block in ("gradient_tails", "tensor_sums"))
    np.testing.assert_array_equal(tails.seconds.values[7800:7803], first.seconds.values[7800:7803])
    assert {(block.name, block.num_ok) for block in info(store, NAME).profiles[0].blocks} == {
        ("gradient_tails", 4),
        ("tensor_sums", 4),
    }

    kurtosis = sums.tensor_size * tails.tensor_grad_quartic_sum / sums.tensor_grad_sq_sum.astype(float) ** 2
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    network = Builder(space, space.arch_id(7803), make_spec(space, batch)).network()
    measure_network(network, torch.from_numpy(batch.x), torch.from_numpy(batch.y))
    for name, (layer, weight) in network.named_parameters()["tensor"].items():
        found = kurtosis[7803].sel(tensor=name)
        assert found.tensor_layer.item() == layer
        g = np.zeros(weight.shape) if weight.grad is None else weight.grad.double().numpy()
        with np.errstate(invalid="ignore"):
            expected = g.size * (g**4).sum() / (g**2).sum() ** 2
        np.testing.assert_allclose(found, expected, rtol=1e-3)  # the sums are rounded
    absent = sorted(set(kurtosis.tensor.values) - network.named_parameters()["tensor"].keys())
    assert kurtosis[7803].sel(tensor=absent).isnull().all()
    assert verify(store) == []

    # Where the package is not installed, the block is read and verified all the same.
    monkeypatch.undo()
    assert "gradient_tails" not in registered("blocks")
    again = open_block(store, NAME, "gradient_tails")
    np.testing.assert_array_equal(again.tensor_grad_quartic_sum, tails.tensor_grad_quartic_sum)
    assert verify(store) == []
    with pytest.raises(ValueError, match="no block named 'gradient_tails'"):
        profile(store, archs="7800:7804", blocks=["gradient_tails"], console=console, **SETTINGS)
