"""What it costs to force a shard onto the disk before its rows count (`sweetgrad.store.access._files`); prints one JSON line.

    python tests/benchmarks/durable_writes.py [--shards 20] [--folder DIR]

Shards of 625 architectures with counts as networks have them, and of 25 (a search writes one after each network),
alternately with and without forcing. Give a folder on the disk that is to be measured: a tmpfs forces nothing.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from _synthetic_store import LAYERS, SPEC, draw_rows

from sweetgrad.store import COUNTS, Profile, create_profile


def main() -> None:
    """Write, alternately, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, object] = {
        "benchmark": "durable_writes",
        "shards": options.shards,
        "load_before": os.getloadavg()[0],
    }
    for size in (625, 25):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            figures |= measure(Path(folder), size, options.shards)
    print(json.dumps(figures | {"load_after": os.getloadavg()[0]}))


def measure(folder: Path, size: int, num_shards: int) -> dict[str, object]:
    """Milliseconds to write a shard of one size: forced, not forced, and the median of what the one took longer."""
    arch = [f"|synthetic~0|+|architecture~{i:07d}|" for i in range(size * num_shards)]
    spec = replace(SPEC, arch_sha256=sha256("".join(f"{name}\n" for name in arch).encode()).hexdigest())
    random = np.random.RandomState(0)
    rows = draw_rows(arch[:size], range(size), random.normal(size=size), random)
    took: dict[str, list[float]] = {"forced": [], "not_forced": []}
    stores = {how: folder / f"{how}.zarr" for how in took}
    for store in stores.values():
        name = create_profile(store, spec, arch=arch, layers=LAYERS, shard_size=size).name
    for shard in Profile.open(stores["forced"], name).plan(range(len(arch))):
        here = slice(shard.start, shard.stop)
        block = rows.assign_coords(arch=arch[here], arch_index=("arch", np.arange(len(arch), dtype="int32")[here]))
        order = sorted(took, reverse=bool(shard.index % 2))
        for how in order:
            with forcing(how == "forced"):
                begin = time.perf_counter()
                Profile.open(stores[how], name).write(shard, {COUNTS: block})
                took[how].append(time.perf_counter() - begin)
    more = [a - b for a, b in zip(took["forced"], took["not_forced"], strict=True)]
    medians = {**{how: statistics.median(each) for how, each in took.items()}, "more": statistics.median(more)}
    return {f"{how}_ms_{size}": round(1000 * value, 1) for how, value in medians.items()}


@contextmanager
def forcing(is_forced: bool) -> Iterator[None]:
    """Let `os.fsync` do nothing, or what it does."""
    original = os.fsync
    if not is_forced:
        os.fsync = lambda fd: None
    try:
        yield
    finally:
        os.fsync = original


if __name__ == "__main__":
    main()
