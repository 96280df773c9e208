"""Reanalysis of a store that is larger than memory should be: time against size, peak memory, speed against bare decompression.

Prints one JSON line for each size, each from a fresh process. Goals at 10^6 architectures: time linear in the size, peak under
2000 MB, at least half the speed of bare blosc decompression of the same bytes.

    python tests/benchmarks/out_of_core.py [--archs 100000 300000 1000000] [--folder DIR] [--chunks none|shard]

Questions: ``best_interval`` over the first 100 architectures and over all, `score` of all, ``correlation_by_interval`` of all.
The bytes compared are the weights in ``grad_count``, which ``best_interval`` over all reads. "Bare" reads every file and calls
numcodecs' blosc on it, one after another; "zarr" is ``array[shard]`` in a plain loop, the best that a program on zarr-python can
do. Bare, zarr and ``best_interval`` alternate in stretches of the store; the seconds of the whole are their sums.
``best_interval`` over all draws a single resample: their number is the caller's choice, and their time another matter.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")
STRETCHES = 10


def main() -> None:
    """Make the stores once, then ask each in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sweetgrad-out-of-core")
    parser.add_argument("--chunks", choices=["none", "shard"], default="none", help="as in open_profile")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(options.ask, options.chunks)))
        return
    for num_archs in options.archs:
        folder = options.folder / str(num_archs)
        if not (folder / "accuracy.npz").exists():
            maker = Path(__file__).with_name("_synthetic_store.py")
            make = [sys.executable, str(maker), str(folder), "--archs", str(num_archs), "--distinct-shards", "16"]
            subprocess.run(make, check=True)
        command = [sys.executable, __file__, "--chunks", options.chunks, "--ask", str(folder)]
        subprocess.run(command, check=True)


def ask(folder: Path, chunks: str) -> dict[str, object]:
    """All questions to one store."""
    import numpy as np
    import xarray as xr

    from sweetgrad.analysis import best_interval, correlation_by_interval, score
    from sweetgrad.store import list_profiles, open_profile

    store, load = folder / "store.zarr", os.getloadavg()[0]
    name = list_profiles(store)[0]
    clock = Clock()
    profile = clock("open", lambda: open_profile(store, name, chunks=None if chunks == "none" else "shard"))
    table = np.load(folder / "accuracy.npz")
    accuracy = xr.DataArray(table["accuracy"], {"arch": table["arch"].astype(object)}, "arch")
    best = clock("best_interval_100", lambda: best_interval(profile))
    clock("score_all", lambda: score(profile, best).values)
    clock("correlation_all", lambda: correlation_by_interval(profile, accuracy))
    clock("best_interval_all", lambda: best_interval(profile, num_archs=profile.sizes["arch"], bootstrap=1))
    peak = peak_mb()
    return {
        "benchmark": "out_of_core",
        "archs": profile.sizes["arch"],
        "chunks": chunks,
        "store_mb": round(sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) / 1e6),
        "wall_seconds": {key: round(value, 2) for key, value in clock.wall.items()},
        "cpu_seconds": {key: round(value, 2) for key, value in clock.cpu.items()},
        "peak_mb": peak,
        "against_decompression": against_decompression(profile, store / name),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }


def against_decompression(profile: "xr.Dataset", group: Path) -> dict[str, object]:
    """Speed of ``best_interval`` over all architectures against reading the same bytes and doing nothing with them."""
    import numpy as np
    import zarr

    from sweetgrad.analysis import best_interval

    array = zarr.open_array(group / "grad_count", mode="r")
    assert array.shards
    size, num = array.shards[0], array.shape[0]
    clock, decoded = Clock(), 0

    def read_bare(shards: range) -> int:
        return sum(decompress(group, shard) for shard in shards)

    def read_with_zarr(shards: range) -> int:
        return sum(np.asarray(array[i * size : (i + 1) * size, :, 0]).nbytes for i in shards)

    # Whole shards, so that no way has to read one twice.
    ends = [round(i * (num // size) / STRETCHES) * size for i in range(STRETCHES + 1)]
    for start, stop in itertools.pairwise(ends):
        shards = range(start // size, stop // size)
        part = profile.isel(arch=slice(start, stop))
        decoded += clock("bare", partial(read_bare, shards))
        clock("zarr", partial(read_with_zarr, shards))
        clock("ours", partial(best_interval, part, num_archs=part.sizes["arch"], bootstrap=1))
    return {
        "decoded_gb": round(decoded / 1e9, 2),
        "bare_gb_per_second": round(decoded / 1e9 / clock.wall["bare"], 2),
        "speed_of_bare": round(clock.wall["bare"] / clock.wall["ours"], 2),
        "speed_of_zarr": round(clock.wall["zarr"] / clock.wall["ours"], 2),
        "cpu_speed_of_bare": round(clock.cpu["bare"] / clock.cpu["ours"], 2),
        "cpu_speed_of_zarr": round(clock.cpu["zarr"] / clock.cpu["ours"], 2),
    }


def decompress(group: Path, shard: int) -> int:
    """Decompress the weights of one shard of ``grad_count``; returns their bytes."""
    import numpy as np
    from numcodecs import blosc

    raw = (group / f"grad_count/c/{shard}/0/0/0").read_bytes()
    # At the end lie offset and length of each inner chunk, and a checksum; each inner chunk ends in a checksum.
    offset, length = np.frombuffer(raw[-36:-4], "<u8")[:2].tolist()
    return len(blosc.decompress(raw[offset : offset + length - 4]))


class Clock:
    """Wall and CPU seconds of what it calls, added up by name."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    def __call__(self, name: str, function: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        self.wall[name] = self.wall.get(name, 0) + time.perf_counter() - wall
        self.cpu[name] = self.cpu.get(name, 0) + time.process_time() - cpu
        return result


def peak_mb() -> int:
    """Peak memory of this process alone; ``ru_maxrss`` would start from the parent's."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1000


if __name__ == "__main__":
    main()
