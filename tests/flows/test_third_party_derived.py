"""Another package's derived estimator, registered by its entry point alone: shown beside all others, without a network."""

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from sweetgrad.analysis import derived_estimators, open_statistics
from sweetgrad.flows.cli import app as cli
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_shard
from sweetgrad.profiling.architectures import load_functions
from sweetgrad.store import Profile, create_profile, import_accuracy


def test_third_party_derived_estimator__goes_all_the_way(install_page, tmp_path, monkeypatch):
    code = install_page("add-a-derived-estimator", "log_gradients")
    assert len(code.strip().splitlines()) < 40
    store, space, batch = tmp_path / "s.zarr", load_space("nas-bench-201"), load_batch("digits", batch_size=4)
    spec = make_spec(space, batch)
    archs = [space.arch_id(row) for row in range(len(space))]
    name = create_profile(store, spec, arch=archs, layers=space.layer_names).name
    functions = load_functions((), ["tensor_sums"], spec=spec, batch=batch)
    Profile.open(store, name).add_blocks(functions, axes=space.parameter_axes())
    for shard in Profile.open(store, name).plan(range(7800, 7804), [*functions]):
        profile_shard(Profile.open(store, name), shard, space, batch, spec, blocks=["tensor_sums"])
    Profile.open(store, name).finalise()

    data = open_statistics(store, name)
    scores = derived_estimators()["log_gradients"](data)
    row = data.tensor_grad_sq_sum.values[7800].astype(float)
    assert scores.values[7800] == np.log(row[row > 0]).sum()
    assert np.isfinite(scores.values).sum() == 4

    columns = {
        "arch": archs[7800:7804],
        "dataset": "digits",
        "split": "test",
        "epochs": 20,
        "accuracy": [50.0, 51, 52, 53],
    }
    import_accuracy(store, space="nas-bench-201", table=pd.DataFrame(columns), source="a table")
    monkeypatch.setenv("COLUMNS", "200")
    command = ["correlate", str(store), "--accuracy", "digits/test", "--estimators", "--bootstrap", "5"]
    shown = CliRunner().invoke(cli.app, command)
    assert shown.exit_code == 0, shown.output
    assert "log_gradients" in shown.output
    assert "snip" in shown.output  # derived too, as nobody stored it
