"""``sweetgrad figure``, ``report`` and ``explore`` as a person types them, on the golden store."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "format-1.zarr"


def run(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_figure_list__names_every_figure():
    out = run("figure", "list")
    for name in ("estimators", "heatmap", "depth", "num-archs", "batch-size", "seed", "gradients", "scatter"):
        assert name in out


@pytest.mark.parametrize(("file", "start"), [("g.png", b"\x89PNG"), ("g.svg", b"<?xml"), ("g.pdf", b"%PDF")])
def test_figure__is_drawn_in_the_format_of_its_suffix(file, start, tmp_path):
    out = run("figure", "gradients", GOLDEN, "--interval", "1e-4,5e-4", "--out", tmp_path / file)
    assert (tmp_path / file).read_bytes().startswith(start)
    assert "toy/synthetic/bs4-seed42" in out


def test_report__is_one_file(tmp_path):
    out = run("report", GOLDEN, "--out", tmp_path / "r.html", "--bootstrap", "20")
    assert "r.html" in out
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "toy/synthetic/bs4-seed42" in text
    assert "out of memory" in text


def test_explore__is_one_file(tmp_path):
    out = run("explore", GOLDEN, "toy/synthetic/bs4-seed42", "--out", tmp_path / "e.html")
    assert "e.html" in out
    text = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "toy/synthetic/bs4-seed42" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure", "nope"], "unknown figure 'nope', expected one of estimators"),
        (["figure", "heatmap"], "name a store"),
        (["figure", "heatmap", str(GOLDEN), "toy/synthetic/bs4-seed43"], "it holds toy/synthetic/bs4-seed42"),
        (["figure", "seed", str(GOLDEN)], "Profile with another --seed"),
        (["figure", "depth", str(GOLDEN), "--interval", "1e-4"], "an interval is LOWER,UPPER"),
        (["report", str(GOLDEN), "--profiles", "x"], "no profile x"),
        (["report", str(GOLDEN), "--accuracy", "cifar10/tset"], "no accuracies 'cifar10/tset' of toy; available"),
        (["report", "nowhere.zarr"], "no store at nowhere.zarr"),
        (["explore", str(GOLDEN), "x"], "no profile x"),
        (["explore", str(GOLDEN), "--accuracy", "cifar10/tset"], "no accuracies 'cifar10/tset'; available"),
        (["explore", str(GOLDEN), "--out", "x.pdf"], "expected a file name that ends in .html"),
        (["explore", "nowhere.zarr"], "no store at nowhere.zarr"),
    ],
)
def test_main__an_error_is_one_message_and_status_1(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweetgrad", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    assert message in capsys.readouterr().err
