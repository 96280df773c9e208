"""A search whose networks are run on the way: the same whether or not it was cut off, and nothing run twice."""

import io
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from sweetgrad import profiling
from sweetgrad.analysis import best_interval, score
from sweetgrad.analysis.intervals import Interval
from sweetgrad.flows import Evolution, estimate, evolution, select_archs
from sweetgrad.flows import evolve as search
from sweetgrad.flows.cli.app import app
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.profiling.spaces.darts import Darts
from sweetgrad.store import (
    LockedError,
    SpecMismatchError,
    creation,
    lock_shard,
    open_estimators,
    open_profile,
    stored_archs,
    verify,
)

SMALL: dict[str, Any] = {
    "space": "darts",
    "dataset": "digits",
    "space_options": {"channels": 2, "cells": 3},
    "batch_size": 4,
    "num_random": 3,
    "cycles": 9,
    "population": 3,
    "tournament": 2,
    "device": "cpu",
}
NAME = "darts/digits/bs4-seed42-c2-n3-search"


def evolve(store: Path, **changes: Any) -> Evolution:
    return search(store, console=Console(file=io.StringIO()), **{**SMALL, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evolution]:
    store = tmp_path_factory.mktemp("whole") / "s.zarr"
    return store, evolve(store)


def same(a: Evolution, b: Evolution) -> bool:
    return (a.arch, a.score, a.interval, a.num_networks) == (b.arch, b.score, b.interval, b.num_networks) and (
        a.history.identical(b.history)
    )


def test_evolve__is_the_literal_search(whole: tuple[Path, Evolution]) -> None:
    space: Any = load_space("darts", options=SMALL["space_options"])
    batch = load_batch("digits", batch_size=4)
    spec, random = make_spec(space, batch), np.random.RandomState([0, 0])
    sample = profile_architectures(space, select_archs("sample:3", ArchIds(space), space=space.name), batch, spec)
    interval = best_interval(sample).interval
    alive: deque[tuple[str, float]] = deque(maxlen=3)
    history: list[tuple[str, float]] = []
    while len(history) < 9:
        if len(history) < 3:
            arch = space.arch_id(int(random.random_sample() * len(space)))
        else:
            drawn = [alive[int(u * 3)] for u in random.random_sample(2)]
            arch = space.mutate(max(drawn, key=lambda one: one[1])[0], random)
        one: Any = load_space("darts", options=SMALL["space_options"])
        one.arch_id = lambda index, arch=arch: arch
        value = float(score(profile_architectures(one, [0], batch, spec), interval)[0])
        alive.append((arch, value))
        history.append((arch, value))
    _, found = whole
    assert found.interval == interval
    pairs = zip(found.history["arch"].values.tolist(), found.history["score"].values.tolist(), strict=True)
    assert list(pairs) == history
    assert (found.arch, found.score) == max(history, key=lambda one: one[1])


def test_evolve__runs_nothing_twice_and_other_searches_share_the_profile(whole: tuple[Path, Evolution]) -> None:
    store, found = whole
    again = evolve(store)
    assert same(again, found)
    assert (found.num_run, again.num_run) == (found.num_networks, 0)
    assert again.network_seconds == found.network_seconds
    longer = evolve(store, cycles=11)
    assert longer.num_run <= 2
    assert longer.history.isel(cycle=slice(9)).identical(found.history)
    other = evolve(store, search_seed=1, cycles=4)
    assert not np.isin(other.history["arch"].values, found.history["arch"].values).all()
    assert (
        len(stored_archs(store, NAME)) == len(set(stored_archs(store, NAME))) == open_profile(store, NAME).sizes["arch"]
    )
    assert verify(store) == []


@pytest.mark.parametrize(
    ("room", "nth"), [("profile_shard", 2), ("profile_shard", 7), ("write_archs", 4), ("_lengthen", 30)]
)
def test_evolve__cut_off_anywhere_it_ends_in_the_same_store(
    whole: tuple[Path, Evolution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str, nth: int
) -> None:
    place: Any = evolution if room == "profile_shard" else creation
    calls, real = [], getattr(place, room)

    def cut_off(*args: Any, **kwargs: Any) -> Any:
        calls.append(room)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(place, room, cut_off)
        with pytest.raises(KeyboardInterrupt):
            evolve(tmp_path / "s.zarr")
    found = evolve(tmp_path / "s.zarr")
    assert found.num_run < found.num_networks or nth == 2
    store, expected = whole
    assert same(found, expected)
    num = found.num_networks
    here, there = (open_profile(each, NAME).isel(arch=slice(num)).load() for each in (tmp_path / "s.zarr", store))
    assert here.drop_vars("profile_seconds").equals(there.drop_vars("profile_seconds"))
    assert verify(tmp_path / "s.zarr") == []


def test_evolve__ctrl_c_finishes_the_network_in_hand(
    whole: tuple[Path, Evolution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., int] = evolution.profile_shard  # type: ignore[attr-defined]  # it is replaced where it is used
    calls: list[None] = []

    def interrupted(*args: Any, **kwargs: Any) -> int:
        calls.append(None)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(evolution, "profile_shard", interrupted)
        part = evolve(tmp_path / "s.zarr")
    assert (part.num_run, part.num_left) == (6, 6)
    done = evolve(tmp_path / "s.zarr")
    assert done.num_left == 0
    assert done.num_run == whole[1].num_networks - 6
    assert same(done, whole[1])


def test_evolve__a_network_that_fails_is_nobodys_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = evolution.SearchedSpace.build, []

    def build(self: Any, arch_id: str, **settings: Any) -> Any:
        calls.append(arch_id)
        if len(calls) == 5:
            raise MemoryError("too large")
        return real(self, arch_id, **settings)

    monkeypatch.setattr(evolution.SearchedSpace, "build", build)
    found = evolve(tmp_path / "s.zarr")
    scores = found.history["score"].values
    assert np.flatnonzero(np.isnan(scores)).tolist() == [1]
    assert found.score == np.nanmax(scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cycles": 2}, "2 cycles are fewer than the population of 3"),
        ({"tournament": 0}, "tournament must be at least 1"),
        ({"num_random": 1}, "num_random must be at least 2"),
        ({"space": "dart"}, "no search space named 'dart'"),
        ({"dataset": "digit"}, "no data set named 'digit'"),
        ({"space": "no-mutation"}, r"no method mutate\(arch_id, random\)"),
        ({"space": "nas-bench-201", "space_options": {}, "needs_genotypes": True}, "is not a genotype: omit --plot"),
    ],
)
def test_evolve__names_what_is_wrong_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    if changes.get("space") == "no-mutation":
        monkeypatch.delattr(Darts, "mutate")
        changes = {}
    with pytest.raises(ValueError, match=message):
        evolve(tmp_path / "s.zarr", **changes)
    assert not (tmp_path / "s.zarr").exists()


def test_evolve__leaves_a_profile_that_another_search_holds_or_that_is_of_other_images(
    whole: tuple[Path, Evolution], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = whole
    with lock_shard(store, NAME, 0, run="another"), pytest.raises(LockedError, match="held by process"):
        evolve(store)
    monkeypatch.setattr(profiling, "load_batch", lambda name, **settings: load_batch(name, **{**settings, "seed": 1}))
    with pytest.raises(SpecMismatchError, match="batch_sha256"):
        evolve(store)


def test_evolve__searches_nas_bench_201_with_a_given_interval(tmp_path: Path) -> None:
    interval = Interval("1e-4", "1e-3")
    found = evolve(
        tmp_path / "s.zarr", space="nas-bench-201", space_options={}, interval=interval, cycles=5, num_random=2
    )
    assert found.name == "nas-bench-201/digits/bs4-seed42-search"
    assert (found.interval, found.choice, found.arch[0]) == (interval, None, "|")


def test_estimate__scores_what_a_search_came_to(
    whole: tuple[Path, Evolution], tmp_path: Path, prefect_api: str, worker_in_this_process
) -> None:
    store = tmp_path / "s.zarr"
    shutil.copytree(whole[0], store)
    console = Console(file=io.StringIO())
    found = estimate(store, NAME, estimators=["params", "te_nas_condition"], workers=1, console=console)
    assert (found.num_asked, found.num_left, found.num_failed) == (len(stored_archs(store, NAME)), 0, 0)
    space: Any = load_space("darts", options=SMALL["space_options"])
    scores = open_estimators(store, NAME)["score"].sel(estimator="params")
    for arch, params in zip(stored_archs(store, NAME), scores.values.tolist(), strict=True):
        assert params == space.costs(arch, num_classes=10).params
    again = evolve(store)
    assert same(again, evolve(whole[0]))
    assert verify(store) == []


def test_cli_evolve__prints_the_genotype_and_draws_it(whole: tuple[Path, Evolution], tmp_path: Path) -> None:
    store, _ = whole
    command = f"evolve {store} --dataset digits --batch-size 4 --random 3 --cycles 9 --population 3 --tournament 2 --device cpu"
    options = ["--space-option", "channels=2", "--space-option", "cells=3"]
    pictures = [tmp_path / "c.png", tmp_path / "c.svg"]
    shown = CliRunner().invoke(app, [*command.split(), *options, *(f"--plot={path}" for path in pictures)])
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.output.split())
    assert "9 cycles, " in words
    assert ", 0 of them run now: " in words
    assert whole[1].arch in shown.output.replace("\n", "")
    assert all(path.stat().st_size > 1000 for path in pictures)
    assert "estimated" not in shown.output
    shown = CliRunner().invoke(app, [*command.split(), *options, "--interval", "1.23e-4,5e-4"])
    assert "counts are estimated" in " ".join(shown.output.split())
