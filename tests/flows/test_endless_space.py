"""A space that is an endless list: profiled in part, grown, and scored by what its spec records."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweetgrad.flows import estimate, profile
from sweetgrad.flows.inputs import find_table
from sweetgrad.flows.parameters import command_of
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.spaces.nds import NdsPnas
from sweetgrad.store import SpecMismatchError, open_estimators, open_profile, verify

SETTINGS: dict[str, Any] = {"space": "darts", "dataset": "digits", "batch_size": 8, "device": "cpu", "workers": 1}
SMALL = {"channels": 4, "cells": 3}
NAME = "darts/digits/bs8-seed42-c4-n3"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.mark.usefixtures("worker_in_this_process")
def test_profile__an_endless_space_grows_and_is_scored(tmp_path: Path, prefect_api: str) -> None:
    store = tmp_path / "s.zarr"
    options = {**SMALL, "num_archs": 6}
    first = profile(store, archs="sample:3", space_options=options, shard_size=4, console=quiet(), **SETTINGS)
    assert (first.name, first.num_done) == (NAME, 3)
    again = profile(store, archs="sample:3", space_options=options, console=quiet(), **SETTINGS)
    assert again.num_done == 0
    more = profile(store, archs="all", space_options={**SMALL, "num_archs": 9}, console=quiet(), **SETTINGS)
    assert more.num_done == 6
    assert estimate(store, NAME, estimators=["params"], workers=1, console=quiet()).num_done == 9
    stored = open_profile(store, NAME).load()
    space = load_space("darts", options=SMALL)
    batch = load_batch("digits", batch_size=8)
    rows = profile_architectures(space, range(9), batch, make_spec(space, batch))
    assert stored.arch.values.tolist() == rows.arch.values.tolist()
    assert (stored.grad_count.values == rows.grad_count.values).all()
    params = open_estimators(store, NAME)["score"].sel(estimator="params").values
    assert params.tolist() == rows.num_params.sum(("layer", "kind")).values.tolist()
    assert stored.attrs["spec"]["space_options"] == SMALL
    assert verify(store) == []


def test_profile__other_channels_are_another_profile_and_bad_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="channels must be an integer"):
        profile(tmp_path / "s.zarr", space_options={"channels": "many"}, console=quiet(), **SETTINGS)
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.usefixtures("worker_in_this_process")
def test_profile__a_table_is_not_continued_with_draws(tmp_path: Path, prefect_api: str) -> None:
    table = tmp_path / "table.csv"
    space = load_space("darts")
    table.write_text("genotype\n" + "".join(f'"{space.arch_id(i)}"\n' for i in (5, 3)))
    store = tmp_path / "s.zarr"
    done = profile(store, space_file=table, space_options=SMALL, console=quiet(), **SETTINGS)
    assert done.num_done == 2
    with pytest.raises(SpecMismatchError, match="arch_sha256"):
        profile(store, space_options=SMALL, archs="0:2", console=quiet(), **SETTINGS)


def test_command_of__repeats_the_options_of_the_space() -> None:
    asked = {"store": "s.zarr", "space": "darts", "space_options": {"channels": 16, "cells": 8}}
    assert command_of(profile, asked) == (
        "sweetgrad profile s.zarr --space-option channels=16 --space-option cells=8 --space darts"
    )


def test_find_table__asks_the_space_where_its_table_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_table("nds-pnas", tmp_path) is None
    monkeypatch.setattr(NdsPnas, "fetch_table", classmethod(lambda cls, folder: folder / "fetched.json"))
    assert find_table("nds-pnas", tmp_path, download=True) == tmp_path / "fetched.json"
    (tmp_path / "PNAS.json").write_text("[]")
    assert find_table("nds-pnas", tmp_path, download=True) == tmp_path / "PNAS.json"
    (tmp_path / "nds_data").mkdir()
    (tmp_path / "nds_data" / "PNAS.json").write_text("[]")
    assert find_table("nds-pnas", tmp_path) == tmp_path / "nds_data" / "PNAS.json"
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "darts.csv.gz").write_text("")
    assert find_table("darts", tmp_path) is None  # draws, unless a table is asked for
