"""Another package's search space, registered by its entry point alone: checked, profiled, resumed, and correlated."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from sweetgrad.flows import profile
from sweetgrad.flows.cli import app as cli
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures, registered
from sweetgrad.profiling.testing import check_space
from sweetgrad.store import open_profile, verify

NAME = "residual/digits/bs8-seed42"


@pytest.fixture
def installed(install_page):
    code = install_page("add-a-search-space", "residual_space")
    assert len(code.strip().splitlines()) < 40


def test_third_party_space__goes_all_the_way(installed, tmp_path, prefect_api):
    assert "residual" in registered("spaces")
    check_space("residual", archs=["3-1-5-7"], image_size=8)
    store, console = tmp_path / "s.zarr", Console(file=io.StringIO())
    settings = {"space": "residual", "dataset": "digits", "batch_size": 8, "device": "cpu", "workers": 1}
    profile(store, archs="0:3", console=console, **settings)
    first = open_profile(store, NAME)
    assert first.status.values.tolist() == [1] * 3 + [0] * 253
    seconds = first.profile_seconds.values[:3]

    summary = profile(store, archs="0:8", console=console, **settings)
    assert (summary.num_asked, summary.num_done) == (8, 5)  # it went on where it was
    stored = open_profile(store, NAME).isel(arch=slice(8))
    np.testing.assert_array_equal(stored.profile_seconds.values[:3], seconds)
    space, batch = load_space("residual"), load_batch("digits", batch_size=8)
    rows = profile_architectures(space, range(8), batch, make_spec(space, batch))
    for variable in ("grad_count", "grad_abs_sum", "num_params", "layer_type", "loss", "status"):
        np.testing.assert_array_equal(stored[variable].values, rows[variable].values, err_msg=variable)
    assert stored.layer.values.tolist() == list(space.layer_names)
    assert verify(store) == []

    lines = [f"{arch},cifar10,test,200,{50 + i}" for i, arch in enumerate(stored.arch.values)]
    table = tmp_path / "accuracy.csv"
    table.write_text("\n".join(["arch,dataset,split,epochs,accuracy", *lines]) + "\n")
    for command in (
        ["accuracy", "import", store, "--space", "residual", "--from", table],
        ["correlate", store, "--accuracy", "cifar10/test", "--bootstrap", "5"],
    ):
        result = CliRunner().invoke(cli.app, [str(part) for part in command], env={"COLUMNS": "160"})
        assert result.exit_code == 0, result.exception
    assert "residual cifar10/test, 8 architectures" in result.stdout
    assert re.search(r"params +-?\d\.\d{3}", result.stdout)


def test_third_party_space__without_names_of_parameters_refuses_blocks_along_them(installed, tmp_path):
    settings = {
        "space": "residual",
        "dataset": "digits",
        "batch_size": 8,
        "device": "cpu",
        "workers": 1,
        "archs": "0:3",
    }
    with pytest.raises(
        ValueError, match=r"\(synflow\) need .* 'residual' has no parameter_axes\(\): leave these blocks out, or"
    ):
        profile(tmp_path / "s.zarr", blocks=["noise_pass", "synflow"], **settings)
    assert not (tmp_path / "s.zarr").exists()
