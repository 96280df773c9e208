"""Architectures a second on one GPU, with one and more processes on it, how busy the GPU is, and that all measure the same.

Prints one JSON line. Each run is the whole of ``sweetgrad.flows.profile`` into a new store. Its rate is given twice: over the
wall time of the run, and (``steady``) over the time that the networks themselves took, without the start of workers and Prefect.
The GPU is watched with ``nvidia-smi`` every half second, if that is there. Exit status 2 without a GPU.

    python tests/benchmarks/gpu_throughput.py [--archs all] [--processes 1,2,4] [--dataset cifar10 --data-dir data]
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from rich.console import Console

from sweetgrad.flows import profile
from sweetgrad.store import open_profile

QUERY = "utilization.gpu,memory.used,power.draw"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", default="sample:1000", help="as in sweetgrad profile")
    parser.add_argument(
        "--processes",
        default="1,2,4,8,12",
        help="numbers of processes on the GPU, with commas between; 0: as sweetgrad chooses",
    )
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-dir")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--shard-size", type=int, default=50)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the script itself")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: torch finds no CUDA device here, so there is nothing to measure", file=sys.stderr)
        return 2
    # One GPU: workers see the first of those that this process may use.
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    runs = [run(int(number), options, gpu) for number in options.processes.split(",")]
    facts = {
        "benchmark": "gpu_throughput",
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else "none",
        "torch": torch.__version__,
        "dataset": options.dataset,
        "batch_size": options.batch_size,
        "shard_size": options.shard_size,
        "cores": len(os.sched_getaffinity(0)),
        "runs": runs,
    }
    print(json.dumps(facts))
    return 0


def run(processes: int, options: argparse.Namespace, gpu: str) -> dict[str, Any]:
    """One run with so many processes."""
    with tempfile.TemporaryDirectory() as folder, watched(gpu, Path(folder)) as watch:
        store = Path(folder) / "s.zarr"
        summary = profile(
            store,
            dataset=options.dataset,
            data_dir=options.data_dir,
            archs=options.archs,
            batch_size=options.batch_size,
            shard_size=options.shard_size,
            device=options.device,
            workers=processes or None,
            console=Console(file=io.StringIO()),
        )
        rows = open_profile(store, summary.name, chunks=None)
        seconds = float(rows["profile_seconds"].sum())  # rows that were not run hold NaN
    return {
        "processes": processes or "chosen",
        "archs": summary.num_done,
        "content_digest": rows.attrs["content_digest"][:12],
        "failed": summary.num_failed,
        "seconds": round(summary.seconds, 1),
        "archs_per_second": round(summary.num_done / summary.seconds, 2),
        "archs_per_second_steady": round(processes * summary.num_done / seconds, 2) if processes else None,
        **watch,
    }


@contextmanager
def watched(gpu: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Watch a GPU with ``nvidia-smi``; the dictionary is filled when the context ends."""
    found: dict[str, Any] = {}
    if shutil.which("nvidia-smi") is None:
        yield found
        return
    log = folder / "nvidia-smi.csv"
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "--id", gpu, "--loop-ms", "500"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file)
    try:
        yield found
    finally:
        process.terminate()
        process.wait()
        found |= summarised(log.read_text())


def summarised(text: str) -> dict[str, Any]:
    """Mean and maximum of what ``nvidia-smi`` wrote; samples before the first work (utilisation 0) are left out."""
    samples = [[_number(value) for value in line.split(",")] for line in text.splitlines() if line.count(",") == 2]
    while samples and not samples[0][0]:
        samples.pop(0)
    if not samples:
        return {}
    utilisation, memory_mib, power_w = zip(*samples, strict=True)
    return {
        "utilisation_mean_percent": round(mean(utilisation), 1),
        "utilisation_max_percent": max(utilisation),
        "memory_max_mib": max(memory_mib),
        "power_mean_w": round(mean(power_w), 1),
    }


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
