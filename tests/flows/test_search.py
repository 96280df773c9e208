"""``sweetgrad search`` as a person types it, on a store of all of NAS-Bench-201 with made-up gradients."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.profiling import load_batch, load_space, make_spec
from sweetgrad.profiling.spaces.nas_bench_201 import num_params
from sweetgrad.store import COUNTS, Profile, create_profile, empty_rows, import_accuracy

SHARD = 625
LAYERS = ("cell0", "cell1")  # few, to be quick


def make_store(path, indices):
    """A profile whose weights all lie in one bin, and accuracies that follow the number of parameters, with noise."""
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    spec = make_spec(space, batch)
    archs = [space.arch_id(i) for i in range(len(space))]
    weights = np.array([num_params(arch) for arch in archs])
    name = create_profile(path, spec, arch=archs, layers=LAYERS, shard_size=SHARD).name
    for shard in Profile.open(path, name).plan(indices):
        rows = empty_rows([archs[i] for i in shard.rows], shard.rows, layers=LAYERS)
        rows.grad_count[:, 0, 0, 100] = weights[list(shard.rows)]
        rows.grad_count_network[:] = rows.grad_count.sum("layer")
        rows.num_params[:] = rows.grad_count.sum("bin")
        rows.layer_type[:] = 2
        rows.profile_seconds[:], rows.status[:] = 0.25, 1
        Profile.open(path, name).write(shard, {COUNTS: rows})
    Profile.open(path, name).finalise()
    noise = np.random.RandomState(0).random_sample(len(archs))
    parts = [
        pd.DataFrame(
            {
                "arch": archs,
                "dataset": "cifar10",
                "split": split,
                "epochs": epochs,
                "accuracy": 50 + weights / weights.max() * 40 + noise * (epochs == 12),
                "seconds": 100 + 100 * noise,
            }
        )
        for split, epochs in (("valid", 12), ("valid", 200), ("test", 200))
    ]
    import_accuracy(path, space="nas-bench-201", table=pd.concat(parts), source="made up")
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("search") / "s.zarr", range(15_625))


def run(*arguments, monkeypatch, columns=160):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def rows(out):
    """First word to the other words of every line."""
    return {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}


def test_search__prints_the_table_draws_and_saves(store, monkeypatch, tmp_path):
    arguments = ("search", store, "--estimator", "params", "--runs", 20, "--budget", 3000, "--samples", "5,20")
    more = ("--plot", tmp_path / "p.png", "--save", tmp_path / "runs.zarr")
    out = run(*arguments, *more, monkeypatch=monkeypatch)
    found = rows(out)
    for name in ("random/1", "params/5", "optimal/20", "rea", "s-rea/params", "s-bohb-model/params+cost"):
        assert name in found
    assert found["rea"][3] == "91.08"  # the paper's figure, beside mean ± sd
    assert found["params/5"][:3] == found["optimal/5"][:3]  # accuracy follows the number of parameters
    assert found["params/5"][-1] == "1"  # 5 scores of 0.25 s
    assert float(found["s-rea/params"][0]) > float(found["rea"][0])
    assert float(found["s-rea/params+cost"][-2]) < float(found["s-rea/params"][-2])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    saved = xr.open_zarr(tmp_path / "runs.zarr", consolidated=False)
    assert dict(saved.sizes)["run"] == 20
    assert saved.attrs["budget_s"] == 3000
    assert run(*arguments, monkeypatch=monkeypatch) == out.split("Figure in")[0]  # the same seed, the same table


def test_search__says_where_scores_are_estimated(store, monkeypatch):
    few = ("search", store, "--runs", 2, "--budget", 1000, "--samples", 5, "--algorithm", "s-rea")
    assert "counts are estimated" in run(*few, "--interval", "1.23e-4,5e-4", monkeypatch=monkeypatch)
    assert "estimated" not in run(*few, "--interval", "1e-4,5e-4", monkeypatch=monkeypatch)


def test_search__unassisted_needs_no_score(store, monkeypatch):
    found = rows(
        run(
            "search",
            store,
            "--unassisted",
            "--runs",
            5,
            "--budget",
            1000,
            "--algorithm",
            "rea",
            monkeypatch=monkeypatch,
        )
    )
    assert {"rea", "optimal/10"} <= set(found)
    assert not any(name.startswith(("s-", "bohb", "sweetimator")) for name in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", 50], "a budget of 50 s is smaller than one training"),
        (["--samples", "10;20"], "expected integers such as 10,100,1000, each from 1 to 1,000,000; got '10;20'"),
        (["--algorithm", "darts"], "expected algorithms among random, rea"),
        (["--estimator", "naswot"], "no estimator 'naswot' in the profile"),
        (["--accuracy", "cifar10/valid/13"], "expected DATASET/SPLIT/EPOCHS"),
        (["--interval", "1e-4"], "an interval is LOWER,UPPER"),
    ],
)
def test_search__says_what_is_wrong(store, monkeypatch, arguments, message):
    with pytest.raises(ValueError, match=message):
        run("search", store, "--estimator", "params", "--runs", 2, *arguments, monkeypatch=monkeypatch)


def test_search__keeps_the_name_of_an_algorithm_in_one_piece(store, monkeypatch):
    out = run(
        "search", store, "--estimator", "params", "--runs", 2, "--samples", "5", monkeypatch=monkeypatch, columns=60
    )
    assert "s-bohb-model/params+cost " in out


def test_search__says_that_a_budget_is_too_small_before_its_tables(store, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["sweetgrad", "search", str(store), "--unassisted", "--runs", "2", "--budget", "50"]
    )
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr()
    assert "a budget of 50 s" in shown.err
    assert "optimal" not in shown.out


def test_search__of_a_part_is_refused_but_selection_is_not(tmp_path, monkeypatch):
    part = make_store(tmp_path / "part.zarr", range(300))
    with pytest.raises(
        ValueError, match=r"score of sweetimator is missing for 15,325 of 15,625 architectures, the first \|"
    ):
        run("search", part, "--runs", 2, monkeypatch=monkeypatch)
    out = run("search", part, "--runs", 5, "--among-scored", "--samples", "3,60", monkeypatch=monkeypatch)
    assert {"random/1", "sweetimator/3", "optimal/60"} <= set(rows(out))
    assert "rea" not in rows(out)
    assert "300 architectures" in out
    assert "60 draws cover much of these 300" in out
    few = ("--runs", 2, "--among-scored", "--samples", "3", "--json")
    answer = json.loads(run("search", part, *few, monkeypatch=monkeypatch))
    assert {"random/1", "sweetimator/3"} <= {row["algorithm"] for row in answer["selection"]}
