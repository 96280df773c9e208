"""Architectures a second of whole runs with two workers against one, orchestration included.

Prints one JSON line. Each run is the whole of ``sweetgrad.flows.profile``: workers, Prefect server, tasks, writing, stamping;
only the imports of this process are not in it. One and two workers alternate, on the digits, whose networks are small.

    python tests/benchmarks/throughput.py [--archs 1000] [--batch-size 64] [--rounds 2]
"""

import argparse
import io
import json
import os
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console


def run(store: Path, options: argparse.Namespace, *, workers: int) -> float:
    """Wall seconds of one run."""
    # Here, because workers import the main module of their parent: at its top, they would import Prefect with it.
    from sweetgrad.flows import profile

    summary = profile(
        store,
        dataset="digits",
        archs=f"0:{options.archs}",
        batch_size=options.batch_size,
        shard_size=options.shard_size,
        device="cpu",
        workers=workers,
        console=Console(file=io.StringIO()),
    )
    assert summary.num_done == options.archs
    return summary.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--shard-size", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    from sweetgrad.flows import profile  # noqa: F401  (a first run must not pay for it)

    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for workers, values in seconds.items():
                values.append(run(Path(folder) / f"{workers}-{number}.zarr", options, workers=workers))
    print(
        json.dumps(
            {
                "benchmark": "throughput",
                "speedup_two_workers": round(median(seconds[1]) / median(seconds[2]), 3),
                "archs_per_second_one_worker": round(options.archs / median(seconds[1]), 2),
                "archs_per_second_two_workers": round(options.archs / median(seconds[2]), 2),
                "seconds_one_worker": [round(value, 1) for value in seconds[1]],
                "seconds_two_workers": [round(value, 1) for value in seconds[2]],
                "archs": options.archs,
                "shard_size": options.shard_size,
                "batch_size": options.batch_size,
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()
