"""``sweetgrad train``: the flow in this process, and the one long training."""

import io
import resource
import shutil
import signal

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from sweetgrad.flows import train
from sweetgrad.flows.cli.app import app
from sweetgrad.flows.train_one import train_one
from sweetgrad.profiling import load_examples, load_space
from sweetgrad.profiling.training import RECIPES, TrainingConfig, make_trainer, save_checkpoint, train_architecture
from sweetgrad.store import (
    CorruptShardError,
    NotAStoreError,
    SpecMismatchError,
    open_accuracies,
    open_accuracy,
    open_training,
    verify,
)
from sweetgrad.store.access import open_root
from sweetgrad.store.format.arrays import write_array

RECIPE = RECIPES["digits-201"].changed(epochs=1)
ROWS = [0, 1]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prefect_api, in_this_process):
    """Two architectures, the second seed after the first."""
    store, console = tmp_path_factory.mktemp("train") / "s.zarr", quiet()
    settings = {"recipe": RECIPE, "archs": "0:2", "workers": 1, "device": "cpu"}
    with in_this_process():
        first = train(store, seeds=[0], console=console, **settings)
        second = train(store, seeds=[0, 1], console=console, **settings)
    return store, first, second, console.file.getvalue()


def test_train__writes_what_the_plain_function_gives_and_trains_nothing_twice(trained):
    store, first, second, output = trained
    assert (first.num_asked, first.num_done, first.num_left, first.num_failed) == (2, 2, 0, 0)
    assert (second.num_asked, second.num_done, second.num_archs) == (4, 2, 2)
    assert "nas-bench-201/training/digits/seed1: 2 of 2 architectures to train" in output
    space = load_space("nas-bench-201")
    for seed in (0, 1):
        stored = open_training(store, f"nas-bench-201/training/digits/seed{seed}")
        for row in ROWS:
            plain = train_architecture(TrainingConfig(space, "digits", None, RECIPE, seed), space.arch_id(row))
            assert stored["accuracy"].values[row].tolist() == plain["accuracy"]
    seeds = [open_accuracy(store, "nas-bench-201", f"digits/seed{seed}/test").values[ROWS] for seed in (0, 1)]
    np.testing.assert_allclose(
        open_accuracy(store, "nas-bench-201", "digits/test").values[ROWS], np.mean(seeds, axis=0)
    )
    assert open_accuracies(store, "nas-bench-201").attrs["sources"][0]["settings"]["recipe"] == RECIPE.to_attrs()
    assert verify(store) == []


def test_train__continues_where_a_row_is_missing(trained, tmp_path, worker_in_this_process):
    store = tmp_path / "s.zarr"
    shutil.copytree(trained[0], store)
    name = "nas-bench-201/training/digits/seed0"
    before = open_training(store, name)["accuracy"].values
    chunk = store / name / "status" / "c" / "0"
    good = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(CorruptShardError, match=r"status/c/0 is missing.*--repair"):  # a run that ended has seen it
        train(store, recipe=RECIPE, archs="0:2", seeds=[0, 1], workers=1, device="cpu", console=quiet())
    chunk.write_bytes(good)
    group = open_root(store, mode="r+")[name]
    write_array(
        group, "status", slice(0, 2), np.zeros(2, "uint8")
    )  # as if the run had been killed while it trained them again
    summary = train(store, recipe=RECIPE, archs="0:2", seeds=[0, 1], workers=1, device="cpu", console=quiet())
    assert summary.num_done == 2
    np.testing.assert_array_equal(open_training(store, name)["accuracy"].values, before)


def test_train__refuses_another_recipe_under_the_same_label(trained):
    with pytest.raises(
        SpecMismatchError,
        match=r"recipe.epochs: stored 1, requested 2\nUse.*keep these accuracies separate under another --label",
    ):
        train(trained[0], recipe=RECIPE.changed(epochs=2), archs="0:2", console=quiet())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"seeds": []}, "expected one or more seeds"),
        ({"label": "digits/mine"}, "expected a label without '/'"),
        ({"label": ""}, "expected a label without '/'"),
        ({"recipe": RECIPES["darts-cifar"]}, "network of cells with edges.*use another recipe"),
        (
            {"recipe": RECIPES["darts-cifar"], "space": "darts", "space_options": {"channels": 4, "cells": 3}},
            "needs 8x8 pixels after the second reduction cell, but images of 8x8 leave 2x2",
        ),
        ({"dataset": "digit"}, "no data set named 'digit'"),
        ({"recipe": RECIPE.changed(batch_size=301)}, "300 training images, fewer than a batch of 301"),
    ],
)
def test_train__says_what_is_wrong_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "new.zarr", **{"recipe": RECIPE, "console": quiet(), **settings})
    assert not (tmp_path / "new.zarr").exists()


