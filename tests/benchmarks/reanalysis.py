"""How long a new question to a full-size store takes, from a cold process and again in the same one; prints one JSON line.

``python tests/benchmarks/reanalysis.py [--scale 10] [--folder DIR] [--chunks shard]``. Goals: cold under 2 s, warm under 0.3 s,
peak under 1500 MB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from sweetgrad.analysis import IntervalGrid


def main() -> None:
    """Make the store once, then ask it in fresh processes; the best of some runs counts, the others are printed too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1, help="times 15,625 architectures")
    parser.add_argument(
        "--folder", type=Path, help="where to keep the store (default: a folder in the temporary directory)"
    )
    parser.add_argument("--chunks", choices=["none", "shard"], default="none", help="as in open_profile")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ask", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(Path(options.ask[0]), options.chunks, started=float(options.ask[1]))))
        return
    folder = options.folder or Path(tempfile.gettempdir()) / f"sweetgrad-reanalysis-x{options.scale}"
    if not (folder / "accuracy.npz").exists():
        # Its own process, so that making the store leaves nothing warm behind here.
        maker = Path(__file__).with_name("_synthetic_store.py")
        folder.mkdir(parents=True, exist_ok=True)
        num_archs = str(15_625 * options.scale)
        subprocess.run([sys.executable, str(maker), str(folder), "--archs", num_archs], check=True)
    runs = []
    for _ in range(options.runs):
        command = [sys.executable, __file__, "--chunks", options.chunks, "--ask", str(folder), str(time.time())]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    best = min(runs, key=lambda run: run["cold_seconds"])
    others = {f"all_{key}": [run[key] for run in runs] for key in ("cold_seconds", "warm_seconds")}
    print(json.dumps({**best, **others, "scale": options.scale, "chunks": options.chunks}))


def ask(folder: Path, chunks: str, *, started: float) -> dict[str, object]:
    """One question never asked before, then the same with another split."""
    import numpy as np
    import xarray as xr

    from sweetgrad.analysis import IntervalGrid
    from sweetgrad.store import list_profiles, open_profile

    imported = time.time()
    name = list_profiles(folder / "store.zarr")[0]
    profile = open_profile(folder / "store.zarr", name, chunks=None if chunks == "none" else "shard")
    table = np.load(folder / "accuracy.npz")
    accuracy = xr.DataArray(table["accuracy"], {"arch": table["arch"].astype(object)}, "arch")
    opened = time.time()
    first = question(profile, accuracy, IntervalGrid(split=7))
    cold, cold_cpu = time.time(), time.process_time()
    second = question(profile, accuracy, IntervalGrid(split=9))
    warm, warm_cpu = time.time(), time.process_time()
    return {
        "cold_seconds": round(cold - started, 3),
        "warm_seconds": round(warm - cold, 3),
        "cold_cpu_seconds": round(cold_cpu, 3),
        "warm_cpu_seconds": round(warm_cpu - cold_cpu, 3),
        "peak_rss_mb": round(peak_rss_mb()),
        "import_seconds": round(imported - started, 3),
        "open_seconds": round(opened - imported, 3),
        "num_archs": profile.sizes["arch"],
        "answers": [first, second],
    }


def peak_rss_mb() -> float:
    """Peak memory of this process alone; ``ru_maxrss`` would start from the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def question(profile: "xr.Dataset", accuracy: "xr.DataArray", grid: "IntervalGrid") -> str:
    """Sweetness and best interval, scores of all architectures, Spearman of every interval."""
    from sweetgrad.analysis import best_interval, correlation_by_interval, score

    best = best_interval(profile, grid)
    scores = score(profile, best).values
    correlation = correlation_by_interval(profile, accuracy, grid)
    return f"{best}; mean score {scores.mean():.0f}; largest Spearman {float(correlation.max()):.3f}"


if __name__ == "__main__":
    main()
