"""Kill a run with -9 at random moments, resume it each time, and compare the store with one that was left alone.

    python tests/kill_resume.py [--archs 0:1000] [--batch-size 64] [--shard-size 25] [--kills 5] [--seed 0] [--folder DIR]

Prints one JSON line; exit status 1 if a bit differs, a process is left behind, or what survived a kill does not verify.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import xarray as xr

from sweetgrad.store import NotAStoreError, list_profiles, open_profile, status, verify


def start(store: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start ``sweetgrad profile`` in a session of its own."""
    arguments = [
        "--dataset",
        "digits",
        "--archs",
        options.archs,
        "--batch-size",
        str(options.batch_size),
        "--device",
        "cpu",
    ]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sweetgrad.flows.cli",
            "profile",
            str(store),
            *arguments,
            "--shard-size",
            str(options.shard_size),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(store: Path, options: argparse.Namespace) -> None:
    """Run to the end."""
    process = start(store, options)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"profile ended with {process.returncode}: {errors.decode()[-2000:]}")


def num_done(store: Path) -> int:
    """Rows that the store holds, whatever state it is in."""
    try:
        return sum(profile.num_ok for profile in status(store))
    except NotAStoreError:
        return 0


def kill_somewhere(store: Path, options: argparse.Namespace, *, after_s: float) -> tuple[bool, list[int]]:
    """Start a run, kill it some time after its first new rows; whether it was still running, and processes it left behind."""
    before, process = num_done(store), start(store, options)
    deadline = time.monotonic() + 300
    while process.poll() is None and num_done(store) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(after_s)
    running = process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True) if running else []
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    return running, [child.pid for child in alive]


def content(store: Path) -> xr.Dataset:
    """Everything measured; the wall time is not."""
    (name,) = list_profiles(store)
    return open_profile(store, name, chunks=None).drop_vars("profile_seconds").load().drop_attrs()


def main() -> None:
    """Kill, resume, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", default="0:1000")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--shard-size", type=int, default=25)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-delay", type=float, default=3.0, help="seconds after the first new rows")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sweetgrad-kill-"))
    killed, left = 0, []
    damage: list[str] = []
    store = folder / "killed.zarr"
    done_at_kill = []
    for _ in range(options.kills):
        running, orphans = kill_somewhere(store, options, after_s=chance.uniform(0, options.max_delay))
        killed += running
        left += orphans
        done_at_kill.append(num_done(store))
        # A kill may leave temporary files, which verify names and nothing reads.
        damage += [str(problem) for problem in verify(store) if ".partial" not in problem.what]
    finish(store, options)
    damage += [str(problem) for problem in verify(store, repair=True) if ".partial" not in problem.what]
    finish(folder / "undisturbed.zarr", options)
    identical = content(store).identical(content(folder / "undisturbed.zarr"))
    result = {
        "killed_while_running": killed,
        "rows_done_at_each_kill": done_at_kill,
        "processes_left": left,
        "damage": damage,
        "identical": identical,
        "folder": os.fspath(folder),
    }
    print(json.dumps(result))
    sys.exit(0 if identical and not left and not damage else 1)


if __name__ == "__main__":
    main()
