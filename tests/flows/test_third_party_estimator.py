"""Another package's estimator, registered by its entry point alone: scheduled, stored, resumed, and correlated."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from sweetgrad.flows import estimate, profile
from sweetgrad.flows.cli import app as cli
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures, registered
from sweetgrad.store import info, open_estimators

NAME = "nas-bench-201/digits/bs8-seed42"
SETTINGS = {"dataset": "digits", "batch_size": 8, "device": "cpu", "workers": 1}


@pytest.fixture
def installed(install_page):
    code = install_page("add-an-estimator", "gradient_balance")
    assert len(code.strip().splitlines()) < 12


def test_third_party_estimator__goes_all_the_way(installed, tmp_path, prefect_api):
    assert "gradient_balance" in registered("estimators")
    store, console = tmp_path / "s.zarr", Console(file=io.StringIO())
    profile(store, archs="7800:7803", estimators=["gradient_balance"], console=console, **SETTINGS)
    first = open_estimators(store, NAME).sel(estimator="gradient_balance")
    assert first.status.values[7799:7807].tolist() == [0, 1, 1, 1, 0, 0, 0, 0]

    profile(store, archs="7800:7806", console=console, **SETTINGS)
    summary = estimate(store, NAME, estimators=["gradient_balance"], workers=1, console=console)
    assert (summary.num_asked, summary.num_done) == (6, 3)  # it went on where it was
    stored = open_estimators(store, NAME).sel(estimator="gradient_balance").isel(arch=slice(7800, 7806))
    np.testing.assert_array_equal(stored.seconds.values[:3], first.seconds.values[7800:7803])
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    rows = profile_architectures(
        space, range(7800, 7806), batch, make_spec(space, batch), estimators=["gradient_balance"]
    )
    np.testing.assert_array_equal(stored.score.values, rows.score.values[:, 0])
    assert ((stored.score > 0) & (stored.score < 1)).all()
    assert [each.name for each in info(store, NAME).profiles[0].estimators] == ["gradient_balance"]

    lines = [f"{arch},cifar10,test,200,{50 + i}" for i, arch in enumerate(stored.arch.values)]
    table = tmp_path / "accuracy.csv"
    table.write_text("\n".join(["arch,dataset,split,epochs,accuracy", *lines]) + "\n")
    for command in (
        ["accuracy", "import", store, "--space", "nas-bench-201", "--from", table],
        [
            "correlate",
            store,
            "--accuracy",
            "cifar10/test",
            "--estimators",
            "--bootstrap",
            "5",
            "--plot",
            tmp_path / "p.png",
        ],
    ):
        result = CliRunner().invoke(cli.app, [str(part) for part in command], env={"COLUMNS": "160"})
        assert result.exit_code == 0, result.exception
    assert re.search(r"gradient_balance +-?0\.\d{3}", result.stdout)
    assert re.search(r"sweetimator .* 0\.888 ", result.stdout)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
