"""``sweetgrad train`` as real processes that are killed and interrupted: nothing written is lost, and the end is the same."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from sweetgrad.flows import train
from sweetgrad.flows.train_one import train_one
from sweetgrad.profiling import load_space
from sweetgrad.profiling.training import RECIPES, TrainingConfig, train_architecture
from sweetgrad.store import NotAStoreError, open_accuracies, open_accuracy, open_training, verify

TRAIN = [sys.executable, "-m", "sweetgrad.flows.cli", "train"]
# Architectures of a sample lie in as many shards, so that both workers have something to do.
NUM = 6
MANY = ["--archs", f"sample:{NUM}", "--epochs", "1", "--workers", "2", "--device", "cpu"]
NAME = "nas-bench-201/training/digits/seed0"
EPOCHS = 10


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """A run in a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        [*TRAIN, *arguments], stderr=subprocess.PIPE, env=environment, start_new_session=True, text=True
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait while the process runs; gives all that it has started, itself included."""
    while process.poll() is None and not condition():
        time.sleep(0.05)
    assert process.poll() is None, f"it ended before it could be stopped: {process.communicate()[1]}"
    leader = psutil.Process(process.pid)
    return [leader, *leader.children(recursive=True)]


def num_written(store: Path) -> int:
    """How many trainings have their status on the disk, each in a shard of its own: asked often, so as files."""
    return sum(file.name.isdecimal() for file in (store / NAME / "status" / "c").glob("*"))


def written(store: Path) -> dict[int, tuple[float, ...]]:
    """Accuracies and seconds of the trainings that are done; the seconds tell whether one was run again."""
    try:
        data = open_training(store, NAME)
    except NotAStoreError:
        return {}
    rows = np.flatnonzero(data["status"].values == 1).tolist()
    return {row: (*data["accuracy"].values[row].tolist(), float(data["train_seconds"][row])) for row in rows}


def stop(process: subprocess.Popen[str], number: signal.Signals, family: list[psutil.Process]) -> str:
    """Send a signal to the whole group, as a terminal does; nothing may be left of it. Gives what it said."""
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number), errors
    assert psutil.wait_procs(family, timeout=20)[1] == []
    return errors


def num_in_table(store: Path) -> int:
    return int(np.isfinite(open_accuracy(store, "nas-bench-201", "digits/test")).sum())


def test_train__killed_then_interrupted_keeps_what_is_written_and_ends_the_same(
    command: dict[str, str], tmp_path: Path
) -> None:
    store = tmp_path / "s.zarr"
    process = start([str(store), *MANY], command)
    family = wait_until(lambda: num_written(store) > 0, process)
    stop(process, signal.SIGKILL, family)
    killed = written(store)

    process = start([str(store), *MANY], command)
    family = wait_until(lambda: num_written(store) > len(killed), process)
    errors = stop(process, signal.SIGINT, family)
    interrupted = written(store)
    num_left = NUM - len(interrupted)
    assert 0 < len(killed) < len(interrupted) < NUM
    assert "Stopping: abandoning the current trainings" in errors
    assert f"{len(interrupted) - len(killed)} trainings written, {num_left} left. Run the same command" in errors
    assert num_in_table(store) == len(interrupted)
    # A shard that the killed run held, and that this one did not come to, is still locked by a process that has ended.
    assert [problem for problem in verify(store) if "which has ended" not in problem.what] == []

    recipe, console = RECIPES["digits-201"].changed(epochs=1), Console(file=io.StringIO())
    # The same once more, without the seconds that another interpreter takes to start.
    summary = train(store, recipe=recipe, archs=f"sample:{NUM}", workers=2, device="cpu", console=console)
    assert (summary.num_done, summary.num_left) == (num_left, 0)
    whole, space = written(store), load_space("nas-bench-201")
    for before in (killed, interrupted):
        assert {row: whole[row] for row in before} == before
    config = TrainingConfig(space, "digits", None, recipe, 0)
    for row in (min(killed), min(interrupted.keys() - killed.keys()), min(whole.keys() - interrupted.keys())):
        undisturbed = train_architecture(config, space.arch_id(row))
        assert undisturbed is not None
        assert whole[row][:2] == tuple(undisturbed["accuracy"])
    assert num_in_table(store) == NUM
    assert verify(store) == []


def losses(text: str) -> list[str]:
    return re.findall(r"^(epoch \d+ of \d+: loss [\d.]+)", text, re.MULTILINE)


def test_train_one__killed_then_interrupted_goes_on_after_the_last_whole_epoch(
    command: dict[str, str], tmp_path: Path
) -> None:
    arch = load_space("nas-bench-201").arch_id(2000)

    def in_this_process(name: str) -> str:
        said = io.StringIO()
        train_one(
            tmp_path / f"{name}.zarr",
            arch,
            recipe=RECIPES["digits-201"].changed(epochs=EPOCHS),
            checkpoints=tmp_path / name,
            space="nas-bench-201",
            dataset="digits",
            device="cpu",
            console=Console(file=said, width=200),
        )
        return said.getvalue()

    expected = losses(in_this_process("a"))
    assert len(expected) == EPOCHS
    folder = tmp_path / "b"
    arguments = [str(tmp_path / "b.zarr"), "--arch", arch, "--epochs", str(EPOCHS), "--device", "cpu"]
    arguments += ["--checkpoints", str(folder)]

    process = start(arguments, command)
    errors = stop(process, signal.SIGKILL, wait_until(lambda: any(folder.glob("*.npz")), process))
    assert losses(errors) == expected[: len(losses(errors))]
    (checkpoint,) = folder.glob("*.npz")
    # What a kill in the middle of writing the next one leaves: a part of it, under another name.
    (folder / f"{checkpoint.name}.{process.pid}.partial").write_bytes(checkpoint.read_bytes()[:1000])
    before = checkpoint.stat().st_mtime_ns

    process = start(arguments, command)
    errors = stop(process, signal.SIGINT, wait_until(lambda: checkpoint.stat().st_mtime_ns != before, process))
    (after,) = map(int, re.findall(rf"Resuming after epoch (\d+) of {EPOCHS}", errors))
    assert after >= 1
    assert "Stopping: finishing the epoch, then writing its checkpoint" in errors
    assert "The last whole epoch is written. Run the same command to resume." in errors
    done = after + len(losses(errors))
    assert losses(errors) == expected[after:done]

    errors = in_this_process("b")
    assert f"Resuming after epoch {done} of {EPOCHS}" in errors
    assert losses(errors) == expected[done:]
    assert len(losses(errors)) >= 1
    a, b = (open_accuracies(tmp_path / store, "nas-bench-201")["accuracy"].values for store in ("a.zarr", "b.zarr"))
    np.testing.assert_array_equal(a, b)
    assert list(folder.iterdir()) == [checkpoint]
