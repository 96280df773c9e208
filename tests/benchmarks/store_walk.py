"""How long `status`, `info` and `verify` take on a large store, and in how much memory; prints one JSON line.

    python tests/benchmarks/store_walk.py [--archs 1000000] [--folder DIR]

Goals at 10^6 architectures: `status` in seconds; `verify` in one pass, its memory independent of the size but for the strings and
what is a few bytes an architecture. Uses the stores of ``out_of_core.py``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Make the store if it is not there, walk it, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sweetgrad-out-of-core")
    options = parser.parse_args()
    folder = options.folder / str(options.archs)
    if not (folder / "accuracy.npz").exists():
        maker = Path(__file__).with_name("_synthetic_store.py")
        make = [sys.executable, str(maker), str(folder), "--archs", str(options.archs), "--distinct-shards", "16"]
        subprocess.run(make, check=True)
    from sweetgrad.store import info, status, verify

    store, load = folder / "store.zarr", os.getloadavg()[0]
    figures: dict[str, object] = {"benchmark": "store_walk", "archs": options.archs}
    found: object = None
    walks: dict[str, Callable[[Path], object]] = {"status": status, "info": info, "verify": verify}
    for name, walk in walks.items():
        wall, cpu = time.perf_counter(), time.process_time()
        found = walk(store)
        figures[f"{name}_seconds"] = round(time.perf_counter() - wall, 2)
        figures[f"{name}_cpu_seconds"] = round(time.process_time() - cpu, 2)
        figures[f"{name}_peak_mb"] = peak_mb()
    assert found == [], found
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    figures["store_gb"] = round(size / 1e9, 2)
    figures["load"] = [round(load, 1), round(os.getloadavg()[0], 1)]
    print(json.dumps(figures))


def peak_mb() -> int:
    """Peak memory of this process so far."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1000


if __name__ == "__main__":
    main()
