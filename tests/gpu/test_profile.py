"""Whole runs on the GPUs of this machine. The CPU twins are in tests/flows: test_run.py and test_cluster.py."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.flows.cluster import WorkerSource, open_client
from sweetgrad.store import SpecMismatchError, open_profile, verify

pytestmark = pytest.mark.gpu

SETTINGS: dict[str, Any] = {"dataset": "digits", "batch_size": 32, "archs": "0:24", "shard_size": 6}


def run(store: Path, **how) -> str:
    """Profile, and return the digest of what was measured."""
    summary = profile(store, console=Console(file=io.StringIO()), **SETTINGS, **how)
    assert (summary.num_done, summary.num_left, summary.num_failed) == (24, 0, 0)
    return open_profile(store, summary.name).attrs["content_digest"]


def test_open_client__gives_each_process_one_gpu_of_its_own(tmp_path):
    def seen() -> tuple[str | None, int, int]:
        import torch

        return os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count(), os.getpid()

    with open_client(
        WorkerSource(),
        store=str(tmp_path),
        device="cuda",
        num_shards=1000,
        console=Console(file=io.StringIO()),
    ) as client:
        client.wait_for_workers(torch.cuda.device_count(), timeout=60)
        found = list(client.run(seen).values())
    assert len(found) == torch.cuda.device_count()
    assert len({visible for visible, _, _ in found}) == len(found)
    assert len({pid for _, _, pid in found}) == len(found)
    assert {count for _, count, _ in found} == {1}


def test_profile__two_processes_on_a_gpu_measure_what_one_measures(tmp_path):
    one = run(tmp_path / "one.zarr", device="cuda", workers=1)
    two = run(tmp_path / "two.zarr", device="cuda", workers=2 * torch.cuda.device_count())
    assert one == two
    assert verify(tmp_path / "two.zarr") == []
    provenance = open_profile(tmp_path / "two.zarr", "nas-bench-201/digits/bs32-seed42").attrs["runs"][-1]
    assert provenance["device_name"] == torch.cuda.get_device_name()


def test_profile__refuses_to_continue_a_profile_of_the_cpu(tmp_path):
    run(tmp_path / "s.zarr", device="cpu", workers=1)
    with pytest.raises(SpecMismatchError, match='device: stored "cpu", requested "cuda"'):
        run(tmp_path / "s.zarr", device="cuda")
