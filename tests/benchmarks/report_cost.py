"""How long the full report of a store of 15,625 architectures with estimators takes; prints one JSON line.

``python tests/benchmarks/report_cost.py [--estimators 15] [--folder DIR]``. Goal: under 60 s, in one cold process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweetgrad.store import Profile, profile_block


def main() -> None:
    """Make the store once, then report on it in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--estimators", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where to keep the store (default: in the temporary directory)")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.report:
        print(json.dumps(write(options.report)))
        return
    folder = options.folder or Path(tempfile.gettempdir()) / f"sweetgrad-report-{options.estimators}"
    if not (folder / "complete").exists():
        maker = Path(__file__).with_name("_synthetic_store.py")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(maker), str(folder), "--distinct-shards", "4"], check=True)
        add_estimators(folder, options.estimators)
        (folder / "complete").touch()
    load = os.getloadavg()[0]
    command = [sys.executable, __file__, "--report", str(folder)]
    started = time.time()
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    wall = round(time.time() - started, 1)
    print(json.dumps({"wall_seconds": wall, **found, "estimators": options.estimators, "load_before": load}))


def add_estimators(folder: Path, num: int) -> None:
    """The accuracy that belongs to the store, and scores that follow it the less the later they come."""
    import numpy as np
    import pandas as pd
    import xarray as xr

    from sweetgrad.store import import_accuracy, list_profiles

    store, table = folder / "store.zarr", np.load(folder / "accuracy.npz")
    (name,) = list_profiles(store)
    accuracy = np.clip(table["accuracy"], 0, 100)
    columns = {"arch": table["arch"], "dataset": "synthetic", "split": "test", "epochs": 200, "accuracy": accuracy}
    import_accuracy(store, space=name.split("/")[0], table=pd.DataFrame(columns), source="synthetic")
    blocks = [profile_block(f"estimator{i}") for i in range(num)]
    Profile.open(store, name).add_blocks(blocks)
    random = np.random.RandomState(0)
    coords = {"arch": table["arch"], "arch_index": ("arch", np.arange(len(accuracy)))}
    scores = {}
    for noise, block in enumerate(blocks, start=1):
        columns = {
            "score": accuracy + random.normal(size=len(accuracy)) * noise,
            "seconds": np.full(len(accuracy), 0.1, "float32"),
            "message": np.full(len(accuracy), "", object),
            "status": np.ones(len(accuracy), "uint8"),
        }
        scores[block] = xr.Dataset({key: ("arch", value) for key, value in columns.items()}, coords=coords)
    for shard in Profile.open(store, name).plan(range(len(accuracy)), blocks):
        rows = {block: data.isel(arch=slice(shard.start, shard.stop)) for block, data in scores.items()}
        Profile.open(store, name).write(shard, rows)
    Profile.open(store, name).finalise()


def write(folder: Path) -> dict[str, object]:
    """Write the report, and say what it cost."""
    from sweetgrad.analysis.report import report

    path = report(folder / "store.zarr", folder / "report.html")
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
    return {
        "cpu_seconds": round(time.process_time(), 1),
        "peak_rss_mb": round(peak),
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }


if __name__ == "__main__":
    main()
