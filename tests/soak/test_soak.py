"""The short version of the soak: three of its faults, once each, with few and small networks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweetgrad.flows.server.ephemeral import prefect_server, wait_until_up

SOAK = Path(__file__).with_name("soak.py")
TINY = [
    "--archs",
    "613:637",
    "--batch-size",
    "4",
    "--shard-size",
    "625",
]  # the end of one shard, and the start of the next


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One Prefect server for all runs: starting one for each would take longer than the runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server() as url:
            wait_until_up(url)
            yield {**os.environ, "PREFECT_API_URL": url}


def soak(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SOAK, *TINY, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_soak__a_killed_worker_two_runs_at_once_and_flipped_bits_leave_the_store_identical(
    environment: dict[str, str], tmp_path: Path
) -> None:
    faults = ["kill-worker", "two-runs", "flip-bits"]
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- soak tally: written by tests/soak/soak.py --report -->\nold\n<!-- end of soak tally -->\nafter\n"
    )
    options = [
        "--faults",
        ",".join(faults),
        "--rounds",
        3,
        "--seed",
        2,
        "--folder",
        tmp_path / "soak",
        "--report",
        page,
    ]
    found = soak(*options, environment=environment)
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    assert {fault: (each["rounds"], each["passed"]) for fault, each in result["faults"].items()} == dict.fromkeys(
        faults, (1, 1)
    )
    assert result["processes_left"] == 0
    assert "| `flip-bits` | 1 | 1 | 1 |" in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "old" not in page.read_text()
    # The same folder again: nothing is left to do, and the tally is the same.
    again = json.loads(soak(*options, environment=environment).stdout)
    assert again["faults"] == result["faults"]


def test_soak__names_the_faults_that_there_are() -> None:
    found = soak("--faults", "kill-worker,earthquake")
    assert found.returncode == 2
    assert "no fault 'earthquake'; there are kill-worker, kill-flow, " in found.stderr
