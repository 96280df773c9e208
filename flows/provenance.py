"""Provenance of a run: facts that its numbers may depend on, for the attributes of a profile."""

import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sweetgrad.profiling.own_code import digests_of
from sweetgrad.store.format.spec import CODE


def provenance(*, device: str, data_source: str, arch_order: str, used: Iterable[str] = ()) -> dict[str, Any]:
    """JSON-ready facts: versions, commit, device, data.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``.
    data_source
        Which files the images come from (`Examples.source`).
    arch_order
        Where the order of the architectures comes from.
    used
        Names of the space, the data set and so on; a file of the user's (``FILE.py:NAME``) is recorded with its digest.
    """
    return {
        "sweetgrad": version("sweetgrad"),
        "git_commit": _git_commit(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device_name": _gpu_name() if device == "cuda" else _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "data_source": data_source,
        "arch_order": arch_order,
        **{f"{CODE}{file}": f"SHA-256 {digest}" for file, digest in digests_of(used).items()},
    }


def report_differences(differences: Sequence[str], *, console: Console) -> None:
    """Report differences from `Profile.record_run` or `check_cluster`: rows may differ in their last bits."""
    if differences:
        console.print(
            f"Note: {'; '.join(differences)}. Gradients may differ in their last bits between the two, "
            "and then some counts by a bin. If rows must agree to the last count, measure all of them under one.",
            markup=False,
        )


def _git_commit() -> str:
    """Commit of the checkout that the package is imported from; empty for an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    git = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return git.stdout.strip()


def _gpu_name() -> str:
    """Name of the GPU here; empty where the GPUs are another machine's."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
