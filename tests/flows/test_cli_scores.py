"""``sweetgrad scores``, and ``--json`` of every command that answers a question, on a small store made without networks."""

import csv
import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.store import COUNTS, LAYER_TYPES, ProfileSpec, create_profile, empty_rows, import_accuracy

LAYERS = ["stem", "cell", "cell", "cell", "head"]
ARCHS = [*(f"net{i}" for i in range(9)), "=1+1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten architectures, one of which failed; larger ones are better, and more of their gradients are large."""
    path = tmp_path_factory.mktemp("scores") / "s.zarr"
    rows = empty_rows(ARCHS, range(10), layers=[f"{name}{i}" for i, name in enumerate(LAYERS)])
    random = np.random.RandomState(0)
    rows.grad_count[:] = random.poisson(3, rows.grad_count.shape) + np.arange(10)[:, None, None, None]
    rows.grad_count[:, 2, 0] = 0
    rows.layer_type[:] = [LAYER_TYPES[name] for name in LAYERS]
    rows.status[:] = 1
    rows.status[3] = 2
    rows.grad_count_network[:] = rows.grad_count.sum("layer").values
    rows.num_params[:] = rows.grad_count.sum("bin").values
    spec = ProfileSpec(
        space="toy",
        dataset="own",
        batch_size=4,
        seed=0,
        num_classes=3,
        input_shape=(3, 8, 8),
        batch_sha256="0" * 64,
        arch_sha256=sha256("".join(f"{name}\n" for name in ARCHS).encode()).hexdigest(),
    )
    profile = create_profile(path, spec, arch=ARCHS, layers=rows.layer.values.tolist())
    (shard,) = profile.plan(range(10))
    profile.write(shard, {COUNTS: rows})
    profile.finalise()
    table = pd.DataFrame(
        {"arch": ARCHS, "dataset": "own", "split": "test", "epochs": 3, "accuracy": np.arange(10) + 50.0}
    )
    import_accuracy(path, space="toy", table=table, source="made up")
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_scores__shows_the_best_with_their_regret(store: Path) -> None:
    out = run("scores", store, "--top", "2", "--split", "1")
    lines = [line.split() for line in out.splitlines()]
    assert [line[:3] for line in lines if line and line[0] in ARCHS] == [["=1+1", "1", "9"], ["net8", "2", "8"]]
    assert "regret" in out
    assert "1 architectures have no score" in out
    assert "33% of the layers that were compared have no weights" in out


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".json", ".parquet"])
def test_scores__writes_all_of_them(store: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"scores{suffix}"
    run("scores", store, "--interval", "1e-4,5e-4", "--top", "1", "--out", out)
    if suffix == ".csv":
        with out.open(newline="") as file:
            assert next(csv.DictReader(file))["arch"] == "'=1+1"  # which no spreadsheet runs
    if suffix == ".json":
        table = pd.DataFrame(json.loads(out.read_text()))
    else:
        table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    assert len(table) == 9
    assert table["rank"].tolist() == list(range(1, 10))
    assert table["index"].tolist() == [9, 8, 7, 6, 5, 4, 2, 1, 0]
    assert table["own/test"].tolist() == [59.0, 58.0, 57.0, 56.0, 55.0, 54.0, 52.0, 51.0, 50.0]


def test_scores__combines_log_ranks(store: Path) -> None:
    answer = json.loads(run("scores", store, "--estimators", "params_live", "--combine", "log-rank", "--json"))
    assert answer["ranked_by"] == ["sweetimator", "params_live"]
    first = answer["architectures"][0]
    assert (first["arch"], first["combined"], first["rank"], first["regret"]) == ("=1+1", 0.0, 1, 0.0)
    assert len(answer["architectures"]) == 9


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["intervals", "--bootstrap", "5"], {"profile", "interval", "sweetness", "win_rate", "table", "verdict"}),
        (["intervals", "--weightless", "skip", "--bootstrap", "5"], {"weightless", "weightless_share"}),
        (
            ["correlate", "--bootstrap", "5", "--all-intervals"],
            {"profile", "accuracy", "scores", "verdict", "intervals"},
        ),
        (["correlate", "--bootstrap", "5", "--estimators", "--top", "3"], {"estimators", "top"}),
        (["info"], {"location", "profiles", "accuracies"}),
        (["scores"], {"interval", "win_rate", "verdict", "architectures"}),
    ],
)
def test_json__is_the_whole_output(store: Path, arguments: list[str], keys: set[str]) -> None:
    answer = json.loads(run(arguments[0], store, *arguments[1:], "--json"))
    assert keys <= set(answer)


def test_json__of_status_and_verify_are_lists(store: Path) -> None:
    (profile,) = json.loads(run("status", store, "--json"))
    assert (profile["num_ok"], profile["num_failed"], profile["num_archs"]) == (9, 1, 10)
    assert json.loads(run("verify", store, "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--combine", "rank"], "--combine needs --estimators"),
        (["--estimators", "snip"], "no scores of 'snip': there are scores of sweetimator, params"),
        (["--out", "scores.xlsx"], "expected a file name that ends in .csv, .csv.gz, .parquet, .json"),
    ],
)
def test_scores__explains_bad_input(store, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweetgrad", "scores", str(store), *arguments])
    with pytest.raises(SystemExit) as error:
        cli.main()
    assert error.value.code in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())
