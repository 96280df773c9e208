"""Command lines in messages can be copied into a shell."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import sweetgrad.store
from sweetgrad.flows.cli import app as cli
from sweetgrad.store import (
    COUNTS,
    NotAStoreError,
    Profile,
    RemoteStore,
    create_profile,
    open_accuracies,
    open_activations,
    open_moments,
    open_profile,
    open_training,
    verify,
)
from sweetgrad.store.access import command_line

SOURCES = Path(sweetgrad.store.__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "store", ["s.zarr", "my store.zarr", "$HOME/'x'.zarr", "a;b", "s3://bucket/a&b", "ü.zarr", "[/bold]"]
)
def test_command_line__gives_every_word_back_to_a_shell(store):
    assert shlex.split(command_line("verify", store, "--repair")) == ["sweetgrad", "verify", store, "--repair"]


def test_command_line__has_the_storage_options_and_no_secret():
    options = {"anon": False, "secret": "0a1b2c", "client_kwargs": {"region_name": "eu 1"}, "tries": 3}
    words = shlex.split(command_line("info", RemoteStore("s3://me:pw@bucket/x", options), "a/b"))
    assert words[:4] == ["sweetgrad", "info", "s3://***@bucket/x", "a/b"]
    assert words[4::2] == ["--storage-option"] * 4
    assert words[5::2] == ["anon=false", "secret=***", 'client_kwargs={"region_name": "eu 1"}', "tries=3"]


def test_sources__write_no_command_line_with_a_path_that_is_not_quoted():
    commands = "|".join(name for name in typer.main.get_command(cli.app).commands)
    pattern = re.compile(rf"sweetgrad (?:{commands})\b[a-z -]*\{{[a-z_.]*(?:location|store|dest|folder|path)\}}")
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for folder in ("store", "flows", "analysis", "profiling")
        for path in (SOURCES / folder).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


def test_hints__of_errors_are_commands_that_the_program_understands(toy, tmp_path, monkeypatch):
    """Each is run as it stands in the message, but for FILE; a usage error would exit with status 2."""
    store = tmp_path / "my store's.zarr"
    name = toy.store(store, range(4))
    rows = toy.rows(range(4, 8))
    rows["num_params"][:] += 1
    (shard,) = Profile.open(store, name).plan(range(4, 8))
    Profile.open(store, name).write(shard, {COUNTS: rows})
    Profile.open(store, name).finalise()
    messages = [str(problem) for problem in verify(store)]
    for ask in (
        lambda: open_profile(tmp_path / "no such.zarr", name),
        lambda: open_moments(store, name),
        lambda: open_activations(store, name),
        lambda: open_accuracies(store, "toy"),
        lambda: open_training(store, "toy/training/digits/seed0"),
    ):
        with pytest.raises(NotAStoreError) as caught:
            ask()
        messages.append(str(caught.value))
    hints = [hint for message in messages for hint in re.findall(r"`(sweetgrad [^`]+/[^`]*)`", message)]
    assert len(hints) >= 6
    monkeypatch.chdir(tmp_path)
    for hint in dict.fromkeys(hints):
        words = shlex.split(hint)
        assert any(word.startswith(str(tmp_path)) for word in words), hint
        result = CliRunner().invoke(
            cli.app, [*words[1:], *(["--space", "none"] if words[1] in ("profile", "train") else [])]
        )
        assert result.exit_code != 2, f"{hint}: {result.output}"


def test_create_profile__of_a_location_with_a_tilde_is_in_the_home_folder(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    name = create_profile("~/s.zarr", toy.spec(), arch=toy.archs, layers=toy.layers).name
    Profile.open("~/s.zarr", name).finalise()
    assert (tmp_path / "s.zarr" / "zarr.json").exists()
    assert not (tmp_path / "~").exists()
    assert open_profile("~/s.zarr", name).sizes["arch"] == len(toy.archs)
    assert verify("~/s.zarr") == []
