"""Ctrl-C on real processes. What kills them is in tests/soak/."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from sweetgrad.store import NotAStoreError, status, verify

PROFILE = [sys.executable, "-m", "sweetgrad.flows.cli", "profile"]
SMALL = ["--dataset", "digits", "--batch-size", "8", "--device", "cpu", "--archs", "0:2000", "--shard-size", "25"]


def num_done(store: Path) -> int:
    try:
        return sum(profile.num_ok for profile in status(store))
    except NotAStoreError:
        return 0


def start_and_wait_for_rows(store: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A run in a session of its own, as a terminal would start it, that has written its first shard."""
    process = subprocess.Popen(
        [*PROFILE, str(store), *SMALL], stderr=subprocess.PIPE, env=environment, start_new_session=True, text=True
    )
    while process.poll() is None and num_done(store) == 0:
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[1]
    return process


def test_profile__first_ctrl_c_writes_what_is_in_hand(command, tmp_path):
    store = tmp_path / "s.zarr"
    # Without PREFECT_API_URL the run has a server of its own, which must end with it.
    environment = {key: value for key, value in command.items() if key != "PREFECT_API_URL"}
    process = start_and_wait_for_rows(store, environment)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("sweetgrad.flows.server" in " ".join(child.cmdline()) for child in family)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group, workers included
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Stopping: finishing the networks in hand" in errors
    done = num_done(store)
    assert f"{done} architectures profiled and written, {2000 - done} left. Run the same command to continue." in errors
    assert done % 25 != 0 or done < 2000
    assert verify(store) == []
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_profile__second_ctrl_c_leaves_at_once_and_nothing_behind(command, tmp_path):
    process = start_and_wait_for_rows(tmp_path / "s.zarr", command)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert psutil.wait_procs(family, timeout=20)[1] == []
    left = (".partial was left", "which has ended; the next run takes the claim over")
    assert [p for p in verify(tmp_path / "s.zarr") if not any(words in p.what for words in left)] == []