def test_train_one__goes_on_from_its_checkpoint_and_ends_where_it_would_have(tmp_path, monkeypatch):
    """The DARTS recipe on 64 of the synthetic images; an epoch is interrupted by an error."""
    from sweetgrad.profiling.training import architectures

    images = load_examples("synthetic")
    small = type(images)(images.name, images.x[:64], images.y[:64], images.num_classes)
    monkeypatch.setattr(architectures, "load_examples", lambda *_, **__: small)
    architectures._load.cache_clear()
    architectures._tensors.cache_clear()
    arch = load_space("darts").arch_id(3)
    settings = {
        "recipe": RECIPES["darts-cifar"].changed(epochs=3, batch_size=20),
        "space_options": {"channels": 4, "cells": 3},
        "dataset": "synthetic",
        "device": "cpu",
    }
    whole = quiet()
    train_one(tmp_path / "a.zarr", arch, checkpoints=tmp_path / "a", console=whole, **settings)
    run_epoch, left = architectures.Trainer.run_epoch, [1]

    def cut_off(trainer):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return run_epoch(trainer)

    parts = quiet()
    with monkeypatch.context() as patch:
        patch.setattr(architectures.Trainer, "run_epoch", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train_one(tmp_path / "b.zarr", arch, checkpoints=tmp_path / "b", console=parts, **settings)
    torch.rand(5)
    report = train_one(tmp_path / "b.zarr", arch, checkpoints=tmp_path / "b", console=parts, **settings)
    architectures._load.cache_clear()
    architectures._tensors.cache_clear()
    assert report is not None
    assert "Resuming after epoch 1 of 3" in parts.file.getvalue()
    losses = [
        [line.partition(",")[0] for line in console.file.getvalue().splitlines() if line.startswith("epoch")]
        for console in (whole, parts)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3
    same = [open_accuracies(tmp_path / store, "darts")["accuracy"].values for store in ("a.zarr", "b.zarr")]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "a/b"}, "expected a label without '/'"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"arch": "nonsense"}, "not a NAS-Bench-201 architecture"),
        ({"checkpoints": "file"}, "--checkpoints must be a folder, and .*file is a file"),
        ({"store": "file"}, "file is a file: expected a folder of a zarr store"),
        ({"store": "folder"}, "is not a sweetgrad store"),
    ],
)
def test_train_one__says_what_is_wrong_before_it_trains(settings, message, tmp_path):
    (tmp_path / "file").write_text("something else")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes").write_text("something else")
    paths = {key: tmp_path / settings.get(key, key) for key in ("store", "checkpoints")}
    arch = load_space("nas-bench-201").arch_id(3)
    given = {"arch": arch, "space": "nas-bench-201", "dataset": "digits", "recipe": RECIPE, "device": "cpu"}
    console = quiet()
    with pytest.raises((ValueError, NotAStoreError), match=message):
        train_one(**{**given, **settings, **paths, "console": console})
    assert "epoch 1" not in console.file.getvalue()
    assert not (tmp_path / "store").exists()


def test_cli_train__refuses_options_that_are_not_for_one_network(tmp_path):
    with pytest.raises(ValueError, match="--archs, --retry-failed does not apply: omit it"):
        CliRunner().invoke(
            app,
            ["train", str(tmp_path / "s"), "--arch", "x", "--archs", "0:2", "--retry-failed"],
            catch_exceptions=False,
        )


def test_cli_train__shows_why_trainings_failed(tmp_path, prefect_api, worker_in_this_process):
    shown = CliRunner().invoke(
        app,
        ["train", str(tmp_path / "s"), "--archs", "5", "--epochs", "1", "--learning-rate", "1e30", "--workers", "1"],
    )
    assert shown.exit_code == 1
    assert "1 of 1 failed, the first with: DivergedError: the loss is" in " ".join(shown.output.split())


def test_checkpoint__says_that_the_disk_is_full(tmp_path):
    space = load_space("nas-bench-201")
    trainer, _ = make_trainer(TrainingConfig(space, "digits", None, RECIPE, 0), space.arch_id(3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path / "c.npz", trainer, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []
