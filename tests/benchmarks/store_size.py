"""Bytes an architecture in a store of real counts, everything included.

Prints one JSON line. Profiles whole shards of NAS-Bench-201 on CIFAR-10 images where ``../shared/data`` has them, else on the
digits. What a store holds once (metadata, architecture strings of all 15,625) is shared out over all architectures of the space;
what a shard holds, over the architectures of the shard.

    python tests/benchmarks/store_size.py [--batch-size 16] [--shards 1] [--blocks all]
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from sweetgrad.flows.inputs import select_blocks
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_shard
from sweetgrad.profiling.architectures import load_functions, parameter_axes
from sweetgrad.store import Profile, create_profile

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
SHARED = CHECKOUT.parent / "shared" / "data"


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--blocks", default="")
    options = parser.parse_args()
    dataset = "cifar10" if SHARED.is_dir() else "digits"
    batch = load_batch(
        dataset, batch_size=options.batch_size, data_dir=SHARED if SHARED.is_dir() else None, second=True
    )
    # The benchmark's order mixes architectures of all kinds; the lexicographic one would put like beside like.
    table = SHARED / "benchmarks" / "nas-bench-201.csv.gz"
    space = load_space("nas-bench-201", table=table if table.exists() else None)
    spec = make_spec(space, batch)
    blocks = select_blocks([name for name in options.blocks.split(",") if name])
    functions = load_functions((), blocks, spec=spec, batch=batch)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "size.zarr"
        arch = [space.arch_id(index) for index in range(len(space))]
        name = create_profile(store, spec, arch=arch, layers=space.layer_names).name
        Profile.open(store, name).add_blocks(functions, axes=parameter_axes(space, functions))
        Profile.open(store, name).finalise()
        empty = folder_bytes(store)
        shards = Profile.open(store, name).plan(range(len(space)), [*functions])
        chosen = [shards[int(i)] for i in np.linspace(0, len(shards) - 1, options.shards + 2)[1:-1]]
        for shard in chosen:
            profile_shard(Profile.open(store, name), shard, space, batch, spec, blocks=blocks)
        num_archs = sum(len(shard.rows) for shard in chosen)
        variables = {
            path.name: round(sum(f.stat().st_size for f in path.rglob("c/**/*") if f.is_file()) / num_archs, 1)
            for path in sorted((store / name).iterdir())
            if path.is_dir()
            and path.name not in ("blocks", "arch", "arch_index", "layer", "kind", "bin_lower", "bin_upper")
        }
        by_block = {
            block.name: round(
                sum(f.stat().st_size for f in (store / name / block.path).rglob("c/**/*") if f.is_file()) / num_archs
            )
            for block in functions
        }
        print(
            json.dumps(
                {
                    "benchmark": "store_size",
                    "bytes_per_arch_by_block": by_block,
                    "bytes_per_arch_of_blocks": sum(by_block.values()),
                    "bytes_per_arch": round((folder_bytes(store) - empty) / num_archs + empty / len(space)),
                    "once_per_store_bytes": empty,
                    "bytes_per_arch_by_variable": variables,
                    "archs": num_archs,
                    "dataset": dataset,
                    "arch_order": "benchmark" if table.exists() else "lexicographic",
                    "batch_size": options.batch_size,
                }
            )
        )


if __name__ == "__main__":
    main()
